//! Names and labels of engine objects. Only labels are believed; names are made so that the engine refuses to make the same
//! object twice, and so that a person finds it.
//!
//! A name has at most 48 characters: `vk-NAMESPACE-POD[-CONTAINER]`, cut, then a hash of what the object is, then the
//! attempt. Labels beside those of [`identity`]:
//!
//! | label | value |
//! | --- | --- |
//! | `io.vk-runtime.kind` | `sandbox`, `container`, `files` (the volumes' holder, never started) or `memory` (holds tmpfs) |
//! | `io.vk-runtime.sandbox` | the sandbox's attempt |
//! | `io.kubernetes.container.name`, `io.vk-runtime.attempt` | the container's name and attempt |
//! | `io.vk-runtime.image`, `io.vk-runtime.image-id` | the image as the pod writes it, and what it stands for |
//! | `io.vk-runtime.stop-signal` | the signal that the pod asks for |
//! | `io.vk-runtime.network` | `host`: the sandbox has no network of its own |
//! | `io.vk-runtime.memory`, `io.vk-runtime.fs-group` | on the files holder: the pod has volumes in memory; the group of its files |
//! | `io.vk-runtime.asked` | hash of what was asked for |
//! | `io.vk-runtime.address` | at Hyper.sh: the floating IP that is attached to the container before it starts |
//!
//! What has no labels (Hyper.sh's floating IPs and volumes) says whose it is by its name alone: `vk-NODE-POD`, then a hash
//! of the volume's name; NODE is a hash, POD the pod's UID itself.

use std::collections::BTreeMap;

use serde::Deserialize;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::identity;

/// The label that says what an object is.
pub const KIND: &str = "io.vk-runtime.kind";
const SANDBOX_ATTEMPT: &str = "io.vk-runtime.sandbox";
const CONTAINER: &str = "io.kubernetes.container.name";
const ATTEMPT: &str = "io.vk-runtime.attempt";
const IMAGE: &str = "io.vk-runtime.image";
const IMAGE_ID: &str = "io.vk-runtime.image-id";
const STOP_SIGNAL: &str = "io.vk-runtime.stop-signal";
const NETWORK: &str = "io.vk-runtime.network";
const MEMORY: &str = "io.vk-runtime.memory";
const FS_GROUP: &str = "io.vk-runtime.fs-group";
/// The label that holds a hash of what was asked for.
pub const ASKED: &str = "io.vk-runtime.asked";

/// The label that holds the floating IP of a container.
pub const ADDRESS: &str = "io.vk-runtime.address";

/// Labels to be set.
pub type LabelMap = BTreeMap<&'static str, String>;

/// Longest name.
const MAX_NAME: usize = 48;
/// Characters of the hash in a name: 50 bits.
const HASH: usize = 10;
/// Characters of a UID in the name of something without labels: 128 bits.
const UID: usize = 26;
/// Characters of a volume's hash in its name.
const VOLUME_HASH: usize = 6;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// What a pod's containers share.
    Sandbox,
    /// A container of a pod.
    Container,
    /// Holds a pod's files and empty folders; never started.
    Files,
    /// Holds a pod's folders in memory; runs.
    Memory,
}

impl Kind {
    /// The label's value.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sandbox => "sandbox",
            Self::Container => "container",
            Self::Files => "files",
            Self::Memory => "memory",
        }
    }

    fn parse(word: &str) -> Option<Self> {
        [Self::Sandbox, Self::Container, Self::Files, Self::Memory].into_iter().find(|kind| kind.as_str() == word)
    }
}

/// The names of one pod's objects.
#[derive(Clone, Copy)]
pub struct Names<'a> {
    /// `CLUSTER/NODE`.
    pub node: &'a str,
    /// The pod.
    pub pod: &'a PodKey,
}

impl Names<'_> {
    /// The sandbox: a libpod pod, or a container.
    pub fn sandbox(&self, attempt: u32) -> String {
        self.make(&[], &["sandbox"], &format!("-{attempt}"))
    }

    /// The container of a libpod pod that holds its network.
    pub fn infra(&self, attempt: u32) -> String {
        self.make(&[], &["infra"], &format!("-{attempt}"))
    }

    /// The container that holds files.
    pub fn files(&self) -> String {
        self.make(&[], &["files"], "")
    }

    /// The container that holds folders in memory.
    pub fn memory(&self) -> String {
        self.make(&[], &["memory"], "")
    }

    /// A folder in memory: a named volume.
    pub fn memory_volume(&self, volume: &str) -> String {
        self.make(&[volume], &["volume", volume], "")
    }

    /// A container.
    pub fn container(&self, sandbox: u32, name: &str, attempt: u32) -> String {
        self.make(&[name], &["container", name, &sandbox.to_string()], &format!("-{attempt}"))
    }

    /// The labels of the pod's objects of this kind.
    pub fn labels(&self, kind: Kind, sandbox: u32) -> LabelMap {
        let mut labels: LabelMap = identity::labels(self.node, self.pod).into_iter().collect();
        labels.insert(KIND, kind.as_str().to_owned());
        labels.insert(SANDBOX_ATTEMPT, sandbox.to_string());
        labels
    }

    /// What has no labels and is the pod's: the name of its floating IP. A UID that is no UUID has none, and what is named
    /// so can't be found again by its name.
    pub fn own(&self) -> String {
        let uid = uid_token(&self.pod.uid).unwrap_or_else(|| format!("0{}", base32(hash([self.pod.uid.as_bytes()]))));
        format!("{}{uid}", own_prefix(self.node))
    }

    /// A volume at Hyper.sh.
    pub fn own_volume(&self, volume: &str) -> String {
        format!("{}-{}", self.own(), &base32(hash([volume.as_bytes()]))[..VOLUME_HASH])
    }

    fn make(&self, readable: &[&str], identity: &[&str], suffix: &str) -> String {
        let hashed = [self.node, &self.pod.uid].into_iter().chain(identity.iter().copied());
        let hash = base32(hash(hashed.map(str::as_bytes)));
        let mut name = format!("vk-{}-{}", self.pod.namespace, self.pod.name);
        for part in readable {
            name.push('-');
            name.push_str(part);
        }
        name.retain(|character| character.is_ascii_alphanumeric() || character == '-' || character == '.');
        name.truncate(MAX_NAME - HASH - 1 - suffix.len());
        let name = name.trim_end_matches(['-', '.']).replace('.', "-");
        format!("{name}-{hash}{suffix}")
    }
}

/// How names begin of what has no labels and is this node's.
pub fn own_prefix(node: &str) -> String {
    format!("vk-{}-", base32(hash([node.as_bytes()])))
}

/// The pod's UID in the name of something of this node that has no labels.
pub fn own_uid(node: &str, name: &str) -> Option<String> {
    let rest = name.strip_prefix(&own_prefix(node))?;
    let (token, rest) = rest.split_at_checked(UID)?;
    if !(rest.is_empty() || rest.starts_with('-')) {
        return None;
    }
    let mut value = 0_u128;
    for (at, byte) in token.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|own| *own == byte)?;
        value |= (digit as u128).checked_shl(u32::try_from(at * 5).ok()?)?;
    }
    let hex = format!("{value:032x}");
    Some([&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]].join("-"))
}

/// A UUID in letters and digits.
fn uid_token(uid: &str) -> Option<String> {
    let lengths: Vec<_> = uid.split('-').map(str::len).collect();
    if lengths != [8, 4, 4, 4, 12] || uid.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let value = u128::from_str_radix(&uid.replace('-', ""), 16).ok()?;
    Some((0..UID).map(|at| char::from(ALPHABET[(value >> (at * 5)) as usize & 31])).collect())
}

/// What is only on containers' labels.
pub struct ContainerLabels<'a> {
    pub name: &'a str,
    pub attempt: u32,
    pub image: &'a str,
    pub image_id: &'a str,
    pub stop_signal: &'a str,
}

impl ContainerLabels<'_> {
    /// Adds them.
    pub fn add_to(&self, labels: &mut LabelMap) {
        labels.insert(CONTAINER, self.name.to_owned());
        labels.insert(ATTEMPT, self.attempt.to_string());
        labels.insert(IMAGE, self.image.to_owned());
        labels.insert(IMAGE_ID, self.image_id.to_owned());
        if !self.stop_signal.is_empty() {
            labels.insert(STOP_SIGNAL, self.stop_signal.to_owned());
        }
    }
}

/// Marks a sandbox that has no network of its own.
pub fn mark_host_network(labels: &mut LabelMap) {
    labels.insert(NETWORK, "host".to_owned());
}

/// Marks a files holder: whether the pod has volumes in memory, and the group of its files.
pub fn mark_files(labels: &mut LabelMap, has_memory: bool, fs_group: Option<u64>) {
    if has_memory {
        labels.insert(MEMORY, "true".to_owned());
    }
    if let Some(group) = fs_group {
        labels.insert(FS_GROUP, group.to_string());
    }
}

/// Marks an object with a hash of what was asked for, and returns the hash.
pub fn mark_asked(labels: &mut LabelMap, specification: &[u8]) -> String {
    let asked = base32(hash([specification]));
    labels.insert(ASKED, asked.clone());
    asked
}

/// The labels that are read back; others are skipped.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Labels {
    #[serde(rename = "io.vk-runtime.node")]
    node: String,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    namespace: String,
    #[serde(rename = "io.kubernetes.pod.name")]
    pod: String,
    #[serde(rename = "io.kubernetes.pod.uid")]
    uid: String,
    #[serde(rename = "io.vk-runtime.kind")]
    kind: String,
    #[serde(rename = "io.vk-runtime.sandbox")]
    sandbox: String,
    /// The container's name.
    #[serde(rename = "io.kubernetes.container.name")]
    pub container: String,
    #[serde(rename = "io.vk-runtime.attempt")]
    attempt: String,
    /// The image as the pod writes it.
    #[serde(rename = "io.vk-runtime.image")]
    pub image: String,
    /// What it stands for.
    #[serde(rename = "io.vk-runtime.image-id")]
    pub image_id: String,
    /// The signal that the pod asks for; may be empty.
    #[serde(rename = "io.vk-runtime.stop-signal")]
    pub stop_signal: String,
    #[serde(rename = "io.vk-runtime.network")]
    network: String,
    #[serde(rename = "io.vk-runtime.memory")]
    memory: String,
    #[serde(rename = "io.vk-runtime.fs-group")]
    fs_group: String,
    /// Hash of what was asked for.
    #[serde(rename = "io.vk-runtime.asked")]
    pub asked: String,
    /// The floating IP; may be empty.
    #[serde(rename = "io.vk-runtime.address")]
    pub address: String,
    /// The size that Hyper.sh gave it.
    #[serde(rename = "sh_hyper_instancetype")]
    pub size: String,
}

impl Labels {
    /// Those of something that is a pod's without having labels: what Hyper.sh has no object for.
    pub fn of(node: &str, pod: &PodKey, kind: Kind, sandbox: u32) -> Self {
        Self {
            node: node.to_owned(),
            namespace: pod.namespace.clone(),
            pod: pod.name.clone(),
            uid: pod.uid.clone(),
            kind: kind.as_str().to_owned(),
            sandbox: sandbox.to_string(),
            ..Self::default()
        }
    }

    /// The same of this attempt of a container.
    pub fn with_attempt(mut self, attempt: u32) -> Self {
        self.attempt = attempt.to_string();
        self
    }

    /// The pod, if the object is of this node.
    pub fn pod(&self, node: &str) -> Option<PodKey> {
        (self.node == node && !self.uid.is_empty()).then(|| PodKey {
            uid: self.uid.clone(),
            namespace: self.namespace.clone(),
            name: self.pod.clone(),
        })
    }

    /// The pod's UID.
    pub fn uid(&self) -> &str {
        &self.uid
    }

    /// Whether it is an object of this pod.
    pub fn is_of(&self, node: &str, pod: &PodKey) -> bool {
        self.node == node && self.uid == pod.uid
    }

    /// What it is; none if it is nothing of ours.
    pub fn kind(&self) -> Option<Kind> {
        Kind::parse(&self.kind)
    }

    /// The sandbox's attempt.
    pub fn sandbox_attempt(&self) -> u32 {
        self.sandbox.parse().unwrap_or_default()
    }

    /// The container's attempt.
    pub fn attempt(&self) -> u32 {
        self.attempt.parse().unwrap_or_default()
    }

    /// Whether the pod has volumes in memory.
    pub fn has_memory(&self) -> bool {
        !self.memory.is_empty()
    }

    /// The group of the pod's files.
    pub fn fs_group(&self) -> Option<u64> {
        self.fs_group.parse().ok()
    }

    /// Whether the sandbox has no network of its own.
    pub fn is_host_network(&self) -> bool {
        self.network == "host"
    }
}

/// FNV-1a of 64 bits: short, and the same for ever; names must not change with a new build.
fn hash<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> u64 {
    let bytes = parts.into_iter().flat_map(|part| part.iter().copied().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";

/// Folded to [`HASH`] lower-case letters and digits.
fn base32(hash: u64) -> String {
    let mut bits = hash ^ (hash >> 50);
    let mut text = String::with_capacity(HASH);
    for _ in 0..HASH {
        text.push(char::from(ALPHABET[(bits & 31) as usize]));
        bits >>= 5;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(namespace: &str, name: &str) -> PodKey {
        PodKey { uid: "0c5a8e1e-1b1e-4a5c-9f57-6c0a8d6a1f11".into(), namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn names_are_short_and_valid_and_differ() {
        let pods = [key("default", "web-0"), key(&"n".repeat(63), &"p".repeat(253)), key("a", &"x.".repeat(60))];
        for pod in &pods {
            let names = Names { node: "c/n", pod };
            let all = [
                names.sandbox(0),
                names.sandbox(1),
                names.infra(0),
                names.files(),
                names.memory(),
                names.memory_volume("tmp"),
                names.container(0, "app", 0),
                names.container(0, "app", 4_294_967_295),
                names.container(1, "app", 0),
                names.container(0, &"c".repeat(63), 0),
            ];
            for (index, name) in all.iter().enumerate() {
                assert!(name.len() <= MAX_NAME, "{name}");
                assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'), "{name}");
                assert!(!all[..index].contains(name), "{name}");
            }
        }
    }

    #[test]
    fn a_name_can_be_read_and_never_changes() {
        let pod = key("default", "web-0");
        let names = Names { node: "c/n", pod: &pod };
        assert_eq!(names.container(0, "app", 2), "vk-default-web-0-app-bo6xoncdcp-2");
        assert_ne!(names.sandbox(0), Names { node: "c/other", pod: &pod }.sandbox(0));
    }

    #[test]
    fn what_has_no_labels_is_found_again_by_its_name() {
        let pod = key("default", "web-0");
        let names = Names { node: "c/n", pod: &pod };
        for name in [names.own(), names.own_volume("data")] {
            assert!(name.len() <= MAX_NAME, "{name}");
            assert_eq!(own_uid("c/n", &name), Some(pod.uid.clone()), "{name}");
            assert_eq!(own_uid("c/other", &name), None);
        }
        assert_ne!(names.own_volume("a"), names.own_volume("b"));
        for uid in ["ffffffff-ffff-ffff-ffff-ffffffffffff", "00000000-0000-0000-0000-000000000000"] {
            let pod = PodKey { uid: uid.into(), ..PodKey::default() };
            assert_eq!(own_uid("c/n", &Names { node: "c/n", pod: &pod }.own()).as_deref(), Some(uid));
        }
        let odd = PodKey { uid: "u".into(), ..PodKey::default() };
        let name = Names { node: "c/n", pod: &odd }.own();
        assert!(name.len() <= MAX_NAME && own_uid("c/n", &name).is_none(), "{name}");
        for name in ["", "web", "vk-", &own_prefix("c/n"), &format!("{}\u{e9}", own_prefix("c/n"))] {
            assert_eq!(own_uid("c/n", name), None, "{name}");
        }
    }

    #[test]
    fn labels_read_back() {
        let pod = key("default", "web-0");
        let mut labels = Names { node: "c/n", pod: &pod }.labels(Kind::Container, 1);
        let own = ContainerLabels {
            name: "app",
            attempt: 3,
            image: "busybox",
            image_id: "b@sha256:1",
            stop_signal: "SIGINT",
        };
        own.add_to(&mut labels);
        let asked = mark_asked(&mut labels, b"{}");
        let read: Labels = serde_json::from_value(serde_json::to_value(&labels).unwrap()).unwrap();
        assert_eq!(read.pod("c/n"), Some(pod.clone()));
        assert_eq!(read.pod("c/other"), None);
        assert!(read.is_of("c/n", &pod) && !read.is_of("c/n", &PodKey { uid: "other".into(), ..pod }));
        assert_eq!((read.kind(), read.sandbox_attempt(), read.attempt()), (Some(Kind::Container), 1, 3));
        assert_eq!((read.container.as_str(), read.stop_signal.as_str()), ("app", "SIGINT"));
        assert_eq!(read.asked, asked);
    }
}
