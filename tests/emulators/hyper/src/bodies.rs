//! Bodies of requests, held to what the documents say: an unknown field, a missing one and one of another type are refused by
//! name. So is what Hyper.sh takes and ignores: nobody should send it.

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::answer::Refusal;

/// `POST /containers/create`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Container {
    /// Name or id.
    pub image: String,
    /// Sizes and security groups among them.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Hostname.
    #[serde(default)]
    pub hostname: String,
    /// Replaces the image's.
    #[serde(default)]
    pub entrypoint: Vec<String>,
    /// Replaces the image's.
    #[serde(default)]
    pub cmd: Vec<String>,
    /// `NAME=VALUE`.
    #[serde(default)]
    pub env: Vec<String>,
    /// Working folder.
    #[serde(default)]
    pub working_dir: String,
    /// With a terminal.
    #[serde(default)]
    pub tty: bool,
    /// With standard input.
    #[serde(default)]
    pub open_stdin: bool,
    /// Standard input ends with the first that had it.
    #[serde(default)]
    pub stdin_once: bool,
    /// `PORT/PROTOCOL`.
    #[serde(default)]
    pub exposed_ports: BTreeMap<String, Empty>,
    /// Its surroundings.
    pub host_config: HostConfig,
}

/// `{}`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// What is heeded of a container's surroundings.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct HostConfig {
    /// `bridge`.
    pub network_mode: String,
    /// When it is started again.
    pub restart_policy: RestartPolicy,
    /// Nothing of the image is writable.
    #[serde(default)]
    pub readonly_rootfs: bool,
    /// `VOLUME:/PATH[:ro]`.
    #[serde(default)]
    pub binds: Vec<String>,
    /// What a floating IP leads to.
    #[serde(default)]
    pub port_bindings: BTreeMap<String, Vec<PortBinding>>,
}

/// `RestartPolicy`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct RestartPolicy {
    /// `no`, `always` or `on-failure`.
    pub name: String,
    /// With `on-failure`.
    #[serde(default)]
    pub maximum_retry_count: u32,
}

/// Where a port is published.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct PortBinding {
    /// The port.
    pub host_port: String,
    /// The address.
    #[serde(default)]
    pub host_ip: String,
}

/// `POST /volumes/create`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Volume {
    /// Its name; Hyper.sh makes one up if there is none.
    pub name: String,
    /// `hyper`.
    pub driver: String,
    /// Size, and the snapshot it is made of.
    pub driver_opts: VolumeOptions,
    /// Labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// `DriverOpts`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VolumeOptions {
    /// Gigabytes, 10 to 50.
    pub size: String,
    /// A snapshot's id.
    #[serde(default)]
    pub snapshot: String,
}

/// `POST /volumes/initialize`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Initialize {
    /// Also of volumes that were filled before.
    pub reload: bool,
    /// Which, and from where.
    pub volume: Vec<Source>,
}

/// Where a volume's content comes from.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub struct Source {
    /// The volume.
    pub name: String,
    /// A path: it will be sent.
    pub source: String,
}

/// What is answered to it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Session {
    /// Ends with `uploadfinish`.
    pub session: String,
    /// Stands for a signature.
    pub cookie: String,
    /// Where each volume's archive goes.
    pub uploaders: BTreeMap<String, String>,
}

/// Sizes: name, cores, MiB.
const SIZES: &[(&str, u64, u64)] = &[
    ("s1", 1, 64),
    ("s2", 1, 128),
    ("s3", 1, 256),
    ("s4", 1, 512),
    ("m1", 1, 1024),
    ("m2", 2, 2048),
    ("m3", 2, 4096),
    ("l1", 4, 4096),
    ("l2", 4, 8192),
    ("l3", 8, 16_384),
];

/// A size's cores, and bytes of memory.
pub fn size(name: &str) -> Result<(u64, u64), Refusal> {
    let found = SIZES.iter().find(|size| size.0 == name);
    found
        .map(|size| (size.1, size.2 << 20))
        .ok_or_else(|| Refusal::bad(format!("Bad parameter: `{name}` is no container size (sh_hyper_instancetype)")))
}

/// Reads a body.
pub fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| Refusal::bad(format!("Bad parameter: the body: {error}")))
}

impl Container {
    /// Refuses what no schema says.
    pub fn check(&self) -> Result<(), Refusal> {
        let bad = |text: String| Err(Refusal::bad(format!("Bad parameter: {text}")));
        let is_port = |name: &str| {
            let (port, protocol) = name.split_once('/').unwrap_or((name, ""));
            port.parse::<u16>().is_ok_and(|port| port > 0) && matches!(protocol, "tcp" | "udp")
        };
        if self.image.is_empty() {
            return bad("Image is empty".to_owned());
        }
        if self.host_config.network_mode != "bridge" {
            return bad(format!("HostConfig.NetworkMode `{}` is not bridge", self.host_config.network_mode));
        }
        let policy = &self.host_config.restart_policy;
        if !matches!(policy.name.as_str(), "no" | "always" | "on-failure") {
            return bad(format!("HostConfig.RestartPolicy.Name `{}`", policy.name));
        }
        if policy.maximum_retry_count > 0 && policy.name != "on-failure" {
            return bad("HostConfig.RestartPolicy.MaximumRetryCount without on-failure".to_owned());
        }
        if let Some(name) = self.exposed_ports.keys().find(|name| !is_port(name)) {
            return bad(format!("ExposedPorts `{name}`"));
        }
        if self.host_config.port_bindings.len() > 32 {
            return bad("HostConfig.PortBindings: more than 32 ports".to_owned());
        }
        for (name, bindings) in &self.host_config.port_bindings {
            if !self.exposed_ports.contains_key(name) {
                return bad(format!("HostConfig.PortBindings `{name}` is not in ExposedPorts"));
            }
            // The mapping is to the floating IP.
            let is_same = |own: &PortBinding| name.split('/').next() == Some(own.host_port.as_str());
            let is_any = |own: &PortBinding| own.host_ip.is_empty() || own.host_ip == "0.0.0.0";
            if bindings.len() != 1 || !bindings.iter().all(|own| is_same(own) && is_any(own)) {
                return bad(format!("HostConfig.PortBindings `{name}`: the HostPort must be the same port"));
            }
        }
        if self.env.iter().any(|variable| !variable.contains('=')) {
            return bad("Env: a variable without `=`".to_owned());
        }
        let groups = self.labels.iter().filter(|(name, _)| name.starts_with("sh_hyper_sg_"));
        if let Some((name, value)) = groups.into_iter().find(|(_, value)| *value != "yes") {
            return bad(format!("Labels: {name}={value}"));
        }
        if self.binds()?.len() > 4 {
            return bad("HostConfig.Binds: more than 4 volumes".to_owned());
        }
        size(self.size()).map(|_| ())
    }

    /// The size that it asks for.
    pub fn size(&self) -> &str {
        self.labels.get("sh_hyper_instancetype").map_or("s4", String::as_str)
    }

    /// The volumes that it mounts.
    pub fn binds(&self) -> Result<Vec<&str>, Refusal> {
        let mut volumes = Vec::new();
        for bind in &self.host_config.binds {
            match bind.split(':').collect::<Vec<_>>().as_slice() {
                [name, path] | [name, path, "ro" | "rw"] if is_name(name) && path.starts_with('/') => {
                    volumes.push(*name);
                }
                _ => return Err(Refusal::bad(format!("Bad parameter: HostConfig.Binds `{bind}`"))),
            }
        }
        volumes.sort_unstable();
        volumes.dedup();
        Ok(volumes)
    }
}

/// The rule for names of containers and volumes.
pub fn is_name(name: &str) -> bool {
    (1..=48).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn container() -> Value {
        json!({"Image": "busybox", "HostConfig": {"NetworkMode": "bridge", "RestartPolicy": {"Name": "no"}}})
    }

    fn refused(body: &Value) -> String {
        let read = read::<Container>(body.to_string().as_bytes());
        let refusal = read.and_then(|own| own.check()).unwrap_err();
        assert_eq!(refusal.status, 400);
        refusal.text
    }

    #[test]
    fn a_container_is_as_the_documents_say() {
        read::<Container>(container().to_string().as_bytes()).unwrap().check().unwrap();
        for (path, value, says) in [
            ("/Healthcheck", json!({"Test": ["NONE"]}), "Healthcheck"),
            ("/HostConfig/Memory", json!(5), "Memory"),
            ("/Image", json!(5), "string"),
            ("/HostConfig/NetworkMode", json!("host"), "NetworkMode"),
            ("/Labels", json!({"sh_hyper_instancetype": "xl"}), "xl"),
            ("/Labels", json!({"sh_hyper_sg_a": "no"}), "sh_hyper_sg_a"),
            ("/Env", json!(["A"]), "Env"),
            ("/ExposedPorts", json!({"80/sctp": {}}), "80/sctp"),
            ("/HostConfig/PortBindings", json!({"80/tcp": [{"HostPort": "80"}]}), "not in ExposedPorts"),
            ("/HostConfig/Binds", json!(["/host:/x"]), "/host:/x"),
            ("/HostConfig/Binds", json!(["a:/a", "b:/b", "c:/c", "d:/d", "e:/e"]), "more than 4"),
        ] {
            let mut body = container();
            let (parent, key) = path.rsplit_once('/').unwrap();
            body.pointer_mut(parent).unwrap()[key] = value;
            let text = refused(&body);
            assert!(text.contains(says), "{path}: {text}");
        }
        let mut body = container();
        body.as_object_mut().unwrap().remove("HostConfig");
        assert!(refused(&body).contains("HostConfig"));
        let mut body = container();
        body["ExposedPorts"] = json!({"80/tcp": {}});
        body["HostConfig"]["PortBindings"] = json!({"80/tcp": [{"HostPort": "8080"}]});
        assert!(refused(&body).contains("same port"));
    }

    #[test]
    fn names_are_short_and_plain() {
        assert!(is_name("vk-default_web-0") && is_name(&"a".repeat(48)));
        assert!(!is_name("") && !is_name("a.b") && !is_name(&"a".repeat(49)));
    }
}
