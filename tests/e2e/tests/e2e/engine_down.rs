//! The engine goes away under running pods, and comes back.

use std::time::Duration;

use anyhow::Result;
use e2e::{Engine, NodeBuilder, eventually, within};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::DeleteParams;

use crate::shared::{cluster, create, gone, patient, pod, pods, ready, runs};

#[tokio::test]
async fn pods_run_on_and_work_goes_on_when_it_is_back() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "engine").await?;
    let engine = Engine::start(cluster())?;
    let mut node = NodeBuilder::hyper(cluster(), "engine-node", &engine)?.start(&client).await?;
    let pods = pods(&client, &namespace);
    for name in ["stays", "goes"] {
        create(&pods, pod(name, "engine-node", &[patient("c")])).await?;
        ready(&pods, name).await?;
    }
    let before = runs(&pods).await?;
    engine.stop()?;
    create(&pods, pod("waits", "engine-node", &[patient("c")])).await?;
    pods.delete("goes", &DeleteParams::default()).await?;
    within("what runs", 8, async || {
        let now = runs(&pods).await?;
        Ok(before.iter().filter(|(name, _)| name.starts_with("stays")).all(|(name, run)| now.get(name) == Some(run)))
    })
    .await?;
    assert!(pods.get_opt("goes").await?.is_some(), "nobody can know that it ended");
    // It fails for longer than the node may: NotReady, with the engine's words.
    let nodes = Api::<Node>::all(client.clone());
    let message = eventually("a node that is not ready", 60, async || {
        let node = nodes.get("engine-node").await?;
        let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.into_iter().find(|condition| condition.type_ == "Ready");
        Ok(ready.filter(|ready| ready.status == "False").and_then(|ready| ready.message))
    })
    .await?;
    assert!(message.contains("podman.sock"), "{message}");
    engine.resume()?;
    node.ready(&client).await?;
    ready(&pods, "waits").await?;
    gone(&pods, "goes", 30).await?;
    let after = runs(&pods).await?;
    assert_eq!(after.get("stays/c"), before.get("stays/c"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    node.stop()?;
    engine.down()
}
