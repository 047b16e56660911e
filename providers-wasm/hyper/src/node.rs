//! The node: what the engine's machine has, and what pods may ask for. A heartbeat costs one `/_ping`; what the machine has
//! is asked for once a minute.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::node::{Condition as NodeCondition, Description, NodeImage, Quantity};
use vk_provider_sdk::{Result, time};

use crate::endpoint::{Dialect, Engine};
use crate::{images, refusal, remembered};

/// How many pods there are room for, if the operator does not say: the kubelet's default.
const PODS: u64 = 110;
/// Images that are told: as many as the kubelet tells.
const IMAGES: usize = 50;
/// How long the machine's description is believed.
const REMEMBERED: u64 = 60 * time::SECOND;
/// The share of the disk that is left when the kubelet speaks of pressure: a tenth.
const PRESSURE: u64 = 10;

/// What is told of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct Machine {
    /// libpod's alone: Docker gives it to containers that have the machine's network.
    hostname: String,
    cpus: u64,
    memory: u64,
    architecture: String,
    kernel: String,
    system: String,
    version: String,
    /// Bytes; 0: not told.
    disk: u64,
    used: u64,
    /// AppArmor profiles can be in force.
    app_armor: bool,
    images: Vec<(Vec<String>, u64)>,
}

/// libpod's `info`.
#[derive(Default, Deserialize)]
#[serde(default)]
struct LibpodInfo {
    host: LibpodHost,
    store: LibpodStore,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LibpodHost {
    hostname: String,
    arch: String,
    cpus: u64,
    mem_total: u64,
    kernel: String,
    distribution: Distribution,
    security: LibpodSecurity,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LibpodSecurity {
    apparmor_enabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Distribution {
    distribution: String,
    version: String,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct LibpodStore {
    graph_root_allocated: u64,
    graph_root_used: u64,
}

/// Docker's `info`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct DockerInfo {
    #[serde(rename = "NCPU")]
    cpus: u64,
    mem_total: u64,
    architecture: String,
    kernel_version: String,
    operating_system: String,
    server_version: String,
    security_options: Option<Vec<String>>,
}

impl LibpodInfo {
    fn machine(self, version: &str) -> Machine {
        let system = self.host.distribution;
        Machine {
            hostname: self.host.hostname,
            cpus: self.host.cpus,
            memory: self.host.mem_total,
            architecture: self.host.arch,
            kernel: self.host.kernel,
            system: format!("{} {}", system.distribution, system.version).trim().to_owned(),
            version: version.to_owned(),
            disk: self.store.graph_root_allocated,
            used: self.store.graph_root_used,
            app_armor: self.host.security.apparmor_enabled,
            images: Vec::new(),
        }
    }
}

impl DockerInfo {
    fn machine(self) -> Machine {
        // Docker has the kernel's word for it, Kubernetes Go's.
        let architecture = match self.architecture.as_str() {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            other => other,
        };
        Machine {
            cpus: self.cpus,
            memory: self.mem_total,
            architecture: architecture.to_owned(),
            kernel: self.kernel_version,
            system: self.operating_system,
            version: self.server_version,
            app_armor: self.security_options.unwrap_or_default().iter().any(|own| own == "name=apparmor"),
            ..Machine::default()
        }
    }
}

/// Describes the node of an engine that has just answered.
pub async fn describe(engine: &Engine) -> Result<Description> {
    let machine = machine(engine).await?;
    Ok(description(engine, &machine))
}

/// The name of a Podman's machine.
pub async fn hostname(engine: &Engine) -> Result<String> {
    Ok(machine(engine).await?.hostname)
}

/// Whether the engine's machine can hold containers to AppArmor profiles. Without, Docker leaves them out silently.
pub async fn has_app_armor(engine: &Engine) -> Result<bool> {
    Ok(machine(engine).await?.app_armor)
}

async fn machine(engine: &Engine) -> Result<Machine> {
    let key = format!("machine/{}", engine.settings.endpoint);
    if let Some(known) = remembered::get(&key) {
        return Ok(known);
    }
    let answer = refusal::check(engine.fetch(engine.api("GET", "/info")).await?)?;
    let mut machine = match &engine.dialect {
        Dialect::Libpod { version, .. } => answer.json::<LibpodInfo>()?.machine(version),
        Dialect::Docker { .. } | Dialect::Cloud { .. } => answer.json::<DockerInfo>()?.machine(),
    };
    let mut images = images::list(engine).await?;
    images.sort_by_key(|image| std::cmp::Reverse(image.size));
    images.truncate(IMAGES);
    machine.images = images.into_iter().map(|image| (image.names, image.size)).collect();
    remembered::put(&key, &machine, REMEMBERED);
    Ok(machine)
}

fn description(engine: &Engine, machine: &Machine) -> Description {
    let settings = &engine.settings;
    let quantity = |name: &str, amount| Quantity { name: name.to_owned(), capacity: amount, allocatable: amount };
    let mut resources = vec![
        quantity("cpu", settings.cpu.unwrap_or(machine.cpus * 1000)),
        quantity("memory", settings.memory.unwrap_or(machine.memory)),
        quantity("pods", settings.pods.unwrap_or(PODS)),
    ];
    let mut conditions = Vec::new();
    if machine.disk > 0 {
        resources.push(quantity("ephemeral-storage", machine.disk));
        conditions.push(disk_pressure(machine.disk, machine.used));
    }
    let scheme = if engine.is_libpod() { "podman" } else { "docker" };
    let features = [
        "ephemeral-containers",
        "host-ipc",
        "host-network",
        "host-pid",
        "host-ports",
        "multiple-containers",
        "privileged",
        "resize",
        "sub-path",
    ];
    let images = machine.images.iter().map(|(names, size)| NodeImage { names: names.clone(), size: *size });
    Description {
        ready: true,
        resources,
        conditions,
        operating_system: "linux".to_owned(),
        architecture: machine.architecture.clone(),
        os_image: machine.system.clone(),
        kernel_version: machine.kernel.clone(),
        runtime_version: format!("{scheme}://{}", machine.version),
        images: images.filter(|image| !image.names.is_empty()).collect(),
        features: features.map(str::to_owned).to_vec(),
        watches: "node".to_owned(),
        ..Description::default()
    }
}

fn disk_pressure(all: u64, used: u64) -> NodeCondition {
    let is_under_pressure = all.saturating_sub(used) < all / PRESSURE;
    let (status, reason, message) = if is_under_pressure {
        ("True", "EngineHasDiskPressure", "less than a tenth of the engine's disk is free")
    } else {
        ("False", "EngineHasNoDiskPressure", "the engine has disk space")
    };
    NodeCondition {
        kind: "DiskPressure".to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn podmans_machine_is_read() {
        let info: LibpodInfo =
            serde_json::from_value(json!({"host": {"hostname": "vm", "arch": "amd64", "cpus": 2, "memTotal": 25_276_502_016_u64,
            "kernel": "6.18.44", "security": {"apparmorEnabled": true, "seccompEnabled": true}, "distribution": {"distribution": "debian", "version": "12"}},
            "store": {"graphRootAllocated": 1000, "graphRootUsed": 100}, "version": {"Version": "4.3.1"}}))
            .unwrap();
        let machine = info.machine("4.3.1");
        assert_eq!((machine.cpus, machine.memory, machine.system.as_str()), (2, 25_276_502_016, "debian 12"));
        assert_eq!(machine.hostname, "vm");
        assert_eq!((machine.disk, machine.used, machine.app_armor), (1000, 100, true));
    }

    #[test]
    fn dockers_machine_is_read_with_kubernetes_word_for_its_architecture() {
        let info: DockerInfo = serde_json::from_value(json!({"NCPU": 4, "MemTotal": 8, "Architecture": "aarch64",
            "KernelVersion": "6.1", "OperatingSystem": "Debian GNU/Linux 12", "ServerVersion": "20.10.24",
            "SecurityOptions": ["name=apparmor", "name=seccomp,profile=default"]}))
        .unwrap();
        let machine = info.machine();
        assert!(machine.app_armor);
        assert_eq!((machine.cpus, machine.architecture.as_str(), machine.version.as_str()), (4, "arm64", "20.10.24"));
    }

    #[test]
    fn a_full_disk_is_pressure() {
        assert_eq!(disk_pressure(1000, 900).status, "False");
        assert_eq!(disk_pressure(1000, 901).status, "True");
        assert_eq!(disk_pressure(1000, 2000).status, "True");
    }
}
