//! Engine objects as its API tells them: entries of a list, and inspected containers, of both dialects, as one type.

use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use vk_provider_sdk::time;

use crate::names::Labels;

/// A container, as far as it was told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Ours.
    pub labels: Labels,
    /// The engine's word for its state.
    pub status: String,
    /// When made.
    pub created: Option<u64>,
    /// When started; none: never, or not told.
    pub started: Option<u64>,
    /// When ended; none: not, or not told.
    pub finished: Option<u64>,
    /// How it ended, if told.
    pub exit_code: Option<i32>,
    /// Killed for want of memory; none: not told.
    pub oom_killed: Option<bool>,
    /// What the engine says of its end.
    pub error: String,
    /// Addresses, the primary one first.
    pub ips: Vec<String>,
    /// The libpod pod it is in; may be empty.
    pub pod: String,
    /// The image's id.
    pub image: String,
}

/// Reads `null` as nothing.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(from: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_default())
}

/// An entry of libpod's `containers/json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct LibpodEntry {
    id: String,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
    state: String,
    created: String,
    started_at: i64,
    exited_at: i64,
    exited: bool,
    exit_code: i32,
    pod: String,
    #[serde(rename = "ImageID")]
    image_id: String,
}

impl From<LibpodEntry> for Object {
    fn from(entry: LibpodEntry) -> Self {
        let finished = time::from_seconds(entry.exited_at).filter(|_| entry.exited || entry.state == "stopped");
        Self {
            id: entry.id,
            name: entry.names.into_iter().next().unwrap_or_default(),
            labels: entry.labels,
            created: time::parse_rfc3339(&entry.created),
            started: time::from_seconds(entry.started_at),
            exit_code: finished.map(|_| entry.exit_code),
            finished,
            status: entry.state,
            pod: entry.pod,
            image: entry.image_id,
            ..Self::default()
        }
    }
}

/// An entry of Docker's `containers/json`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct DockerEntry {
    id: String,
    #[serde(deserialize_with = "or_default")]
    names: Vec<String>,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
    state: String,
    /// The state in a sentence: `Up 3 minutes`. All that Hyper.sh's list says in some answers.
    status: String,
    created: i64,
    #[serde(rename = "ImageID")]
    image_id: String,
    network_settings: Networks,
}

impl From<DockerEntry> for Object {
    fn from(entry: DockerEntry) -> Self {
        Self {
            id: entry.id,
            name: entry.names.first().map(|name| name.trim_start_matches('/').to_owned()).unwrap_or_default(),
            labels: entry.labels,
            created: time::from_seconds(entry.created),
            status: if entry.state.is_empty() { word(&entry.status).to_owned() } else { entry.state },
            ips: entry.network_settings.ips(),
            image: entry.image_id,
            ..Self::default()
        }
    }
}

/// The word for a state that is told in a sentence; empty if it is not known.
fn word(sentence: &str) -> &'static str {
    let is = |start| sentence.starts_with(start);
    match () {
        () if is("Up ") && sentence.ends_with("(Paused)") => "paused",
        () if is("Up ") => "running",
        () if is("Exited") || is("Exit ") => "exited",
        () if is("Created") => "created",
        () if is("Restarting") => "restarting",
        () if is("Dead") => "dead",
        () => "",
    }
}

/// The networks of a container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Networks {
    #[serde(deserialize_with = "or_default")]
    networks: BTreeMap<String, Network>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    v4: String,
    #[serde(rename = "GlobalIPv6Address")]
    v6: String,
}

impl Networks {
    /// All addresses, those of version 4 first.
    fn ips(&self) -> Vec<String> {
        let v4 = self.networks.values().map(|network| &network.v4);
        let v6 = self.networks.values().map(|network| &network.v6);
        v4.chain(v6).filter(|ip| !ip.is_empty()).cloned().collect()
    }
}

/// An inspected container.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Inspected {
    /// The engine's id.
    pub id: String,
    /// Its name.
    pub name: String,
    created: String,
    /// The image's id.
    pub image: String,
    /// Its program.
    pub path: String,
    /// The program's arguments.
    #[serde(deserialize_with = "or_default")]
    pub args: Vec<String>,
    pod: String,
    state: State,
    /// What was asked for.
    pub config: Config,
    /// What was asked for of its surroundings.
    pub host_config: HostConfig,
    /// Mounts.
    #[serde(deserialize_with = "or_default")]
    pub mounts: Vec<Mount>,
    /// libpod: the capabilities that its processes may get.
    pub bounding_caps: Option<Vec<String>>,
    /// Its AppArmor profile.
    pub app_armor_profile: String,
    network_settings: Networks,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    status: String,
    exit_code: i32,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    error: String,
    started_at: String,
    finished_at: String,
}

/// What was asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Config {
    /// `USER[:GROUP]`.
    pub user: String,
    /// `NAME=VALUE`.
    #[serde(deserialize_with = "or_default")]
    pub env: Vec<String>,
    /// Working folder.
    pub working_dir: String,
    /// With a terminal.
    pub tty: bool,
    /// With standard input.
    pub open_stdin: bool,
    /// A number with libpod, a name with Docker.
    #[serde(deserialize_with = "or_default")]
    pub stop_signal: Signal,
    #[serde(deserialize_with = "or_default")]
    labels: Labels,
}

/// A signal as an engine names it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Signal {
    /// Its number.
    Number(u32),
    /// Its name, or its number as text; empty: the default.
    Name(String),
}

impl Default for Signal {
    fn default() -> Self {
        Self::Name(String::new())
    }
}

impl Signal {
    /// As `kill` takes it.
    pub fn to_text(&self) -> String {
        match self {
            Self::Number(0) => "SIGTERM".to_owned(),
            Self::Number(number) => number.to_string(),
            Self::Name(name) if name.is_empty() => "SIGTERM".to_owned(),
            Self::Name(name) => name.clone(),
        }
    }
}

/// What was asked for of a container's surroundings.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct HostConfig {
    /// cgroup `cpu.shares`.
    pub cpu_shares: i64,
    /// Microseconds a period.
    pub cpu_quota: i64,
    /// Bytes.
    pub memory: i64,
    /// Bytes, memory included.
    pub memory_swap: i64,
    /// Bytes.
    pub memory_reservation: i64,
    /// All capabilities.
    pub privileged: bool,
    /// Nothing is written to the image's files.
    pub readonly_rootfs: bool,
    /// Whose processes it sees.
    pub pid_mode: String,
    /// Whose network it has.
    pub network_mode: String,
    /// Further groups.
    #[serde(deserialize_with = "or_default")]
    pub group_add: Vec<String>,
    /// Added capabilities.
    #[serde(deserialize_with = "or_default")]
    pub cap_add: Vec<String>,
    /// Dropped capabilities.
    #[serde(deserialize_with = "or_default")]
    pub cap_drop: Vec<String>,
    /// Options of the security modules.
    #[serde(deserialize_with = "or_default")]
    pub security_opt: Vec<String>,
}

/// A mount.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Mount {
    /// `bind`, `volume` or `tmpfs`.
    pub r#type: String,
    /// A volume's name.
    pub name: String,
    /// Where it is on the engine's machine.
    pub source: String,
    /// Where it is in the container.
    pub destination: String,
    /// Writable.
    #[serde(rename = "RW")]
    pub writable: bool,
    /// How mounts below it travel.
    pub propagation: String,
}

impl Inspected {
    /// Its labels.
    pub const fn labels(&self) -> &Labels {
        &self.config.labels
    }

    /// The engine's word for its state.
    pub fn status(&self) -> &str {
        &self.state.status
    }

    /// The same as the list tells it, with what only this tells.
    pub fn to_object(&self) -> Object {
        let started = time::parse_rfc3339(&self.state.started_at);
        // An engine says when a run before this one ended; a run of ours is never the second.
        let is_over =
            !matches!(self.state.status.as_str(), "created" | "configured" | "initialized" | "running" | "paused");
        let finished = time::parse_rfc3339(&self.state.finished_at).filter(|_| is_over);
        Object {
            id: self.id.clone(),
            name: self.name.trim_start_matches('/').to_owned(),
            labels: self.config.labels.clone(),
            status: self.state.status.clone(),
            created: time::parse_rfc3339(&self.created),
            started,
            finished,
            exit_code: finished.map(|_| self.state.exit_code),
            oom_killed: Some(self.state.oom_killed),
            error: self.state.error.clone(),
            ips: self.network_settings.ips(),
            pod: self.pod.clone(),
            image: self.image.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libpods_list_is_read() {
        let entry: LibpodEntry = serde_json::from_str(
            r#"{"AutoRemove":false,"Command":null,"Created":"2026-11-21T09:35:17.015419873Z","Exited":true,"ExitedAt":1795253718,"ExitCode":3,
            "Id":"ad87","ImageID":"3b7a","IsInfra":false,"Labels":{"io.buildah.version":"1.28.2","io.vk-runtime.node":"c/n","io.kubernetes.pod.uid":"u"},
            "Names":["le-a"],"Pid":0,"Pod":"c4c2","PodName":"le","StartedAt":1795253717,"State":"exited","Status":""}"#,
        )
        .unwrap();
        let object = Object::from(entry);
        assert_eq!((object.id.as_str(), object.name.as_str(), object.pod.as_str()), ("ad87", "le-a", "c4c2"));
        assert_eq!(object.started, Some(1_795_253_717_000_000_000));
        assert_eq!((object.finished, object.exit_code), (Some(1_795_253_718_000_000_000), Some(3)));
        assert_eq!(object.labels.pod("c/n").unwrap().uid, "u");
    }

    #[test]
    fn what_never_started_has_no_times() {
        let entry: LibpodEntry = serde_json::from_str(
            r#"{"Exited":false,"ExitedAt":-62135596800,"StartedAt":-62135596800,"ExitCode":0,"State":"created","Labels":null,"Names":null}"#,
        )
        .unwrap();
        let object = Object::from(entry);
        assert_eq!((object.started, object.finished, object.exit_code), (None, None, None));
    }

    #[test]
    fn dockers_list_tells_addresses_of_both_versions() {
        let entry: DockerEntry = serde_json::from_str(
            r#"{"Id":"dbe9","Names":["/vk-a-infra"],"ImageID":"sha256:8e0d","Created":1795256072,"Labels":{},"State":"running","Status":"Up 46 seconds",
            "NetworkSettings":{"Networks":{"b":{"IPAddress":"10.2.0.2","GlobalIPv6Address":""},"a":{"IPAddress":"10.88.0.2","GlobalIPv6Address":"fd00::2"}}}}"#,
        )
        .unwrap();
        let object = Object::from(entry);
        assert_eq!((object.name.as_str(), object.status.as_str()), ("vk-a-infra", "running"));
        assert_eq!(object.ips, ["10.88.0.2", "10.2.0.2", "fd00::2"]);
    }

    #[test]
    fn a_state_that_is_only_a_sentence_is_read() {
        for (sentence, expected) in [
            ("Up 3 minutes", "running"),
            ("Up 3 minutes (Paused)", "paused"),
            ("Exited (137) 2 seconds ago", "exited"),
            ("Exit 0", "exited"),
            ("Created", "created"),
            ("Removal In Progress", ""),
        ] {
            let entry = DockerEntry { status: sentence.to_owned(), ..DockerEntry::default() };
            assert_eq!(Object::from(entry).status, expected, "{sentence}");
        }
    }

    #[test]
    fn an_inspected_container_has_nanoseconds_and_either_kind_of_signal() {
        let read = |signal: &str| -> Inspected {
            serde_json::from_str(&format!(
                r#"{{"Id":"a89b","Created":"2026-11-21T10:15:16.877239757Z","Name":"/x","Pod":"bb97","Image":"8bc5",
                "State":{{"Status":"exited","ExitCode":137,"OOMKilled":true,"Error":"","StartedAt":"2026-11-21T10:15:50.541613169Z","FinishedAt":"2026-11-21T10:15:50.556559372Z"}},
                "Config":{{"StopSignal":{signal},"Env":null,"Labels":{{"io.kubernetes.container.name":"app"}}}},
                "HostConfig":{{"CpuQuota":50000}},"Mounts":null,"NetworkSettings":{{"Networks":null}}}}"#
            ))
            .unwrap()
        };
        let object = read("10").to_object();
        assert_eq!((object.exit_code, object.oom_killed), (Some(137), Some(true)));
        assert_eq!(object.finished.unwrap() - object.started.unwrap(), 14_946_203);
        assert_eq!(object.labels.container, "app");
        assert_eq!(read("10").config.stop_signal.to_text(), "10");
        assert_eq!(read(r#""SIGINT""#).config.stop_signal.to_text(), "SIGINT");
        assert_eq!(read("null").config.stop_signal.to_text(), "SIGTERM");
    }
}
