//! A provider that does what no provider should, when it is asked to; asked for nothing, it runs pods that are only
//! remembered.
//!
//! | what            | is asked by                                        |
//! |-----------------|----------------------------------------------------|
//! | `pods.create`   | the pod's annotation `misbehave`, see [`misdeeds`] |
//! | `logs.open`     | the container's name, see [`streams`]              |
//! | any other call  | `--config FUNCTION=MISDEED`                        |
//! | a version of it | what a test wrote over the blanks of [`BUILT_IN`]  |

mod garbage;
mod misdeeds;
mod streams;

use std::hint::black_box;
use std::sync::atomic::{AtomicU32, Ordering};

use vk_provider_sdk::host::config;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::host::types::{Duration, PodKey};
use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::types::{Change, ContainerState, Output, PodConfig, PodRef, PodState, Snapshot, Target};
use vk_provider_sdk::{Error, Logs, Node, Pods, Result, Watch, text};

struct Misbehaving;

vk_provider_sdk::export_node!(Misbehaving);
vk_provider_sdk::export_pods!(Misbehaving);
vk_provider_sdk::export_logs!(Misbehaving);
vk_provider_sdk::export_watch!(Misbehaving);

/// Asks for the misdeed of a pod.
const ANNOTATION: &str = "misbehave";
/// Pods that there is room for.
const ROOM: u64 = 1_000;

/// `FUNCTION=MISDEED`, behind the colon and before the bar: so tests make versions that differ in what they do.
static BUILT_IN: [u8; 64] = *b"what this version does:                                        |";

/// The misdeed that this function was built or configured with.
async fn begin(function: &str) -> Result<()> {
    let built_in = String::from_utf8_lossy(black_box(&BUILT_IN)).into_owned();
    let asked = built_in.split_once(':').and_then(|(_, asked)| asked.trim_end_matches('|').trim().split_once('='));
    if let Some((_, misdeed)) = asked.filter(|(own, _)| *own == function) {
        misdeeds::commit(misdeed).await?;
    }
    match config::get(function) {
        Some(misdeed) => misdeeds::commit(&misdeed).await,
        None => Ok(()),
    }
}

fn key(uid: &str) -> String {
    format!("pod/{uid}")
}

fn state(key: PodKey, containers: &str) -> PodState {
    let container =
        |name: &str| ContainerState { name: name.into(), state: "running".into(), ..ContainerState::default() };
    PodState {
        id: key.uid.clone(),
        key,
        state: "running".into(),
        ips: vec!["192.0.2.7".into()],
        containers: containers.lines().map(container).collect(),
        ..PodState::default()
    }
}

/// How often this instance, and how often this provider, was asked for this.
async fn count() -> Result<String> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let here = CALLS.fetch_add(1, Ordering::Relaxed) + 1;
    let before = store::get("calls".into()).await?.map_or(0, |entry| entry.value.first().copied().unwrap_or(0));
    store::put("calls".into(), vec![before + 1], Condition::Always, None).await?;
    Ok(format!("{here} in this instance, {} in all", before + 1))
}

/// A secret value of the pod: its first variable's.
fn secret(pod: &PodConfig) -> Result<String> {
    let variable = pod.containers.iter().flat_map(|container| &container.env).next();
    text::join(&variable.ok_or_else(|| Error::invalid("the pod has no variable"))?.value, "the variable")
}

impl Node for Misbehaving {
    async fn describe() -> Result<Description> {
        begin("describe").await?;
        let quantity = |name: &str, amount| Quantity { name: name.into(), capacity: amount, allocatable: amount };
        Ok(Description {
            ready: true,
            resources: vec![quantity("cpu", ROOM * 1_000), quantity("memory", 1 << 40), quantity("pods", ROOM)],
            operating_system: "linux".into(),
            ..Description::default()
        })
    }
}

impl Pods for Misbehaving {
    async fn create(pod: PodConfig) -> Result<PodState> {
        begin("create").await?;
        let asked =
            pod.sandbox.annotations.iter().find(|(name, _)| name == ANNOTATION).map(|(_, value)| value.as_str());
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let mut state = state(pod.sandbox.key.clone(), &names.join("\n"));
        match asked.unwrap_or_default() {
            "count" => state.message = count().await?,
            "tell-in-state" => state.message = format!("it runs with {}", secret(&pod)?),
            "tell-in-error" => return Err(Error::unavailable(format!("no route for {}", secret(&pod)?))),
            "tell-in-panic" => panic!("can't work with {}", secret(&pod)?),
            "tell-the-operators" => return Err(misdeeds::tell_the_operators().await?),
            "utf-8" => state.message = garbage::text(),
            "oversize" => state.message = "x".repeat(16 << 20),
            "aliases" => state.ips = garbage::aliases(),
            misdeed => misdeeds::commit(misdeed).await?,
        }
        store::put(key(&pod.sandbox.key.uid), names.join("\n").into_bytes(), Condition::Always, None).await?;
        Ok(state)
    }

    async fn update(_pod: PodConfig, _changed: Vec<String>) -> Result<()> {
        begin("update").await
    }

    async fn delete(pod: PodRef, _grace: Duration) -> Result<()> {
        begin("delete").await?;
        store::delete(key(&pod.key.uid), Condition::Always).await
    }

    async fn forget(_pod: PodRef) -> Result<()> {
        begin("forget").await
    }

    async fn list(_cursor: Option<String>) -> Result<Snapshot> {
        begin("list").await?;
        let entries = store::scan("pod/".into(), String::new(), u32::MAX).await?;
        let pods = entries.into_iter().map(|entry| {
            let uid = entry.key.trim_start_matches("pod/").to_owned();
            state(PodKey { uid, ..PodKey::default() }, &String::from_utf8_lossy(&entry.value))
        });
        Ok(Snapshot { pods: pods.collect(), next: None, complete: true })
    }

    async fn refresh(pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        begin("refresh").await?;
        let mut states = Vec::new();
        for pod in pods {
            if let Some(entry) = store::get(key(&pod.key.uid)).await? {
                states.push(state(pod.key, &String::from_utf8_lossy(&entry.value)));
            }
        }
        Ok(states)
    }
}

impl Logs for Misbehaving {
    async fn open(target: Target, _options: Options) -> Result<Log> {
        begin("logs").await?;
        Ok(Log { output: streams::open(&target.container)?, applied: Vec::new() })
    }
}

impl Watch for Misbehaving {
    async fn open(_pod: Option<PodRef>) -> Result<Output> {
        begin("watch").await?;
        streams::open(&config::get("watched").unwrap_or_else(|| "silent".into()))
    }

    async fn decode(_pod: Option<PodRef>, pieces: Vec<Vec<u8>>) -> Result<Vec<Change>> {
        begin("decode").await?;
        let change = |piece: Vec<u8>| {
            let uid = String::from_utf8_lossy(&piece).into_owned();
            Change { key: PodKey { uid, ..PodKey::default() }, state: None, gone: false }
        };
        Ok(pieces.into_iter().map(change).collect())
    }
}
