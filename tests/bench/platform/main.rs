//! What the platform costs beside the calls themselves: compiling and loading, swaps, tracing, a request of a guest, one more
//! provider, and what is left after many swaps under load.
//!
//! Parts can be asked for by name: `compile`, `swap`, `follow`, `request`, `idle`, `load`, `tracing`. The last leaves tracing
//! on, and so comes last.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

mod lab;
mod load;
mod request;

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use components::source::{FileSource, Policy};
use components::{
    Bytes, Change, CodeCache, Compiled, ComponentProvider, Limits, Program, Settings, Supervisor, Tolerance,
};
use provider::{Kind, Provider};

use crate::lab::{Lab, another, median, micros, millis, pod, rss};

const ROUNDS: usize = 20;

fn main() -> Result<()> {
    let asked: Vec<String> = std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    let wants = |part: &str| asked.is_empty() || asked.iter().any(|own| own == part);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        if wants("idle") {
            idle().await?;
        }
        if wants("compile") {
            compile()?;
        }
        if wants("swap") {
            swap().await?;
        }
        if wants("follow") {
            follow().await?;
        }
        if wants("request") {
            request::measure().await?;
        }
        if wants("load") {
            load::measure().await?;
        }
        if wants("tracing") {
            tracing().await?;
        }
        Ok(())
    })
}

/// Compiling, and loading what was compiled.
fn compile() -> Result<()> {
    println!("{:<34} {:>10} {:>12} {:>12}", "component", "size", "compile", "from cache");
    let (engine, limits) = (lab::engine()?, Limits::default());
    for path in [e2e::component("mock"), e2e::component("hyper"), e2e::test_component("misbehaving")] {
        let bytes = Bytes::read(&path, limits.component_size)?;
        let folder = tempfile::tempdir()?;
        let cache = CodeCache::open(folder.path())?;
        let began = Instant::now();
        drop(Compiled::new(engine, &bytes, &limits, Some(&cache))?);
        let compiled = began.elapsed();
        let mut cached = Vec::new();
        for _ in 0..ROUNDS {
            let began = Instant::now();
            drop(Compiled::new(engine, &bytes, &limits, Some(&cache))?);
            cached.push(began.elapsed());
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let size = format!("{} KiB", bytes.bytes.len() >> 10);
        println!("{name:<34} {size:>10} {:>12} {:>12}", millis(compiled), millis(median(cached)));
    }
    Ok(())
}

/// A swap of what is compiled: comparing, an instance, a description.
async fn swap() -> Result<()> {
    let lab = Lab::new("mock", &e2e::component("mock")).await?;
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let compiled = lab.compile(&another(&lab.bytes))?;
        let began = Instant::now();
        lab.program.swap(compiled).await?;
        times.push(began.elapsed());
    }
    println!("{:<34} {:>12}", "swap of what is compiled", millis(median(times)));
    Ok(())
}

/// From the rename of a file until its version serves.
async fn follow() -> Result<()> {
    for is_cached in [false, true] {
        let mut beside = Vec::new();
        for _ in 0..5 {
            beside.push(followed(is_cached).await?);
        }
        let compiling = median(beside.iter().map(|own| own.0).collect());
        let serving = median(beside.iter().map(|own| own.1).collect());
        let name = if is_cached { "rename to serving, code cached" } else { "rename to serving, compiled anew" };
        println!("{name:<34} {:>12} (compiling alone {})", millis(serving), millis(compiling));
    }
    Ok(())
}

async fn followed(is_cached: bool) -> Result<(Duration, Duration)> {
    let lab = Lab::new("mock", &e2e::component("mock")).await?;
    let path = lab.folder.path().join("mock.wasm");
    std::fs::write(&path, &lab.bytes.bytes)?;
    let cache = CodeCache::open(&lab.folder.path().join("code"))?;
    let (changed, mut changes) = tokio::sync::mpsc::unbounded_channel();
    let settings = Settings {
        engine: lab::engine()?.clone(),
        compiler: None,
        cache: Some(cache.clone()),
        folder: lab.folder.path().join("versions"),
        tolerance: Tolerance::default(),
    };
    let listener = Arc::new(move |change: &Change| {
        // Nobody hears what comes after the new version.
        let _ = changed.send(change.reason());
    });
    let source = Arc::new(FileSource::new(&path, Policy::default())?);
    let supervisor = Supervisor::start(settings, source, Limits::default(), &lab.capabilities, listener).await?;
    let _provider = ComponentProvider::new(supervisor.program(), lab.capabilities.clone());
    changes.recv().await.context("the first version")?;
    let next = another(&lab.bytes);
    let began = Instant::now();
    // As long as compiling takes by itself; it also fills the cache, if that is what is asked for.
    drop(Compiled::new(lab::engine()?, &next, &Limits::default(), is_cached.then_some(&cache))?);
    let compiling = began.elapsed();
    std::fs::write(path.with_extension("new"), &next.bytes)?;
    let began = Instant::now();
    std::fs::rename(path.with_extension("new"), &path)?;
    let reason = changes.recv().await.context("the new version")?;
    if reason != "ProviderSwapped" {
        bail!("{reason}");
    }
    Ok((compiling, began.elapsed()))
}

/// Memory of one more node of a program, and of one more program.
async fn idle() -> Result<()> {
    const NODES: usize = 5_000;
    const PROGRAMS: usize = 10;
    let lab = Lab::new("mock", &e2e::component("mock")).await?;
    lab.call().await?;
    let before = rss()?;
    let mut nodes = Vec::new();
    for n in 0..NODES {
        let capabilities = lab.capabilities_for(&format!("node-{n}"));
        nodes.push(ComponentProvider::new(&lab.program, capabilities));
    }
    let each = rss()?.saturating_sub(before) as f64 / NODES as f64 / 1024.0;
    println!("{:<34} {each:>8.1} KiB", "one more node of a provider");
    let before = rss()?;
    let mut programs = Vec::new();
    for n in 0..PROGRAMS {
        let compiled = lab.compile(&another(&lab.bytes))?;
        let capabilities = lab.capabilities_for(&format!("other-{n}"));
        let program = Program::load(lab::engine()?, compiled, Limits::default(), &capabilities).await?;
        programs.push(ComponentProvider::new(&program, capabilities));
    }
    let each = rss()?.saturating_sub(before) as f64 / PROGRAMS as f64 / 1024.0;
    println!("{:<34} {each:>8.1} KiB", "one more provider, code of its own");
    Ok(())
}

/// Calls without anybody who listens to traces, and with somebody who writes them down.
async fn tracing() -> Result<()> {
    const CALLS: usize = 10_000;
    let lab = Lab::new("misbehaving", &e2e::test_component("misbehaving")).await?;
    let mut medians = Vec::new();
    for with in [false, true] {
        if with {
            let layer = tracing_subscriber::fmt().json().with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG);
            layer.with_writer(io::sink).init();
        }
        let Kind::Pods(pods) = lab.provider.kind() else { bail!("it runs no whole pods") };
        let mut times = Vec::with_capacity(CALLS);
        for n in 0..CALLS + 1_000 {
            let pod = pod(n);
            let began = Instant::now();
            pods.update(pod, Vec::new()).await?;
            times.push(began.elapsed());
        }
        medians.push(median(times.split_off(1_000)));
    }
    for (name, time) in ["a call, nobody listens to traces", "a call, traces at level debug"].iter().zip(medians) {
        println!("{name:<34} {:>12}", micros(time));
    }
    Ok(())
}
