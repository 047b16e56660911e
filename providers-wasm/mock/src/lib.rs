//! A provider without a backend: pods run at once, because nothing runs. For tests and benches of the host, and the
//! smallest whole example of a `pods` provider. README.md tells its settings and what it keeps in the store.

mod addresses;
mod faults;
mod lines;
mod record;
mod settings;
mod usage;

use vk_provider_sdk::host::store::{self, Condition, Entry};
use vk_provider_sdk::host::types::{Duration, PodKey};
use vk_provider_sdk::host::{self, blobs, clock};
use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::stats::Summary;
use vk_provider_sdk::types::{Output, PodConfig, PodRef, PodState, Snapshot, Target};
use vk_provider_sdk::{Error, Logs, Node, Pods, Restart, Result, Stats, code};

use record::{Life, Record};
use settings::Settings;

/// Pods in one answer of `list`.
const PAGE: u32 = 1000;

struct Mock;

vk_provider_sdk::export_node!(Mock);
vk_provider_sdk::export_pods!(Mock);
vk_provider_sdk::export_logs!(Mock);
vk_provider_sdk::export_stats!(Mock);
vk_provider_sdk::export_restart!(Mock);

/// What a call starts with: its settings, once it was delayed and may have failed or hung.
async fn begin(call: &str, uid: &str) -> Result<Settings> {
    let settings = Settings::read()?;
    if settings.delay > 0 {
        clock::sleep(settings.delay).await;
    }
    settings.faults.check(call, uid).await?;
    Ok(settings)
}

impl Settings {
    fn life(&self) -> Life {
        self.run_for.map(|time| (time, self.exit_code))
    }
}

fn key(uid: &str) -> String {
    format!("pod/{uid}")
}

fn parse(entry: &Entry) -> Result<Record> {
    Ok(serde_json::from_slice(&entry.value)?)
}

async fn find(uid: &str) -> Result<Option<(Record, u64)>> {
    match store::get(key(uid)).await? {
        Some(entry) => Ok(Some((parse(&entry)?, entry.version))),
        None => Ok(None),
    }
}

async fn write(uid: &str, record: &Record, condition: Condition) -> Result<()> {
    store::put(key(uid), serde_json::to_vec(record)?, condition, None).await.map(|_| ())
}

fn missing(pod: &PodKey) -> Error {
    Error::not_found(format!("there is no pod {}/{} ({})", pod.namespace, pod.name, pod.uid))
}

/// FNV-1a: spreads pods over addresses, and draws which calls fail. The same everywhere and for ever.
fn hash(parts: &[&[u8]]) -> u64 {
    let fold = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    let hash = parts.iter().flat_map(|part| part.iter().chain(&[0xff])).fold(0xcbf2_9ce4_8422_2325, fold);
    // Its high bits hardly depend on the last bytes: mixed once more.
    (hash ^ (hash >> 32)).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Node for Mock {
    async fn describe() -> Result<Description> {
        let settings = Settings::read()?;
        let quantity = |(name, amount)| Quantity { name, capacity: amount, allocatable: amount };
        let offered = [("cpu", settings.cpu), ("memory", settings.memory), ("pods", settings.pods)]
            .map(|(name, amount)| (name.to_owned(), amount));
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect();
        Ok(Description {
            ready: true,
            resources: offered.into_iter().chain(settings.others).map(quantity).collect(),
            provider_id: settings.provider_id,
            operating_system: host::config::node().operating_system,
            os_image: "mock".to_owned(),
            runtime_version: concat!("mock://", env!("CARGO_PKG_VERSION")).to_owned(),
            volume_kinds: words(&["csi", "ephemeral", "host-path", "image", "nfs", "persistent-volume-claim"]),
            features: words(&[
                "devices",
                "ephemeral-containers",
                "host-ipc",
                "host-network",
                "host-pid",
                "host-ports",
                "multiple-containers",
                "privileged",
                "resize",
                "sub-path",
            ]),
            restarts: "host".to_owned(),
            ..Description::default()
        })
    }
}

impl Pods for Mock {
    async fn create(pod: PodConfig) -> Result<PodState> {
        let uid = &pod.sandbox.key.uid;
        let settings = begin("create", uid).await?;
        let now = clock::now();
        let (address, condition) = match find(uid).await? {
            Some((record, _)) if record.attempt == pod.sandbox.attempt => {
                return Ok(record.state(uid, settings.life(), now));
            }
            Some((record, _)) if record.attempt > pod.sandbox.attempt => {
                let (asked, present) = (pod.sandbox.attempt, record.attempt);
                return Err(Error::conflict(format!("attempt {asked} of pod {uid} is over, there is {present}")));
            }
            Some((record, version)) => (record.address, Condition::Version(version)),
            None => (addresses::claim(settings.range, uid).await?, Condition::Absent),
        };
        let record = Record::new(&pod, address, now);
        write(uid, &record, condition).await?;
        Ok(record.state(uid, settings.life(), now))
    }

    async fn update(pod: PodConfig, _changed: Vec<String>) -> Result<()> {
        let uid = &pod.sandbox.key.uid;
        let settings = begin("update", uid).await?;
        let (mut record, version) = find(uid).await?.ok_or_else(|| missing(&pod.sandbox.key))?;
        record.update(&pod, settings.life(), clock::now());
        write(uid, &record, Condition::Version(version)).await
    }

    async fn delete(pod: PodRef, grace: Duration) -> Result<()> {
        begin("delete", &pod.key.uid).await?;
        match find(&pod.key.uid).await? {
            Some((mut record, version)) if record.deleted.is_none() && record.attempt == pod.attempt => {
                record.deleted = Some((clock::now(), if grace > 0 { 0 } else { record::KILLED }));
                write(&pod.key.uid, &record, Condition::Version(version)).await
            }
            Some(_) | None => Ok(()),
        }
    }

    async fn forget(pod: PodRef) -> Result<()> {
        let settings = begin("forget", &pod.key.uid).await?;
        match find(&pod.key.uid).await? {
            Some((record, _)) if record.attempt != pod.attempt => Ok(()),
            Some((record, version)) => {
                addresses::release(&record.address).await?;
                match store::delete(key(&pod.key.uid), Condition::Version(version)).await {
                    Err(error) if !error.is(code::NOT_FOUND) => Err(error),
                    _ => Ok(()),
                }
            }
            None => addresses::release_of(settings.range, &pod.key.uid).await,
        }
    }

    async fn list(cursor: Option<String>) -> Result<Snapshot> {
        let settings = begin("list", "").await?;
        let entries = store::scan("pod/".to_owned(), cursor.unwrap_or_default(), PAGE).await?;
        let now = clock::now();
        let mut pods = Vec::with_capacity(entries.len());
        for entry in &entries {
            let uid = entry.key.trim_start_matches("pod/");
            pods.push(parse(entry)?.state(uid, settings.life(), now));
        }
        let next = entries.last().filter(|_| entries.len() == PAGE as usize).map(|entry| entry.key.clone());
        Ok(Snapshot { pods, next, complete: true })
    }

    async fn refresh(pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let settings = begin("refresh", "").await?;
        let now = clock::now();
        let mut states = Vec::with_capacity(pods.len());
        for pod in &pods {
            if let Some((record, _)) = find(&pod.key.uid).await? {
                states.push(record.state(&pod.key.uid, settings.life(), now));
            }
        }
        Ok(states)
    }
}

impl Logs for Mock {
    async fn open(target: Target, options: Options) -> Result<Log> {
        let uid = &target.pod.key.uid;
        let settings = begin("logs", uid).await?;
        let (record, _) = find(uid).await?.ok_or_else(|| missing(&target.pod.key))?;
        let own = record.containers.iter().find(|own| own.name == target.container);
        let own = own.ok_or_else(|| Error::not_found(format!("there is no container {}", target.container)))?;
        let run = if options.previous { own.previous.as_ref() } else { Some(&own.run) };
        let run = run.ok_or_else(|| Error::not_found(format!("container {} ran only once", own.name)))?;
        let now = clock::now();
        let until = run.end(own.role, record.deleted, settings.life(), now).map_or(now, |(at, _)| at);
        let text = lines::lines(&own.name, run.started, until, options.since, options.tail);
        let source = blobs::spool(text.as_bytes())?;
        Ok(Log {
            output: Output { content: source.content, framing: "cri".to_owned(), end: Some(source.end) },
            applied: ["tail", "since", "timestamps"].map(str::to_owned).to_vec(),
        })
    }
}

impl Stats for Mock {
    async fn read(pods: Vec<PodRef>) -> Result<Summary> {
        let settings = begin("stats", "").await?;
        let now = clock::now();
        let mut used = Vec::with_capacity(pods.len());
        for pod in &pods {
            if let Some((record, _)) = find(&pod.key.uid).await? {
                used.push(usage::of(&record, &pod.key.uid, settings.life(), now));
            }
        }
        let containers = used.iter().map(|pod| pod.containers.len() as u64).sum();
        let since = used.iter().filter_map(|pod| pod.total.since).min().unwrap_or(now);
        Ok(Summary { node: Some(usage::usage(containers, since, now)), pods: used })
    }
}

impl Restart for Mock {
    async fn restart_container(target: Target, attempt: u32, _grace: Duration) -> Result<()> {
        let uid = &target.pod.key.uid;
        let settings = begin("restart-container", uid).await?;
        let (mut record, version) = find(uid).await?.ok_or_else(|| missing(&target.pod.key))?;
        let deleted = record.deleted;
        let own = record.containers.iter_mut().find(|own| own.name == target.container);
        let own = own.ok_or_else(|| Error::not_found(format!("there is no container {}", target.container)))?;
        if deleted.is_some() {
            return Err(Error::conflict(format!("pod {uid} is being deleted")));
        }
        if own.run.attempt >= attempt {
            return Ok(());
        }
        let now = clock::now();
        let end = own.run.end(own.role, None, settings.life(), now).unwrap_or((now, 0));
        own.restart(attempt, end, now);
        write(uid, &record, Condition::Version(version)).await
    }
}
