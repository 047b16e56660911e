//! The same requests without a controller: what this control plane can do at all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::{nobody, pods};

/// Numbers of requests at once that are tried; the best counts.
const CONCURRENCIES: [usize; 3] = [16, 32, 64];

/// Sends patches for pods of a node that nobody runs; the best rate.
pub async fn patches(client: &Client, namespace: &str, status: &Value, count: usize) -> Result<f64> {
    let mut best = 0.0_f64;
    for at_once in CONCURRENCIES {
        let prefix = format!("raw-{at_once}");
        pods::create(client, namespace, nobody::NAME, &prefix, count).await?;
        let took = patch(client, namespace, &prefix, status, count, at_once).await?;
        best = best.max(pods::rate(count, took));
        clean(client, namespace, &prefix, count).await?;
    }
    Ok(best)
}

async fn patch(
    client: &Client,
    namespace: &str,
    prefix: &str,
    status: &Value,
    count: usize,
    at_once: usize,
) -> Result<Duration> {
    let all = Api::<Pod>::namespaced(client.clone(), namespace);
    let (all, began) = (&all, Instant::now());
    stream::iter(0..count)
        .map(|number| async move {
            let patch = Patch::Strategic(json!({ "status": status }));
            all.patch_status(&format!("{prefix}-{number}"), &PatchParams::default(), &patch).await?;
            Ok::<_, anyhow::Error>(())
        })
        .buffer_unordered(at_once)
        .try_collect::<()>()
        .await?;
    Ok(began.elapsed())
}

/// Writes last states, and deletes; the best rate.
pub async fn deletions(client: &Client, namespace: &str, running: &Value, ended: &Value, count: usize) -> Result<f64> {
    let mut best = 0.0_f64;
    for at_once in CONCURRENCIES {
        let prefix = format!("rawdel-{at_once}");
        pods::create(client, namespace, nobody::NAME, &prefix, count).await?;
        patch(client, namespace, &prefix, running, count, 32).await?;
        pods::delete(client, namespace, &prefix, count).await?;
        let uids = uids(client, namespace).await?;
        let all = Api::<Pod>::namespaced(client.clone(), namespace);
        let (all, uids, prefix) = (&all, &uids, &prefix);
        let began = Instant::now();
        stream::iter(0..count)
            .map(|number| async move {
                let name = format!("{prefix}-{number}");
                let patch = Patch::Strategic(json!({ "status": ended }));
                all.patch_status(&name, &PatchParams::default(), &patch).await?;
                pods::remove(all, &name, uids.get(&name).context("no UID")?).await
            })
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await?;
        best = best.max(pods::rate(count, began.elapsed()));
    }
    Ok(best)
}

async fn uids(client: &Client, namespace: &str) -> Result<std::collections::HashMap<String, String>> {
    let all = Api::<Pod>::namespaced(client.clone(), namespace);
    let list = all.list_metadata(&ListParams::default()).await?;
    Ok(list.items.into_iter().filter_map(|pod| pod.metadata.name.zip(pod.metadata.uid)).collect())
}

/// Removes pods that nobody runs.
async fn clean(client: &Client, namespace: &str, prefix: &str, count: usize) -> Result<()> {
    let uids = uids(client, namespace).await?;
    let all = Api::<Pod>::namespaced(client.clone(), namespace);
    let (all, uids) = (&all, &uids);
    stream::iter(0..count)
        .map(|number| async move {
            let name = format!("{prefix}-{number}");
            pods::remove(all, &name, uids.get(&name).context("no UID")?).await
        })
        .buffer_unordered(32)
        .try_collect()
        .await
}
