//! The same requests without a controller: what this control plane can do at all.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::nobody::{self, Nobody};
use crate::pods;

/// Numbers of requests at once that are tried; the best counts.
const CONCURRENCIES: [usize; 3] = [16, 32, 64];

/// What is sent, and where.
pub struct Raw<'a> {
    pub client: &'a Client,
    pub namespace: &'a str,
    /// The status of a pod that runs, and of one that ended.
    pub running: &'a Value,
    pub ended: &'a Value,
    pub count: usize,
}

/// A rate before what it is compared with, and one after it: a machine that others use too gets faster and slower.
#[derive(Clone, Copy)]
pub struct Rates {
    /// The number of requests at once that was best.
    pub at_once: usize,
    before: f64,
    after: f64,
}

impl Rates {
    /// What came after it is what comes before the next.
    pub const fn then(self, after: f64) -> Self {
        Self { before: self.after, after, ..self }
    }

    pub const fn mean(self) -> f64 {
        f64::midpoint(self.before, self.after)
    }

    fn or(self, at_once: usize, rate: f64) -> Self {
        if rate > self.before { Self { at_once, before: rate, after: rate } } else { self }
    }
}

impl std::fmt::Display for Rates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:.0}/s {:.0}/s", self.before, self.after)
    }
}

impl Raw<'_> {
    /// Sends patches for pods of a node that nobody runs, with each number of requests at once.
    pub async fn best_of_patches(&self) -> Result<Rates> {
        let mut best = Rates { at_once: 0, before: 0.0, after: 0.0 };
        for at_once in CONCURRENCIES {
            best = best.or(at_once, self.patches(at_once).await?);
        }
        Ok(best)
    }

    /// Writes last states, and deletes, with each number of requests at once.
    pub async fn best_of_deletions(&self) -> Result<Rates> {
        let mut best = Rates { at_once: 0, before: 0.0, after: 0.0 };
        for at_once in CONCURRENCIES {
            best = best.or(at_once, self.deletions(at_once).await?);
        }
        Ok(best)
    }

    /// The rate of patches.
    pub async fn patches(&self, at_once: usize) -> Result<f64> {
        let _nobody = Nobody::start(self.client).await?;
        pods::create(self.client, self.namespace, nobody::NAME, "raw", self.count).await?;
        let took = self.patch("raw", at_once).await?;
        clean(self.client, self.namespace, "raw", self.count).await?;
        Ok(pods::rate(self.count, took))
    }

    async fn patch(&self, prefix: &str, at_once: usize) -> Result<Duration> {
        let all = Api::<Pod>::namespaced(self.client.clone(), self.namespace);
        let (all, began) = (&all, Instant::now());
        stream::iter(0..self.count)
            .map(|number| async move {
                let patch = Patch::Strategic(json!({ "status": self.running }));
                all.patch_status(&format!("{prefix}-{number}"), &PatchParams::default(), &patch).await?;
                Ok::<_, anyhow::Error>(())
            })
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await?;
        Ok(began.elapsed())
    }

    /// The rate of last states and deletions.
    pub async fn deletions(&self, at_once: usize) -> Result<f64> {
        let _nobody = Nobody::start(self.client).await?;
        pods::create(self.client, self.namespace, nobody::NAME, "rawdel", self.count).await?;
        self.patch("rawdel", 32).await?;
        pods::delete(self.client, self.namespace, "rawdel", self.count).await?;
        let uids = uids(self.client, self.namespace).await?;
        let all = Api::<Pod>::namespaced(self.client.clone(), self.namespace);
        let (all, uids) = (&all, &uids);
        let began = Instant::now();
        stream::iter(0..self.count)
            .map(|number| async move {
                let name = format!("rawdel-{number}");
                let patch = Patch::Strategic(json!({ "status": self.ended }));
                all.patch_status(&name, &PatchParams::default(), &patch).await?;
                pods::remove(all, &name, uids.get(&name).context("no UID")?).await
            })
            .buffer_unordered(at_once)
            .try_collect::<()>()
            .await?;
        Ok(pods::rate(self.count, began.elapsed()))
    }
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
