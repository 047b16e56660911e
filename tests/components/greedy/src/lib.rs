//! A provider that takes all it can get of one thing: `pods.create` of a pod with the annotation `greed` ends only with a
//! limit. `--config url=URL` and `address=ADDRESS` say whom it bothers. Refusals don't stop it.

use std::hint::black_box;

use vk_provider_sdk::bindings::wit_stream;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::host::types::Duration;
use vk_provider_sdk::host::{blobs, cache, clock, config, dial, events, log, metrics};
use vk_provider_sdk::http::Request;
use vk_provider_sdk::node::Description;
use vk_provider_sdk::types::{PodConfig, PodRef, PodState, Snapshot};
use vk_provider_sdk::{Error, Node, Pods, Result};
use wit_bindgen::spawn_local;

struct Greedy;

vk_provider_sdk::export_node!(Greedy);
vk_provider_sdk::export_pods!(Greedy);

const ANNOTATION: &str = "greed";
const MEBIBYTE: usize = 1 << 20;

impl Node for Greedy {
    async fn describe() -> Result<Description> {
        Ok(Description { ready: true, operating_system: "linux".into(), ..Description::default() })
    }
}

impl Pods for Greedy {
    async fn create(pod: PodConfig) -> Result<PodState> {
        let annotations = &pod.sandbox.annotations;
        let greed = annotations.iter().find(|(name, _)| name == ANNOTATION).map(|(_, greed)| greed.as_str());
        take(greed.unwrap_or_default(), &pod.sandbox.key.uid).await?;
        Ok(PodState { key: pod.sandbox.key, state: "running".into(), ..PodState::default() })
    }

    async fn update(_pod: PodConfig, _changed: Vec<String>) -> Result<()> {
        Ok(())
    }

    async fn delete(_pod: PodRef, _grace: Duration) -> Result<()> {
        Ok(())
    }

    async fn forget(_pod: PodRef) -> Result<()> {
        Ok(())
    }

    async fn list(_cursor: Option<String>) -> Result<Snapshot> {
        Ok(Snapshot { pods: Vec::new(), next: None, complete: true })
    }

    async fn refresh(_pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        Ok(Vec::new())
    }
}

fn configured(key: &str) -> Result<String> {
    config::get(key).ok_or_else(|| Error::invalid(format!("`{key}` is not configured")))
}

/// Takes it until something ends the call.
async fn take(greed: &str, uid: &str) -> Result<()> {
    let mut held = Vec::new();
    for turn in 0_u64.. {
        match greed {
            "cpu" => {
                black_box(turn);
            }
            "memory" => {
                held.push(black_box(vec![1_u8; MEBIBYTE]));
                if held.len() == 60 {
                    held.clear();
                }
            }
            "calls" => clock::sleep(u64::MAX).await,
            "requests" => drop(Request::get(configured("url")?).fetch().await),
            "bytes" => drop(Request::get(format!("{}?bytes", configured("url")?)).fetch().await),
            "connections" => match dial::connect(configured("address")?, dial::Options::default()).await {
                // Never given back.
                Ok(connection) => std::mem::forget(connection),
                Err(_) => clock::sleep(1_000_000).await,
            },
            "log" => log::write(log::Level::Info, &format!("line {turn} {}", "x".repeat(1_000)), &[]),
            "events" => events::emit(None, &event(turn)),
            "metrics" => metrics::set(&format!("g_{turn}"), &[], 1.0),
            "store" => {
                let value = vec![0; MEBIBYTE];
                drop(store::put(format!("{uid}/{}", turn % 30), value, Condition::Always, None).await);
            }
            "keys" => drop(store::put(format!("{uid}/{turn}"), Vec::new(), Condition::Always, None).await),
            "cache" => {
                let value = vec![0; MEBIBYTE];
                drop(cache::put(&format!("{uid}/{turn}"), &value, Condition::Always, u64::MAX >> 8));
            }
            "host-memory" => match blobs::spool(&vec![0; MEBIBYTE]) {
                Ok(source) => std::mem::forget(source),
                Err(_) => clock::sleep(1_000_000).await,
            },
            "tasks" => {
                drop(spawn_local(async { clock::sleep(u64::MAX).await }));
                // What was spawned begins when this one waits.
                if turn % 64 == 0 {
                    clock::sleep(0).await;
                }
            }
            "streams" => {
                let (writer, reader) = wit_stream::new::<u8>();
                std::mem::forget((writer, reader));
            }
            other => return Err(Error::invalid(format!("`{other}` is no greed"))),
        }
    }
    Ok(())
}

fn event(turn: u64) -> events::Event {
    events::Event {
        severity: "Normal".into(),
        reason: "Greedy".into(),
        message: format!("turn {turn}"),
        container: String::new(),
        at: None,
        key: String::new(),
    }
}
