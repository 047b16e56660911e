//! Many pods, and their end: over when their containers have ended, and not later.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Engine, NodeBuilder, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::shared::{cluster, create, engine, gone, is_ready, patient, pod, pods, ready};

const MANY: usize = 50;

#[tokio::test]
async fn fifty_pods_are_ready_and_gone_with_their_containers() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "many").await?;
    let engine = Engine::start(cluster())?;
    let _node = NodeBuilder::hyper(cluster(), "many-node", &engine)?.with(&["--disable-taint"]).start(&client).await?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let deployment = json!({
        "metadata": { "name": "many" },
        "spec": {
            "replicas": MANY,
            "selector": { "matchLabels": { "app": "many" } },
            "template": {
                "metadata": { "labels": { "app": "many" } },
                "spec": {
                    "nodeSelector": { "kubernetes.io/hostname": "many-node" },
                    "terminationGracePeriodSeconds": 30,
                    "containers": [patient("c")],
                },
            },
        },
    });
    let began = Instant::now();
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let pods = pods(&client, &namespace);
    eventually("fifty ready pods", 120, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == MANY).then_some(()))
    })
    .await?;
    println!("{MANY} pods ready after {:?}", began.elapsed());

    let began = Instant::now();
    deployments.delete("many", &DeleteParams::default()).await?;
    let mut ended: Option<Instant> = None;
    eventually("no pod", 60, async || {
        // Engines stop one after another: what counts is the last.
        if ended.is_none()
            && engine.podman(&["ps", "--filter", "name=vk-", "--format", "{{.Names}}"])?.lines().all(is_sandbox)
        {
            ended = Some(Instant::now());
        }
        Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(()))
    })
    .await?;
    let after = ended.map_or(Duration::ZERO, |ended| ended.elapsed());
    println!("{MANY} pods gone after {:?}, {after:?} after the end of the last container", began.elapsed());
    assert!(after < Duration::from_secs(3), "{after:?} after the end of the last container");
    eventually("an empty engine", 30, async || Ok(engine.objects()?.is_empty().then_some(()))).await?;
    engine.down()
}

/// The pods' own containers run while there are sandboxes; they are not what a pod's end waits for.
fn is_sandbox(name: &str) -> bool {
    name.ends_with("-infra")
}

#[tokio::test]
async fn a_pod_that_ends_at_once_does_not_wait_for_its_grace_period() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "quick").await?;
    let _node = NodeBuilder::hyper(cluster(), "quick-node", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("quick", "quick-node", &[patient("c")]);
    wanted["spec"]["terminationGracePeriodSeconds"] = 300.into();
    create(&pods, wanted).await?;
    ready(&pods, "quick").await?;
    let began = Instant::now();
    pods.delete("quick", &DeleteParams::default()).await?;
    gone(&pods, "quick", 20).await?;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn a_grace_period_is_respected_and_can_be_shortened() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "grace").await?;
    let _node = NodeBuilder::hyper(cluster(), "grace-node", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let deaf = json!({ "name": "c", "image": crate::shared::IMAGE, "command": ["sh", "-c", "trap '' TERM; while true; do sleep 1; done"] });
    for (name, grace) in [("short", 4), ("long", 600), ("forced", 600)] {
        let mut wanted = pod(name, "grace-node", std::slice::from_ref(&deaf));
        wanted["spec"]["terminationGracePeriodSeconds"] = grace.into();
        create(&pods, wanted).await?;
        ready(&pods, name).await?;
    }
    let began = Instant::now();
    pods.delete("short", &DeleteParams::default()).await?;
    pods.delete("long", &DeleteParams::default()).await?;
    gone(&pods, "short", 20).await?;
    assert!(began.elapsed() >= Duration::from_secs(3), "it had 4 s, and was gone after {:?}", began.elapsed());
    assert!(pods.get_opt("long").await?.is_some());
    pods.delete("long", &DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() }).await?;
    gone(&pods, "long", 20).await?;
    pods.delete("forced", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() }).await?;
    gone(&pods, "forced", 5).await?;
    eventually("an engine without them", 20, async || {
        Ok(engine().objects()?.iter().all(|name| !name.contains(&namespace)).then_some(()))
    })
    .await
}
