//! A node that nobody runs, and that the control plane takes for well: pods on a node that is not there, or is lost, are
//! collected and written to by its controllers.

use std::time::Duration;

use anyhow::Result;
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Node;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;
use tokio_util::task::AbortOnDropHandle;

/// Its name.
pub const NAME: &str = "nobody";
/// How often it says that it is there, as a kubelet does.
const RENEWED: Duration = Duration::from_secs(10);

/// It is taken for well as long as this lives.
pub struct Nobody(#[expect(dead_code, reason = "it ends with this")] AbortOnDropHandle<()>);

impl Nobody {
    /// Makes the node.
    pub async fn start(client: &Client) -> Result<Self> {
        let (nodes, own) = (Api::<Node>::all(client.clone()), PatchParams::apply("bench").force());
        let node = json!({ "apiVersion": "v1", "kind": "Node", "metadata": { "name": NAME } });
        nodes.patch(NAME, &own, &Patch::Apply(node)).await?;
        let now = Timestamp::now().to_string();
        let ready = json!({ "status": { "conditions": [{
            "type": "Ready", "status": "True", "reason": "Bench", "message": "",
            "lastHeartbeatTime": now, "lastTransitionTime": now,
        }] } });
        nodes.patch_status(NAME, &PatchParams::default(), &Patch::Strategic(ready)).await?;
        renew(client).await?;
        let client = client.clone();
        Ok(Self(AbortOnDropHandle::new(tokio::spawn(async move {
            loop {
                tokio::time::sleep(RENEWED).await;
                // The next one may succeed.
                let _ = renew(&client).await;
            }
        }))))
    }
}

async fn renew(client: &Client) -> Result<()> {
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    let now = format!("{:.6}", Timestamp::now());
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": { "name": NAME },
        "spec": { "holderIdentity": NAME, "leaseDurationSeconds": 40, "renewTime": now },
    });
    leases.patch(NAME, &PatchParams::apply("bench").force(), &Patch::Apply(lease)).await?;
    Ok(())
}
