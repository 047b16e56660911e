//! Pods of all kinds, and what their containers do.

use fastrand::Rng;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};

/// What a container does once it runs.
#[derive(Clone, Copy, Debug)]
pub enum Plan {
    /// Runs until it is stopped.
    Serve,
    /// Ends by itself after up to so many seconds, with this code.
    End(u64, i32),
    /// As `End` the first `n` times, then `Serve`.
    Recover(u32, i32),
}

pub struct Case {
    pub pod: Pod,
    pub plans: Vec<(String, Plan)>,
    pub images: Vec<String>,
}

fn container(rng: &mut Rng, name: &str, images: &mut Vec<String>) -> Value {
    let image = format!("registry.example.com/{}:v{}", name.trim_end_matches(char::is_numeric), rng.u8(1..4));
    if rng.bool() {
        images.push(image.clone());
    }
    let policy = *rng.choice(&["Always", "IfNotPresent", "IfNotPresent"]).unwrap();
    let mut container = json!({ "name": name, "image": image, "imagePullPolicy": policy });
    if rng.bool() {
        container["terminationMessagePath"] = json!("/dev/termination-log");
    }
    container
}

pub fn case(rng: &mut Rng) -> Case {
    let policy = *rng.choice(&["Always", "Always", "OnFailure", "Never"]).unwrap();
    let mut images = Vec::new();
    let mut plans = Vec::new();
    let mut inits = Vec::new();
    for number in 0..rng.usize(0..4) {
        let name = format!("init{number}");
        let mut init = container(rng, &name, &mut images);
        let plan = if rng.u8(0..3) == 0 {
            init["restartPolicy"] = json!("Always");
            *rng.choice(&[Plan::Serve, Plan::Serve, Plan::Recover(2, 1), Plan::End(40, 1)]).unwrap()
        } else {
            *rng.choice(&[Plan::End(5, 0), Plan::End(5, 0), Plan::End(60, 0), Plan::End(3, 1)]).unwrap()
        };
        plans.push((name, plan));
        inits.push(init);
    }
    let mut apps = Vec::new();
    for number in 0..rng.usize(1..4) {
        let name = format!("app{number}");
        apps.push(container(rng, &name, &mut images));
        let plan = *rng
            .choice(&[
                Plan::Serve,
                Plan::Serve,
                Plan::Recover(3, 1),
                Plan::End(30, 0),
                Plan::End(900, 1),
                Plan::End(2, 1),
            ])
            .unwrap();
        plans.push((name, plan));
    }
    let pod = json!({
        "metadata": { "name": "pod", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001", "generation": 1 },
        "spec": {
            "restartPolicy": policy,
            "terminationGracePeriodSeconds": 30,
            "initContainers": inits,
            "containers": apps,
        },
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    });
    Case { pod: serde_json::from_value(pod).unwrap(), plans, images }
}
