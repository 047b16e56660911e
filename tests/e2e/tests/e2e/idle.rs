//! A node on which nothing happens costs next to nothing.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{NodeBuilder, Proxy, eventually};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::shared::{cluster, is_ready, pod, pods};

const PODS: usize = 1_000;
const MINUTE: Duration = Duration::from_secs(60);

/// Creates as many at once as an API server likes.
async fn create_all(pods: &Api<Pod>, node: &str) -> Result<()> {
    let from = json!([{ "configMapRef": { "name": "shared" } }]);
    let container = json!({ "name": "c", "image": "x", "envFrom": from });
    let wanted = (0..PODS).map(|n| pod(&format!("p{n}"), node, std::slice::from_ref(&container)));
    let made = wanted.map(async |pod| -> Result<()> {
        pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
        Ok(())
    });
    futures::stream::iter(made).buffer_unordered(32).try_collect().await
}

/// Waits until no request but a Lease's renewal came for some seconds.
async fn quiet(proxy: &Proxy) -> Result<()> {
    let (mut since, mut before) = (Instant::now(), BTreeMap::new());
    eventually("quiet", 60, async || {
        let mut now = proxy.counts();
        now.remove("patch leases");
        if now != before {
            (since, before) = (Instant::now(), now);
        }
        Ok((since.elapsed() > Duration::from_secs(3)).then_some(()))
    })
    .await
}

#[tokio::test]
async fn a_thousand_pods_cost_a_minute_the_renewals_of_the_lease_and_nothing_else() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "idle").await?;
    let shared: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "shared" }, "data": { "K": "v" } }))?;
    Api::<ConfigMap>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &shared).await?;
    let proxy = Proxy::start(cluster(), "idle-node")?;
    let builder = NodeBuilder::mock(cluster(), "idle-node")?.under(&proxy.kubeconfig);
    let settings = ["--config", "pods=1000", "--config", "cpu=2000"];
    let _node = builder.with(&settings).start(&client).await?;
    let pods = pods(&client, &namespace);
    create_all(&pods, "idle-node").await?;
    eventually("ready pods", 60, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == PODS).then_some(()))
    })
    .await?;
    quiet(&proxy).await?;

    proxy.reset();
    tokio::time::sleep(MINUTE).await;
    let mut counts = proxy.counts();
    println!("in a minute with {PODS} pods: {counts:?}");
    // Every 10 s; a second more may just have fallen into the minute.
    let renewals = counts.remove("patch leases").unwrap_or_default();
    assert!((5..=7).contains(&renewals), "{renewals} renewals of the lease");
    // Every 5 minutes.
    let statuses = counts.remove("patch nodes/status").unwrap_or_default();
    assert!(statuses <= 1, "{statuses} writes of the node's status");
    assert!(counts.is_empty(), "{counts:?}");

    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete_collection(&at_once, &ListParams::default()).await?;
    Ok(())
}
