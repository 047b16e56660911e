//! What Hyper.sh is asked for a container, as JSON: the part of Docker's API 1.23 that it heeds.

use std::collections::BTreeMap;

use serde::Serialize;
use vk_provider_sdk::types::Port;
use vk_provider_sdk::{Error, Result};

use super::sizes;
use crate::request::Wanted;

/// Ports that a container may publish.
const PORTS: usize = 32;
/// Volumes that a container may have.
const VOLUMES: usize = 4;

/// A container.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Container<'a> {
    image: &'a str,
    labels: BTreeMap<String, &'a str>,
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
    tty: bool,
    open_stdin: bool,
    stdin_once: bool,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    exposed_ports: BTreeMap<String, Empty>,
    host_config: HostConfig,
}

#[derive(Serialize)]
struct Empty {}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct HostConfig {
    network_mode: &'static str,
    restart_policy: RestartPolicy,
    readonly_rootfs: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    binds: Vec<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    port_bindings: BTreeMap<String, [PortBinding; 1]>,
}

/// The host restarts containers.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct RestartPolicy {
    name: &'static str,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct PortBinding {
    host_port: String,
}

/// A mount of a volume.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The volume's name at Hyper.sh.
    pub volume: String,
    /// Where it is in the container.
    pub path: String,
    /// Not writable.
    pub read_only: bool,
}

/// What Hyper.sh alone is told.
pub struct Asked<'a> {
    /// The size.
    pub size: &'static str,
    /// The machine's name, in the account's network.
    pub hostname: &'a str,
    /// Ports to be published: the floating IP leads to them.
    pub ports: &'a [Port],
    /// Volumes.
    pub binds: &'a [Bind],
    /// Security groups.
    pub security_groups: &'a [&'a str],
}

impl<'a> Container<'a> {
    /// A pod's container. `path` is its in the manifest, for errors.
    pub fn new(wanted: &'a Wanted, asked: &Asked<'a>, path: &str) -> Result<Self> {
        let mut volumes: Vec<_> = asked.binds.iter().map(|bind| bind.volume.as_str()).collect();
        volumes.sort_unstable();
        volumes.dedup();
        if volumes.len() > VOLUMES {
            let message = format!("{path}.volumeMounts: {} volumes, Hyper.sh has at most {VOLUMES}", volumes.len());
            return Err(Error::invalid(message));
        }
        if asked.ports.len() > PORTS {
            let message = format!("{path}.ports: {} ports, Hyper.sh publishes at most {PORTS}", asked.ports.len());
            return Err(Error::invalid(message));
        }
        let port_name = |port: &Port| format!("{}/{}", port.container_port, port.protocol.to_ascii_lowercase());
        if let Some(port) = asked.ports.iter().find(|port| port.protocol == "SCTP") {
            let message = format!("{path}.ports: SCTP (port {}) can't be had at Hyper.sh", port.container_port);
            return Err(Error::invalid(message));
        }
        let mut labels: BTreeMap<String, &str> =
            wanted.labels.iter().map(|(name, value)| ((*name).to_owned(), value.as_str())).collect();
        labels.insert(sizes::LABEL.to_owned(), asked.size);
        // Else an image with VOLUME lines would get disks that nobody asked for.
        labels.insert("sh_hyper_noauto_volume".to_owned(), "true");
        labels.extend(asked.security_groups.iter().map(|group| (format!("sh_hyper_sg_{group}"), "yes")));
        let bind = |bind: &Bind| format!("{}:{}{}", bind.volume, bind.path, if bind.read_only { ":ro" } else { "" });
        Ok(Self {
            image: &wanted.image,
            labels,
            hostname: asked.hostname,
            entrypoint: &wanted.command,
            cmd: &wanted.arguments,
            env: wanted.env.iter().map(|(name, value)| format!("{name}={value}")).collect(),
            working_dir: &wanted.working_folder,
            tty: wanted.tty,
            open_stdin: wanted.stdin,
            stdin_once: wanted.stdin_once,
            exposed_ports: asked.ports.iter().map(|port| (port_name(port), Empty {})).collect(),
            host_config: HostConfig {
                network_mode: "bridge",
                restart_policy: RestartPolicy { name: "no" },
                readonly_rootfs: wanted.read_only_root,
                binds: asked.binds.iter().map(bind).collect(),
                port_bindings: asked
                    .ports
                    .iter()
                    .map(|port| (port_name(port), [PortBinding { host_port: port.container_port.to_string() }]))
                    .collect(),
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn port(number: u16, protocol: &str) -> Port {
        Port {
            name: String::new(),
            protocol: protocol.into(),
            container_port: number,
            host_port: 0,
            host_ip: String::new(),
        }
    }

    fn bind(volume: &str, path: &str, read_only: bool) -> Bind {
        Bind { volume: volume.into(), path: path.into(), read_only }
    }

    fn asked<'a>(ports: &'a [Port], binds: &'a [Bind]) -> Asked<'a> {
        Asked { size: "s1", hostname: "web", ports, binds, security_groups: &["front"] }
    }

    #[test]
    fn a_container_is_asked_for_in_the_clouds_words() {
        let wanted = Wanted {
            image: "sha256:1".into(),
            command: vec!["httpd".into()],
            arguments: vec!["-f".into()],
            env: vec![("A".into(), String::new())],
            labels: [("io.vk-runtime.kind", "container".to_owned())].into(),
            ..Wanted::default()
        };
        let (ports, binds) = ([port(80, "TCP"), port(53, "UDP")], [bind("v", "/data", true)]);
        let body = Container::new(&wanted, &asked(&ports, &binds), "spec.containers{a}").unwrap();
        assert_eq!(
            serde_json::to_value(body).unwrap(),
            json!({
                "Image": "sha256:1", "Hostname": "web", "Entrypoint": ["httpd"], "Cmd": ["-f"], "Env": ["A="],
                "Tty": false, "OpenStdin": false, "StdinOnce": false,
                "Labels": {
                    "io.vk-runtime.kind": "container", "sh_hyper_instancetype": "s1", "sh_hyper_noauto_volume": "true",
                    "sh_hyper_sg_front": "yes",
                },
                "ExposedPorts": {"80/tcp": {}, "53/udp": {}},
                "HostConfig": {
                    "NetworkMode": "bridge", "RestartPolicy": {"Name": "no"}, "ReadonlyRootfs": false,
                    "Binds": ["v:/data:ro"],
                    "PortBindings": {"80/tcp": [{"HostPort": "80"}], "53/udp": [{"HostPort": "53"}]},
                },
            })
        );
    }

    #[test]
    fn what_is_over_the_bounds_is_refused_by_the_fields_name() {
        let wanted = Wanted::default();
        let many: Vec<_> = (1..=33).map(|number| port(number, "TCP")).collect();
        let disks: Vec<_> = ["a", "b", "c", "d", "e"].iter().map(|name| bind(name, "/x", false)).collect();
        for (ports, binds, field) in
            [(&many[..], &[][..], "ports"), (&[port(1, "SCTP")], &[], "ports"), (&[], &disks[..], "volumeMounts")]
        {
            let error = Container::new(&wanted, &asked(ports, binds), "spec.containers{a}").err().unwrap();
            assert!(error.is("invalid") && error.message.starts_with(&format!("spec.containers{{a}}.{field}: ")));
        }
        let twice = [bind("a", "/x", false), bind("a", "/y", false)];
        assert!(Container::new(&wanted, &asked(&[], &twice), "").is_ok());
    }
}
