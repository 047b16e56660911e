//! Use of resources. A Podman tells all of it in one answer, a Docker for each container by itself.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use serde::Deserialize;
use vk_provider_sdk::host::clock;
use vk_provider_sdk::stats::{Network, PodUsage, Summary, Usage};
use vk_provider_sdk::types::PodRef;
use vk_provider_sdk::{Result, time};

use crate::endpoint::Engine;
use crate::names::Kind;
use crate::object::Object;
use crate::refusal;

/// Containers that a Docker is asked for at once.
const AT_ONCE: usize = 16;

/// One container's use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Use {
    usage: Usage,
    network: Option<Network>,
}

/// An entry of libpod's answer for all.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LibpodStats {
    #[serde(rename = "ContainerID")]
    id: String,
    #[serde(rename = "CPUNano")]
    cpu: u64,
    /// When it was read.
    #[serde(rename = "SystemNano")]
    at: u64,
    #[serde(rename = "MemUsage")]
    memory: u64,
    #[serde(rename = "NetInput")]
    received: u64,
    #[serde(rename = "NetOutput")]
    sent: u64,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct LibpodAnswer {
    stats: Option<Vec<LibpodStats>>,
}

impl From<LibpodStats> for Use {
    fn from(own: LibpodStats) -> Self {
        let usage = Usage {
            at: own.at,
            cpu_nanos: Some(own.cpu),
            memory_usage: Some(own.memory),
            // The engine has taken the file cache off where it can tell it.
            memory_working_set: Some(own.memory),
            ..Usage::default()
        };
        Self { usage, network: Some(network("eth0", own.received, own.sent)) }
    }
}

/// Docker's answer for one container.
#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerStats {
    read: String,
    cpu_stats: DockerCpu,
    memory_stats: DockerMemory,
    networks: Option<BTreeMap<String, DockerNetwork>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerCpu {
    cpu_usage: DockerCpuUsage,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerCpuUsage {
    total_usage: u64,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerMemory {
    usage: u64,
    stats: Option<BTreeMap<String, u64>>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct DockerNetwork {
    rx_bytes: u64,
    rx_errors: u64,
    tx_bytes: u64,
    tx_errors: u64,
}

impl DockerStats {
    fn into_use(self) -> Option<Use> {
        // A container that does not run is answered with zeros.
        let at = time::parse_rfc3339(&self.read)?;
        let known = self.memory_stats.stats.unwrap_or_default();
        let value = |names: [&str; 2]| names.into_iter().find_map(|name| known.get(name).copied());
        let inactive = value(["total_inactive_file", "inactive_file"]).unwrap_or(0);
        let usage = Usage {
            at,
            cpu_nanos: Some(self.cpu_stats.cpu_usage.total_usage),
            memory_usage: Some(self.memory_stats.usage),
            memory_working_set: Some(self.memory_stats.usage.saturating_sub(inactive)),
            memory_rss: value(["total_rss", "anon"]),
            ..Usage::default()
        };
        let network = self.networks.unwrap_or_default().into_iter().next().map(|(name, own)| Network {
            rx_errors: own.rx_errors,
            tx_errors: own.tx_errors,
            ..network(&name, own.rx_bytes, own.tx_bytes)
        });
        Some(Use { usage, network })
    }
}

fn network(name: &str, received: u64, sent: u64) -> Network {
    Network { name: name.to_owned(), rx_bytes: received, rx_errors: 0, tx_bytes: sent, tx_errors: 0 }
}

/// Use by these pods.
pub async fn read(engine: &Engine, pods: &[PodRef]) -> Result<Summary> {
    let objects = engine.objects(&[]).await?;
    let wanted = |own: &&Object| own.status == "running" && pods.iter().any(|pod| pod.key.uid == own.labels.uid());
    let used = if engine.is_libpod() {
        let answer = engine.fetch(engine.api("GET", "/containers/stats").query("stream", "false")).await?;
        let answer: LibpodAnswer = refusal::check(answer)?.json()?;
        answer.stats.unwrap_or_default().into_iter().map(|mut own| (std::mem::take(&mut own.id), own.into())).collect()
    } else {
        read_each(engine, objects.iter().filter(wanted)).await?
    };
    let now = clock::now();
    let of_container = engine.is_cloud();
    let pods = pods.iter().filter_map(|pod| pod_usage(pod, &objects, &used, now, of_container)).collect();
    Ok(Summary { node: None, pods })
}

async fn read_each(engine: &Engine, objects: impl Iterator<Item = &Object>) -> Result<BTreeMap<String, Use>> {
    let ids: Vec<_> = objects.map(|own| own.id.clone()).collect();
    let mut used = BTreeMap::new();
    for some in ids.chunks(AT_ONCE) {
        let calls = some.iter().map(|id| {
            // Hyper.sh's version knows nothing of reading it once; it is read once all the same.
            let how = if engine.is_cloud() { "stream=0" } else { "stream=false&one-shot=true" };
            engine.fetch(engine.api("GET", &format!("/containers/{id}/stats?{how}")))
        });
        for (id, answer) in some.iter().zip(join_all(calls).await) {
            // One that ended meanwhile is left out.
            if let Ok(answer) = refusal::check(answer?)
                && let Some(own) = answer.json::<DockerStats>()?.into_use()
            {
                used.insert(id.clone(), own);
            }
        }
    }
    Ok(used)
}

/// Use by a pod: the sum of its containers, the network of its sandbox, or of its container where there is no sandbox. None:
/// nothing of it runs.
fn pod_usage(
    pod: &PodRef,
    objects: &[Object],
    used: &BTreeMap<String, Use>,
    now: u64,
    of_container: bool,
) -> Option<PodUsage> {
    let mut total = Usage { at: now, ..Usage::default() };
    let mut containers = Vec::new();
    let mut networks = Vec::new();
    for object in objects.iter().filter(|own| own.labels.uid() == pod.key.uid && own.status == "running") {
        let Some(own) = used.get(&object.id) else { continue };
        let usage = Usage { since: object.started, ..own.usage.clone() };
        match object.labels.kind() {
            Some(Kind::Container) => {
                containers.push((object.labels.container.clone(), usage));
                networks.extend(own.network.clone().filter(|_| of_container));
            }
            Some(Kind::Sandbox) if !object.labels.is_host_network() => networks.extend(own.network.clone()),
            _ => {}
        }
        total.since = [total.since, object.started].into_iter().flatten().min();
        add(&mut total.cpu_nanos, own.usage.cpu_nanos);
        add(&mut total.memory_usage, own.usage.memory_usage);
        add(&mut total.memory_working_set, own.usage.memory_working_set);
        add(&mut total.memory_rss, own.usage.memory_rss);
    }
    (!containers.is_empty()).then(|| PodUsage { key: pod.key.clone(), total, containers, networks })
}

fn add(sum: &mut Option<u64>, more: Option<u64>) {
    if let Some(more) = more {
        *sum = Some(sum.unwrap_or(0).saturating_add(more));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vk_provider_sdk::host::types::PodKey;

    fn object(kind: &str, id: &str, container: &str) -> Object {
        let labels = json!({"io.vk-runtime.node": "c/n", "io.kubernetes.pod.uid": "u", "io.vk-runtime.kind": kind,
            "io.kubernetes.container.name": container});
        Object {
            id: id.into(),
            labels: serde_json::from_value(labels).unwrap(),
            status: "running".into(),
            started: Some(5),
            ..Object::default()
        }
    }

    #[test]
    fn a_pods_use_is_the_sum_with_the_sandboxs_network() {
        let answer: LibpodAnswer = serde_json::from_value(json!({"Error": null, "Stats": [
            {"ContainerID": "i", "CPUNano": 1, "SystemNano": 9, "MemUsage": 10, "NetInput": 100, "NetOutput": 200, "UpTime": 7},
            {"ContainerID": "a", "CPUNano": 2, "SystemNano": 9, "MemUsage": 20, "NetInput": 100, "NetOutput": 200},
            {"ContainerID": "foreign", "CPUNano": 2, "SystemNano": 9, "MemUsage": 20}]}))
        .unwrap();
        let used: BTreeMap<String, Use> =
            answer.stats.unwrap().into_iter().map(|own| (own.id.clone(), own.into())).collect();
        let pod = PodRef {
            key: PodKey { uid: "u".into(), namespace: "n".into(), name: "p".into() },
            attempt: 0,
            id: String::new(),
        };
        let objects = [object("sandbox", "i", ""), object("container", "a", "app"), object("files", "f", "")];
        let usage = pod_usage(&pod, &objects, &used, 11, false).unwrap();
        assert_eq!((usage.total.cpu_nanos, usage.total.memory_usage, usage.total.at), (Some(3), Some(30), 11));
        assert_eq!(usage.containers.len(), 1);
        let (name, own) = &usage.containers[0];
        assert_eq!((name.as_str(), own.cpu_nanos, own.at, own.since), ("app", Some(2), 9, Some(5)));
        assert_eq!((usage.networks.len(), usage.networks[0].rx_bytes), (1, 100));
        assert!(pod_usage(&pod, &objects[..1], &used, 11, false).is_none(), "no container runs");
        let alone = pod_usage(&pod, &objects[1..], &used, 11, true).unwrap();
        assert_eq!(alone.networks.len(), 1, "its own");
    }

    #[test]
    fn dockers_working_set_is_without_inactive_files() {
        let own: DockerStats = serde_json::from_value(json!({"read": "2026-11-21T10:15:50.5Z",
            "cpu_stats": {"cpu_usage": {"total_usage": 7}},
            "memory_stats": {"usage": 100, "stats": {"inactive_file": 30, "anon": 50}},
            "networks": {"eth0": {"rx_bytes": 1, "rx_errors": 2, "tx_bytes": 3, "tx_errors": 4}}}))
        .unwrap();
        let own = own.into_use().unwrap();
        assert_eq!((own.usage.memory_working_set, own.usage.memory_rss), (Some(70), Some(50)));
        assert_eq!(own.network.unwrap().tx_errors, 4);
        let stopped: DockerStats = serde_json::from_value(json!({"read": "0001-01-01T00:00:00Z"})).unwrap();
        assert_eq!(stopped.into_use(), None);
    }
}
