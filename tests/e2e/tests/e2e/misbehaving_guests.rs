//! A hundred pods make their provider misbehave at once: the node stays what it was, and so do its other pods.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::{Node, NodeBuilder, eventually, test_component};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Node as ApiNode, Pod};
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::task::JoinHandle;

use crate::shared::{cluster, create, event, is_ready, phase, pod, pods, waits_for};

const NODE: &str = "misbehaving-node";
/// Pods of each misdeed.
const OF_EACH: usize = 10;
const GOOD: usize = 20;
/// The longest time between two renewals of a Lease that is renewed every ten seconds.
const LONGEST: Duration = Duration::from_secs(12);

/// What pods ask for, and what is said of it.
const MISDEEDS: &[(&str, &str)] = &[
    ("spin", "pods.create reached the limit cpu=500ms (CPU time of one call); --limit NAME=VALUE raises it"),
    ("flood", "pods.create reached the limit cpu=500ms"),
    ("allocate", "pods.create reached the limit memory=32Mi (linear memory of one call)"),
    ("never", "pods.create reached the limit wall=20s (time of one call)"),
    ("oversize", "pods.create reached the limit host-memory=8Mi"),
    ("recurse", "pods.create reached the end of its stack"),
    ("trap", "pods.create trapped: wasm `unreachable` instruction executed"),
    ("panic", "these are the words of a panic"),
    ("utf-8", "pods.create failed: invalid utf-8"),
    ("discriminant", "pods.create failed: "),
];

fn wanted(name: &str, misdeed: &str) -> Value {
    let mut wanted = pod(name, NODE, &[json!({ "name": "c", "image": "any:1" })]);
    wanted["metadata"]["annotations"] = json!({ "misbehave": misdeed });
    wanted
}

/// Looks at the node again and again; tells how long its Lease was not renewed at most, or that it was not Ready.
fn observe(client: Client) -> JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let leases = Api::<Lease>::namespaced(client.clone(), "kube-node-lease");
        let nodes = Api::<ApiNode>::all(client);
        let mut renewed = None;
        let mut seen = Instant::now();
        loop {
            let node = nodes.get(NODE).await?;
            let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
            let ready = conditions.iter().find(|condition| condition.type_ == "Ready").context("no condition Ready")?;
            if ready.status != "True" {
                bail!("the node is not ready: {ready:?}");
            }
            let now = leases.get(NODE).await?.spec.and_then(|spec| spec.renew_time).map(|time| time.0);
            if now != renewed {
                (renewed, seen) = (now, Instant::now());
            }
            if seen.elapsed() > LONGEST {
                bail!("the Lease was last renewed {:?} ago", seen.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    })
}

async fn start(client: &Client) -> Result<Node> {
    let limits = "cpu=500ms,wall=20s,memory=32Mi,host-memory=8Mi";
    let builder = NodeBuilder::new(cluster(), NODE, test_component("misbehaving"))?;
    limits.split(',').fold(builder, |builder, limit| builder.with(&["--limit", limit])).start(client).await
}

async fn all_running(pods: &Api<Pod>, prefix: &str, seconds: u64) -> Result<()> {
    eventually(&format!("all pods {prefix}-… being ready"), seconds, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        let named = |pod: &&Pod| pod.metadata.name.as_deref().is_some_and(|name| name.starts_with(prefix));
        Ok((all.iter().filter(named).filter(|pod| is_ready(pod)).count() == GOOD).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_hundred_pods_whose_calls_go_wrong_disturb_nobody() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "misbehaving").await?;
    let mut node = start(&client).await?;
    let pods = pods(&client, &namespace);
    for n in 0..GOOD {
        create(&pods, wanted(&format!("before-{n}"), "")).await?;
    }
    all_running(&pods, "before", 30).await?;

    let watched = observe(client.clone());
    for n in 0..OF_EACH {
        for (misdeed, _) in MISDEEDS {
            create(&pods, wanted(&format!("{misdeed}-{n}"), misdeed)).await?;
        }
    }
    let began = Instant::now();
    for n in 0..GOOD {
        create(&pods, wanted(&format!("beside-{n}"), "")).await?;
    }
    all_running(&pods, "beside", 60).await?;
    println!("{GOOD} good pods ran after {:?}", began.elapsed());

    for (misdeed, says) in MISDEEDS {
        for n in 0..OF_EACH {
            let name = format!("{misdeed}-{n}");
            let message = waits_for(&pods, &name, "c", "FailedCreatePodSandBox", 120).await?;
            assert!(message.contains(says), "{name}: {message}");
        }
        let told = event(&client, &namespace, &format!("{misdeed}-0"), "FailedCreatePodSandBox").await?;
        assert!(told.contains(says), "{misdeed}: {told}");
        assert_eq!(phase(&pods.get(&format!("{misdeed}-0")).await?), "Pending");
    }
    println!("every fault was told after {:?}", began.elapsed());

    // While the bad ones are tried again and again, the node does its work.
    pods.delete("before-0", &DeleteParams::default()).await?;
    crate::shared::gone(&pods, "before-0", 30).await?;
    pods.delete_collection(&DeleteParams::default(), &ListParams::default()).await?;
    eventually("no pod", 90, async || Ok(pods.list(&ListParams::default()).await?.items.is_empty().then_some(())))
        .await?;
    println!("everything was gone after {:?}, with {} MiB", began.elapsed(), node.memory()? >> 20);
    if watched.is_finished() {
        watched.await??;
        bail!("nobody looked at the node");
    }
    watched.abort();
    assert_eq!(node.stop()?, Some(0));
    Ok(())
}
