//! Pods come from an API server of the test's own, and are taken or refused.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use provider::{Code, Description, Error, Kind, PodConfig, PodRef, PodState, Pods, Provider, Result, Snapshot};
use serde_json::{Value, json};

use crate::api::fake::{self, Answer, Asked, Log};
use crate::pods::PodController;
use crate::testing::{ready, run_pods};

/// A backend that has nothing, and remembers what it was to make.
#[derive(Default)]
struct Backend(Mutex<Vec<String>>);

#[async_trait]
impl Provider for Backend {
    async fn describe(&self) -> Result<Description> {
        Ok(description())
    }

    fn kind(&self) -> Kind<'_> {
        Kind::Pods(self)
    }
}

#[async_trait]
impl Pods for Backend {
    async fn create(&self, pod: PodConfig) -> Result<PodState> {
        self.0.lock().unwrap().push(pod.sandbox.key.name.to_string());
        Err(Error::new(Code::Unavailable, "later"))
    }

    async fn update(&self, _: PodConfig, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, _: PodRef, _: Duration) -> Result<()> {
        Ok(())
    }

    async fn forget(&self, _: PodRef) -> Result<()> {
        Ok(())
    }

    async fn list(&self, _: Option<String>) -> Result<Snapshot> {
        Ok(Snapshot { complete: true, ..Snapshot::default() })
    }

    async fn refresh(&self, _: Vec<PodRef>) -> Result<Vec<PodState>> {
        Ok(Vec::new())
    }
}

fn description() -> Description {
    ready(&[("pods", 3), ("cpu", 4_000)])
}

fn pod(name: &str, made: &str, spec: &Value, status: Value) -> Value {
    let mut whole = json!({ "containers": [{ "name": "c", "image": "x" }], "restartPolicy": "Always" });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": name, "resourceVersion": "1", "generation": 1,
            "creationTimestamp": made,
        },
        "spec": whole,
        "status": status,
    })
}

struct Run {
    _pods: PodController,
    backend: Arc<Backend>,
    log: Log,
}

/// A node with these labels, these pods, and those that come later.
fn start(labels: Value, present: Vec<Value>, later: Vec<Value>) -> Run {
    let answer = move |asked: &Asked| -> Answer {
        let path = asked.path.split('?').next().unwrap_or_default();
        match (&asked.method, path) {
            (&Method::GET, "/api/v1/pods") if asked.watches() => {
                let line = |pod: &Value| json!({ "type": "ADDED", "object": pod });
                (200, later.iter().map(line).collect())
            }
            (&Method::GET, "/api/v1/pods") => fake::list(&present),
            (&Method::GET, "/api/v1/nodes/web-node") => (200, json!({ "metadata": { "labels": labels } })),
            (&Method::GET, _) if asked.watches() => (200, json!([])),
            (&Method::GET, _) => fake::list(&[]),
            _ => (200, json!({ "metadata": { "resourceVersion": "2" } })),
        }
    };
    let (api, log) = fake::api(answer);
    let backend = Arc::new(Backend::default());
    let pods = run_pods(&api, backend.clone(), &description());
    Run { _pods: pods, backend, log }
}

impl Run {
    /// Why a pod was refused, as its status says.
    fn refused(&self, name: &str) -> Option<String> {
        let path = format!("/api/v1/namespaces/default/pods/{name}/status");
        let all = self.log.all();
        let failed = all.iter().find(|asked| asked.path == path && asked.body["status"]["phase"] == "Failed")?;
        failed.body["status"]["reason"].as_str().map(str::to_owned)
    }

    fn made(&self, name: &str) -> bool {
        self.backend.0.lock().unwrap().iter().any(|own| own == name)
    }

    async fn until(&self, what: &str, is: impl Fn(&Self) -> bool) {
        for _ in 0..2_000 {
            if is(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}: {:?} {:#?}", self.backend.0.lock().unwrap(), self.log.all());
    }
}

fn asking(cpu: &str) -> Value {
    json!({ "containers": [{ "name": "c", "image": "x", "resources": { "requests": { "cpu": cpu } } }] })
}

#[tokio::test]
async fn a_restart_refuses_nothing_that_runs_and_takes_the_oldest_of_the_others() {
    let begun = json!({ "phase": "Running", "startTime": "2026-01-05T00:00:00Z" });
    let finished = json!({ "phase": "Succeeded" });
    let present = vec![
        pod("a-young", "2026-01-04T00:00:00Z", &asking("1"), json!({})),
        pod("b-old", "2026-01-03T00:00:00Z", &asking("1"), json!({})),
        pod("c-finished", "2026-01-01T00:00:00Z", &asking("4"), finished),
        pod("d-begun", "2026-01-05T00:00:00Z", &asking("3"), begun),
    ];
    let run = start(json!({}), present, Vec::new());
    run.until("the refusal", |run| run.refused("a-young").is_some()).await;
    assert_eq!(run.refused("a-young").unwrap(), "OutOfcpu");
    run.until("the others", |run| run.made("b-old") && run.made("d-begun")).await;
    assert!(!run.made("a-young") && !run.made("c-finished"));
    let event = |asked: &Asked| asked.method == Method::POST && asked.body["reason"] == "OutOfcpu";
    run.until("the Event", |run| run.log.all().iter().any(event)).await;
    let told = run.log.all().into_iter().find(event).unwrap();
    assert_eq!(told.body["type"], "Warning");
    assert_eq!(
        told.body["message"],
        "Node didn't have enough resource: cpu, requested: 1000, used: 4000, capacity: 4000"
    );
}

#[tokio::test]
async fn who_asks_for_labels_is_decided_about_when_they_were_read() {
    let selecting = |team: &str| json!({ "nodeSelector": { "team": team } });
    let later = vec![
        pod("elsewhere", "2026-01-01T00:00:00Z", &selecting("b"), json!({})),
        pod("here", "2026-01-01T00:00:00Z", &selecting("a"), json!({})),
        pod("anywhere", "2026-01-01T00:00:00Z", &json!({}), json!({})),
    ];
    let run = start(json!({ "team": "a" }), Vec::new(), later);
    run.until("the refusal", |run| run.refused("elsewhere").is_some()).await;
    assert_eq!(run.refused("elsewhere").unwrap(), "NodeAffinity");
    run.until("the others", |run| run.made("here") && run.made("anywhere")).await;
}

#[tokio::test]
async fn pods_that_mirror_what_others_run_take_no_place() {
    let mut mirror = pod("mirror", "2026-01-01T00:00:00Z", &asking("4"), json!({ "phase": "Running" }));
    mirror["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "x" });
    let run = start(json!({}), vec![mirror], vec![pod("own", "2026-01-02T00:00:00Z", &asking("4"), json!({}))]);
    run.until("the pod", |run| run.made("own")).await;
    assert!(!run.made("mirror"));
}
