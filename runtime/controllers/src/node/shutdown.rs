//! What becomes of a node when its host ends: it is left as it is (the default: its pods go on), cordoned, or drained.
//!
//! A node that this host cordoned can be scheduled to again when the host starts the next time; one that somebody else
//! had cordoned stays so. Draining evicts pods as `kubectl drain --ignore-daemonsets` does: disruption budgets are kept,
//! pods of DaemonSets stay.

use std::str::FromStr;
use std::time::Duration;

use http::StatusCode;
use k8s_openapi::api::core::v1::Node;
use provider::PodKey;
use serde_json::json;
use tokio::time::Instant;

use super::{NodeController, object};
use crate::api::{Api, ApiError, Patch};
use crate::pods::PodIndex;

/// How often it is looked whether the pods have gone.
const LOOK: Duration = Duration::from_secs(1);
/// How often an eviction that was refused is asked for again, as kubectl does.
const AGAIN: Duration = Duration::from_secs(5);
/// How long cordoning may take.
const CORDON: Duration = Duration::from_secs(10);

/// What becomes of a node when its host ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Shutdown {
    /// Nothing is written.
    #[default]
    Leave,
    /// Nothing new is scheduled to it; what runs goes on.
    Cordon,
    /// Cordoned, and its pods evicted.
    Drain,
}

impl FromStr for Shutdown {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "leave" => Ok(Self::Leave),
            "cordon" => Ok(Self::Cordon),
            "drain" => Ok(Self::Drain),
            other => Err(format!("`{other}` is none of leave, cordon, drain")),
        }
    }
}

impl NodeController {
    /// Ends it. Draining lasts until the pods have gone, at most `longest`; returns how many are left.
    ///
    /// # Errors
    /// The node can't be cordoned. It ends all the same.
    pub async fn shutdown(self, how: Shutdown, longest: Duration, pods: &PodIndex) -> Result<usize, ApiError> {
        if how == Shutdown::Leave {
            return Ok(0);
        }
        // Nobody takes it back.
        self.ending.send_replace(true);
        cordon(&self.api, &self.name).await?;
        tracing::info!(node = self.name, "cordoned");
        if how == Shutdown::Cordon {
            return Ok(0);
        }
        Ok(drain(&self.api, &self.name, pods, longest).await)
    }
}

async fn cordon(api: &Api, name: &str) -> Result<(), ApiError> {
    let path = format!("/api/v1/nodes/{name}");
    let until = Instant::now() + CORDON;
    loop {
        let cordoned = async {
            let node = api.get::<Node>(&path).await?;
            api.patch(&path, Patch::Merge, &object::cordon(&node)).await
        };
        match cordoned.await {
            Err(error) if !error.is_forbidden() && Instant::now() < until => tokio::time::sleep(LOOK / 5).await,
            other => return other,
        }
    }
}

/// Evicts the pods until they have gone, at most so long; returns how many are left.
pub(crate) async fn drain(api: &Api, name: &str, pods: &PodIndex, longest: Duration) -> usize {
    let until = Instant::now() + longest;
    let mut asked: std::collections::HashMap<PodKey, Instant> = std::collections::HashMap::new();
    loop {
        let left = pods.evictable();
        if left.is_empty() {
            tracing::info!(node = name, "drained");
            return 0;
        }
        if Instant::now() >= until {
            tracing::warn!(node = name, pods = left.len(), "not drained in time");
            return left.len();
        }
        for (key, is_ending) in &left {
            if *is_ending || asked.get(key).is_some_and(|at| at.elapsed() < AGAIN) {
                continue;
            }
            asked.insert(key.clone(), Instant::now());
            if let Err(error) = evict(api, key).await {
                tracing::info!(node = name, pod = %key, %error, "can't be evicted yet");
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn evict(api: &Api, key: &PodKey) -> Result<(), ApiError> {
    let eviction = json!({
        "apiVersion": "policy/v1",
        "kind": "Eviction",
        "metadata": { "name": &*key.name, "namespace": &*key.namespace },
        "deleteOptions": { "preconditions": { "uid": &*key.uid } },
    });
    let path = format!("/api/v1/namespaces/{}/pods/{}/eviction", key.namespace, key.name);
    match api.post(&path, &eviction).await {
        Err(ApiError::Status { code, .. }) if code == StatusCode::NOT_FOUND || code == StatusCode::CONFLICT => Ok(()),
        other => other,
    }
}
