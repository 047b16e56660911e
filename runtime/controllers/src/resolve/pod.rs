//! Puts the pieces together: sandbox, containers, whole pods.

use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvFromSource, EnvVar as ApiVar, EphemeralContainer, Lifecycle, ResourceRequirements,
    SecurityContext, VolumeDevice, VolumeMount,
};
use provider::{ContainerConfig, HostAlias, Mount, PodConfig, Port, Role, SandboxConfig, Text};

use super::environment::{Environment, For, Source};
use super::expansion::{expand, plain};
use super::{
    NodeFacts, Resolution, ResolvedContainer, ResolvedPod, ResolvedSandbox, Resolver, Started, Unresolved, amounts,
    dns, security,
};
use crate::events::PodEvent;
use crate::record::{Parsed, Record};

const DEFAULT_MESSAGE_PATH: &str = "/dev/termination-log";

/// What a container and an ephemeral container have in common.
struct Definition<'a> {
    name: &'a str,
    role: Role,
    field: &'static str,
    image: &'a str,
    pull_policy: Option<&'a str>,
    command: &'a [String],
    args: &'a [String],
    working_dir: Option<&'a str>,
    env: &'a [ApiVar],
    env_from: &'a [EnvFromSource],
    mounts: &'a [VolumeMount],
    devices: &'a [VolumeDevice],
    ports: &'a [ContainerPort],
    resources: Option<&'a ResourceRequirements>,
    security: Option<&'a SecurityContext>,
    lifecycle: Option<&'a Lifecycle>,
    restart_policy: Option<&'a str>,
    stdin: bool,
    stdin_once: bool,
    tty: bool,
    message_path: &'a str,
}

macro_rules! definition {
    ($own:ident, $role:expr, $field:literal) => {
        Definition {
            name: &$own.name,
            role: $role,
            field: $field,
            image: $own.image.as_deref().unwrap_or_default(),
            pull_policy: $own.image_pull_policy.as_deref(),
            command: $own.command.as_deref().unwrap_or_default(),
            args: $own.args.as_deref().unwrap_or_default(),
            working_dir: $own.working_dir.as_deref(),
            env: $own.env.as_deref().unwrap_or_default(),
            env_from: $own.env_from.as_deref().unwrap_or_default(),
            mounts: $own.volume_mounts.as_deref().unwrap_or_default(),
            devices: $own.volume_devices.as_deref().unwrap_or_default(),
            ports: $own.ports.as_deref().unwrap_or_default(),
            resources: $own.resources.as_ref(),
            security: $own.security_context.as_ref(),
            lifecycle: $own.lifecycle.as_ref(),
            restart_policy: $own.restart_policy.as_deref(),
            stdin: $own.stdin.unwrap_or(false),
            stdin_once: $own.stdin_once.unwrap_or(false),
            tty: $own.tty.unwrap_or(false),
            message_path: $own.termination_message_path.as_deref().unwrap_or(DEFAULT_MESSAGE_PATH),
        }
    };
}

fn init(own: &Container) -> Definition<'_> {
    let role = if own.restart_policy.as_deref() == Some("Always") { Role::Sidecar } else { Role::Init };
    definition!(own, role, "initContainers")
}

fn app(own: &Container) -> Definition<'_> {
    definition!(own, Role::App, "containers")
}

fn ephemeral(own: &EphemeralContainer) -> Definition<'_> {
    definition!(own, Role::Ephemeral, "ephemeralContainers")
}

fn definitions(pod: &Parsed) -> impl Iterator<Item = Definition<'_>> {
    let spec = &pod.spec;
    spec.init_containers
        .iter()
        .flatten()
        .map(init)
        .chain(spec.containers.iter().map(app))
        .chain(spec.ephemeral_containers.iter().flatten().map(ephemeral))
}

fn port(own: &ContainerPort) -> Port {
    let number = |value: i32| u16::try_from(value).unwrap_or(0);
    Port {
        name: own.name.clone().unwrap_or_default(),
        protocol: own.protocol.clone().unwrap_or_else(|| "TCP".to_owned()),
        container_port: number(own.container_port),
        host_port: own.host_port.map_or(0, number),
        host_ip: own.host_ip.clone().unwrap_or_default(),
    }
}

fn pairs(map: Option<&std::collections::BTreeMap<String, String>>) -> Vec<(String, String)> {
    map.into_iter().flatten().map(|(key, value)| (key.clone(), value.clone())).collect()
}

impl Resolver {
    /// What all containers of a pod share.
    pub async fn sandbox(&self, record: &Record, pod: &Parsed, node: &NodeFacts, attempt: u32) -> ResolvedSandbox {
        Resolution { result: self.try_sandbox(record, pod, node, attempt).await, events: Vec::new() }
    }

    async fn try_sandbox(
        &self,
        record: &Record,
        pod: &Parsed,
        node: &NodeFacts,
        attempt: u32,
    ) -> Result<SandboxConfig, Unresolved> {
        check(pod, node)?;
        let (spec, key) = (&pod.spec, &record.key);
        let volumes = self.volumes(key, pod, node).await?;
        let name: String = key.name.chars().take(63).collect();
        let hostname = spec.hostname_override.clone().or_else(|| spec.hostname.clone()).unwrap_or(name);
        let hostname = hostname.trim_end_matches(['-', '.']).to_owned();
        let domain = match spec.subdomain.as_deref().filter(|subdomain| !subdomain.is_empty()) {
            Some(subdomain) => format!("{subdomain}.{}.svc.{}", key.namespace, self.dns.domain),
            None => String::new(),
        };
        let full = spec.set_hostname_as_fqdn == Some(true) && !domain.is_empty();
        let security = spec.security_context.as_ref();
        Ok(SandboxConfig {
            key: key.clone(),
            attempt,
            labels: pairs(pod.metadata.labels.as_ref()),
            annotations: pairs(pod.metadata.annotations.as_ref()),
            hostname: if full { format!("{hostname}.{domain}") } else { hostname },
            domain,
            dns: dns::resolver(&self.dns, &key.namespace, spec),
            hosts: spec
                .host_aliases
                .iter()
                .flatten()
                .map(|own| HostAlias { ip: own.ip.clone(), hostnames: own.hostnames.clone().unwrap_or_default() })
                .collect(),
            host_network: spec.host_network == Some(true),
            host_pid: spec.host_pid == Some(true),
            host_ipc: spec.host_ipc == Some(true),
            share_processes: spec.share_process_namespace == Some(true),
            sysctls: security
                .and_then(|own| own.sysctls.as_ref())
                .into_iter()
                .flatten()
                .map(|own| (own.name.clone(), own.value.clone()))
                .collect(),
            fs_group: security.and_then(|own| own.fs_group).and_then(|group| u64::try_from(group).ok()),
            runtime_class: spec.runtime_class_name.clone().unwrap_or_default(),
            operating_system: spec.os.as_ref().map_or_else(|| node.operating_system.to_string(), |os| os.name.clone()),
            ports: definitions(pod).flat_map(|own| own.ports).map(port).filter(|port| port.host_port > 0).collect(),
            volumes,
            resources: amounts::of_pod(spec),
            manifest: record.manifest(),
        })
    }

    /// One container.
    pub async fn container(
        &self,
        record: &Record,
        pod: &Parsed,
        node: &NodeFacts,
        name: &str,
        attempt: u32,
        started: &Started,
    ) -> ResolvedContainer {
        let mut events = Vec::new();
        let result = match definitions(pod).find(|own| own.name == name) {
            Some(own) => self.define(record, pod, node, &own, attempt, started, &mut events).await,
            None => Err(Unresolved::config(format!("container {name:?} is not in the pod"))),
        };
        Resolution { result, events }
    }

    /// A whole pod.
    pub async fn pod(&self, record: &Record, pod: &Parsed, node: &NodeFacts, attempt: u32) -> ResolvedPod {
        let credentials = self.credentials(&record.key, pod).await;
        let mut events = credentials.events;
        let result = async {
            let sandbox = self.try_sandbox(record, pod, node, attempt).await?;
            let mut containers = Vec::new();
            for own in definitions(pod) {
                let restarts = restarts_known(pod, own.name);
                let config = self.define(record, pod, node, &own, restarts, &Started::default(), &mut events).await?;
                containers.push(config);
            }
            let grace = pod.spec.termination_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
            let deadline = pod.spec.active_deadline_seconds.and_then(|deadline| u64::try_from(deadline).ok());
            Ok(PodConfig {
                sandbox,
                containers,
                grace_period: Duration::from_secs(grace.unwrap_or(30)),
                active_deadline: deadline.map(Duration::from_secs),
                credentials: credentials.result?,
            })
        };
        let result = result.await;
        Resolution { result, events }
    }

    #[expect(clippy::too_many_arguments, reason = "all of it is one container in its pod on its node")]
    async fn define(
        &self,
        record: &Record,
        pod: &Parsed,
        node: &NodeFacts,
        own: &Definition<'_>,
        attempt: u32,
        started: &Started,
        events: &mut Vec<PodEvent>,
    ) -> Result<ContainerConfig, Unresolved> {
        let what = For { key: &record.key, pod, node, started };
        let source = Source { field: own.field, container: own.name, env: own.env, env_from: own.env_from };
        let environment = self.environment(&what, &source, events).await?;
        let image = pod_worker::with_default_tag(own.image).map_err(|invalid| Unresolved {
            reason: "InvalidImageName",
            message: invalid.to_string(),
            is_final: false,
        })?;
        let texts = |list: &[String]| -> Vec<Text> {
            list.iter().map(|text| expand(text, |name| environment.get(name))).collect()
        };
        let (command, arguments) = (texts(own.command), texts(own.args));
        let mut mounts = Vec::with_capacity(own.mounts.len());
        for one in own.mounts {
            mounts.push(mount(one, own, &environment)?);
        }
        let tagged_latest = image.ends_with(":latest") && !image.contains('@');
        let default_policy = if tagged_latest { "Always" } else { "IfNotPresent" };
        Ok(ContainerConfig {
            name: own.name.to_owned(),
            role: own.role,
            attempt,
            image,
            image_id: String::new(),
            pull_policy: own.pull_policy.unwrap_or(default_policy).to_owned(),
            command,
            arguments,
            working_folder: own.working_dir.unwrap_or_default().to_owned(),
            env: environment.into_variables(),
            mounts,
            devices: own.devices.iter().map(|one| (one.name.clone(), one.device_path.clone())).collect(),
            ports: own.ports.iter().map(port).collect(),
            resources: amounts::resources(own.resources),
            security: security::effective(pod.spec.security_context.as_ref(), own.security),
            stdin: own.stdin,
            stdin_once: own.stdin_once,
            tty: own.tty,
            stop_signal: own.lifecycle.and_then(|lifecycle| lifecycle.stop_signal.clone()).unwrap_or_default(),
            termination_message_path: own.message_path.to_owned(),
            restart_policy: own.restart_policy.or(pod.spec.restart_policy.as_deref()).unwrap_or("Always").to_owned(),
        })
    }
}

/// How often a container was started before, as the pod's status tells.
fn restarts_known(pod: &Parsed, name: &str) -> u32 {
    let status = &pod.status;
    [&status.container_statuses, &status.init_container_statuses]
        .into_iter()
        .flatten()
        .flatten()
        .find(|status| status.name == name)
        .and_then(|status| u32::try_from(status.restart_count).ok())
        .unwrap_or(0)
}

fn mount(own: &VolumeMount, container: &Definition<'_>, environment: &Environment) -> Result<Mount, Unresolved> {
    let fail = |what: String| {
        let message = format!("{}{{{}}}.volumeMounts {:?}: {what}", container.field, container.name, own.mount_path);
        Unresolved::config(message)
    };
    let sub_path = match (&own.sub_path, &own.sub_path_expr) {
        (Some(path), _) if !path.is_empty() => Text::literal(path.clone()),
        (_, Some(expression)) if !expression.is_empty() => {
            let text = expand(expression, |name| environment.get(name));
            let missing = plain(&text).and_then(|text| {
                let (_, rest) = text.split_once("$(")?;
                rest.split_once(')').map(|(name, _)| name.to_owned())
            });
            if let Some(name) = missing {
                return Err(fail(format!("missing value for {name:?}")));
            }
            text
        }
        _ => Text::default(),
    };
    if let Some(path) = plain(&sub_path)
        && (path.starts_with('/') || path.split('/').any(|part| part == ".."))
    {
        return Err(fail(format!("subPath {path:?} must be a relative path without '..'")));
    }
    Ok(Mount {
        volume: own.name.clone(),
        path: own.mount_path.clone(),
        sub_path,
        read_only: own.read_only == Some(true),
        propagation: own.mount_propagation.clone().unwrap_or_default(),
    })
}

/// What the provider does not do is said at once, by the field that asks for it.
fn check(pod: &Parsed, node: &NodeFacts) -> Result<(), Unresolved> {
    let spec = &pod.spec;
    let asks = |field: &str, feature: &str, asked: bool, what: &str| {
        if asked && !node.has(feature) { Err(Unresolved::unsupported(field, what)) } else { Ok(()) }
    };
    asks("spec.hostNetwork", "host-network", spec.host_network == Some(true), "the host's network")?;
    asks("spec.hostPID", "host-pid", spec.host_pid == Some(true), "the host's processes")?;
    asks("spec.hostIPC", "host-ipc", spec.host_ipc == Some(true), "the host's IPC")?;
    asks("spec.containers", "multiple-containers", spec.containers.len() > 1, "more than one container")?;
    for own in definitions(pod) {
        let field = |field: &str| format!("spec.{}{{{}}}.{field}", own.field, own.name);
        let privileged = own.security.is_some_and(|security| security.privileged == Some(true));
        asks(&field("securityContext.privileged"), "privileged", privileged, "a privileged container")?;
        let on_host =
            spec.host_network != Some(true) && own.ports.iter().any(|port| port.host_port.is_some_and(|p| p > 0));
        asks(&field("ports.hostPort"), "host-ports", on_host, "a port on the host")?;
        asks(&field("volumeDevices"), "devices", !own.devices.is_empty(), "a block device")?;
        let sub_path = own.mounts.iter().any(|mount| {
            let set = |path: &Option<String>| path.as_ref().is_some_and(|path| !path.is_empty());
            set(&mount.sub_path) || set(&mount.sub_path_expr)
        });
        asks(&field("volumeMounts.subPath"), "sub-path", sub_path, "a part of a volume")?;
    }
    Ok(())
}
