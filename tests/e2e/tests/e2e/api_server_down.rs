//! The API server goes away, and comes back.

use std::time::Duration;

use anyhow::Result;
use e2e::{Cluster, Engine, NodeBuilder, eventually};
use kube::api::DeleteParams;

use crate::shared::{create, gone, patient, pod, pods, ready, runs};

#[tokio::test]
async fn pods_run_on_and_what_happened_meanwhile_is_told() -> Result<()> {
    let cluster = Cluster::start()?;
    let engine = Engine::start(&cluster)?;
    let client = cluster.client().await?;
    let namespace = cluster.namespace(&client, "api").await?;
    let mut node = NodeBuilder::hyper(&cluster, "api-node", &engine)?.start(&client).await?;
    let pods = pods(&client, &namespace);
    for name in ["stays", "ends"] {
        create(&pods, pod(name, "api-node", &[patient("c")])).await?;
        ready(&pods, name).await?;
    }
    let before = runs(&pods).await?;
    cluster.stop("apiserver")?;
    // A container ends while nobody can be told, and is started again.
    let running = engine.podman(&["ps", "--format", "{{.ID}} {{.Labels}}"])?;
    let ends =
        running.lines().find(|line| line.contains("io.kubernetes.pod.name:ends") && line.contains("container.name:c"));
    let id = ends.and_then(|line| line.split(' ').next()).unwrap_or_default().to_owned();
    engine.podman(&["kill", &id])?;
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert!(node.runs());
    cluster.resume("apiserver")?;
    // A new client: the old one's connection went with the server.
    let client = cluster.client().await?;
    let pods = crate::shared::pods(&client, &namespace);
    eventually("the restart", 30, async || {
        let now = runs(&pods).await?;
        Ok(now.get("ends/c").filter(|(restarts, _)| *restarts == 1).map(|_| ()))
    })
    .await?;
    let after = runs(&pods).await?;
    assert_eq!(after.get("stays/c"), before.get("stays/c"));
    create(&pods, pod("new", "api-node", &[patient("c")])).await?;
    ready(&pods, "new").await?;
    for name in ["stays", "ends", "new"] {
        pods.delete(name, &DeleteParams::default()).await?;
        gone(&pods, name, 20).await?;
    }
    node.stop()?;
    engine.down()?;
    cluster.down()
}
