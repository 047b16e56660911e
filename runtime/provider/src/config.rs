//! A pod as the host resolved it: environment computed, references replaced by what they refer to, quantities as
//! integers.

use std::sync::Arc;
use std::time::Duration;

use crate::{EnvVar, Mount, PodKey, Text, Volume};

/// An amount of a resource other than CPU and memory, in its base unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExtendedResource {
    /// `ephemeral-storage`, `hugepages-2Mi`, `nvidia.com/gpu`, …
    pub name: String,
    /// Asked for.
    pub request: Option<u64>,
    /// At most.
    pub limit: Option<u64>,
}

/// Resources of a container, or of a pod as a whole. CPU in thousandths of a core, memory in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// `requests.cpu`.
    pub cpu_request: Option<u64>,
    /// `limits.cpu`.
    pub cpu_limit: Option<u64>,
    /// `requests.memory`.
    pub memory_request: Option<u64>,
    /// `limits.memory`.
    pub memory_limit: Option<u64>,
    /// All others.
    pub extended: Vec<ExtendedResource>,
}

/// What applies to a container after the pod's and its own `securityContext` were put together. None and empty: not
/// said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// `runAsUser`.
    pub user: Option<u64>,
    /// `runAsGroup`.
    pub group: Option<u64>,
    /// `supplementalGroups` and `fsGroup`.
    pub supplemental_groups: Vec<u64>,
    /// `runAsNonRoot`.
    pub non_root: bool,
    /// `privileged`.
    pub privileged: bool,
    /// `allowPrivilegeEscalation`.
    pub privilege_escalation: Option<bool>,
    /// `readOnlyRootFilesystem`.
    pub read_only_root: bool,
    /// `capabilities.add`, without `CAP_`.
    pub add_capabilities: Vec<String>,
    /// `capabilities.drop`, without `CAP_`.
    pub drop_capabilities: Vec<String>,
    /// `RuntimeDefault`, `Unconfined` or `Localhost/NAME`.
    pub seccomp: String,
    /// As `seccomp`.
    pub app_armor: String,
    /// `procMount`.
    pub proc_mount: String,
}

/// A port of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    /// `name`; may be empty.
    pub name: String,
    /// `TCP`, `UDP` or `SCTP`.
    pub protocol: String,
    /// `containerPort`.
    pub container_port: u16,
    /// `hostPort`; 0: not published.
    pub host_port: u16,
    /// `hostIP`; empty: all addresses.
    pub host_ip: String,
}

/// The pod's resolver configuration after `dnsPolicy` was applied; all empty: the backend's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dns {
    /// Addresses.
    pub servers: Vec<String>,
    /// Search domains.
    pub searches: Vec<String>,
    /// As in resolv.conf.
    pub options: Vec<String>,
}

/// A line of `/etc/hosts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostAlias {
    /// Address.
    pub ip: String,
    /// Names.
    pub hostnames: Vec<String>,
}

/// Credentials for a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credential {
    /// Host, optional port and path prefix that they are for; Docker Hub is `docker.io`.
    pub registry: String,
    /// User name.
    pub username: Text,
    /// Password.
    pub password: Text,
    /// OAuth2 refresh token.
    pub identity_token: Text,
    /// Bearer token.
    pub registry_token: Text,
}

/// What all containers of a pod share.
#[derive(Clone, Debug)]
pub struct SandboxConfig {
    /// Which pod.
    pub key: PodKey,
    /// Which backend object for this pod: 0, and one more each time one is replaced; never used again for the same UID.
    pub attempt: u32,
    /// `metadata.labels`.
    pub labels: Vec<(String, String)>,
    /// `metadata.annotations`.
    pub annotations: Vec<(String, String)>,
    /// The hostname inside the pod.
    pub hostname: String,
    /// The domain that `/etc/hosts` names beside the hostname; empty: none.
    pub domain: String,
    /// Resolver.
    pub dns: Dns,
    /// `hostAliases`.
    pub hosts: Vec<HostAlias>,
    /// `hostNetwork`.
    pub host_network: bool,
    /// `hostPID`.
    pub host_pid: bool,
    /// `hostIPC`.
    pub host_ipc: bool,
    /// `shareProcessNamespace`.
    pub share_processes: bool,
    /// `securityContext.sysctls`.
    pub sysctls: Vec<(String, String)>,
    /// `securityContext.fsGroup`.
    pub fs_group: Option<u64>,
    /// `runtimeClassName`; may be empty.
    pub runtime_class: String,
    /// `os.name`, or the node's.
    pub operating_system: String,
    /// Host ports of all containers.
    pub ports: Vec<Port>,
    /// Volumes.
    pub volumes: Vec<Volume>,
    /// What the pod as a whole asks for.
    pub resources: Resources,
    /// The manifest without status and managed fields, JSON.
    pub manifest: Arc<str>,
}

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs to its end before the app containers start.
    Init,
    /// An init container that restarts always and runs beside the app containers.
    Sidecar,
    /// One of `spec.containers`.
    App,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

impl Role {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Init => "init",
            Self::Sidecar => "sidecar",
            Self::App => "app",
            Self::Ephemeral => "ephemeral",
        }
    }
}

/// A container.
#[derive(Clone, Debug)]
pub struct ContainerConfig {
    /// `name`.
    pub name: String,
    /// What it is in its pod.
    pub role: Role,
    /// How often it was started before.
    pub attempt: u32,
    /// As in the pod, with `:latest` where neither tag nor digest is said.
    pub image: String,
    /// The image's id at a backend that runs containers: this one runs. Else empty.
    pub image_id: String,
    /// `Always`, `IfNotPresent` or `Never`.
    pub pull_policy: String,
    /// Replaces the image's entrypoint; empty: the image's.
    pub command: Vec<Text>,
    /// Replaces the image's command; empty: the image's, unless `command` is given.
    pub arguments: Vec<Text>,
    /// Empty: the image's.
    pub working_folder: String,
    /// Environment, resolved; names are unique.
    pub env: Vec<EnvVar>,
    /// Mounts.
    pub mounts: Vec<Mount>,
    /// `volumeDevices`: volume's name and device path.
    pub devices: Vec<(String, String)>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Resources.
    pub resources: Resources,
    /// Security.
    pub security: Security,
    /// `stdin`.
    pub stdin: bool,
    /// `stdinOnce`.
    pub stdin_once: bool,
    /// `tty`.
    pub tty: bool,
    /// `lifecycle.stopSignal`; empty: the image's.
    pub stop_signal: String,
    /// `terminationMessagePath`.
    pub termination_message_path: String,
    /// `Always`, `OnFailure` or `Never`: the container's, or the pod's.
    pub restart_policy: String,
}

/// A whole pod.
#[derive(Clone, Debug)]
pub struct PodConfig {
    /// What its containers share.
    pub sandbox: SandboxConfig,
    /// Init containers and sidecars, then app containers, each in the manifest's order.
    pub containers: Vec<ContainerConfig>,
    /// `terminationGracePeriodSeconds`.
    pub grace_period: Duration,
    /// `activeDeadlineSeconds`.
    pub active_deadline: Option<Duration>,
    /// Pull credentials, best match first for each registry.
    pub credentials: Vec<Credential>,
}
