//! The least that the API server has to be told: a strategic merge patch of the status, guarded by the pod's UID.
//!
//! Conditions go by type, so that others' survive whatever happens meanwhile. Container statuses are replaced as whole
//! lists, as Kubernetes has it. What `patch` says of addresses replaces the list, because their order counts.

use k8s_openapi::api::core::v1::{PodCondition, PodStatus};
use serde_json::{Map, Value, json};

use super::conditions::{DISRUPTION_TARGET, is_own};

/// The patch that brings `present`, the status as it stands at the API server, to `computed`, for the pod's `status`
/// subresource. None: nothing has changed.
pub fn patch(uid: &str, present: &PodStatus, computed: &PodStatus) -> Option<Value> {
    let mut fields = Map::new();
    macro_rules! scalar {
        ($($field:ident as $name:literal),*) => {$(
            if present.$field != computed.$field {
                fields.insert($name.into(), json!(computed.$field));
            }
        )*};
    }
    scalar! {
        phase as "phase",
        reason as "reason",
        message as "message",
        observed_generation as "observedGeneration",
        start_time as "startTime",
        qos_class as "qosClass",
        host_ip as "hostIP",
        pod_ip as "podIP",
        init_container_statuses as "initContainerStatuses",
        container_statuses as "containerStatuses",
        ephemeral_container_statuses as "ephemeralContainerStatuses"
    }
    macro_rules! addresses {
        ($($field:ident as $name:literal),*) => {$(
            if present.$field != computed.$field {
                fields.insert($name.into(), replaced(json!(computed.$field), present.$field.is_some()));
            }
        )*};
    }
    addresses! { host_ips as "hostIPs", pod_ips as "podIPs" }

    let conditions = conditions(
        present.conditions.as_deref().unwrap_or_default(),
        computed.conditions.as_deref().unwrap_or_default(),
    );
    if !conditions.is_empty() {
        fields.insert("conditions".into(), Value::Array(conditions));
    }
    (!fields.is_empty()).then(|| json!({ "metadata": { "uid": uid }, "status": fields }))
}

/// Whether a patch tells more than that a newer generation of the pod was looked at.
pub fn is_news(patch: &Value) -> bool {
    let of_generation = |name: &String| name == "observedGeneration";
    let fields = patch["status"].as_object();
    fields.into_iter().flatten().any(|(name, value)| match value.as_array().filter(|_| name == "conditions") {
        Some(conditions) => {
            let fields = conditions.iter().filter_map(Value::as_object).flat_map(Map::keys);
            fields.filter(|own| *own != "type").any(|own| !of_generation(own))
        }
        None => !of_generation(name),
    })
}

/// A list that takes the place of one that is merged by default.
fn replaced(list: Value, present: bool) -> Value {
    match list {
        Value::Array(mut list) if present => {
            list.push(json!({ "$patch": "replace" }));
            Value::Array(list)
        }
        list => list,
    }
}

fn conditions(present: &[PodCondition], computed: &[PodCondition]) -> Vec<Value> {
    let mut changes = Vec::new();
    for condition in
        computed.iter().filter(|condition| is_own(&condition.type_) || condition.type_ == DISRUPTION_TARGET)
    {
        match find(present, &condition.type_) {
            None => changes.push(json!(condition)),
            Some(before) if before != condition => changes.push(difference(before, condition)),
            Some(_) => {}
        }
    }
    for condition in present.iter().filter(|condition| is_own(&condition.type_)) {
        if find(computed, &condition.type_).is_none() {
            changes.push(json!({ "$patch": "delete", "type": condition.type_ }));
        }
    }
    changes
}

fn find<'a>(conditions: &'a [PodCondition], kind: &str) -> Option<&'a PodCondition> {
    conditions.iter().find(|condition| condition.type_ == kind)
}

/// The fields of a condition that changed, and its type.
fn difference(before: &PodCondition, condition: &PodCondition) -> Value {
    let mut fields = Map::from_iter([("type".to_owned(), json!(condition.type_))]);
    macro_rules! changed {
        ($($field:ident as $name:literal),*) => {$(
            if before.$field != condition.$field {
                fields.insert($name.into(), json!(condition.$field));
            }
        )*};
    }
    changed! {
        status as "status",
        reason as "reason",
        message as "message",
        observed_generation as "observedGeneration",
        last_probe_time as "lastProbeTime",
        last_transition_time as "lastTransitionTime"
    }
    Value::Object(fields)
}
