//! Pods between an API server and a backend, both of the tests' own, as the controller has them.

mod backend;
mod cluster;
mod virtual_kubelet;
mod whose;

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use serde_json::Value;

use self::backend::Backend;
use self::cluster::Cluster;
use crate::api::fake::Log;
use crate::api::{Api, merge};
use crate::events::Recorder;
use crate::pods::{PodController, PodSettings};
use crate::resolve::ClusterDns;

/// The node.
const NODE: &str = "web-node";

/// A controller that runs.
struct Run {
    pods: PodController,
    api: Api,
    log: Log,
}

fn start(cluster: &Cluster, backend: &Arc<Backend>) -> Run {
    let (api, log) = cluster.api();
    let (recorder, events) = Recorder::new(api.clone(), NODE);
    tokio::spawn(events);
    let settings = PodSettings {
        node: NODE.to_owned(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        dns: ClusterDns { servers: Vec::new(), domain: "cluster.local".to_owned() },
    };
    let pods = PodController::start(settings, backend.clone(), api.clone(), recorder, &backend::description());
    Run { pods, api, log }
}

impl Run {
    /// The bodies of what was written of pods' statuses.
    fn writes(&self) -> Vec<Value> {
        let all = self.log.all().into_iter();
        all.filter(|asked| asked.method == Method::PATCH && asked.path.ends_with("/status"))
            .map(|asked| asked.body)
            .collect()
    }

    /// Everything that was written of pods, their Events but not their number aside.
    fn changes(&self) -> usize {
        let all = self.log.all().into_iter();
        all.filter(|asked| asked.method != Method::GET && !asked.path.contains("/events")).count()
    }

    /// Reasons and messages of the Events of a type.
    fn warnings(&self) -> Vec<(String, String)> {
        let all = self.log.all().into_iter().map(|asked| asked.body).filter(|body| body["type"] == "Warning");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.map(|body| (text(&body["reason"]), text(&body["message"]))).collect()
    }
}

/// Waits until this is so.
async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// Lets everything happen that happens by itself: several rounds of lists.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
