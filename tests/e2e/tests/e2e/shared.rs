//! The control plane and the engine that tests share, and pods to put on them.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use anyhow::Result;
use e2e::{Cluster, Engine, eventually};
use k8s_openapi::api::core::v1::{ContainerStatus, Event, Pod};
use kube::api::{ListParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

#[expect(clippy::expect_used, reason = "without it there is nothing to test")]
pub fn cluster() -> &'static Cluster {
    static CLUSTER: OnceLock<Cluster> = OnceLock::new();
    CLUSTER.get_or_init(|| Cluster::start().expect("a control plane"))
}

#[expect(clippy::expect_used, reason = "without it there is nothing to test")]
pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::start(cluster()).expect("an engine"))
}

/// An image that the engine has.
pub const IMAGE: &str = "busybox:stable";

/// A container that ends at once when it is told to.
pub fn patient(name: &str) -> Value {
    json!({
        "name": name, "image": IMAGE,
        "command": ["sh", "-c", "trap 'exit 0' TERM; echo started; while true; do sleep 1000 & wait $!; done"],
    })
}

/// A pod of these containers on this node.
pub fn pod(name: &str, node: &str, containers: &[Value]) -> Value {
    json!({
        "metadata": { "name": name },
        "spec": {
            "nodeName": node, "containers": containers, "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 5,
        },
    })
}

pub fn pods(client: &Client, namespace: &str) -> Api<Pod> {
    Api::namespaced(client.clone(), namespace)
}

pub async fn create(pods: &Api<Pod>, pod: Value) -> Result<Pod> {
    Ok(pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?)
}

pub fn phase(pod: &Pod) -> &str {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()).unwrap_or_default()
}

pub fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

pub async fn ready(pods: &Api<Pod>, name: &str) -> Result<Pod> {
    eventually(&format!("{name} being ready"), 60, async || {
        let pod = pods.get(name).await?;
        Ok(is_ready(&pod).then_some(pod))
    })
    .await
}

pub async fn gone(pods: &Api<Pod>, name: &str, seconds: u64) -> Result<()> {
    eventually(&format!("the end of {name}"), seconds, async || Ok(pods.get_opt(name).await?.is_none().then_some(())))
        .await
}

pub fn status_of<'a>(pod: &'a Pod, container: &str) -> Option<&'a ContainerStatus> {
    let status = pod.status.as_ref()?;
    let all = [&status.container_statuses, &status.init_container_statuses];
    all.into_iter().flatten().flatten().find(|status| status.name == container)
}

/// Why a container waits.
pub fn waiting(pod: &Pod, container: &str) -> Option<(String, String)> {
    let waiting = status_of(pod, container)?.state.as_ref()?.waiting.as_ref()?;
    Some((waiting.reason.clone().unwrap_or_default(), waiting.message.clone().unwrap_or_default()))
}

/// Waits until a container waits for this reason; returns the message.
pub async fn waits_for(pods: &Api<Pod>, name: &str, container: &str, reason: &str, seconds: u64) -> Result<String> {
    let mut seen = None;
    let what = format!("{reason} on {name}");
    let found = eventually(&what, seconds, async || {
        let now = waiting(&pods.get(name).await?, container);
        seen.clone_from(&now);
        Ok(now.filter(|(own, _)| own == reason).map(|(_, message)| message))
    })
    .await;
    found.map_err(|error| error.context(format!("last seen: {seen:?}")))
}

/// Reasons and messages of a pod's Events.
pub async fn events(client: &Client, namespace: &str, pod: &str) -> Result<Vec<(String, String)>> {
    let all = Api::<Event>::namespaced(client.clone(), namespace);
    let own = ListParams::default().fields(&format!("involvedObject.name={pod}"));
    let found = all.list(&own).await?.items.into_iter();
    Ok(found.map(|event| (event.reason.unwrap_or_default(), event.message.unwrap_or_default())).collect())
}

/// Waits for an Event of this reason; returns its message.
pub async fn event(client: &Client, namespace: &str, pod: &str, reason: &str) -> Result<String> {
    eventually(&format!("the Event {reason} on {pod}"), 20, async || {
        let all = events(client, namespace, pod).await?;
        Ok(all.into_iter().find(|(own, _)| own == reason).map(|(_, message)| message))
    })
    .await
}

/// Restart counts and start times of all containers of all pods.
pub async fn runs(pods: &Api<Pod>) -> Result<BTreeMap<String, (i32, String)>> {
    let mut runs = BTreeMap::new();
    for pod in pods.list(&ListParams::default()).await?.items {
        let name = pod.metadata.name.clone().unwrap_or_default();
        for status in pod.status.into_iter().flat_map(|status| status.container_statuses.unwrap_or_default()) {
            let started = status.state.and_then(|state| state.running).and_then(|running| running.started_at);
            let started = started.map(|time| time.0.to_string()).unwrap_or_default();
            runs.insert(format!("{name}/{}", status.name), (status.restart_count, started));
        }
    }
    Ok(runs)
}
