//! Use of resources: `/stats/summary` and `/metrics/resource`.
//!
//! One reading of the backend is shared by all who ask within a second, errors too, so that many scrapers cost the
//! backend no more than one. Who asks while a reading goes on waits for it.

mod resource_metrics;
mod summary;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use jiff::Timestamp;
use provider::{Error, PodUsage, Provider, Result, Summary, Usage};
use tokio::sync::Mutex;
use tokio::time::Instant;

use crate::pods::NodePods;
use crate::respond::{self, JSON, PROMETHEUS, Response};

/// How long a reading is shared.
const SHARED_FOR: Duration = Duration::from_secs(1);

/// Serves use of resources.
pub(crate) struct Stats {
    node: Arc<str>,
    provider: Arc<dyn Provider>,
    pods: Arc<dyn NodePods>,
    started: Timestamp,
    latest: Mutex<Latest>,
}

#[derive(Default)]
struct Latest {
    reading: Option<(Instant, Result<Arc<Summary>>)>,
    node: NodeTotal,
}

impl Stats {
    pub(crate) fn new(node: Arc<str>, provider: Arc<dyn Provider>, pods: Arc<dyn NodePods>) -> Self {
        Self { node, provider, pods, started: Timestamp::now(), latest: Mutex::default() }
    }

    /// `/stats/summary`, as JSON. `only_cpu_and_memory=true` leaves out all else.
    pub(crate) async fn summary(&self, query: &str) -> Response {
        let only: Vec<_> =
            form_urlencoded::parse(query.as_bytes()).filter(|(key, _)| key == "only_cpu_and_memory").collect();
        let only_cpu_and_memory = matches!(only.as_slice(), [(_, value)] if value == "true");
        let Some(reading) = self.read().await else { return lacking() };
        match reading {
            Ok(usage) => match summary::json(&self.node, self.started, &usage, only_cpu_and_memory) {
                Ok(json) => respond::full(StatusCode::OK, JSON, json),
                Err(error) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("Internal Error: {error}")),
            },
            Err(error) => {
                tracing::warn!(%error, "use of resources could not be read");
                respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("Internal Error: {error}"))
            }
        }
    }

    /// `/metrics/resource`, in the Prometheus text format. A failed reading is a metric.
    pub(crate) async fn resource_metrics(&self) -> Response {
        let Some(reading) = self.read().await else { return lacking() };
        let usage = reading.inspect_err(|error| tracing::warn!(%error, "use of resources could not be read")).ok();
        respond::full(StatusCode::OK, PROMETHEUS, resource_metrics::text(usage.as_deref()))
    }

    /// None: the provider can't tell.
    async fn read(&self) -> Option<Result<Arc<Summary>>> {
        let stats = self.provider.stats()?;
        let mut latest = self.latest.lock().await;
        if let Some((at, reading)) = &latest.reading
            && at.elapsed() < SHARED_FOR
        {
            return Some(reading.clone());
        }
        let mut reading = stats.read(self.pods.references()).await;
        if let Ok(summary) = &mut reading
            && summary.node.is_none()
        {
            summary.node = latest.node.add(&summary.pods);
        }
        let reading = reading.map(Arc::new);
        latest.reading = Some((Instant::now(), reading.clone()));
        Some(reading)
    }
}

fn lacking() -> Response {
    respond::provider_error(&Error::lacks("stats"))
}

/// What the pods of a node use together, for a provider that says nothing of the node. CPU time only ever grows, also
/// when a pod goes: metrics-server drops a node whose counter falls.
#[derive(Default)]
struct NodeTotal {
    cpu_nanos: u64,
    of_pods: HashMap<Arc<str>, u64>,
}

impl NodeTotal {
    fn add(&mut self, pods: &[PodUsage]) -> Option<Usage> {
        let mut of_pods = HashMap::with_capacity(pods.len());
        for pod in pods {
            let Some(now) = pod.total.cpu_nanos else { continue };
            let before = self.of_pods.get(&pod.key.uid).copied().unwrap_or_default();
            // A counter that fell began anew.
            self.cpu_nanos += if now >= before { now - before } else { now };
            of_pods.insert(pod.key.uid.clone(), now);
        }
        self.of_pods = of_pods;
        let at = pods.iter().map(|pod| pod.total.at).max()?;
        let sum =
            |of: fn(&Usage) -> Option<u64>| pods.iter().filter_map(|pod| of(&pod.total)).reduce(u64::saturating_add);
        Some(Usage {
            at,
            since: None,
            cpu_nanos: sum(|usage| usage.cpu_nanos).map(|_| self.cpu_nanos),
            cpu_nanocores: sum(|usage| usage.cpu_nanocores),
            memory_usage: sum(|usage| usage.memory_usage),
            memory_working_set: sum(|usage| usage.memory_working_set),
            memory_rss: sum(|usage| usage.memory_rss),
            storage_used: sum(|usage| usage.storage_used),
            others: Vec::new(),
        })
    }
}

#[cfg(test)]
mod tests {
    use provider::PodKey;

    use super::*;

    fn pod(uid: &str, cpu_nanos: u64) -> PodUsage {
        let total = Usage {
            at: Timestamp::UNIX_EPOCH,
            since: None,
            cpu_nanos: Some(cpu_nanos),
            cpu_nanocores: None,
            memory_usage: None,
            memory_working_set: Some(10),
            memory_rss: None,
            storage_used: None,
            others: Vec::new(),
        };
        PodUsage { key: PodKey::new(uid, "ns", uid), total, containers: Vec::new(), networks: Vec::new() }
    }

    #[test]
    fn cpu_time_of_the_node_never_falls() {
        let mut total = NodeTotal::default();
        let mut add = |pods: &[PodUsage]| total.add(pods).map(|usage| usage.cpu_nanos.unwrap());
        assert_eq!(add(&[pod("a", 5), pod("b", 7)]), Some(12));
        assert_eq!(add(&[pod("a", 6)]), Some(13));
        assert_eq!(add(&[pod("a", 2), pod("b", 3)]), Some(18));
        assert_eq!(add(&[]), None);
        assert_eq!(add(&[pod("c", 1)]), Some(19));
    }

    #[test]
    fn memory_of_the_node_is_that_of_its_pods() {
        let usage = NodeTotal::default().add(&[pod("a", 5), pod("b", 7)]).unwrap();
        assert_eq!(usage.memory_working_set, Some(20));
        assert_eq!(usage.memory_usage, None);
    }
}
