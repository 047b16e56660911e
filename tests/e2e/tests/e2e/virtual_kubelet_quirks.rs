//! What Virtual Kubelet does and should not: shown not to happen here. docs/from-virtual-kubelet.md has the list.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{NodeBuilder, eventually, within};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::shared::{cluster, create, engine, event, events, gone, is_ready, patient, phase, pod, pods, ready, runs};

/// Waits until so many pods fulfil something.
async fn count(pods: &Api<Pod>, what: &str, number: usize, seconds: u64, is: impl Fn(&Pod) -> bool) -> Result<()> {
    eventually(what, seconds, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is(pod)).count() == number).then_some(()))
    })
    .await
}

#[tokio::test]
async fn the_first_pods_see_the_config_maps_that_are_there() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "first").await?;
    let config: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "own" }, "data": { "K": "v" } }))?;
    Api::<ConfigMap>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &config).await?;
    let pods = pods(&client, &namespace);
    let container = json!({ "name": "c", "image": "x", "envFrom": [{ "configMapRef": { "name": "own" } }] });
    for n in 0..20 {
        create(&pods, pod(&format!("p{n}"), "first-node", std::slice::from_ref(&container))).await?;
    }
    // They are bound before there is anybody to run them.
    let _node = NodeBuilder::mock(cluster(), "first-node")?.start(&client).await?;
    count(&pods, "ready pods", 20, 30, is_ready).await?;
    for n in 0..20 {
        let told = events(&client, &namespace, &format!("p{n}")).await?;
        assert!(told.iter().all(|(reason, _)| !reason.contains("NotFound")), "{told:?}");
    }
    Ok(())
}

#[tokio::test]
async fn nothing_limits_how_many_pods_are_looked_at_for_the_first_time() -> Result<()> {
    const PODS: usize = 400;
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "many-at-once").await?;
    let pods = pods(&client, &namespace);
    for n in 0..PODS {
        create(&pods, pod(&format!("p{n}"), "at-once-node", &[patient("c")])).await?;
    }
    let _node = NodeBuilder::mock(cluster(), "at-once-node")?.with(&["--config", "pods=1000"]).start(&client).await?;
    let began = Instant::now();
    count(&pods, "ready pods", PODS, 60, is_ready).await?;
    // A hundred at once and then ten a second would take half a minute, and as long again for their states.
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn the_states_of_all_pods_are_one_question() -> Result<()> {
    const PODS: usize = 60;
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "one-question").await?;
    // Every call takes half a second: one question a pod would take half a minute.
    let settings = ["--config", "delay=500ms", "--config", "run-for=12s"];
    let _node = NodeBuilder::mock(cluster(), "question-node")?.with(&settings).start(&client).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("p", "question-node", &[json!({ "name": "c", "image": "x" })]);
    wanted["spec"]["restartPolicy"] = "Never".into();
    for n in 0..PODS {
        wanted["metadata"]["name"] = format!("p{n}").into();
        create(&pods, wanted.clone()).await?;
    }
    count(&pods, "ready pods", PODS, 10, is_ready).await?;
    eventually("a pod that has ended", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok(all.iter().any(|pod| phase(pod) == "Succeeded").then_some(()))
    })
    .await?;
    let began = Instant::now();
    count(&pods, "pods that have ended", PODS, 40, |pod| phase(pod) == "Succeeded").await?;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}

#[tokio::test]
async fn what_the_backend_has_lost_is_deleted_without_a_warning() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "lost").await?;
    let builder = NodeBuilder::mock(cluster(), "lost-node")?;
    let mut node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("lost", "lost-node", &[patient("c")]);
    wanted["spec"]["restartPolicy"] = "Never".into();
    create(&pods, wanted).await?;
    ready(&pods, "lost").await?;
    node.kill()?;
    // What the mock has of it.
    std::fs::remove_dir_all(builder.state())?;
    pods.delete("lost", &DeleteParams::default()).await?;
    node.restart()?;
    gone(&pods, "lost", 20).await?;
    let told = events(&client, &namespace, "lost").await?;
    assert!(told.iter().all(|(reason, _)| !reason.starts_with("Failed")), "{told:?}");
    Ok(())
}

#[tokio::test]
async fn a_failed_update_leaves_a_pod_running() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "update").await?;
    let settings = ["--config", "fail=1", "--config", "fail-in=update"];
    let _node = NodeBuilder::mock(cluster(), "update-node")?.with(&settings).start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("p", "update-node", &[patient("c")])).await?;
    ready(&pods, "p").await?;
    let change = json!({ "spec": { "containers": [{ "name": "c", "image": "another:1" }] } });
    pods.patch("p", &PatchParams::default(), &Patch::Strategic(change)).await?;
    event(&client, &namespace, "p", "FailedSync").await?;
    within("a pod that runs", 3, async || {
        let pod = pods.get("p").await?;
        Ok(phase(&pod) == "Running" && is_ready(&pod))
    })
    .await
}

#[tokio::test]
async fn a_node_leaves_alone_what_another_node_has_at_the_same_backend() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "neighbours").await?;
    let _first = NodeBuilder::hyper(cluster(), "neighbour-1", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("first", "neighbour-1", &[patient("c")])).await?;
    ready(&pods, "first").await?;
    let before = runs(&pods).await?;
    // It knows nothing of that pod but what the backend says, and collects what no pod of its own owns.
    let _second = NodeBuilder::hyper(cluster(), "neighbour-2", engine())?.start(&client).await?;
    create(&pods, pod("second", "neighbour-2", &[patient("c")])).await?;
    ready(&pods, "second").await?;
    pods.delete("second", &DeleteParams::default()).await?;
    gone(&pods, "second", 30).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(runs(&pods).await?, before);
    let running = engine().podman(&["ps", "--format", "{{.Labels}}"])?;
    assert!(running.lines().any(|line| line.contains(&namespace)), "{running}");
    Ok(())
}
