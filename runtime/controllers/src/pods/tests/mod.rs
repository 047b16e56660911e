//! Pods between an API server and a backend, both of the tests' own, as the controller has them.

mod backend;
mod cluster;
mod looks;
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
use crate::pods::PodController;
use crate::testing::{run_pods, until};

/// A controller that runs.
struct Run {
    pods: PodController,
    api: Api,
    log: Log,
}

fn start(cluster: &Cluster, backend: &Arc<Backend>) -> Run {
    let (api, log) = cluster.api();
    let pods = run_pods(&api, backend.clone(), &backend::description());
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
}

/// Lets everything happen that happens by itself: several rounds of lists.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(300)).await;
}
