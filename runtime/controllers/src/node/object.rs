//! What the Node should be, and how what it is differs.
//!
//! Which labels and taints are this host's stands in the annotation [`OWNED`], so that one that it once set and does not
//! set any more is removed, and nobody else's ever is.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use provider::{Description, Taint};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::NodeSettings;
use super::heartbeat::Heartbeat;

const OWNED: &str = "vk-runtime.io/owned";

/// The keys that this host set.
#[derive(Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
struct Owned {
    #[serde(default)]
    labels: BTreeSet<String>,
    #[serde(default)]
    taints: BTreeSet<String>,
}

/// What the Node should be.
pub(super) struct Desired {
    name: String,
    labels: BTreeMap<String, String>,
    taints: Vec<Taint>,
    provider_id: String,
    addresses: Vec<(String, String)>,
    kubelet_port: u16,
    capacity: BTreeMap<String, String>,
    allocatable: BTreeMap<String, String>,
    conditions: Vec<(String, String, String, String)>,
    info: BTreeMap<&'static str, String>,
    images: Vec<Value>,
    now: Timestamp,
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
    pub fn new(settings: &NodeSettings, heartbeat: &Heartbeat, now: Timestamp) -> Self {
        let empty = Description::default();
        let own = heartbeat.description.as_deref().unwrap_or(&empty);
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
        labels.extend(settings.labels.iter().cloned());
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
            conditions: conditions(heartbeat, own, now),
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
            images: own.images.iter().map(|one| json!({ "names": one.names, "sizeBytes": one.size })).collect(),
            now,
        }
    }

    fn owned(&self) -> Owned {
        Owned { labels: self.labels.keys().cloned().collect(), taints: self.taints.iter().map(taint_key).collect() }
    }

    fn owned_text(&self) -> String {
        serde_json::to_string(&self.owned()).unwrap_or_default()
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
                "annotations": { OWNED: self.owned_text() },
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
            },
        })
    }

    fn addresses_json(&self) -> Vec<Value> {
        self.addresses.iter().map(|(kind, address)| json!({ "type": kind, "address": address })).collect()
    }

    /// A merge patch of labels and annotations, if one is needed.
    pub fn metadata_change(&self, node: &Node) -> Option<Value> {
        let empty = BTreeMap::new();
        let present = node.metadata.labels.as_ref().unwrap_or(&empty);
        let annotations = node.metadata.annotations.as_ref().unwrap_or(&empty);
        let before: Owned = annotations.get(OWNED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
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
        if before != self.owned() {
            metadata.insert("annotations".into(), json!({ OWNED: self.owned_text() }));
        }
        (!metadata.is_empty()).then(|| json!({ "metadata": metadata }))
    }

    /// A merge patch of taints and `providerID`, if one is needed; it holds only for the version it was made from.
    pub fn spec_change(&self, node: &Node) -> Option<Value> {
        let spec = node.spec.clone().unwrap_or_default();
        let annotations = node.metadata.annotations.clone().unwrap_or_default();
        let before: Owned = annotations.get(OWNED).and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
        let present = spec.taints.unwrap_or_default();
        let key = |key: &str, effect: &str| format!("{key}:{effect}");
        let wanted: BTreeMap<String, &Taint> = self.taints.iter().map(|taint| (taint_key(taint), taint)).collect();
        let mut taints = Vec::new();
        let mut as_wanted = BTreeSet::new();
        let mut changed = false;
        for own in &present {
            let own_key = key(&own.key, &own.effect);
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
        let mut change = Map::new();
        if changed {
            change.insert("taints".into(), taints.into());
        }
        // It can be set once.
        if !self.provider_id.is_empty() && spec.provider_id.as_deref().unwrap_or_default().is_empty() {
            change.insert("providerID".into(), self.provider_id.clone().into());
        }
        (!change.is_empty()).then(|| {
            json!({
                "metadata": { "resourceVersion": node.metadata.resource_version },
                "spec": change,
            })
        })
    }

    /// A strategic merge patch of what changed of the status; with `all` also the times of the conditions.
    pub fn status_change(&self, node: &Node, all: bool) -> Option<Value> {
        let present = serde_json::to_value(node.status.clone().unwrap_or_default()).unwrap_or_default();
        let mut change = Map::new();
        for (field, desired) in [
            ("capacity", json!(self.capacity)),
            ("allocatable", json!(self.allocatable)),
            ("daemonEndpoints", json!({ "kubeletEndpoint": { "Port": self.kubelet_port } })),
        ] {
            if let Some(difference) = difference(present.get(field), &desired) {
                change.insert(field.into(), difference);
            }
        }
        let info = present.get("nodeInfo").cloned().unwrap_or_default();
        let info_changed = self.info.iter().any(|(key, value)| info.get(key).and_then(Value::as_str) != Some(value));
        if info_changed {
            change.insert("nodeInfo".into(), json!(self.info));
        }
        let addresses = json!(self.addresses_json());
        if present.get("addresses") != Some(&addresses) {
            // Merged by type, of which there may be several: replaced as a whole.
            let mut list = self.addresses_json();
            list.push(json!({ "$patch": "replace" }));
            change.insert("addresses".into(), list.into());
        }
        if present.get("images").cloned().unwrap_or_else(|| json!([])) != json!(self.images) {
            change.insert("images".into(), json!(self.images));
        }
        let conditions = self.condition_changes(node, all);
        if !conditions.is_empty() {
            change.insert("conditions".into(), conditions.into());
        }
        (!change.is_empty()).then(|| json!({ "status": change }))
    }

    fn condition_changes(&self, node: &Node, all: bool) -> Vec<Value> {
        let present = node.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
        let find = |kind: &str| present.iter().find(|condition| condition.type_ == kind);
        self.conditions
            .iter()
            .filter_map(|condition| {
                let (kind, status, reason, message) = condition;
                let known: Option<&NodeCondition> = find(kind);
                let same = known.is_some_and(|known| {
                    known.status == *status
                        && known.reason.as_deref() == Some(reason)
                        && known.message.as_deref() == Some(message)
                });
                if same && !all {
                    return None;
                }
                let since = known
                    .filter(|known| known.status == *status)
                    .and_then(|known| known.last_transition_time.as_ref())
                    .map_or(self.now, |time| time.0);
                Some(condition_json(condition, self.now, since))
            })
            .collect()
    }
}

fn taint_json(key: &str, value: &str, effect: &str) -> Value {
    if value.is_empty() {
        json!({ "key": key, "effect": effect })
    } else {
        json!({ "key": key, "value": value, "effect": effect })
    }
}

/// The keys of a map that differ, those that are not wanted as null.
fn difference(present: Option<&Value>, desired: &Value) -> Option<Value> {
    let (Some(Value::Object(present)), Value::Object(desired)) = (present, desired) else {
        return match desired {
            Value::Object(desired) if desired.is_empty() => None,
            _ => Some(desired.clone()),
        };
    };
    let mut change = Map::new();
    for (key, value) in desired {
        if present.get(key) != Some(value) {
            change.insert(key.clone(), value.clone());
        }
    }
    for key in present.keys().filter(|key| !desired.contains_key(*key)) {
        change.insert(key.clone(), Value::Null);
    }
    (!change.is_empty()).then(|| change.into())
}

fn whole_seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

fn condition_json(
    (kind, status, reason, message): &(String, String, String, String),
    now: Timestamp,
    since: Timestamp,
) -> Value {
    json!({
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "lastHeartbeatTime": whole_seconds(now),
        "lastTransitionTime": whole_seconds(since),
    })
}

/// The kubelet's conditions in its words, and the provider's own.
fn conditions(
    heartbeat: &Heartbeat,
    description: &Description,
    now: Timestamp,
) -> Vec<(String, String, String, String)> {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        (kind.to_owned(), status.to_owned(), reason.to_owned(), message.to_owned())
    };
    let mut all = vec![
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("NetworkUnavailable", "False", "ProviderNetwork", "the provider connects the pods"),
    ];
    for own in &description.conditions {
        all.retain(|(kind, ..)| *kind != own.kind);
        all.push(condition(&own.kind, &own.status, &own.reason, &own.message));
    }
    all.retain(|(kind, ..)| kind != "Ready");
    all.push(match heartbeat.trouble(now) {
        None => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Some((reason, message)) => condition("Ready", "False", &reason, &message),
    });
    all
}

#[cfg(test)]
mod tests {
    use provider::Quantity;

    use super::*;

    fn settings() -> NodeSettings {
        NodeSettings {
            name: "web".into(),
            addresses: vec!["10.77.0.1".parse().unwrap()],
            kubelet_port: 10_250,
            labels: vec![("team".into(), "a".into())],
            taints: vec![Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() }],
            version: "v1.36.0-vk".into(),
        }
    }

    fn description() -> Description {
        Description {
            ready: true,
            resources: vec![
                Quantity { name: "cpu".into(), capacity: 20_000, allocatable: 19_500 },
                Quantity { name: "memory".into(), capacity: 100 << 30, allocatable: 100 << 30 },
                Quantity { name: "pods".into(), capacity: 2_048, allocatable: 2_048 },
            ],
            ..Description::default()
        }
    }

    fn desired() -> Desired {
        Desired::new(&settings(), &Heartbeat::new(Ok(description())), "2026-01-01T00:00:00Z".parse().unwrap())
    }

    fn registered() -> Node {
        let mut object = desired().object();
        object["metadata"]["resourceVersion"] = "5".into();
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn what_was_registered_needs_no_change() {
        let node = registered();
        assert_eq!(desired().metadata_change(&node), None);
        assert_eq!(desired().spec_change(&node), None);
        assert_eq!(desired().status_change(&node, false), None);
        let heartbeat = desired().status_change(&node, true).unwrap();
        assert_eq!(heartbeat["status"].as_object().unwrap().keys().collect::<Vec<_>>(), ["conditions"]);
    }

    #[test]
    fn quantities_are_written_as_kubernetes_does() {
        let object = desired().object();
        assert_eq!(object["status"]["capacity"]["cpu"], "20");
        assert_eq!(object["status"]["allocatable"]["cpu"], "19500m");
        assert_eq!(object["status"]["capacity"]["memory"], "104857600Ki");
        assert_eq!(object["status"]["capacity"]["pods"], "2048");
    }

    #[test]
    fn what_others_put_there_stays() {
        let mut node = registered();
        node.metadata.labels.as_mut().unwrap().insert("others".into(), "x".into());
        node.spec.as_mut().unwrap().taints.as_mut().unwrap().push(
            serde_json::from_value(json!({ "key": "node.kubernetes.io/unreachable", "effect": "NoExecute" })).unwrap(),
        );
        let conditions = node.status.as_mut().unwrap().conditions.as_mut().unwrap();
        conditions.push(serde_json::from_value(json!({ "type": "Others", "status": "True" })).unwrap());
        assert_eq!(desired().metadata_change(&node), None);
        assert_eq!(desired().spec_change(&node), None);
        assert_eq!(desired().status_change(&node, false), None);
    }

    #[test]
    fn what_was_ours_goes_when_it_is_not_wanted_any_more() {
        let node = registered();
        let mut fewer = settings();
        fewer.labels.clear();
        fewer.taints.clear();
        let now = Timestamp::UNIX_EPOCH;
        let desired = Desired::new(&fewer, &Heartbeat::new(Ok(description())), now);
        let change = desired.metadata_change(&node).unwrap();
        assert_eq!(change["metadata"]["labels"], json!({ "team": null }));
        let change = desired.spec_change(&node).unwrap();
        assert_eq!(change["spec"]["taints"], json!([]));
        assert_eq!(change["metadata"]["resourceVersion"], "5");
    }

    #[test]
    fn what_somebody_changed_is_repaired() {
        let mut node = registered();
        node.metadata.labels.as_mut().unwrap().insert("kubernetes.io/os".into(), "plan9".into());
        node.spec.as_mut().unwrap().taints = None;
        assert_eq!(
            desired().metadata_change(&node).unwrap()["metadata"]["labels"],
            json!({ "kubernetes.io/os": "linux" })
        );
        let change = desired().spec_change(&node).unwrap();
        assert_eq!(change["spec"]["taints"], json!([{ "key": "k", "value": "v", "effect": "NoSchedule" }]));
    }

    #[test]
    fn a_condition_keeps_its_transition_time_while_its_status_stays() {
        let node = registered();
        let failing = Heartbeat::new(Err(provider::Error::new(provider::Code::Unavailable, "no engine")));
        let later = "2026-01-01T01:00:00Z".parse().unwrap();
        let change = Desired::new(&settings(), &failing, later).status_change(&node, true).unwrap();
        let of = |kind: &str| {
            let all = change["status"]["conditions"].as_array().unwrap();
            all.iter().find(|condition| condition["type"] == kind).unwrap().clone()
        };
        assert_eq!(of("Ready")["status"], "False");
        assert_eq!(of("Ready")["message"], "no engine");
        assert_eq!(of("Ready")["lastTransitionTime"], "2026-01-01T01:00:00Z");
        assert_eq!(of("DiskPressure")["lastTransitionTime"], "2026-01-01T00:00:00Z");
        assert_eq!(of("DiskPressure")["lastHeartbeatTime"], "2026-01-01T01:00:00Z");
    }

    #[test]
    fn a_resource_that_the_provider_lost_goes() {
        let mut node = registered();
        let capacity = node.status.as_mut().unwrap().capacity.as_mut().unwrap();
        capacity.insert("nvidia.com/gpu".into(), serde_json::from_value(json!("2")).unwrap());
        let change = desired().status_change(&node, false).unwrap();
        assert_eq!(change["status"]["capacity"], json!({ "nvidia.com/gpu": null }));
    }
}
