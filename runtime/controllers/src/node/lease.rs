//! The node's Lease: its sign of life (Kubernetes, "Node heartbeats").
//!
//! Renewed every 10 s for 40 s, as a kubelet does. A failed renewal is tried again every second; between two that succeed
//! there are never more than 12 s if the API server answers.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::Instant;

use super::Seen;
use crate::api::{Api, ApiError, Patch};
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(10);
const DURATION: Duration = Duration::from_secs(40);
const RETRY: Duration = Duration::from_secs(1);
const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";

/// Renews, for ever.
pub(super) async fn renew(api: Api, node: String, mut present: watch::Receiver<Seen>) {
    let mut owner = String::new();
    let mut is_made = false;
    loop {
        // A lease without its Node would be collected at once.
        let uid = match present.wait_for(|seen| matches!(seen, Seen::Present(_))).await.as_deref() {
            Ok(Seen::Present(own)) => own.metadata.uid.clone().unwrap_or_default(),
            _ => return,
        };
        if owner != uid {
            is_made = false;
            owner.clone_from(&uid);
        }
        let began = Instant::now();
        let renewed = if is_made { update(&api, &node).await } else { make(&api, &node, &uid).await };
        let pause = match renewed {
            Ok(()) => {
                is_made = true;
                INTERVAL
            }
            Err(error) => {
                is_made &= !error.is_not_found();
                tracing::warn!(node, %error, "the node's lease can't be renewed");
                error.retry_after().map_or(RETRY, |after| after.min(INTERVAL))
            }
        };
        tokio::time::sleep_until(began + pause).await;
    }
}

fn spec(node: &str) -> Value {
    json!({ "holderIdentity": node, "leaseDurationSeconds": DURATION.as_secs(), "renewTime": micros(clock::now()) })
}

/// The time with the six decimals that `MicroTime` wants.
fn micros(at: Timestamp) -> String {
    format!("{at:.6}")
}

async fn update(api: &Api, node: &str) -> Result<(), ApiError> {
    api.patch(&format!("{LEASES}/{node}"), Patch::Merge, &json!({ "spec": spec(node) })).await
}

/// Makes the lease, or takes over the one that is there.
async fn make(api: &Api, node: &str, uid: &str) -> Result<(), ApiError> {
    let owners = json!([{ "apiVersion": "v1", "kind": "Node", "name": node, "uid": uid }]);
    let path = format!("{LEASES}/{node}");
    match api.get::<Lease>(&path).await {
        Ok(_) => {
            let change = json!({ "metadata": { "ownerReferences": owners }, "spec": spec(node) });
            api.patch(&path, Patch::Merge, &change).await
        }
        Err(error) if error.is_not_found() => {
            let lease = json!({
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": { "name": node, "namespace": "kube-node-lease", "ownerReferences": owners },
                "spec": spec(node),
            });
            api.post(LEASES, &lease).await
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn renew_times_have_six_decimals() {
        assert_eq!(micros("2026-01-02T03:04:05Z".parse().unwrap()), "2026-01-02T03:04:05.000000Z");
    }
}
