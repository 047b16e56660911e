//! What the Node should be, and how what it is differs.
//!
//! Which labels, taints and conditions are this host's stands in the annotation [`OWNED`], so that one that it once set and does not
//! set any more is removed, and nobody else's ever is; so with conditions.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use provider::{Condition, NodeImage, Taint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::heartbeat::Heartbeat;
use super::status::{DECLARED_FEATURES, condition_json, conditions};
use super::{NodeSettings, wellformed};

const OWNED: &str = "vk-runtime.io/owned";

/// The keys that this host set.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct Owned {
    #[serde(default)]
    labels: BTreeSet<String>,
    #[serde(default)]
    taints: BTreeSet<String>,
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub conditions: BTreeSet<String>,
    /// The host cordoned the node when it ended.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cordoned: bool,
}

impl Owned {
    pub fn of(node: &Node) -> Self {
        let text = node.metadata.annotations.as_ref().and_then(|all| all.get(OWNED));
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    fn text(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// What the Node should be.
pub(super) struct Desired {
    name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    provider_id: String,
    pub(super) addresses: Vec<(String, String)>,
    pub(super) kubelet_port: u16,
    pub(super) capacity: BTreeMap<String, String>,
    pub(super) allocatable: BTreeMap<String, String>,
    pub(super) conditions: Vec<Condition>,
    pub(super) info: BTreeMap<&'static str, String>,
    pub(super) images: Vec<Value>,
    pub(super) now: Timestamp,
    /// The host is about to end.
    pub is_ending: bool,
    /// What can't be said of the node.
    pub left_out: Vec<String>,
}

fn quantity(name: &str, amount: u64) -> String {
    match name {
        "cpu" if amount.is_multiple_of(1_000) => (amount / 1_000).to_string(),
        "cpu" => format!("{amount}m"),
        _ if amount > 0 && amount.is_multiple_of(1 << 10) && name != "pods" => format!("{}Ki", amount >> 10),
        _ => amount.to_string(),
    }
}

fn taint_key(taint: &Taint) -> String {
    format!("{}:{}", taint.key, taint.effect)
}

/// GOARCH of this machine.
fn own_architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

impl Desired {
    pub fn new(
        settings: &NodeSettings,
        heartbeat: &Heartbeat,
        host: &BTreeMap<String, Condition>,
        now: Timestamp,
    ) -> Self {
        let mut own = heartbeat.description.as_deref().cloned().unwrap_or_default();
        let mut left_out = wellformed::clean(&mut own);
        let own = &own;
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        let system = or(&own.operating_system, "linux");
        let architecture = or(&own.architecture, own_architecture());
        let mut labels: BTreeMap<String, String> = [
            ("kubernetes.io/hostname", settings.name.as_str()),
            ("kubernetes.io/os", system.as_str()),
            ("kubernetes.io/arch", architecture.as_str()),
            ("beta.kubernetes.io/os", system.as_str()),
            ("beta.kubernetes.io/arch", architecture.as_str()),
            ("type", "virtual-kubelet"),
            ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
        labels.extend(own.labels.iter().cloned());
        for (key, value) in &settings.labels {
            if wellformed::is_label(key, value) {
                labels.insert(key.clone(), value.clone());
            } else {
                left_out.push(format!("label {key:?}={value:?}"));
            }
        }
        let mut taints = settings.taints.clone();
        for taint in &own.taints {
            if !taints.iter().any(|known| taint_key(known) == taint_key(taint)) {
                taints.push(taint.clone());
            }
        }
        let mut addresses: Vec<(String, String)> =
            settings.addresses.iter().map(|address| ("InternalIP".to_owned(), address.to_string())).collect();
        addresses.push(("Hostname".to_owned(), settings.name.clone()));
        for address in &own.addresses {
            let pair = (address.kind.clone(), address.address.clone());
            if !addresses.contains(&pair) {
                addresses.push(pair);
            }
        }
        let amounts = |of: fn(&provider::Quantity) -> u64| {
            own.resources.iter().map(|one| (one.name.clone(), quantity(&one.name, of(one)))).collect()
        };
        Self {
            name: settings.name.clone(),
            labels,
            taints,
            provider_id: own.provider_id.clone(),
            addresses,
            kubelet_port: settings.kubelet_port,
            capacity: amounts(|one| one.capacity),
            allocatable: amounts(|one| one.allocatable),
            conditions: conditions(heartbeat, own, host, now),
            info: [
                ("architecture", architecture),
                ("operatingSystem", system),
                ("kubeletVersion", settings.version.clone()),
                ("osImage", own.os_image.clone()),
                ("kernelVersion", own.kernel_version.clone()),
                ("containerRuntimeVersion", own.runtime_version.clone()),
                ("kubeProxyVersion", String::new()),
                ("bootID", String::new()),
                ("machineID", String::new()),
                ("systemUUID", String::new()),
            ]
            .into(),
            images: own.images.iter().map(image_json).collect(),
            now,
            is_ending: false,
            left_out,
        }
    }

    /// Shows these images where the description says none.
    pub fn show(&mut self, images: &[NodeImage]) {
        if self.images.is_empty() {
            self.images = images.iter().map(image_json).collect();
        }
    }

    fn owned(&self) -> Owned {
        Owned {
            labels: self.labels.keys().cloned().collect(),
            taints: self.taints.iter().map(taint_key).collect(),
            conditions: self.conditions.iter().map(|own| own.kind.clone()).collect(),
            cordoned: false,
        }
    }

    fn taints_json(&self) -> Vec<Value> {
        self.taints.iter().map(|own| taint_json(&own.key, &own.value, &own.effect)).collect()
    }

    /// The object to register.
    pub fn object(&self) -> Value {
        let mut spec = Map::new();
        if !self.taints.is_empty() {
            spec.insert("taints".into(), self.taints_json().into());
        }
        if !self.provider_id.is_empty() {
            spec.insert("providerID".into(), self.provider_id.clone().into());
        }
        let conditions: Vec<Value> =
            self.conditions.iter().map(|condition| condition_json(condition, self.now, self.now)).collect();
        json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": self.name,
                "labels": self.labels,
                "annotations": { OWNED: self.owned().text() },
            },
            "spec": spec,
            "status": {
                "capacity": self.capacity,
                "allocatable": self.allocatable,
                "addresses": self.addresses_json(),
                "daemonEndpoints": { "kubeletEndpoint": { "Port": self.kubelet_port } },
                "nodeInfo": self.info,
                "conditions": conditions,
                "images": self.images,
                "declaredFeatures": DECLARED_FEATURES,
            },
        })
    }

    pub(super) fn addresses_json(&self) -> Vec<Value> {
        self.addresses.iter().map(|(kind, address)| json!({ "type": kind, "address": address })).collect()
    }

    /// A merge patch of labels and of what is remembered, if one is needed.
    pub fn metadata_change(&self, node: &Node) -> Option<Value> {
        let empty = BTreeMap::new();
        let present = node.metadata.labels.as_ref().unwrap_or(&empty);
        let before = Owned::of(node);
        let mut labels = Map::new();
        for (key, value) in &self.labels {
            if present.get(key) != Some(value) {
                labels.insert(key.clone(), value.clone().into());
            }
        }
        for key in before.labels.iter().filter(|key| !self.labels.contains_key(*key) && present.contains_key(*key)) {
            labels.insert(key.clone(), Value::Null);
        }
        let mut metadata = Map::new();
        if !labels.is_empty() {
            metadata.insert("labels".into(), labels.into());
        }
        let after = self.owned_after(node, &before);
        if before != after {
            metadata.insert("annotations".into(), json!({ OWNED: after.text() }));
        }
        (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
    }

    /// What is there of this host's, also what it could not take away yet.
    fn owned_after(&self, node: &Node, before: &Owned) -> Owned {
        let mut after = Owned { cordoned: before.cordoned && !self.uncordons(node), ..self.owned() };
        let taints = node.spec.iter().flat_map(|spec| spec.taints.iter().flatten());
        let taints = taints.map(|own| format!("{}:{}", own.key, own.effect));
        after.taints.extend(taints.filter(|key| before.taints.contains(key)));
        let conditions = node.status.iter().flat_map(|status| status.conditions.iter().flatten());
        let conditions = conditions.map(|own| own.type_.clone());
        after.conditions.extend(conditions.filter(|kind| before.conditions.contains(kind)));
        after
    }

    /// A merge patch of taints, if one is needed; it holds only for the version it was made from.
    pub fn taints_change(&self, node: &Node) -> Option<Value> {
        let before = Owned::of(node);
        let present = node.spec.as_ref().and_then(|spec| spec.taints.as_deref()).unwrap_or_default();
        let wanted: BTreeMap<String, &Taint> = self.taints.iter().map(|taint| (taint_key(taint), taint)).collect();
        let mut taints = Vec::new();
        let mut as_wanted = BTreeSet::new();
        let mut changed = false;
        for own in present {
            let own_key = format!("{}:{}", own.key, own.effect);
            match wanted.get(&own_key) {
                Some(taint) if own.value.as_deref().unwrap_or_default() == taint.value => {
                    as_wanted.insert(own_key);
                    taints.push(serde_json::to_value(own).unwrap_or_default());
                }
                Some(_) => changed = true,
                // It was ours, and is not wanted any more.
                None if before.taints.contains(&own_key) => changed = true,
                None => taints.push(serde_json::to_value(own).unwrap_or_default()),
            }
        }
        for (own_key, taint) in &wanted {
            if !as_wanted.contains(own_key) {
                changed = true;
                taints.push(taint_json(&taint.key, &taint.value, &taint.effect));
            }
        }
        changed.then(|| versioned(node, &json!({ "taints": taints })))
    }

    /// A merge patch of `providerID`, if one is needed: it can be set once, and not changed.
    pub fn provider_id_change(&self, node: &Node) -> Option<Value> {
        let present = node.spec.as_ref().and_then(|spec| spec.provider_id.as_deref()).unwrap_or_default();
        let differs = !self.provider_id.is_empty() && present != self.provider_id;
        differs.then(|| json!({ "spec": { "providerID": self.provider_id } }))
    }

    /// A merge patch that lets pods be scheduled again, if this host cordoned the node when it ended.
    pub fn cordon_change(&self, node: &Node) -> Option<Value> {
        let is_cordoned = node.spec.as_ref().and_then(|spec| spec.unschedulable) == Some(true);
        (self.uncordons(node) && is_cordoned).then(|| versioned(node, &json!({ "unschedulable": null })))
    }

    fn uncordons(&self, node: &Node) -> bool {
        !self.is_ending && Owned::of(node).cordoned
    }
}

/// A merge patch that cordons the node, and remembers by whom it was.
pub(super) fn cordon(node: &Node) -> Value {
    let mut owned = Owned::of(node);
    // Whoever else did it may want it to stay.
    owned.cordoned |= node.spec.as_ref().and_then(|spec| spec.unschedulable) != Some(true);
    let mut change = versioned(node, &json!({ "unschedulable": true }));
    change["metadata"]["annotations"] = json!({ OWNED: owned.text() });
    change
}

fn versioned(node: &Node, spec: &Value) -> Value {
    json!({ "metadata": { "resourceVersion": node.metadata.resource_version }, "spec": spec })
}

/// Whether a node identity may set a label (the admission plugin NodeRestriction).
pub(super) fn may_set(label: &str) -> bool {
    let Some((domain, name)) = label.split_once('/') else { return true };
    let within = |domain: &str, parent: &str| {
        domain.strip_suffix(parent).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    if !within(domain, "kubernetes.io") && !within(domain, "k8s.io") {
        return true;
    }
    within(domain, "kubelet.kubernetes.io")
        || within(domain, "node.kubernetes.io")
        || matches!(
            (domain, name),
            ("kubernetes.io", "hostname" | "os" | "arch")
                | ("beta.kubernetes.io", "instance-type" | "os" | "arch")
                | ("topology.kubernetes.io" | "failure-domain.beta.kubernetes.io", "zone" | "region")
        )
}

fn image_json(image: &NodeImage) -> Value {
    json!({ "names": image.names, "sizeBytes": image.size })
}

fn taint_json(key: &str, value: &str, effect: &str) -> Value {
    if value.is_empty() {
        json!({ "key": key, "effect": effect })
    } else {
        json!({ "key": key, "value": value, "effect": effect })
    }
}
