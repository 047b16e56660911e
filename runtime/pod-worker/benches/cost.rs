//! What a pod costs: time for a status, a patch and an idle step of the machine, and the memory of what is kept.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a bench says what it measured, and ends where it can't")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use pod_worker::machine::{Action, Goal, Image, Machine, Outcome};
use pod_worker::observation::{Object, ObjectState, Observation, Phase, Start};
use pod_worker::{PodView, Work, status};
use serde_json::json;

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

#[expect(unsafe_code, reason = "counts what the system's allocator gives out")]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocated() -> usize {
    ALLOCATED.load(Ordering::Relaxed)
}

fn pod(containers: usize) -> Pod {
    let containers: Vec<_> = (0..containers)
        .map(|number| {
            json!({
                "name": format!("app{number}"),
                "image": "registry.example.com/team/app:v1",
                "imagePullPolicy": "IfNotPresent",
                "resources": { "requests": { "cpu": "100m", "memory": "128Mi" } },
                "terminationMessagePath": "/dev/termination-log",
                "volumeMounts": [{
                    "name": "kube-api-access",
                    "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
                    "readOnly": true,
                }],
            })
        })
        .collect();
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "5a8f2f0e-8a51-4b37-a0f4-5f2a3a9c0e11", "generation": 1 },
        "spec": { "restartPolicy": "Always", "containers": containers },
        "status": { "phase": "Pending", "qosClass": "Burstable" },
    }))
    .unwrap()
}

fn view(pod: &Pod) -> PodView<'_> {
    PodView {
        metadata: &pod.metadata,
        spec: pod.spec.as_ref().unwrap(),
        status: pod.status.as_ref().unwrap(),
        probes: &[],
    }
}

fn running(containers: usize, revision: u32, now: Timestamp) -> Observation {
    let id = "7c1f8b7f0cf0a1e1f0b7a4f7f8e1d6a5b4c3d2e1f0a9b8c7d6e5f4a3b2c1d0e9";
    let mut object = Object::new(0, id, ObjectState::Running);
    object.ips = vec!["10.1.2.3".parse().unwrap()];
    let starts = (0..containers).map(|number| Start {
        id: format!("podman://{id}").into(),
        created_at: Some(now),
        started_at: Some(now),
        image: "registry.example.com/team/app:v1".into(),
        image_id: format!("registry.example.com/team/app@sha256:{id}").into(),
        ..Start::new(format!("app{number}"), 0, Phase::Running)
    });
    Observation { revision, objects: vec![object], starts: starts.collect() }
}

/// A machine whose pod runs.
fn settled(pod: &Pod, containers: usize, now: Timestamp) -> Machine {
    let mut machine = Machine::new();
    let mut step = machine.step(now, view(pod), &Observation::default(), Goal::Run);
    while !step.actions.is_empty() {
        for action in step.actions {
            let outcome = match &action {
                Action::CheckImage { .. } => Outcome::Image(Some(Image::default())),
                Action::RunSandbox { .. } | Action::CreateContainer { .. } => Outcome::Id("some-id".into()),
                _ => Outcome::Done,
            };
            machine.finished(now, &action, Ok(outcome));
        }
        step = machine.step(now, view(pod), &Observation::default(), Goal::Run);
    }
    let step = machine.step(now, view(pod), &running(containers, machine.revision(), now), Goal::Run);
    assert_eq!(step, pod_worker::machine::Step::default());
    machine
}

fn time(what: &str, mut work: impl FnMut()) {
    const ROUNDS: u32 = 200_000;
    for _ in 0..ROUNDS / 10 {
        work();
    }
    let began = Instant::now();
    for _ in 0..ROUNDS {
        work();
    }
    println!("{what:<58} {:>8.2} µs", began.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS));
}

fn main() {
    let now = Timestamp::from_second(1_700_000_000).unwrap();
    let mut pod2 = pod(2);
    let seen = running(2, u32::MAX, now);
    let computed = {
        let input = |pod| status::Input {
            pod: view(pod),
            observation: &seen,
            work: Some(Work::Running),
            waiting: &[],
            messages: &[],
            verdict: None,
            resize: &[],
            host_ips: &[],
            now,
        };
        time("status of a pod of 2 containers, first", || {
            black_box(status::compute(&input(black_box(&pod2))));
        });
        status::compute(&input(&pod2))
    };
    let pending = pod2.status.replace(computed.clone()).unwrap();
    let input = status::Input {
        pod: view(&pod2),
        observation: &seen,
        work: Some(Work::Running),
        waiting: &[],
        messages: &[],
        verdict: None,
        resize: &[],
        host_ips: &[],
        now,
    };
    time("status of a pod of 2 containers, unchanged", || {
        black_box(status::compute(black_box(&input)));
    });
    time("patch, nothing changed", || {
        black_box(status::patch("uid", black_box(&computed), &computed));
    });
    time("patch, from Pending to Running", || {
        black_box(status::patch("uid", black_box(&pending), &computed));
    });
    let mut machine = settled(&pod(2), 2, now);
    time("step of an idle machine, 2 containers", || {
        black_box(machine.step(now, view(&pod2), black_box(&seen), Goal::Run));
    });

    let pod1 = pod(1);
    let before = allocated();
    let machines: Vec<Machine> = (0..1_000).map(|_| settled(&pod1, 1, now)).collect();
    println!("{:<58} {:>8} bytes", "an idle machine, 1 container", (allocated() - before) / machines.len());
    let before = allocated();
    let seen: Vec<Observation> = (0..1_000).map(|_| running(1, 0, now)).collect();
    println!("{:<58} {:>8} bytes", "an observation, 1 container", (allocated() - before) / seen.len());
}
