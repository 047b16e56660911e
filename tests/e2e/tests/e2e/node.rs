//! The Node object, and which pods it takes.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Pod};
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use crate::shared::{cluster, create, event, events, patient, phase, pod, pods, ready, runs};

fn condition<'a>(node: &'a Node, kind: &str) -> Option<&'a NodeCondition> {
    node.status.as_ref()?.conditions.as_ref()?.iter().find(|own| own.type_ == kind)
}

#[tokio::test]
async fn a_deleted_node_comes_back_with_its_pods_untouched() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "comes-back").await?;
    let _node = NodeBuilder::mock(cluster(), "back-node")?.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("p", "back-node", &[patient("c")])).await?;
    ready(&pods, "p").await?;
    let before = (runs(&pods).await?, pods.get("p").await?.metadata.uid);
    let nodes = Api::<Node>::all(client.clone());
    let first = nodes.get("back-node").await?.metadata.uid;
    nodes.delete("back-node", &DeleteParams::default()).await?;
    let second = eventually("another Node", 20, async || {
        let node = nodes.get_opt("back-node").await?;
        let uid = node.filter(|node| condition(node, "Ready").is_some()).and_then(|node| node.metadata.uid);
        Ok(uid.filter(|uid| Some(uid) != first.as_ref()))
    })
    .await?;
    // Its lease is the new one's, or it would be collected.
    let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
    eventually("the new Node's lease", 20, async || {
        let owners = leases.get_opt("back-node").await?.and_then(|lease| lease.metadata.owner_references);
        Ok(owners.into_iter().flatten().any(|own| own.uid == second).then_some(()))
    })
    .await?;
    assert_eq!((runs(&pods).await?, pods.get("p").await?.metadata.uid), before);
    assert_eq!(phase(&pods.get("p").await?), "Running");
    Ok(())
}

#[tokio::test]
async fn a_deleted_node_stays_away_where_that_is_wanted_until_the_next_start() -> Result<()> {
    let client = cluster().client().await?;
    let name = "away-node";
    let mut node = NodeBuilder::mock(cluster(), name)?.with(&["--stays-deleted"]).start(&client).await?;
    let nodes = Api::<Node>::all(client.clone());
    nodes.delete(name, &DeleteParams::default()).await?;
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        assert!(nodes.get_opt(name).await?.is_none(), "it came back");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(node.runs(), "{}", node.log());
    assert!(node.log().contains("the Node was deleted, and stays so"), "{}", node.log());
    node.kill()?;
    node.restart()?;
    node.ready(&client).await
}

/// Waits until a pod is Failed; returns reason and message.
async fn refused(pods: &Api<Pod>, name: &str) -> Result<(String, String)> {
    eventually(&format!("the refusal of {name}"), 20, async || {
        let status = pods.get(name).await?.status.unwrap_or_default();
        let failed = status.phase.as_deref() == Some("Failed");
        Ok(failed.then(|| (status.reason.unwrap_or_default(), status.message.unwrap_or_default())))
    })
    .await
}

#[tokio::test]
async fn what_does_not_fit_is_refused_as_by_a_kubelet_and_a_restart_refuses_nothing_that_runs() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "admission").await?;
    let name = "admission-node";
    let mut node =
        NodeBuilder::mock(cluster(), name)?.with(&["--config", "pods=3", "--config", "cpu=2"]).start(&client).await?;
    let pods = pods(&client, &namespace);
    let asking = |name: &str, cpu: &str| {
        let mut container = patient("c");
        container["resources"] = json!({ "requests": { "cpu": cpu } });
        pod(name, "admission-node", &[container])
    };
    create(&pods, asking("first", "1500m")).await?;
    ready(&pods, "first").await?;
    create(&pods, asking("big", "1")).await?;
    let (reason, message) = refused(&pods, "big").await?;
    assert_eq!(reason, "OutOfcpu");
    assert_eq!(
        message,
        "Pod was rejected: Node didn't have enough resource: cpu, requested: 1000, used: 1500, capacity: 2000"
    );
    event(&client, &namespace, "big", "OutOfcpu").await?;
    let mut elsewhere = asking("elsewhere", "1m");
    elsewhere["spec"]["nodeSelector"] = json!({ "team": "a" });
    create(&pods, elsewhere.clone()).await?;
    assert_eq!(refused(&pods, "elsewhere").await?.0, "NodeAffinity");
    // A label that somebody put there counts at once.
    let label = json!({ "metadata": { "labels": { "team": "a" } } });
    Api::<Node>::all(client.clone()).patch(name, &PatchParams::default(), &Patch::Merge(label)).await?;
    elsewhere["metadata"]["name"] = "here".into();
    create(&pods, elsewhere).await?;
    ready(&pods, "here").await?;
    let mut windows = asking("windows", "1m");
    windows["spec"]["os"] = json!({ "name": "windows" });
    create(&pods, windows).await?;
    assert_eq!(refused(&pods, "windows").await?.0, "PodOSNotSupported");
    create(&pods, asking("third", "1m")).await?;
    ready(&pods, "third").await?;
    create(&pods, asking("fourth", "1m")).await?;
    assert_eq!(refused(&pods, "fourth").await?.0, "OutOfpods");
    // With less room than it has given away.
    let before = runs(&pods).await?;
    node.stop()?;
    let _node =
        NodeBuilder::mock(cluster(), name)?.with(&["--config", "pods=1", "--config", "cpu=1"]).start(&client).await?;
    create(&pods, asking("fifth", "1m")).await?;
    assert_eq!(refused(&pods, "fifth").await?.0, "OutOfpods");
    for name in ["first", "here", "third"] {
        assert_eq!(phase(&pods.get(name).await?), "Running", "{name}");
    }
    let after = runs(&pods).await?;
    assert!(before.iter().all(|(name, run)| after.get(name) == Some(run)), "{before:?} {after:?}");
    Ok(())
}

#[tokio::test]
async fn a_taint_that_the_node_may_not_put_back_is_told_once() -> Result<()> {
    let client = cluster().client().await?;
    let name = "drift-node";
    let _node = NodeBuilder::mock(cluster(), name)?.start(&client).await?;
    let nodes = Api::<Node>::all(client.clone());
    let bare = json!({ "spec": { "taints": null } });
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(bare)).await?;
    let told = eventually("the condition", 20, async || {
        Ok(condition(&nodes.get(name).await?, "NodeDrift").and_then(|own| own.message.clone()))
    })
    .await?;
    assert!(told.contains("is not allowed to modify taints"), "{told}");
    event(&client, "default", name, "NodeDrift").await?;
    // Who may puts it back, and nothing is left to be told.
    let taint = json!({ "key": "virtual-kubelet.io/provider", "value": "mock", "effect": "NoSchedule" });
    let taints = json!({ "spec": { "taints": [taint] } });
    nodes.patch(name, &PatchParams::default(), &Patch::Merge(taints)).await?;
    eventually("the end of the condition", 20, async || {
        Ok(condition(&nodes.get(name).await?, "NodeDrift").is_none().then_some(()))
    })
    .await?;
    let all = events(&client, "default", name).await?;
    assert_eq!(all.iter().filter(|(reason, _)| reason == "NodeDrift").count(), 1, "{all:?}");
    nodes.get(name).await?.spec.context("no spec")?;
    Ok(())
}
