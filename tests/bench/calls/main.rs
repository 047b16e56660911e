//! What a provider call costs: a fresh instance each, one after the other and many at once.
//!
//! `update` takes a pod and answers at once; `create` of `mock` keeps it in the store, durably, which is a write to the disk
//! for each batch of calls.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

mod pod;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use components::{Bytes, Compiled, ComponentProvider, Engine, Limits, Program};
use host_capabilities::audit::Audit;
use host_capabilities::config::{Config as ProviderConfig, NodeIdentity};
use host_capabilities::quota::{Bounds, Quotas};
use host_capabilities::store::Embedded;
use host_capabilities::{Capabilities, Grants, Host};
use provider::{Kind, Provider};

use crate::pod::pod;

const WARM_UP: usize = 1_000;
const ALONE: usize = 10_000;
const AT_ONCE: usize = 60_000;

fn main() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        println!("{:<28} {:>9} {:>9} {:>9} {:>9} {:>9}", "call", "p50", "p99", "1 caller", "2 callers", "64");
        let plain = provider(&e2e::test_component("misbehaving")).await?;
        measure("update, 4 KB pod", plain.clone(), (ALONE, AT_ONCE), Call::Update).await?;
        measure("list, no pods", plain, (ALONE, AT_ONCE), Call::List).await?;
        let mock = provider(&e2e::component("mock")).await?;
        measure("create, 4 KB pod, stored", mock, (ALONE / 50, AT_ONCE / 30), Call::Create).await
    })
}

async fn provider(component: &Path) -> Result<Arc<ComponentProvider>> {
    let folder = tempfile::tempdir()?;
    let (engine, limits) = (Engine::new()?, Limits::default());
    let compiled = Compiled::new(&engine, &Bytes::read(component, limits.component_size)?, &limits, None)?;
    let store = Arc::new(Embedded::open(&folder.path().join("store.redb"))?);
    let host = Host { io: tokio::runtime::Handle::current(), store, audit: Audit::default() };
    let node = NodeIdentity {
        cluster: "bench".into(),
        name: "bench".into(),
        address: "127.0.0.1".into(),
        operating_system: "linux".into(),
        cluster_domain: "cluster.local".into(),
    };
    let config = ProviderConfig { values: [("pods".to_owned(), "1000000".to_owned())].into() };
    let grants = Grants { config, ..Grants::default() };
    let capabilities =
        Arc::new(Capabilities::new(Quotas::new("bench", &Bounds::default()), node, grants, &host, Box::new(|_| ())));
    let program = Program::load(&engine, compiled, limits, &capabilities).await?;
    Ok(Arc::new(ComponentProvider::new(&program, capabilities)))
}

/// What is called.
#[derive(Clone, Copy)]
enum Call {
    Create,
    Update,
    List,
}

impl Call {
    /// Calls it; how long that took.
    async fn make(self, provider: &ComponentProvider, n: usize) -> Result<Duration> {
        let Kind::Pods(pods) = provider.kind() else { bail!("it runs no whole pods") };
        match self {
            Self::Create => {
                let pod = pod(n);
                let began = Instant::now();
                pods.create(pod).await?;
                Ok(began.elapsed())
            }
            Self::Update => {
                let pod = pod(n);
                let began = Instant::now();
                pods.update(pod, Vec::new()).await?;
                Ok(began.elapsed())
            }
            Self::List => {
                let began = Instant::now();
                pods.list(None).await?;
                Ok(began.elapsed())
            }
        }
    }
}

async fn measure(name: &str, provider: Arc<ComponentProvider>, calls: (usize, usize), call: Call) -> Result<()> {
    let (alone, at_once) = calls;
    let mut times = Vec::with_capacity(alone);
    for n in 0..WARM_UP.min(alone) + alone {
        times.push(call.make(&provider, n).await?);
    }
    let mut times = times.split_off(WARM_UP.min(alone));
    times.sort_unstable();
    let at = |share: f64| times.get(((times.len() as f64) * share) as usize).copied().unwrap_or_default();
    let mut rates = Vec::new();
    for many in [1, 2, 64] {
        let began = Instant::now();
        let workers = (0..many).map(|worker| {
            let provider = provider.clone();
            tokio::spawn(async move {
                for n in 0..at_once / many {
                    call.make(&provider, worker * at_once + n).await?;
                }
                anyhow::Ok(())
            })
        });
        for worker in workers.collect::<Vec<_>>() {
            worker.await.context("a worker")??;
        }
        rates.push(format!("{:.0}/s", at_once as f64 / began.elapsed().as_secs_f64()));
    }
    let columns: Vec<String> = [micros(at(0.5)), micros(at(0.99))].into_iter().chain(rates).collect();
    println!("{name:<28} {}", columns.iter().map(|own| format!("{own:>10}")).collect::<String>());
    Ok(())
}

fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}
