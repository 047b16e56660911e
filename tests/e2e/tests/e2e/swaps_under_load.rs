//! A thousand pods, 200 open logs and 500 calls a second while the provider is replaced twenty times, five times over: no call
//! fails, no stream ends or misses a line, no pod is written or restarted, and the memory is what it was.
//!
//! Eight minutes, most of them idle: `make soak` runs it, and it prints a table.

mod load;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, Node, NodeBuilder, component, eventually};
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::shared::{create, is_ready, pod, pods, runs};
use load::{Calls, Kubelet, Streams};

const NODE: &str = "swapping-node";
const PODS: usize = 1_000;
const STREAMS: usize = 200;
const SWAPS: usize = 20;
const ROUNDS: usize = 5;
/// Between two swaps.
const PAUSE: Duration = Duration::from_millis(250);
/// Before memory is looked at.
const IDLE: Duration = Duration::from_secs(60);
/// What it may be more than before, as is asked for.
const MORE: f64 = 1.10;
/// What the last round may leave more than the first: each of the pool's eight slots for other versions comes to keep the
/// pages of a call, sooner or later.
const GROWTH: f64 = 1.05;

/// Two versions of a provider, which take turns in one file.
struct Versions {
    file: PathBuf,
    bytes: [Vec<u8>; 2],
    next: usize,
}

impl Versions {
    fn new(folder: &Path) -> Result<Self> {
        let bytes = std::fs::read(component("mock"))?;
        // A section that means nothing: its id, its length, the length of its name, the name.
        let other = [&bytes[..], &[0, 6, 5], b"other"].concat();
        std::fs::create_dir_all(folder)?;
        let file = folder.join("mock.wasm");
        std::fs::write(&file, &bytes)?;
        Ok(Self { file, bytes: [other, bytes], next: 0 })
    }

    /// Puts the other one in the place of this one.
    fn turn(&mut self) -> Result<()> {
        let new = self.file.with_extension("new");
        std::fs::write(&new, &self.bytes[self.next])?;
        self.next = 1 - self.next;
        Ok(std::fs::rename(new, &self.file)?)
    }
}

/// What the process says of its only provider.
fn status(state: &Path) -> Result<Value> {
    let mut socket = UnixStream::connect(state.join("status.sock"))?;
    socket.set_read_timeout(Some(Duration::from_secs(10)))?;
    socket.write_all(b"GET /status HTTP/1.1\r\nhost: local\r\n\r\n")?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer)?;
    let head = answer.windows(4).position(|four| four == b"\r\n\r\n").context("no answer")?;
    let mut whole: Value = serde_json::from_slice(&answer[head + 4..])?;
    Ok(whole["providers"][0].take())
}

fn digest(state: &Path) -> Result<String> {
    let digest = status(state)?["current"]["digest"].as_str().map(str::to_owned);
    digest.context("no version serves")
}

/// Calls of the provider that did not end well, by export.
fn failed_calls(state: &Path) -> Result<BTreeMap<String, Value>> {
    let status = status(state)?;
    let exports = status["exports"].as_array().context("no exports")?;
    let failed = exports.iter().filter_map(|export| {
        let outcomes = export["outcomes"].as_object()?;
        let other: serde_json::Map<_, _> = outcomes
            .iter()
            // Who went away while it was asked: a stream that was closed.
            .filter(|(outcome, count)| !matches!(outcome.as_str(), "ok" | "cancelled") && count.as_u64() != Some(0))
            .map(|(outcome, count)| (outcome.clone(), count.clone()))
            .collect();
        (!other.is_empty()).then(|| (export["export"].as_str().unwrap_or_default().to_owned(), Value::Object(other)))
    });
    Ok(failed.collect())
}

/// Places of memory that the process has.
fn mappings(node: &Node) -> Result<usize> {
    Ok(std::fs::read_to_string(format!("/proc/{}/maps", node.pid()))?.lines().count())
}

/// Resource versions of all pods: another one is a write.
async fn written(pods: &Api<Pod>) -> Result<BTreeMap<String, String>> {
    let all = pods.list_metadata(&ListParams::default()).await?.items.into_iter();
    Ok(all
        .map(|pod| (pod.metadata.name.unwrap_or_default(), pod.metadata.resource_version.unwrap_or_default()))
        .collect())
}

async fn make(pods: &Api<Pod>) -> Result<()> {
    stream::iter(0..PODS)
        .map(|n| create(pods, pod(&format!("web-{n}"), NODE, &[json!({ "name": "app", "image": "any:1" })])))
        .buffer_unordered(32)
        .try_for_each(|_| std::future::ready(Ok(())))
        .await?;
    eventually("all pods being ready", 120, async || {
        let all = pods.list(&ListParams::default()).await?.items;
        Ok((all.iter().filter(|pod| is_ready(pod)).count() == PODS).then_some(()))
    })
    .await
}

/// What a round did.
struct Done {
    calls: Vec<Duration>,
    lines: u64,
    swaps: Vec<Duration>,
    took: Duration,
}

async fn round(kubelet: &Kubelet, versions: &mut Versions, state: &Path, swaps: usize) -> Result<Done> {
    let streams = Streams::open(kubelet, STREAMS).await?;
    let calls = Calls::start(kubelet, PODS);
    let began = Instant::now();
    let mut times = Vec::new();
    for _ in 0..swaps {
        let before = digest(state)?;
        versions.turn()?;
        let renamed = Instant::now();
        eventually("the other version", 30, async || Ok((digest(state)? != before).then_some(()))).await?;
        times.push(renamed.elapsed());
        tokio::time::sleep(PAUSE).await;
    }
    // Each stream has seen lines after the last swap.
    let seen = streams.lines();
    eventually("lines on all streams", 30, async || streams.have_more_than(&seen).map(|more| more.then_some(())))
        .await?;
    let took = began.elapsed();
    Ok(Done { calls: calls.stop().await?, lines: streams.close()?, swaps: times, took })
}

fn at(sorted: &[Duration], part: usize) -> String {
    let time = sorted.get((sorted.len() * part / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or_default();
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[test]
#[ignore = "eight minutes: `make soak` runs it"]
fn pods_calls_and_streams_outlast_a_hundred_swaps() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(outlast())
}

#[expect(clippy::print_stdout, reason = "it says what it measured")]
async fn outlast() -> Result<()> {
    let cluster = Cluster::start()?;
    let client: Client = cluster.client().await?;
    let namespace = cluster.namespace(&client, "swaps").await?;
    let mut versions = Versions::new(&cluster.folder.join("versions"))?;
    let builder = NodeBuilder::new(&cluster, NODE, versions.file.clone())?.with(&[
        "--config",
        "pods=2000",
        "--config",
        "ip-range=10.128.0.0/12",
    ]);
    let state = builder.state();
    let node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    make(&pods).await?;
    let kubelet = Kubelet::of(&cluster, &client, NODE, &namespace).await?;

    // What is made once and kept, by load and by both versions, is made before.
    let warm = round(&kubelet, &mut versions, &state, SWAPS).await?;
    tokio::time::sleep(IDLE).await;
    let (before, mapped) = (node.memory()?, mappings(&node)?);
    let (versions_before, runs_before) = (written(&pods).await?, runs(&pods).await?);
    ensure!(versions_before.len() == PODS && runs_before.len() == PODS, "not all pods are there");
    println!("before: {:.1} MiB, {mapped} mappings, {} calls to warm up", mib(before), warm.calls.len());
    println!(
        "{:>5} {:>7} {:>7} {:>9} {:>9} {:>7} {:>10} {:>10} {:>9} {:>5}  memory after 60 s",
        "round", "calls", "calls/s", "p50", "p99", "lines", "swap p50", "worst", "mappings", "held"
    );
    let mut memory = Vec::new();
    for n in 1..=ROUNDS {
        let mut done = round(&kubelet, &mut versions, &state, SWAPS).await.with_context(|| format!("round {n}"))?;
        done.calls.sort_unstable();
        done.swaps.sort_unstable();
        tokio::time::sleep(IDLE).await;
        let now = node.memory()?;
        memory.push(now);
        let held = status(&state)?["draining"].as_array().map_or(0, Vec::len);
        println!(
            "{n:>5} {:>7} {:>7.0} {:>9} {:>9} {:>7} {:>10} {:>10} {:>9} {held:>5}  {:.1} MiB ({:+.1} %)",
            done.calls.len(),
            done.calls.len() as f64 / done.took.as_secs_f64(),
            at(&done.calls, 50),
            at(&done.calls, 99),
            done.lines,
            at(&done.swaps, 50),
            at(&done.swaps, 100),
            mappings(&node)?,
            mib(now),
            (now as f64 / before as f64 - 1.0) * 100.0
        );
        ensure!(held == 0, "round {n}: {held} versions were not freed: {}", status(&state)?["draining"]);
    }
    let failed = failed_calls(&state)?;
    ensure!(failed.is_empty(), "calls of the provider failed: {failed:?}");
    ensure!(written(&pods).await? == versions_before, "pods were written");
    ensure!(runs(&pods).await? == runs_before, "pods were restarted");
    let most = memory.iter().max().copied().unwrap_or_default();
    if most as f64 > before as f64 * MORE {
        bail!("{:.1} MiB is more than {MORE} times {:.1} MiB", mib(most), mib(before));
    }
    let (first, last) = (memory.first().copied().unwrap_or_default(), memory.last().copied().unwrap_or_default());
    ensure!(last as f64 <= first as f64 * GROWTH, "it grew from {:.1} MiB to {:.1} MiB", mib(first), mib(last));
    ensure!(mappings(&node)? <= mapped + mapped / 10, "{mapped} mappings became {}", mappings(&node)?);
    Ok(())
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
