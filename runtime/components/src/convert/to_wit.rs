//! What the runtime resolved, as a guest gets it.
//!
//! Here it is decided how a pod's secret values reach the provider: under `--pod-secrets=deny` a pod that has some is
//! refused before the guest hears of it.

use std::time::Duration;

use host_capabilities::bindings::vk::host::types as host;
use host_capabilities::blobs::Blob;
use host_capabilities::mask::Mask;
use host_capabilities::{Call, PodSecrets};
use jiff::Timestamp;
use provider::{
    Code, ContainerConfig, Credential, Error, File, LogOptions, LogStreams, Mount, Origin, PodConfig, PodKey, PodRef,
    Port, Resources, SandboxConfig, Security, Target, Text, TextPart, TextValue, Volume,
};

use crate::bindings::exports::vk::provider as wit;
use crate::bindings::vk::provider::types as t;

pub(crate) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn timestamp(at: Timestamp) -> u64 {
    u64::try_from(at.as_nanosecond()).unwrap_or(0)
}

pub(crate) fn pod_key(key: &PodKey) -> host::PodKey {
    host::PodKey { uid: key.uid.to_string(), namespace: key.namespace.to_string(), name: key.name.to_string() }
}

pub(crate) fn pod_ref(pod: &PodRef) -> t::PodRef {
    t::PodRef { key: pod_key(&pod.key), attempt: pod.attempt, id: pod.id.clone() }
}

pub(crate) fn target(target: &Target) -> t::Target {
    t::Target { pod: pod_ref(&target.pod), container: target.container.clone(), id: target.id.clone() }
}

fn origin(origin: &Origin) -> t::Origin {
    t::Origin {
        kind: origin.kind.as_str().to_owned(),
        name: origin.name.to_string(),
        key: origin.key.to_string(),
        sensitive: origin.kind.is_sensitive(),
    }
}

fn part(part: TextPart) -> t::TextPart {
    t::TextPart {
        origin: part.origin.as_deref().map(origin),
        value: match part.value {
            TextValue::Literal(characters) => t::TextValue::Literal(characters),
            TextValue::Late(field) => t::TextValue::Late(field),
        },
    }
}

fn text(text: Text) -> Vec<t::TextPart> {
    text.0.into_iter().map(part).collect()
}

fn file(call: &mut Call, file: File) -> wasmtime::Result<t::File> {
    let sensitive = file.origin.kind.is_sensitive();
    Ok(t::File {
        path: file.path,
        mode: file.mode,
        user: file.user,
        group: file.group,
        origin: origin(&file.origin),
        content: call.push_blob(Blob { content: file.content, sensitive })?,
    })
}

pub(crate) fn files(call: &mut Call, files: Vec<File>) -> wasmtime::Result<Vec<t::File>> {
    files.into_iter().map(|one| file(call, one)).collect()
}

fn volume(call: &mut Call, volume: Volume) -> wasmtime::Result<t::Volume> {
    let empty = |name: String, kind: &str| t::Volume {
        name,
        kind: kind.to_owned(),
        files: Vec::new(),
        medium: String::new(),
        size_limit: None,
        source: String::new(),
    };
    Ok(match volume {
        Volume::Files { name, files: own } => t::Volume { files: files(call, own)?, ..empty(name, "files") },
        Volume::EmptyDir { name, medium, size_limit } => t::Volume { medium, size_limit, ..empty(name, "empty-dir") },
        Volume::Backend { name, kind, source, files: own } => {
            t::Volume { source, files: files(call, own)?, ..empty(name, &kind) }
        }
    })
}

fn mount(mount: Mount) -> t::Mount {
    t::Mount {
        volume: mount.volume,
        path: mount.path,
        sub_path: text(mount.sub_path),
        read_only: mount.read_only,
        propagation: mount.propagation,
    }
}

pub(crate) fn resources(resources: Resources) -> t::Resources {
    t::Resources {
        cpu_request: resources.cpu_request,
        cpu_limit: resources.cpu_limit,
        memory_request: resources.memory_request,
        memory_limit: resources.memory_limit,
        extended: resources
            .extended
            .into_iter()
            .map(|one| t::ExtendedResource { name: one.name, request: one.request, limit: one.limit })
            .collect(),
    }
}

fn security(security: Security) -> t::Security {
    t::Security {
        user: security.user,
        group: security.group,
        supplemental_groups: security.supplemental_groups,
        non_root: security.non_root,
        privileged: security.privileged,
        privilege_escalation: security.privilege_escalation,
        read_only_root: security.read_only_root,
        add_capabilities: security.add_capabilities,
        drop_capabilities: security.drop_capabilities,
        seccomp: security.seccomp,
        app_armor: security.app_armor,
        proc_mount: security.proc_mount,
    }
}

fn port(port: Port) -> t::Port {
    t::Port {
        name: port.name,
        protocol: port.protocol,
        container_port: port.container_port,
        host_port: port.host_port,
        host_ip: port.host_ip,
    }
}

pub(crate) fn credential(credential: Credential) -> t::Credential {
    let registry_auth = registry_auth(&credential);
    t::Credential {
        registry: credential.registry,
        username: text(credential.username),
        password: text(credential.password),
        identity_token: text(credential.identity_token),
        registry_token: text(credential.registry_token),
        registry_auth,
    }
}

/// Docker's header `X-Registry-Auth`: URL-safe base64 of a JSON object.
fn registry_auth(credential: &Credential) -> Vec<t::TextPart> {
    let plain = |text: &Text| -> String {
        let piece = |part: &TextPart| match &part.value {
            TextValue::Literal(characters) => characters.clone(),
            TextValue::Late(_) => String::new(),
        };
        text.0.iter().map(piece).collect()
    };
    let mut json = serde_json::Map::new();
    let mut put = |key: &str, value: String| {
        if !value.is_empty() {
            json.insert(key.to_owned(), value.into());
        }
    };
    put("username", plain(&credential.username));
    put("password", plain(&credential.password));
    put("identitytoken", plain(&credential.identity_token));
    put("registrytoken", plain(&credential.registry_token));
    put("serveraddress", credential.registry.clone());
    let encoded =
        base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE, serde_json::Value::Object(json).to_string());
    let origin = credential.password.0.iter().chain(&credential.identity_token.0).find_map(|part| part.origin.clone());
    vec![part(TextPart { value: TextValue::Literal(encoded), origin })]
}

pub(crate) fn sandbox_config(call: &mut Call, sandbox: SandboxConfig) -> wasmtime::Result<t::SandboxConfig> {
    let mut volumes = Vec::with_capacity(sandbox.volumes.len());
    for one in sandbox.volumes {
        volumes.push(volume(call, one)?);
    }
    Ok(t::SandboxConfig {
        key: pod_key(&sandbox.key),
        attempt: sandbox.attempt,
        labels: sandbox.labels,
        annotations: sandbox.annotations,
        hostname: sandbox.hostname,
        domain: sandbox.domain,
        dns: t::Dns { servers: sandbox.dns.servers, searches: sandbox.dns.searches, options: sandbox.dns.options },
        hosts: sandbox.hosts.into_iter().map(|one| t::HostAlias { ip: one.ip, hostnames: one.hostnames }).collect(),
        host_network: sandbox.host_network,
        host_pid: sandbox.host_pid,
        host_ipc: sandbox.host_ipc,
        share_processes: sandbox.share_processes,
        sysctls: sandbox.sysctls,
        fs_group: sandbox.fs_group,
        runtime_class: sandbox.runtime_class,
        operating_system: sandbox.operating_system,
        ports: sandbox.ports.into_iter().map(port).collect(),
        volumes,
        resources: resources(sandbox.resources),
        manifest: sandbox.manifest.to_string(),
    })
}

pub(crate) fn container_config(container: ContainerConfig) -> t::ContainerConfig {
    t::ContainerConfig {
        name: container.name,
        role: container.role.as_str().to_owned(),
        attempt: container.attempt,
        image: container.image,
        image_id: container.image_id,
        pull_policy: container.pull_policy,
        command: container.command.into_iter().map(text).collect(),
        arguments: container.arguments.into_iter().map(text).collect(),
        working_folder: container.working_folder,
        env: container.env.into_iter().map(|one| t::EnvVar { name: one.name, value: text(one.value) }).collect(),
        mounts: container.mounts.into_iter().map(mount).collect(),
        devices: container.devices,
        ports: container.ports.into_iter().map(port).collect(),
        resources: resources(container.resources),
        security: security(container.security),
        stdin: container.stdin,
        stdin_once: container.stdin_once,
        tty: container.tty,
        stop_signal: container.stop_signal,
        termination_message_path: container.termination_message_path,
        restart_policy: container.restart_policy,
    }
}

pub(crate) fn pod_config(call: &mut Call, pod: PodConfig) -> wasmtime::Result<t::PodConfig> {
    Ok(t::PodConfig {
        sandbox: sandbox_config(call, pod.sandbox)?,
        containers: pod.containers.into_iter().map(container_config).collect(),
        grace_period: nanos(pod.grace_period),
        active_deadline: pod.active_deadline.map(nanos),
        credentials: pod.credentials.into_iter().map(credential).collect(),
    })
}

pub(crate) fn log_options(options: &LogOptions) -> wit::logs::Options {
    wit::logs::Options {
        follow: options.follow,
        tail: options.tail,
        since: options.since.map(timestamp),
        timestamps: options.timestamps,
        previous: options.previous,
        streams: match options.streams {
            LogStreams::All => "all",
            LogStreams::Stdout => "stdout",
            LogStreams::Stderr => "stderr",
        }
        .to_owned(),
    }
}

/// The secret values in what a guest is about to be given, to be masked in all that it says; or the refusal to give them.
pub(crate) struct SecretValues {
    mask: Mask,
    found: Option<String>,
}

impl SecretValues {
    pub(crate) fn new() -> Self {
        Self { mask: Mask::default(), found: None }
    }

    fn text(&mut self, text: &Text) {
        for part in text.0.iter().filter(|part| part.is_sensitive()) {
            if let TextValue::Literal(value) = &part.value {
                self.mask.add(value);
            }
            if let Some(origin) = &part.origin {
                self.found.get_or_insert_with(|| format!("{} `{}`", origin.kind.as_str(), origin.name));
            }
        }
    }

    fn files(&mut self, files: &[File]) {
        if let Some(file) = files.iter().find(|file| file.origin.kind.is_sensitive()) {
            let origin = &file.origin;
            self.found.get_or_insert_with(|| format!("{} `{}`", origin.kind.as_str(), origin.name));
        }
    }

    pub(crate) fn sandbox(mut self, sandbox: &SandboxConfig) -> Self {
        for volume in &sandbox.volumes {
            match volume {
                Volume::Files { files, .. } | Volume::Backend { files, .. } => self.files(files),
                Volume::EmptyDir { .. } => {}
            }
        }
        self
    }

    pub(crate) fn container(mut self, container: &ContainerConfig) -> Self {
        container.env.iter().for_each(|one| self.text(&one.value));
        container.command.iter().chain(&container.arguments).for_each(|one| self.text(one));
        self
    }

    pub(crate) fn credentials(mut self, credentials: &[Credential]) -> Self {
        for one in credentials {
            for value in [&one.username, &one.password, &one.identity_token, &one.registry_token] {
                self.text(value);
            }
        }
        self
    }

    pub(crate) fn pod(self, pod: &PodConfig) -> Self {
        pod.containers.iter().fold(self.sandbox(&pod.sandbox), Self::container).credentials(&pod.credentials)
    }

    /// The mask, if the provider may have the values.
    pub(crate) fn allowed(self, grant: PodSecrets) -> Result<Mask, Error> {
        match self.found {
            Some(found) if !grant.may_reveal() => {
                let message =
                    format!("the pod's {found} may not be given to this provider: --pod-secrets=reveal would");
                Err(Error::new(Code::Denied, message).with_reason("CreateContainerConfigError"))
            }
            _ => Ok(self.mask),
        }
    }
}
