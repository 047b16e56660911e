//! The runtime is killed at any moment and started again: nothing twice, nothing lost, nothing flaps.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::Result;
use e2e::{Cluster, Engine, NodeBuilder, eventually, within};
use kube::api::{DeleteParams, ListParams};

use crate::shared::{cluster, create, is_ready, patient, pod, pods, runs};

const PODS: usize = 8;

#[tokio::test]
async fn killed_while_making_and_while_ending_pods() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "killed").await?;
    let engine = Engine::start(cluster())?;
    let mut node = NodeBuilder::hyper(cluster(), "killed-node", &engine)?.start(&client).await?;
    let pods = pods(&client, &namespace);
    for round in 0..4_u64 {
        for n in 0..PODS {
            create(&pods, pod(&format!("p{round}-{n}"), "killed-node", &[patient("a"), patient("b")])).await?;
        }
        // At another moment of their making each time.
        tokio::time::sleep(Duration::from_millis(150 + 350 * round)).await;
        node.kill()?;
        node.restart()?;
    }
    let all = PODS * 4;
    eventually("all pods being ready", 120, async || {
        let found = pods.list(&ListParams::default()).await?.items;
        Ok((found.iter().filter(|pod| is_ready(pod)).count() == all).then_some(()))
    })
    .await?;
    let containers = engine.podman(&["ps", "--format", "{{.ID}} {{.Labels}}"])?;
    let names: Vec<&str> = containers.lines().filter(|line| line.contains("io.kubernetes.container.name")).collect();
    assert_eq!(names.len(), all * 2, "{containers}");
    let before = runs(&pods).await?;
    assert!(before.values().all(|(restarts, _)| *restarts == 0), "{before:?}");

    node.kill()?;
    node.restart()?;
    within("restart counts and start times", 5, async || Ok(runs(&pods).await? == before)).await?;

    for round in 0..4_u64 {
        for n in 0..PODS {
            pods.delete(&format!("p{round}-{n}"), &DeleteParams::default()).await?;
        }
        tokio::time::sleep(Duration::from_millis(100 + 250 * round)).await;
        node.kill()?;
        node.restart()?;
    }
    eventually("no pod", 90, async || Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(())))
        .await?;
    let left = eventually("an empty engine", 60, async || {
        let left: BTreeSet<String> = engine.objects()?.into_iter().collect();
        Ok(left.is_empty().then_some(()))
    });
    if let Err(error) = left.await {
        panic!("{error}: {:?}", engine.objects()?);
    }
    engine.down()
}

#[tokio::test]
async fn pods_that_were_deleted_while_nobody_looked_are_collected() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "orphans").await?;
    let engine = Engine::start(cluster())?;
    let mut node = NodeBuilder::hyper(cluster(), "orphans-node", &engine)?.start(&client).await?;
    let pods = pods(&client, &namespace);
    for name in ["one", "two"] {
        create(&pods, pod(name, "orphans-node", &[patient("c")])).await?;
    }
    eventually("ready pods", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == 2).then_some(()))
    })
    .await?;
    node.kill()?;
    let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("one", &force).await?;
    // Another pod of the same name is another pod.
    create(&pods, pod("one", "orphans-node", &[patient("c")])).await?;
    let before = engine.objects()?.len();
    assert!(before > 0);
    node.restart()?;
    eventually("both pods being ready", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == 2).then_some(()))
    })
    .await?;
    eventually("the orphan's end", 30, async || {
        let running = engine.podman(&["ps", "--format", "{{.Labels}}"])?;
        let own = running.lines().filter(|line| line.contains("io.kubernetes.container.name")).count();
        Ok((own == 2).then_some(()))
    })
    .await?;
    node.stop()?;
    engine.down()
}

#[tokio::test]
async fn pods_run_on_when_the_api_server_comes_back_later_than_the_runtime() -> Result<()> {
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let namespace = cluster.namespace(&client, "late").await?;
    let mut node = NodeBuilder::mock(&cluster, "late-node")?.start(&client).await?;
    let pods = pods(&client, &namespace);
    for n in 0..PODS {
        create(&pods, pod(&format!("p{n}"), "late-node", &[patient("c")])).await?;
    }
    eventually("ready pods", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == PODS).then_some(()))
    })
    .await?;
    let before = runs(&pods).await?;

    // The backend's list is there at once, and the API server's is not.
    node.kill()?;
    node.restart()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(runs(&pods).await?, before);
    node.kill()?;
    cluster.stop("apiserver")?;
    node.restart()?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.resume("apiserver")?;
    node.ready(&client).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(runs(&pods).await?, before);
    assert!(pods.list(&ListParams::default()).await?.items.iter().all(is_ready));
    cluster.down()
}
