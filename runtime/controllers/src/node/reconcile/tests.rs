//! A Node is kept, against an API server of the test's own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use http::Method;
use provider::{Code, Description, Error, Kind, PodConfig, PodRef, PodState, Pods, Provider, Snapshot, Taint};
use serde_json::{Value, json};

use crate::api::fake::{self, Answer, Asked, Log};
use crate::events::Recorder;
use crate::node::{NodeController, NodeSettings, NodeState};
use crate::testing::{ready, until};

const NODES: &str = "/api/v1/nodes";
const NODE: &str = "/api/v1/nodes/web";
const STATUS: &str = "/api/v1/nodes/web/status";
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// A provider that describes its node as it is told to.
struct Backend(Mutex<Option<provider::Result<Description>>>);

#[async_trait]
impl Provider for Backend {
    async fn describe(&self) -> provider::Result<Description> {
        let answer = self.0.lock().unwrap().clone();
        match answer {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }

    fn kind(&self) -> Kind<'_> {
        Kind::Pods(self)
    }
}

#[async_trait]
impl Pods for Backend {
    async fn create(&self, _: PodConfig) -> provider::Result<PodState> {
        Err(Error::lacks("pods"))
    }

    async fn update(&self, _: PodConfig, _: Vec<String>) -> provider::Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn delete(&self, _: PodRef, _: Duration) -> provider::Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn forget(&self, _: PodRef) -> provider::Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn list(&self, _: Option<String>) -> provider::Result<Snapshot> {
        Err(Error::lacks("pods"))
    }

    async fn refresh(&self, _: Vec<PodRef>) -> provider::Result<Vec<PodState>> {
        Err(Error::lacks("pods"))
    }
}

fn description() -> Description {
    ready(&[("pods", 10)])
}

fn settings() -> NodeSettings {
    NodeSettings {
        name: "web".into(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        kubelet_port: 10_250,
        taints: vec![Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() }],
        ..NodeSettings::default()
    }
}

fn present() -> Value {
    json!({ "metadata": { "name": "web", "uid": "u1", "resourceVersion": "5" } })
}

/// Answers what no test is about.
fn usual(asked: &Asked) -> Answer {
    match (&asked.method, asked.path.split('?').next().unwrap_or_default()) {
        (&Method::GET, NODES) if asked.watches() => (200, json!([])),
        (&Method::GET, NODES) => fake::list(&[present()]),
        (&Method::POST, NODES) => (201, present()),
        _ => (200, json!({ "metadata": { "resourceVersion": "6" } })),
    }
}

struct Run {
    controller: NodeController,
    backend: Arc<Backend>,
    log: Log,
}

fn start(settings: NodeSettings, answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Run {
    start_with(settings, Ok(description()), answer)
}

/// With a provider that says this of the node.
fn start_with(
    settings: NodeSettings,
    told: provider::Result<Description>,
    answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static,
) -> Run {
    let (api, log) = fake::api(answer);
    let (recorder, events) = Recorder::new(api.clone(), "web");
    tokio::spawn(events);
    let backend = Arc::new(Backend(Mutex::new(Some(told.clone()))));
    let controller = NodeController::start(settings, backend.clone(), api, recorder, told, |_: &Description| {});
    Run { controller, backend, log }
}

impl Run {
    fn events(&self, reason: &str) -> usize {
        let all = self.log.all();
        all.iter().filter(|asked| asked.method == Method::POST && asked.body["reason"] == reason).count()
    }

    /// What was written last of a condition.
    fn condition(&self, kind: &str) -> Option<Value> {
        let all = self.log.all();
        let writes = all.iter().filter(|asked| asked.path == STATUS);
        let conditions = writes.filter_map(|asked| asked.body["status"]["conditions"].as_array());
        conditions.flatten().rfind(|own| own["type"] == kind).cloned()
    }
}

#[tokio::test]
async fn what_may_not_be_repaired_is_a_condition_and_one_event() {
    let refuses = |asked: &Asked| match asked {
        asked if asked.path == NODE && asked.body["spec"].get("taints").is_some() => {
            fake::error(403, "Forbidden", "node \"web\" is not allowed to modify taints")
        }
        asked => usual(asked),
    };
    let run = start(settings(), refuses);
    until("the condition", || run.condition("NodeDrift").is_some()).await;
    // What happens then makes nobody try again.
    for status in ["True", "False"] {
        let other = provider::Condition {
            kind: "Other".into(),
            status: status.into(),
            reason: "R".into(),
            message: String::new(),
        };
        run.controller.conditions().set(other);
        until("another write", || run.condition("Other").is_some_and(|own| own["status"] == status)).await;
    }
    let told = run.condition("NodeDrift").unwrap();
    assert_eq!(told["status"], "True");
    assert!(told["message"].as_str().unwrap().starts_with("taints can't be repaired"), "{told}");
    until("the Event", || run.events("NodeDrift") == 1).await;
    let tries = run.log.all().iter().filter(|asked| asked.body["spec"].get("taints").is_some()).count();
    assert_eq!(tries, 1);
}

#[tokio::test]
async fn an_existing_node_gets_taints_and_provider_id_too() {
    let run = start(settings(), usual);
    let described = Description { provider_id: "cloud://1".into(), ..description() };
    *run.backend.0.lock().unwrap() = Some(Ok(described));
    until("the taint", || run.log.all().iter().any(|asked| asked.body["spec"]["taints"][0]["key"] == "k")).await;
    let patch = run.log.all().into_iter().find(|asked| asked.path == NODE).unwrap();
    assert_eq!(patch.body["metadata"]["resourceVersion"], "5");
}

#[tokio::test]
async fn labels_that_only_others_may_set_keep_no_others_back() {
    let settings = NodeSettings {
        labels: vec![("kubernetes.io/role".into(), "agent".into()), ("team".into(), "a".into())],
        ..settings()
    };
    let run = start(settings, |asked| match asked {
        asked if asked.body["metadata"]["labels"].get("kubernetes.io/role").is_some() => {
            fake::error(403, "Forbidden", "is not allowed to modify labels: kubernetes.io/role")
        }
        asked => usual(asked),
    });
    until("the label", || run.log.all().iter().any(|asked| asked.body["metadata"]["labels"]["team"] == "a")).await;
    until("the condition", || run.condition("NodeDrift").is_some()).await;
}

#[tokio::test]
async fn a_node_registers_without_the_labels_that_only_others_may_set() {
    let settings = NodeSettings { labels: vec![("kubernetes.io/role".into(), "agent".into())], ..settings() };
    let run = start(settings, |asked| match asked {
        asked if asked.is(Method::GET, NODES) && !asked.watches() => fake::list(&[]),
        asked
            if asked.is(Method::POST, NODES)
                && asked.body["metadata"]["labels"].get("kubernetes.io/role").is_some() =>
        {
            fake::error(403, "Forbidden", "not allowed to set the following labels: kubernetes.io/role")
        }
        asked => usual(asked),
    });
    until("the registration", || run.log.count(&Method::POST, NODES) == 2).await;
    let mut state = run.controller.state();
    state.wait_for(|state| *state == NodeState::Ready).await.unwrap();
}

fn deleted(asked: &Asked) -> Answer {
    match asked {
        asked if asked.watches() => (200, json!([{ "type": "DELETED", "object": present() }])),
        asked => usual(asked),
    }
}

#[tokio::test]
async fn a_node_that_somebody_deletes_is_registered_again() {
    let run = start(settings(), deleted);
    until("the registration", || run.log.count(&Method::POST, NODES) == 1).await;
    let made = run.log.all().into_iter().find(|asked| asked.is(Method::POST, NODES)).unwrap();
    assert_eq!(made.body["spec"]["taints"][0]["key"], "k");
    assert_eq!(made.body["metadata"]["labels"]["kubernetes.io/os"], "linux");
}

#[tokio::test]
async fn a_node_that_is_to_stay_deleted_does() {
    let run = start(NodeSettings { stays_deleted: true, ..settings() }, deleted);
    let mut state = run.controller.state();
    until("the end of the watch", || run.log.all().iter().any(Asked::watches)).await;
    state.wait_for(|state| *state == NodeState::Unregistered).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(run.log.count(&Method::POST, NODES), 0);
}

/// The clock of the test runs ahead as soon as nothing is to be done.
#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_makes_the_node_not_ready_within_a_minute_and_ready_again_by_itself() {
    use crate::node::heartbeat::{self, Heartbeat};
    let backend = Arc::new(Backend(Mutex::new(None)));
    let (beat, mut known) = tokio::sync::watch::channel(Heartbeat::new(Ok(description())));
    let running = tokio::spawn(heartbeat::beat(backend.clone(), beat, |_| {}));
    known.changed().await.unwrap();
    let began = jiff::Timestamp::now();
    let hanging = known.borrow().clone();
    let later = began + Duration::from_secs(31);
    // 10 s until it is asked, 10 s for its answer, and the grace.
    assert!(hanging.until_judged(began) <= Duration::from_secs(30));
    let (reason, message) = hanging.trouble(later).unwrap();
    assert_eq!(reason, "ProviderFailed");
    assert!(message.contains("did not describe the node within 10 s"), "{message}");
    *backend.0.lock().unwrap() = Some(Err(Error::new(Code::Unavailable, "no engine")));
    known.changed().await.unwrap();
    assert_eq!(known.borrow().trouble(later).unwrap().1, "no engine");
    *backend.0.lock().unwrap() = Some(Ok(description()));
    known.changed().await.unwrap();
    assert_eq!(known.borrow().trouble(later), None);
    running.abort();
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_provider_fails_is_written_as_not_ready_with_its_words_and_keeps_its_lease() {
    let failing = Err(Error::new(Code::Unavailable, "no engine"));
    let run = start_with(settings(), failing, usual);
    let ready = || run.condition("Ready").unwrap_or_default();
    until("the condition", || ready()["status"] == "False").await;
    assert_eq!((&ready()["reason"], &ready()["message"]), (&json!("ProviderFailed"), &json!("no engine")));
    let renewals = || run.log.all().iter().filter(|own| own.method != Method::GET && own.path.contains(LEASES)).count();
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert!(renewals() >= 3, "{}", renewals());
    *run.backend.0.lock().unwrap() = Some(Ok(description()));
    until("its being ready", || ready()["status"] == "True").await;
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_can_not_be_renewed_is_tried_again_every_second() {
    let lease = format!("{LEASES}/web");
    let path = lease.clone();
    let run = start(settings(), move |asked| match asked {
        asked if asked.path == path => fake::error(500, "InternalError", "etcd is away"),
        asked => usual(asked),
    });
    tokio::time::sleep(Duration::from_millis(10_500)).await;
    let tries = run.log.count(&Method::GET, &lease);
    assert!((10..=12).contains(&tries), "{tries}");
}
