//! A provider that takes all it can get, of one thing after the other, beside one that works: who works is served as
//! before, within what a machine that others use too can show, and the limit that stops the greedy one is counted.
//!
//! Alone and beside are measured in turns, so that what else the machine does meets both. The table is printed
//! (`--nocapture`); on a machine that does nothing else it shows what is promised: a median within 20 %, 99 in 100 within 2x.

use std::sync::Arc;
use std::time::{Duration, Instant};

use host_capabilities::egress::Rule;
use host_capabilities::quota::Usage;
use host_capabilities::{dial, http};
use provider::{Kind, Provider};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::lab::{Ground, Lab, Loading, compile, component, engine, pod};

/// Greedy calls at once.
const CALLS: usize = 12;
/// Turns of measuring alone and beside.
const TURNS: usize = 3;
/// Pairs of calls in a turn.
const PAIRS: usize = 200;
/// Most that half of the pairs may take beside the greedy one, in times of alone, and 99 in 100.
const SLOWER: [f64; 2] = [3.0, 10.0];
/// Differences below these are the machine's: what else runs there has slices of some milliseconds.
const NOISE: [Duration; 2] = [Duration::from_millis(3), Duration::from_millis(20)];

/// Answers every request on loopback: one with `bytes` in it with four mebibytes, others with nothing.
async fn backend() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        let large = vec![b'x'; 4 << 20];
        let large: Arc<[u8]> = large.into();
        while let Ok((mut socket, _)) = listener.accept().await {
            let large = large.clone();
            tokio::spawn(async move {
                let mut asked = vec![0; 4_096];
                while let Ok(count @ 1..) = socket.read(&mut asked).await {
                    let wanted = String::from_utf8_lossy(&asked[..count]).contains("?bytes");
                    let body = if wanted { &large[..] } else { &[] };
                    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len());
                    if socket.write_all(head.as_bytes()).await.is_err() || socket.write_all(body).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    port
}

/// A provider that is asked for one greed again and again.
struct Greedy {
    lab: Lab,
    greed: &'static str,
}

impl Greedy {
    fn begin(&self) -> Vec<JoinHandle<()>> {
        let begin = |n: usize| {
            let (provider, greed) = (self.lab.provider.clone(), self.greed);
            tokio::spawn(async move {
                for turn in 0_u64.. {
                    let mut pod = pod(&format!("uid-{n}-{turn}"), "");
                    pod.sandbox.annotations = vec![("greed".to_owned(), greed.to_owned())];
                    let Kind::Pods(pods) = provider.kind() else { return };
                    // It ends with its limit, again and again.
                    let _ = pods.create(pod).await;
                }
            })
        };
        (0..CALLS).map(begin).collect()
    }

    fn used(&self, limit: &str) -> Usage {
        let all = self.lab.provider.capabilities().quotas().usage();
        all.into_iter().find(|usage| usage.limit == limit).expect("the limit")
    }
}

/// How long half of the pairs took, and 99 in 100.
async fn pairs(lab: &Lab) -> [Duration; 2] {
    let mut took = Vec::with_capacity(PAIRS);
    for _ in 0..PAIRS {
        let began = Instant::now();
        lab.works().await;
        lab.pods().list(None).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    [took[PAIRS / 2], took[PAIRS * 99 / 100]]
}

/// Measures the good one alone and beside this greed; the best turn counts, since noise only ever adds.
#[expect(clippy::print_stdout, reason = "what was measured")]
async fn beside(greed: &'static str, limits: &str, stopped_by: Option<&str>) {
    let port = backend().await;
    let http = || Rule::parse("http://127.0.0.1:*", http::SCHEMES, false).unwrap();
    let good = Loading::misbehaving().alone().prepare().await;
    let ground = Loading::new("greedy")
        .limits(limits)
        .config("url", &format!("http://127.0.0.1:{port}/"))
        .config("address", &format!("tcp://127.0.0.1:{port}"))
        .grants(|grants| {
            grants.http.push(http());
            grants.dial.push(Rule::parse("127.0.0.1:*", dial::SCHEMES, true).unwrap());
        })
        .beside(&good)
        .await;
    let good = serve(good, "misbehaving").await;
    let greedy = Greedy { lab: serve(ground, "greedy").await, greed };
    let (mut alone, mut with) = ([Duration::MAX; 2], [Duration::MAX; 2]);
    let best = |best: [Duration; 2], now: [Duration; 2]| [best[0].min(now[0]), best[1].min(now[1])];
    pairs(&good).await;
    for _ in 0..TURNS {
        alone = best(alone, pairs(&good).await);
        let calls = greedy.begin();
        tokio::time::sleep(Duration::from_millis(200)).await;
        with = best(with, pairs(&good).await);
        calls.iter().for_each(JoinHandle::abort);
        for call in calls {
            let _ = call.await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    println!("{greed:>12}: alone {alone:?}, beside it {with:?} (median, 99 in 100)");
    if let Some(limit) = stopped_by {
        let used = greedy.used(limit);
        assert!(used.refused > 0 || used.waited > 0, "nothing stopped it: {used:?}");
        assert!(used.peak > 0, "{used:?}");
    }
    for (((alone, with), slower), noise) in alone.into_iter().zip(with).zip(SLOWER).zip(NOISE) {
        let most = alone.mul_f64(slower) + noise;
        assert!(with < most, "{greed}: alone {alone:?}, beside it {with:?}");
    }
}

async fn serve(ground: Ground, name: &'static str) -> Lab {
    let bytes = components::Bytes::read(&component(name), u64::MAX).unwrap();
    let compiled = compile(&bytes, &ground.limits).unwrap();
    let program = components::Program::load(engine(), compiled, ground.limits.clone(), &ground.capabilities);
    let program = program.await.unwrap();
    ground.serve(&program)
}

macro_rules! greeds {
    ($($name:ident: $greed:literal, $limits:literal, $stopped_by:expr;)+) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $name() {
                beside($greed, $limits, $stopped_by).await;
            }
        )+
    };
}

greeds! {
    of_cpu_time: "cpu", "cpu=200ms", None;
    of_memory: "memory", "cpu=500ms", None;
    of_calls: "calls", "wall=1s,calls=1000", None;
    of_requests: "requests", "requests=200,cpu=5s", Some("requests");
    of_bytes: "bytes", "bytes-in=16Mi,cpu=5s", Some("bytes-in");
    of_connections: "connections", "connections=32,cpu=5s,wall=2s", Some("connections");
    of_the_log: "log", "cpu=1s", Some("log-bytes");
    of_events: "events", "cpu=1s", Some("events");
    of_metrics: "metrics", "cpu=1s", None;
    of_bytes_in_the_store: "store", "store-bytes=16Mi,cpu=5s,wall=3s", Some("store-bytes");
    of_keys_in_the_store: "keys", "store-keys=500,cpu=5s,wall=3s", Some("store-keys");
    of_the_cache: "cache", "cpu=1s", None;
    of_the_hosts_memory: "host-memory", "held-bytes=32Mi,cpu=5s,wall=1s", Some("held-bytes");
    of_waiting_host_functions: "tasks", "cpu=2s", Some("tasks");
    of_streams_of_its_own: "streams", "cpu=500ms", None;
}
