//! What the Node's status should say, and how what it says differs.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Node, NodeCondition};
use provider::{Condition, Description};
use serde_json::{Map, Value, json};

use super::heartbeat::Heartbeat;
use super::object::{Desired, Owned};

/// `status.declaredFeatures`, sorted: what the scheduler and the API server may count on beyond what every node does.
///
/// Those that Kubernetes 1.36 knows (component-helpers, nodedeclaredfeatures), and why none is declared:
///
/// | feature | a node that declares it | here |
/// | --- | --- | --- |
/// | `ExtendWebSocketsToKubelet` | is sent exec, attach and port-forward as WebSockets | they are not served yet |
/// | `InPlacePodLevelResourcesVerticalScaling`, `InPlacePodVerticalScalingInitContainers` | resizes pods, init containers | nothing is resized in place |
/// | `RestartAllContainersOnContainerExits` | restarts a whole pod by a container's rules | refused by admission |
/// | `UserNamespacesHostNetworkSupport` | has user namespaces on the host's network | refused by admission |
pub(super) const DECLARED_FEATURES: [&str; 0] = [];

impl Desired {
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
        let declared = present.get("declaredFeatures").cloned().unwrap_or_else(|| json!([]));
        if declared != json!(DECLARED_FEATURES) {
            change.insert("declaredFeatures".into(), json!(DECLARED_FEATURES));
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
        let told = self.conditions.iter().filter_map(|condition| {
            let known: Option<&NodeCondition> = find(&condition.kind);
            let same = known.is_some_and(|known| {
                known.status == condition.status
                    && known.reason.as_deref() == Some(&condition.reason)
                    && known.message.as_deref() == Some(&condition.message)
            });
            if same && !all {
                return None;
            }
            let since = known
                .filter(|known| known.status == condition.status)
                .and_then(|known| known.last_transition_time.as_ref())
                .map_or(self.now, |time| time.0);
            Some(condition_json(condition, self.now, since))
        });
        let owned = Owned::of(node).conditions;
        let taken_back = present.iter().filter(|own| {
            owned.contains(&own.type_) && !self.conditions.iter().any(|condition| condition.kind == own.type_)
        });
        told.chain(taken_back.map(|own| json!({ "type": own.type_, "$patch": "delete" }))).collect()
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

pub(super) fn condition_json(condition: &Condition, now: Timestamp, since: Timestamp) -> Value {
    json!({
        "type": condition.kind,
        "status": condition.status,
        "reason": condition.reason,
        "message": condition.message,
        "lastHeartbeatTime": whole_seconds(now),
        "lastTransitionTime": whole_seconds(since),
    })
}

/// The kubelet's conditions in its words, the provider's own, and those of parts of the host.
pub(super) fn conditions(
    heartbeat: &Heartbeat,
    description: &Description,
    host: &BTreeMap<String, Condition>,
    now: Timestamp,
) -> Vec<Condition> {
    let condition = |kind: &str, status: &str, reason: &str, message: &str| Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    };
    let mut all = vec![
        condition("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
        condition("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
        condition("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
        condition("NetworkUnavailable", "False", "ProviderNetwork", "the provider connects the pods"),
    ];
    let computed: Vec<String> = all.iter().map(|own| own.kind.clone()).collect();
    for own in &description.conditions {
        all.retain(|known| known.kind != own.kind);
        all.push(own.clone());
    }
    for own in host.values().filter(|own| !computed.contains(&own.kind)) {
        all.retain(|known| known.kind != own.kind);
        all.push(own.clone());
    }
    all.retain(|own| own.kind != "Ready");
    all.push(match heartbeat.trouble(now) {
        None => condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
        Some((reason, message)) => condition("Ready", "False", &reason, &message),
    });
    all
}
