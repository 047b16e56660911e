//! What Docker's API is asked, as JSON. It has no pods: the sandbox is a container of the pause image, and the others join
//! its namespaces.

use std::collections::BTreeMap;

use serde::Serialize;
use vk_provider_sdk::types::SandboxConfig;
use vk_provider_sdk::{Error, Result};

use crate::hosts::has_hosts_file;
use crate::limits::PERIOD;
use crate::mounts::{Planned, Source};
use crate::names::LabelMap;
use crate::request::Wanted;
use crate::volumes::ROOT;

/// A container.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container<'a> {
    image: &'a str,
    labels: Option<&'a LabelMap>,
    #[serde(skip_serializing_if = "str::is_empty")]
    hostname: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cmd: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    env: Vec<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    working_dir: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    stop_signal: &'a str,
    open_stdin: bool,
    stdin_once: bool,
    tty: bool,
    /// Liveness is the host's to judge.
    healthcheck: HealthCheck,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    /// Anonymous volumes.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    volumes: BTreeMap<&'a str, Empty>,
    host_config: HostConfig<'a>,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    test: [&'static str; 1],
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { test: ["NONE"] }
    }
}

#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig<'a> {
    network_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    ipc_mode: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pid_mode: String,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_search: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_options: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    extra_hosts: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    port_bindings: BTreeMap<String, Vec<PortBinding<'a>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctls: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    group_add: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cap_add: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cap_drop: &'a [String],
    privileged: bool,
    readonly_rootfs: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    security_opt: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    masked_paths: Option<[&'static str; 0]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    readonly_paths: Option<[&'static str; 0]>,
    #[serde(flatten)]
    resources: Resources,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount<'a>>,
}

/// Limits of a control group; also what an update sends.
#[derive(Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Resources {
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_shares: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cpu_period: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory: Option<i64>,
    /// Memory and swap; the engine would allow as much swap as memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_swap: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    memory_reservation: Option<i64>,
}

impl From<crate::limits::Limits> for Resources {
    fn from(limits: crate::limits::Limits) -> Self {
        Self {
            cpu_shares: limits.shares,
            cpu_quota: limits.quota,
            cpu_period: limits.quota.map(|_| PERIOD),
            memory: limits.memory,
            memory_swap: limits.memory,
            memory_reservation: limits.reservation,
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding<'a> {
    host_ip: &'a str,
    host_port: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Mount<'a> {
    r#type: &'static str,
    source: &'a str,
    target: &'a str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    bind_options: Option<BindOptions>,
    #[serde(skip_serializing_if = "Option::is_none")]
    volume_options: Option<VolumeOptions>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct BindOptions {
    propagation: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct VolumeOptions {
    no_copy: bool,
}

impl<'a> Container<'a> {
    /// A sandbox.
    pub fn sandbox(sandbox: &'a SandboxConfig, image: &'a str, labels: &'a LabelMap) -> Self {
        let aliases = sandbox.hosts.iter().filter(|_| !has_hosts_file(sandbox));
        let published = || sandbox.ports.iter().filter(|port| port.host_port != 0 && !sandbox.host_network);
        let port_name = |port: &vk_provider_sdk::types::Port| {
            format!("{}/{}", port.container_port, port.protocol.to_ascii_lowercase())
        };
        let mut port_bindings: BTreeMap<String, Vec<PortBinding<'a>>> = BTreeMap::new();
        for port in published() {
            let binding = PortBinding { host_ip: &port.host_ip, host_port: port.host_port.to_string() };
            port_bindings.entry(port_name(port)).or_default().push(binding);
        }
        Self {
            image,
            labels: Some(labels),
            // With the host's network the hostname is the host's.
            hostname: if sandbox.host_network { "" } else { &sandbox.hostname },
            exposed_ports: published().map(|port| (port_name(port), Empty {})).collect(),
            host_config: HostConfig {
                network_mode: if sandbox.host_network { "host" } else { "bridge" }.to_owned(),
                ipc_mode: if sandbox.host_ipc { "host" } else { "shareable" }.to_owned(),
                pid_mode: if sandbox.host_pid { "host".to_owned() } else { String::new() },
                dns: &sandbox.dns.servers,
                dns_search: &sandbox.dns.searches,
                dns_options: &sandbox.dns.options,
                extra_hosts: aliases
                    .flat_map(|own| own.hostnames.iter().map(|name| format!("{name}:{}", own.ip)))
                    .collect(),
                port_bindings,
                sysctls: sandbox.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                ..HostConfig::default()
            },
            ..Self::default()
        }
    }

    /// A pod's container.
    pub fn new(wanted: &'a Wanted) -> Result<Self> {
        let mut security_opt = Vec::new();
        if wanted.no_new_privileges {
            security_opt.push("no-new-privileges".to_owned());
        }
        if wanted.seccomp_unconfined {
            security_opt.push("seccomp=unconfined".to_owned());
        }
        if !wanted.app_armor.is_empty() {
            security_opt.push(format!("apparmor={}", wanted.app_armor));
        }
        security_opt.extend(wanted.selinux.iter().map(|own| format!("label={own}")));
        let sandbox = format!("container:{}", wanted.sandbox);
        let pid_mode = if !wanted.target.is_empty() {
            format!("container:{}", wanted.target)
        } else if wanted.host_pid {
            "host".to_owned()
        } else if wanted.share_processes {
            sandbox.clone()
        } else {
            String::new()
        };
        Ok(Self {
            image: &wanted.image,
            entrypoint: &wanted.command,
            cmd: &wanted.arguments,
            env: wanted.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            working_dir: &wanted.working_folder,
            user: &wanted.user,
            stop_signal: &wanted.stop_signal,
            open_stdin: wanted.stdin,
            stdin_once: wanted.stdin_once,
            tty: wanted.tty,
            host_config: HostConfig {
                ipc_mode: if wanted.host_ipc { "host".to_owned() } else { sandbox.clone() },
                network_mode: sandbox,
                pid_mode,
                group_add: &wanted.groups,
                cap_add: &wanted.add_capabilities,
                cap_drop: &wanted.drop_capabilities,
                privileged: wanted.privileged,
                readonly_rootfs: wanted.read_only_root,
                security_opt,
                masked_paths: wanted.unmasked_proc.then_some([]),
                readonly_paths: wanted.unmasked_proc.then_some([]),
                resources: wanted.limits.into(),
                mounts: wanted.mounts.iter().map(mount).collect::<Result<_>>()?,
                ..HostConfig::default()
            },
            labels: Some(&wanted.labels),
            ..Self::default()
        })
    }

    /// The holder of a pod's files: with one anonymous volume, which goes when it goes.
    pub fn files(image: &'a str, labels: &'a LabelMap) -> Self {
        Self {
            image,
            labels: Some(labels),
            volumes: [(ROOT, Empty {})].into(),
            host_config: HostConfig { network_mode: "none".to_owned(), ..HostConfig::default() },
            ..Self::default()
        }
    }

    /// The holder of a pod's folders in memory: pairs of a volume and where it has it.
    pub fn memory(image: &'a str, labels: &'a LabelMap, volumes: &'a [(String, String)]) -> Self {
        let mount = |(source, target): &'a (String, String)| named(source, target, false);
        Self {
            image,
            labels: Some(labels),
            host_config: HostConfig {
                network_mode: "none".to_owned(),
                mounts: volumes.iter().map(mount).collect(),
                ..HostConfig::default()
            },
            ..Self::default()
        }
    }
}

fn mount(own: &Planned) -> Result<Mount<'_>> {
    match &own.source {
        Source::Bind(source) => Ok(Mount {
            r#type: "bind",
            source,
            target: &own.destination,
            read_only: own.read_only,
            // From the engine's own folder nothing more private is allowed; nothing is mounted there anyway.
            bind_options: Some(BindOptions {
                propagation: if own.propagation.is_empty() { "rslave" } else { own.propagation },
            }),
            volume_options: None,
        }),
        Source::Volume(name) if own.propagation.is_empty() => Ok(named(name, &own.destination, own.read_only)),
        Source::Volume(_) => {
            Err(Error::invalid(format!("{}: a volume in memory has no mountPropagation", own.destination)))
        }
    }
}

const fn named<'a>(source: &'a str, target: &'a str, read_only: bool) -> Mount<'a> {
    let volume_options = Some(VolumeOptions { no_copy: true });
    Mount { r#type: "volume", source, target, read_only, bind_options: None, volume_options }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use serde_json::json;
    use vk_provider_sdk::types::Port;

    #[test]
    fn a_sandbox_publishes_only_host_ports() {
        let port = |host_port| Port {
            name: String::new(),
            protocol: "TCP".into(),
            container_port: 80,
            host_port,
            host_ip: "127.0.0.1".into(),
        };
        let own =
            SandboxConfig { hostname: "web-0".into(), ports: vec![port(0), port(8080)], ..SandboxConfig::default() };
        let labels = LabelMap::new();
        let asked = serde_json::to_value(Container::sandbox(&own, "pause", &labels)).unwrap();
        assert_eq!(asked["Hostname"], "web-0");
        assert_eq!(asked["ExposedPorts"], json!({"80/tcp": {}}));
        let host = &asked["HostConfig"];
        assert_eq!(host["PortBindings"], json!({"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8080"}]}));
        assert_eq!((&host["NetworkMode"], &host["IpcMode"]), (&json!("bridge"), &json!("shareable")));
    }

    #[test]
    fn a_container_joins_its_sandbox() {
        let wanted = Wanted {
            sandbox: "abc".into(),
            image: "sha256:1".into(),
            command: vec!["sh".into()],
            env: vec![("A".into(), "b".into())],
            no_new_privileges: true,
            app_armor: "unconfined".into(),
            share_processes: true,
            unmasked_proc: true,
            stop_signal: "SIGINT".into(),
            limits: Limits { shares: Some(2), memory: Some(1024), ..Limits::default() },
            mounts: vec![Planned {
                source: Source::Bind("/v/x".into()),
                destination: "/m".into(),
                read_only: true,
                propagation: "",
                make: None,
            }],
            ..Wanted::default()
        };
        let asked = serde_json::to_value(Container::new(&wanted).unwrap()).unwrap();
        assert_eq!((&asked["Entrypoint"], &asked["Env"]), (&json!(["sh"]), &json!(["A=b"])));
        assert!(asked.get("Cmd").is_none() && asked.get("Hostname").is_none());
        assert_eq!(asked["StopSignal"], "SIGINT");
        let host = &asked["HostConfig"];
        for mode in ["NetworkMode", "IpcMode", "PidMode"] {
            assert_eq!(host[mode], "container:abc");
        }
        assert_eq!(host["SecurityOpt"], json!(["no-new-privileges", "apparmor=unconfined"]));
        assert_eq!((&host["Memory"], &host["MemorySwap"], &host["CpuShares"]), (&json!(1024), &json!(1024), &json!(2)));
        assert_eq!(host["MaskedPaths"], json!([]));
        assert_eq!(
            host["Mounts"],
            json!([{"Type": "bind", "Source": "/v/x", "Target": "/m", "ReadOnly": true, "BindOptions": {"Propagation": "rslave"}}])
        );
    }
}
