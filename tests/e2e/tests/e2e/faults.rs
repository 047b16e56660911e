//! The API server and the state folder fail in one way at a time.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{Cluster, Engine, Faults, NodeBuilder, Proxy, eventually, within};
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams};
use serde_json::json;

use crate::shared::{cluster, create, gone, is_ready, patient, pod, pods, ready, runs};

/// The UIDs of the pods that a node runs, as its kubelet port tells.
async fn running(client: &kube::Client, node: &str) -> Result<BTreeSet<String>> {
    let path = format!("/api/v1/nodes/{node}/proxy/runningpods/");
    let list: serde_json::Value = client.request(hyper::Request::get(path).body(Vec::new())?).await?;
    let uids = list["items"].as_array().into_iter().flatten().filter_map(|pod| pod["metadata"]["uid"].as_str());
    Ok(uids.map(str::to_owned).collect())
}

fn uid(pod: &Pod) -> String {
    pod.metadata.uid.clone().unwrap_or_default()
}

#[tokio::test]
async fn a_watch_whose_place_is_no_longer_kept_finds_out_what_it_missed() -> Result<()> {
    let cluster = Cluster::start()?;
    let mut client = cluster.client().await?;
    let namespace = cluster.namespace(&client, "gone").await?;
    let proxy = Proxy::start(&cluster, "gone-node")?;
    let node = NodeBuilder::mock(&cluster, "gone-node")?.under(&proxy.kubeconfig).start(&client).await?;
    let mut own = pods(&client, &namespace);
    for name in ["stays", "goes", "another"] {
        create(&own, pod(name, "gone-node", &[patient("c")])).await?;
        ready(&own, name).await?;
    }
    let before = runs(&own).await?;

    proxy.set(Faults { no_watches: true, ..Faults::default() });
    proxy.cut_watches();
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    for name in ["goes", "another"] {
        own.delete(name, &at_once).await?;
    }
    for name in ["another", "new"] {
        create(&own, pod(name, "gone-node", &[patient("c")])).await?;
    }
    cluster.compact()?;
    // Its cache begins anew, and what was before is not in etcd any more.
    cluster.stop("apiserver")?;
    cluster.resume("apiserver")?;
    client = cluster.client().await?;
    own = pods(&client, &namespace);
    proxy.reset();
    proxy.set(Faults::default());

    for name in ["another", "new"] {
        ready(&own, name).await?;
    }
    let wanted: BTreeSet<String> = own.list(&ListParams::default()).await?.items.iter().map(uid).collect();
    assert_eq!(wanted.len(), 3);
    eventually("what runs being what is wanted", 30, async || {
        Ok((running(&client, "gone-node").await? == wanted).then_some(()))
    })
    .await?;
    assert_eq!(runs(&own).await?.get("stays/c"), before.get("stays/c"));
    // The watch was told so in its stream.
    let answers = proxy.answers();
    assert!(answers.contains_key("list pods 200"), "{answers:?}");
    drop(node);
    cluster.down()
}

#[tokio::test]
async fn a_slow_api_server_delays_and_breaks_nothing() -> Result<()> {
    const PODS: usize = 20;
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "slow").await?;
    let proxy = Proxy::start(cluster(), "slow-node")?;
    let slow = Faults { seed: 1, delayed: 1.0, delay: Duration::from_secs(3), ..Faults::default() };
    proxy.set(slow);
    let node = NodeBuilder::mock(cluster(), "slow-node")?.under(&proxy.kubeconfig).start(&client).await?;
    let pods = pods(&client, &namespace);
    for n in 0..PODS {
        create(&pods, pod(&format!("p{n}"), "slow-node", &[patient("c")])).await?;
    }
    let began = Instant::now();
    eventually("ready pods", 30, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == PODS).then_some(()))
    })
    .await?;
    // One pod's slow write is not another's.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    for n in 0..PODS {
        pods.delete(&format!("p{n}"), &DeleteParams::default()).await?;
    }
    eventually("no pod", 30, async || Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(())))
        .await?;
    let ready = Api::<Node>::all(client.clone()).get("slow-node").await?;
    let conditions = ready.status.and_then(|status| status.conditions).unwrap_or_default();
    assert!(conditions.iter().any(|own| own.type_ == "Ready" && own.status == "True"), "{conditions:?}");
    drop(node);
    Ok(())
}

#[tokio::test]
async fn a_lost_state_folder_costs_no_container() -> Result<()> {
    const PODS: usize = 3;
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "state-lost").await?;
    let engine = Engine::start(cluster())?;
    let builder = NodeBuilder::hyper(cluster(), "forgetful-node", &engine)?;
    let mut node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    for n in 0..PODS {
        create(&pods, pod(&format!("p{n}"), "forgetful-node", &[patient("c")])).await?;
    }
    for n in 0..PODS {
        ready(&pods, &format!("p{n}")).await?;
    }
    let containers = || engine.podman(&["ps", "-a", "--no-trunc", "--format", "{{.ID}}"]);
    let (before, made) = (runs(&pods).await?, containers()?);
    node.kill()?;
    std::fs::remove_dir_all(builder.state())?;
    // Its end comes while nobody remembers anything.
    pods.delete("p0", &DeleteParams::default()).await?;
    node.restart()?;
    gone(&pods, "p0", 30).await?;
    within("what runs", 5, async || {
        let now = runs(&pods).await?;
        Ok(before.iter().filter(|(name, _)| !name.starts_with("p0")).all(|(name, run)| now.get(name) == Some(run)))
    })
    .await?;
    let known: BTreeSet<&str> = made.lines().collect();
    assert!(containers()?.lines().all(|id| known.contains(id)), "a container was made again");
    for n in 1..PODS {
        pods.delete(&format!("p{n}"), &DeleteParams::default()).await?;
        gone(&pods, &format!("p{n}"), 30).await?;
    }
    eventually("an empty engine", 30, async || Ok(engine.objects()?.is_empty().then_some(()))).await?;
    node.stop()?;
    engine.down()
}

#[tokio::test]
async fn a_lost_conflict_is_tried_again_and_a_refused_deletion_too() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "conflict").await?;
    let proxy = Proxy::start(cluster(), "conflict-node")?;
    let _node = NodeBuilder::mock(cluster(), "conflict-node")?.under(&proxy.kubeconfig).start(&client).await?;
    // Half of the answers are errors, or get lost.
    proxy.set(Faults { seed: 3, refused: 0.4, lost: 0.1, ..Faults::default() });
    let pods = pods(&client, &namespace);
    let mut wanted = pod("p", "conflict-node", &[json!({ "name": "c", "image": "x" })]);
    for n in 0..10 {
        wanted["metadata"]["name"] = format!("p{n}").into();
        create(&pods, wanted.clone()).await?;
    }
    eventually("ready pods", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == 10).then_some(()))
    })
    .await?;
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    // The pauses of one that has bad luck double up to half a minute.
    eventually("no pod", 180, async || Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(())))
        .await
}
