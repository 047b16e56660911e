//! What libpod's API is asked, as JSON. It ignores fields that it does not know and types nothing loosely; what it then made
//! is read back ([`crate::readback`]).

use std::collections::BTreeMap;

use serde::Serialize;
use vk_provider_sdk::types::SandboxConfig;
use vk_provider_sdk::{Error, Result};

use crate::hosts::has_hosts_file;
use crate::limits::{Limits, PERIOD};
use crate::mounts::{Planned, Source};
use crate::names::LabelMap;
use crate::request::Wanted;
use crate::volumes::ROOT;

/// A pod.
#[derive(Serialize)]
pub struct Pod<'a> {
    name: String,
    infra_name: String,
    labels: LabelMap,
    #[serde(skip_serializing_if = "str::is_empty")]
    hostname: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    hostadd: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_server: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_search: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    dns_option: &'a [String],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    portmappings: Vec<PortMapping<'a>>,
    shared_namespaces: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    sysctl: BTreeMap<&'a str, &'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_limits: Option<ResourceLimits>,
    #[serde(skip_serializing_if = "str::is_empty")]
    infra_image: &'a str,
}

#[derive(Serialize)]
struct PortMapping<'a> {
    container_port: u16,
    host_port: u16,
    host_ip: &'a str,
    protocol: String,
}

#[derive(Serialize)]
struct Namespace<'a> {
    nsmode: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    value: &'a str,
}

impl Namespace<'_> {
    const fn host() -> Self {
        Self { nsmode: "host", value: "" }
    }
}

/// Limits of a control group.
#[derive(Serialize)]
pub struct ResourceLimits {
    cpu: Cpu,
    memory: Memory,
}

#[derive(Serialize)]
struct Cpu {
    #[serde(skip_serializing_if = "Option::is_none")]
    shares: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    quota: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    period: Option<i64>,
}

#[derive(Serialize)]
struct Memory {
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reservation: Option<i64>,
    /// Memory and swap; the engine would allow as much swap as memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    swap: Option<i64>,
}

impl From<Limits> for ResourceLimits {
    fn from(limits: Limits) -> Self {
        Self {
            cpu: Cpu { shares: limits.shares, quota: limits.quota, period: limits.quota.map(|_| PERIOD) },
            memory: Memory { limit: limits.memory, reservation: limits.reservation, swap: limits.memory },
        }
    }
}

impl<'a> Pod<'a> {
    /// A sandbox. `limits`: those of the pod as a whole, if it has some.
    pub fn new(
        sandbox: &'a SandboxConfig,
        hostname: &'a str,
        (name, infra_name): (String, String),
        labels: LabelMap,
        limits: Option<Limits>,
        infra_image: &'a str,
    ) -> Self {
        let aliases = sandbox.hosts.iter().filter(|_| !has_hosts_file(sandbox));
        let mut shared_namespaces = vec!["net", "uts"];
        if !sandbox.host_ipc {
            shared_namespaces.push("ipc");
        }
        if sandbox.share_processes || sandbox.host_pid {
            shared_namespaces.push("pid");
        }
        Self {
            name,
            infra_name,
            labels,
            hostname,
            hostadd: aliases.flat_map(|own| own.hostnames.iter().map(|name| format!("{name}:{}", own.ip))).collect(),
            dns_server: &sandbox.dns.servers,
            dns_search: &sandbox.dns.searches,
            dns_option: &sandbox.dns.options,
            portmappings: ports(sandbox),
            shared_namespaces,
            netns: sandbox.host_network.then(Namespace::host),
            pidns: sandbox.host_pid.then(Namespace::host),
            sysctl: sandbox.sysctls.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            resource_limits: limits.map(ResourceLimits::from),
            infra_image,
        }
    }
}

/// The ports to publish; with the host's network all are.
fn ports(sandbox: &SandboxConfig) -> Vec<PortMapping<'_>> {
    let published = sandbox.ports.iter().filter(|port| port.host_port != 0 && !sandbox.host_network);
    published
        .map(|port| PortMapping {
            container_port: port.container_port,
            host_port: port.host_port,
            host_ip: &port.host_ip,
            protocol: port.protocol.to_ascii_lowercase(),
        })
        .collect()
}

/// A container.
#[derive(Default, Serialize)]
pub struct Container<'a> {
    name: &'a str,
    image: &'a str,
    labels: Option<&'a LabelMap>,
    restart_policy: &'static str,
    /// Images' own `VOLUME`s would be anonymous volumes that no pod asked for.
    image_volume_mode: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pod: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    entrypoint: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    command: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    env: BTreeMap<&'a str, &'a str>,
    /// What the engine would add of its own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    unsetenv: Vec<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    work_dir: &'a str,
    create_working_dir: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cap_add: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    cap_drop: &'a [String],
    privileged: bool,
    no_new_privileges: bool,
    read_only_filesystem: bool,
    #[serde(skip_serializing_if = "str::is_empty")]
    seccomp_profile_path: &'static str,
    #[serde(skip_serializing_if = "str::is_empty")]
    apparmor_profile: &'a str,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    selinux_opts: &'a [String],
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    unmask: &'a [&'static str],
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_limits: Option<ResourceLimits>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    mounts: Vec<Mount<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    volumes: Vec<NamedVolume<'a>>,
    /// Liveness is the host's to judge.
    #[serde(skip_serializing_if = "Option::is_none")]
    healthconfig: Option<HealthCheck>,
    stdin: bool,
    terminal: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    netns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pidns: Option<Namespace<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ipcns: Option<Namespace<'a>>,
}

#[derive(Serialize)]
struct Mount<'a> {
    r#type: &'static str,
    source: &'a str,
    destination: &'a str,
    options: [&'static str; 3],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct NamedVolume<'a> {
    name: &'a str,
    dest: &'a str,
    options: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HealthCheck {
    test: [&'static str; 1],
}

impl<'a> Container<'a> {
    /// A pod's container.
    pub fn new(wanted: &'a Wanted) -> Result<Self> {
        let mut mounts = Vec::new();
        let mut volumes = Vec::new();
        for own in &wanted.mounts {
            add_mount(own, &mut mounts, &mut volumes)?;
        }
        let is_set = |name: &str| wanted.env.iter().any(|(own, _)| own == name);
        let unsetenv = [("TERM", !wanted.tty), ("container", true)];
        let unsetenv = unsetenv.into_iter().filter(|(name, unset)| *unset && !is_set(name)).map(|(name, _)| name);
        Ok(Self {
            pod: &wanted.sandbox,
            entrypoint: &wanted.command,
            command: &wanted.arguments,
            env: wanted.env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
            unsetenv: unsetenv.collect(),
            work_dir: &wanted.working_folder,
            create_working_dir: true,
            user: &wanted.user,
            groups: &wanted.groups,
            cap_add: &wanted.add_capabilities,
            cap_drop: &wanted.drop_capabilities,
            privileged: wanted.privileged,
            no_new_privileges: wanted.no_new_privileges,
            read_only_filesystem: wanted.read_only_root,
            seccomp_profile_path: if wanted.seccomp_unconfined { "unconfined" } else { "" },
            apparmor_profile: &wanted.app_armor,
            selinux_opts: &wanted.selinux,
            unmask: if wanted.unmasked_proc { &["ALL"] } else { &[] },
            resource_limits: Some(wanted.limits.into()),
            mounts,
            volumes,
            healthconfig: Some(HealthCheck { test: ["NONE"] }),
            stdin: wanted.stdin,
            terminal: wanted.tty,
            pidns: (!wanted.target.is_empty()).then(|| Namespace { nsmode: "container", value: &wanted.target }),
            ipcns: wanted.host_ipc.then(Namespace::host),
            ..Self::bare(&wanted.name, &wanted.image, &wanted.labels)
        })
    }

    /// The holder of a pod's files: with one anonymous volume, which goes when it goes.
    pub fn files(name: &'a str, image: &'a str, labels: &'a LabelMap) -> Self {
        Self {
            volumes: vec![NamedVolume { name: "", dest: ROOT, options: Vec::new() }],
            netns: Some(Namespace { nsmode: "none", value: "" }),
            ..Self::bare(name, image, labels)
        }
    }

    /// The holder of a pod's folders in memory: pairs of a volume and where it has it.
    pub fn memory(name: &'a str, image: &'a str, labels: &'a LabelMap, volumes: &'a [(String, String)]) -> Self {
        let volumes = volumes.iter().map(|(name, dest)| NamedVolume { name, dest, options: vec!["nocopy"] });
        Self {
            volumes: volumes.collect(),
            netns: Some(Namespace { nsmode: "none", value: "" }),
            ..Self::bare(name, image, labels)
        }
    }

    fn bare(name: &'a str, image: &'a str, labels: &'a LabelMap) -> Self {
        Self { name, image, labels: Some(labels), restart_policy: "no", image_volume_mode: "ignore", ..Self::default() }
    }
}

fn add_mount<'a>(own: &'a Planned, mounts: &mut Vec<Mount<'a>>, volumes: &mut Vec<NamedVolume<'a>>) -> Result<()> {
    let writable = if own.read_only { "ro" } else { "rw" };
    match &own.source {
        Source::Bind(source) => mounts.push(Mount {
            r#type: "bind",
            source,
            destination: &own.destination,
            options: ["rbind", writable, if own.propagation.is_empty() { "rprivate" } else { own.propagation }],
        }),
        Source::Volume(name) if own.propagation.is_empty() => {
            volumes.push(NamedVolume { name, dest: &own.destination, options: vec![writable, "nocopy"] });
        }
        Source::Volume(_) => {
            return Err(Error::invalid(format!("{}: a volume in memory has no mountPropagation", own.destination)));
        }
    }
    Ok(())
}

/// A volume in memory.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct MemoryVolume<'a> {
    name: &'a str,
    /// Docker reads `DriverOpts`, libpod `Options`.
    labels: &'a LabelMap,
    options: BTreeMap<&'static str, String>,
    driver_opts: BTreeMap<&'static str, String>,
}

impl<'a> MemoryVolume<'a> {
    /// A tmpfs with these options.
    pub fn new(name: &'a str, labels: &'a LabelMap, options: String) -> Self {
        let options: BTreeMap<_, _> =
            [("type", "tmpfs".to_owned()), ("device", "tmpfs".to_owned()), ("o", options)].into();
        Self { name, labels, driver_opts: options.clone(), options }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};
    use vk_provider_sdk::types::{Dns, HostAlias, Port};

    fn sandbox() -> SandboxConfig {
        SandboxConfig { hostname: "web-0".into(), ..SandboxConfig::default() }
    }

    fn pod(sandbox: &SandboxConfig, limits: Option<Limits>) -> Value {
        let names = ("vk-web-0".to_owned(), "vk-web-infra-0".to_owned());
        serde_json::to_value(Pod::new(sandbox, &sandbox.hostname, names, LabelMap::new(), limits, "")).unwrap()
    }

    #[test]
    fn a_plain_sandbox_asks_for_little() {
        assert_eq!(
            pod(&sandbox(), None),
            json!({"name": "vk-web-0", "infra_name": "vk-web-infra-0", "hostname": "web-0", "labels": {},
                "shared_namespaces": ["net", "uts", "ipc"]})
        );
    }

    #[test]
    fn a_sandbox_with_everything_asks_for_it() {
        let mut own = sandbox();
        own.dns =
            Dns { servers: vec!["10.96.0.10".into()], searches: vec!["svc".into()], options: vec!["ndots:5".into()] };
        own.hosts = vec![HostAlias { ip: "10.1.2.3".into(), hostnames: vec!["a".into(), "b".into()] }];
        own.sysctls = vec![("net.core.somaxconn".into(), "64".into())];
        own.share_processes = true;
        let port = |host_port| Port {
            name: String::new(),
            protocol: "UDP".into(),
            container_port: 53,
            host_port,
            host_ip: String::new(),
        };
        own.ports = vec![port(0), port(1053)];
        let limits = Limits { quota: Some(50_000), memory: Some(1024), ..Limits::default() };
        let asked = pod(&own, Some(limits));
        assert_eq!(asked["hostadd"], json!(["a:10.1.2.3", "b:10.1.2.3"]));
        assert_eq!(asked["dns_server"], json!(["10.96.0.10"]));
        assert_eq!(
            asked["portmappings"],
            json!([{"container_port": 53, "host_port": 1053, "host_ip": "", "protocol": "udp"}])
        );
        assert_eq!(asked["sysctl"], json!({"net.core.somaxconn": "64"}));
        assert_eq!(asked["shared_namespaces"], json!(["net", "uts", "ipc", "pid"]));
        assert_eq!(
            asked["resource_limits"],
            json!({"cpu": {"quota": 50_000, "period": 100_000}, "memory": {"limit": 1024, "swap": 1024}})
        );
    }

    #[test]
    fn the_hosts_namespaces_are_named() {
        let mut own = sandbox();
        (own.host_network, own.host_pid, own.host_ipc) = (true, true, true);
        let asked = pod(&own, None);
        assert_eq!((&asked["netns"], &asked["pidns"]), (&json!({"nsmode": "host"}), &json!({"nsmode": "host"})));
        assert_eq!(asked["shared_namespaces"], json!(["net", "uts", "pid"]));
        let wanted = Wanted { host_ipc: true, ..Wanted::default() };
        let asked = serde_json::to_value(Container::new(&wanted).unwrap()).unwrap();
        assert_eq!(asked["ipcns"], json!({"nsmode": "host"}));
    }

    #[test]
    fn a_container_asks_in_libpods_words() {
        let mount = |source: Source, read_only| Planned {
            source,
            destination: "/m".into(),
            read_only,
            propagation: "",
            make: None,
        };
        let wanted = Wanted {
            name: "vk-app-0".into(),
            sandbox: "effe".into(),
            image: "8bc5".into(),
            command: vec!["sh".into()],
            arguments: vec!["-c".into()],
            env: vec![("A".into(), String::new()), ("TERM".into(), "dumb".into())],
            user: "1000".into(),
            limits: Limits { shares: Some(2), ..Limits::default() },
            mounts: vec![mount(Source::Bind("/v/_data/x".into()), true), mount(Source::Volume("mem".into()), false)],
            target: "abc".into(),
            ..Wanted::default()
        };
        let asked = serde_json::to_value(Container::new(&wanted).unwrap()).unwrap();
        assert_eq!(asked["entrypoint"], json!(["sh"]));
        assert_eq!(asked["command"], json!(["-c"]));
        assert_eq!(asked["env"], json!({"A": "", "TERM": "dumb"}));
        assert_eq!(asked["unsetenv"], json!(["container"]), "what the pod sets stays");
        assert_eq!(asked["mounts"][0]["options"], json!(["rbind", "ro", "rprivate"]));
        assert_eq!(asked["volumes"], json!([{"Name": "mem", "Dest": "/m", "Options": ["rw", "nocopy"]}]));
        assert_eq!(asked["resource_limits"], json!({"cpu": {"shares": 2}, "memory": {}}));
        assert_eq!(asked["pidns"], json!({"nsmode": "container", "value": "abc"}));
        assert_eq!((&asked["restart_policy"], &asked["image_volume_mode"]), (&json!("no"), &json!("ignore")));
    }

    #[test]
    fn a_volume_in_memory_has_no_propagation() {
        let own = Planned {
            source: Source::Volume("mem".into()),
            destination: "/m".into(),
            read_only: false,
            propagation: "rshared",
            make: None,
        };
        let wanted = Wanted { mounts: vec![own], ..Wanted::default() };
        assert!(Container::new(&wanted).err().unwrap().is("invalid"));
    }
}
