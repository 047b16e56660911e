//! Twenty swaps in a row under 500 calls a second with 200 open streams, five times over: calls that failed, and memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use components::Limits;
use futures::StreamExt;
use host_capabilities::Grants;
use provider::{Kind, LogOptions, PodKey, PodRef, Provider, Target};
use tokio::time::MissedTickBehavior;

use crate::lab::{Lab, another, millis, pod, rss};

const STREAMS: usize = 200;
const CALLERS: u32 = 10;
const CALLS_A_SECOND: u32 = 500;
const SWAPS: usize = 20;
const ROUNDS: usize = 5;
/// Between two swaps.
const PAUSE: Duration = Duration::from_millis(250);
/// Idle after a round, and after all of them.
const IDLE: [Duration; 2] = [Duration::from_secs(10), Duration::from_secs(60)];

pub async fn measure() -> Result<()> {
    let limits = Limits { sessions: STREAMS, ..Limits::default() };
    let component = e2e::test_component("misbehaving");
    let lab = Lab::with("misbehaving", &component, limits, Grants::default()).await?;
    let versions = [lab.bytes.bytes.clone(), another(&lab.bytes).bytes];
    // What is made once, and kept, is made before.
    round(&lab, &versions).await?;
    tokio::time::sleep(IDLE[0]).await;
    let before = rss()?;
    println!("{:<10} {:>8} {:>8} {:>12} {:>12} {:>10}", "round", "calls", "failed", "call p99", "worst", "memory");
    for n in 1..=ROUNDS {
        let done = round(&lab, &versions).await?;
        let idle = if n == ROUNDS { IDLE[1] } else { IDLE[0] };
        tokio::time::sleep(idle).await;
        let memory = rss()?;
        let times = [done.p99, done.worst].map(millis);
        let growth = (memory as f64 / before as f64 - 1.0) * 100.0;
        println!(
            "{n:<10} {:>8} {:>8} {:>12} {:>12} {:>6} MiB ({growth:+.1} %), {} versions held",
            done.calls,
            done.failed,
            times[0],
            times[1],
            memory >> 20,
            lab.program.draining().len()
        );
    }
    Ok(())
}

struct Done {
    calls: u64,
    failed: u64,
    p99: Duration,
    worst: Duration,
}

async fn round(lab: &Lab, versions: &[Vec<u8>; 2]) -> Result<Done> {
    let mut open = Vec::new();
    let logs = lab.provider.logs().context("it has no logs")?;
    for n in 0..STREAMS {
        // A quarter keeps its instance and writes for ever, a quarter keeps it and is silent; the others are the host's.
        let kind = ["endless", "silent", "spliced", "spliced"].get(n % 4).copied().unwrap_or_default();
        let pod = PodRef::first(PodKey::new(format!("uid-{n}"), "default", "web"));
        let target = Target { pod, container: kind.to_owned(), id: String::new() };
        open.push(logs.open(target, LogOptions::default()).await?);
    }
    let (stop, failed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..CALLERS)
        .map(|caller| {
            let (provider, stop, failed) = (lab.provider.clone(), stop.clone(), failed.clone());
            tokio::spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_secs(1) * CALLERS / CALLS_A_SECOND);
                tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    tick.tick().await;
                    let Kind::Pods(pods) = provider.kind() else { continue };
                    let began = Instant::now();
                    if pods.update(pod(caller as usize), Vec::new()).await.is_err() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                    times.push(began.elapsed());
                }
                times
            })
        })
        .collect();
    for n in 0..SWAPS {
        let bytes = versions.get((n + 1) % 2).context("two versions")?.clone();
        let bytes = components::Bytes { name: lab.bytes.name.clone(), bytes };
        let engine = crate::lab::engine()?.clone();
        let compiled =
            tokio::task::spawn_blocking(move || components::Compiled::new(&engine, &bytes, &Limits::default(), None));
        lab.program.swap(compiled.await??).await?;
        for log in open.iter_mut().step_by(4) {
            match log.output.content.next().await {
                Some(Ok(_)) => {}
                ended => bail!("a stream has ended: {ended:?}"),
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for caller in callers {
        times.extend(caller.await?);
    }
    drop(open);
    times.sort_unstable();
    Ok(Done {
        calls: times.len() as u64,
        failed: failed.load(Ordering::Relaxed),
        p99: times.get(times.len() * 99 / 100).copied().unwrap_or_default(),
        worst: times.last().copied().unwrap_or_default(),
    })
}
