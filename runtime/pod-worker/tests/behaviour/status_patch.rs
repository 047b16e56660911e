//! The patch that the API server gets.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use pod_worker::observation::{ObjectState, Observation, Phase, Start};
use pod_worker::{Work, status};
use serde_json::{Value, json};

use crate::lab::{UID, apps, exited, input, object, pod, running, seen};
use crate::merge::apply;

fn of(status: Value) -> PodStatus {
    serde_json::from_value(status).unwrap()
}

fn patch(present: &PodStatus, computed: &PodStatus) -> Option<Value> {
    status::patch(UID, present, computed)
}

#[test]
fn nothing_is_sent_when_nothing_changed() {
    let pod = apps(&["a", "b"]);
    let seen = seen(vec![object(0, ObjectState::Running)], vec![running("a", 0), exited("b", 0, 1)]);
    let computed = status::compute(&input(&pod, &seen, Some(Work::Running)));
    // As it comes back from the API server.
    let mut back: PodStatus = of(serde_json::to_value(&computed).unwrap());
    assert_eq!(patch(&back, &computed), None);
    // In whatever order.
    back.conditions.as_mut().unwrap().reverse();
    assert_eq!(patch(&back, &computed), None);
    let pod = Pod { status: Some(back.clone()), ..pod };
    assert_eq!(patch(&back, &status::compute(&input(&pod, &seen, Some(Work::Running)))), None);
}

#[test]
fn only_changed_fields_are_sent_with_the_uid() {
    let present = of(json!({ "phase": "Pending", "hostIP": "192.0.2.1", "qosClass": "BestEffort", "reason": "Old" }));
    let computed =
        of(json!({ "phase": "Running", "hostIP": "192.0.2.1", "qosClass": "BestEffort", "observedGeneration": 2 }));
    assert_eq!(
        patch(&present, &computed).unwrap(),
        json!({
            "metadata": { "uid": UID },
            "status": { "phase": "Running", "reason": null, "observedGeneration": 2 },
        })
    );
}

#[test]
fn a_generation_that_was_looked_at_is_no_news_by_itself() {
    let condition = |fields: Value| json!({ "status": { "observedGeneration": 3, "conditions": [fields] } });
    assert!(!status::is_news(&json!({ "status": { "observedGeneration": 3 } })));
    assert!(!status::is_news(&condition(json!({ "type": "Ready", "observedGeneration": 3 }))));
    assert!(status::is_news(&condition(json!({ "type": "Ready", "observedGeneration": 3, "status": "False" }))));
    assert!(status::is_news(&condition(json!({ "$patch": "delete", "type": "PodResizePending" }))));
    assert!(status::is_news(&json!({ "status": { "observedGeneration": 3, "phase": "Failed" } })));
    assert!(status::is_news(&json!({ "status": { "containerStatuses": [] } })));
}

#[test]
fn conditions_are_merged_by_type_and_others_are_not_touched() {
    let present = of(json!({ "conditions": [
        { "type": "example.com/lb", "status": "False" },
        { "type": "Ready", "status": "False", "reason": "ContainersNotReady", "message": "some", "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": "PodResizePending", "status": "True", "reason": "Deferred" },
        { "type": "DisruptionTarget", "status": "True" },
    ] }));
    let computed = of(json!({ "conditions": [
        { "type": "Ready", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z" },
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2020-01-01T00:00:00Z" },
        { "type": "Initialized", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z" },
    ] }));
    assert_eq!(
        patch(&present, &computed).unwrap()["status"],
        json!({ "conditions": [
            { "type": "Ready", "status": "True", "reason": null, "message": null, "lastTransitionTime": "2021-01-01T00:00:00Z" },
            { "type": "Initialized", "status": "True", "lastTransitionTime": "2021-01-01T00:00:00Z" },
            { "$patch": "delete", "type": "PodResizePending" },
        ] })
    );
}

#[test]
fn addresses_replace_each_other_in_their_order() {
    let none = of(json!({}));
    let one = of(json!({ "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }] }));
    let two = of(json!({ "podIP": "fd00::1", "podIPs": [{ "ip": "fd00::1" }, { "ip": "10.0.0.1" }] }));
    assert_eq!(patch(&none, &one).unwrap()["status"], json!({ "podIP": "10.0.0.1", "podIPs": [{ "ip": "10.0.0.1" }] }));
    assert_eq!(
        patch(&one, &two).unwrap()["status"],
        json!({ "podIP": "fd00::1", "podIPs": [{ "ip": "fd00::1" }, { "ip": "10.0.0.1" }, { "$patch": "replace" }] })
    );
    assert_eq!(patch(&one, &none).unwrap()["status"], json!({ "podIP": null, "podIPs": null }));
}

#[test]
fn what_others_write_is_never_sent() {
    let present = of(json!({
        "nominatedNodeName": "other", "resize": "Proposed", "allocatedResources": { "cpu": "1" },
        "resourceClaimStatuses": [{ "name": "gpu" }],
    }));
    assert_eq!(patch(&present, &of(json!({}))), None);
}

#[test]
fn a_patch_brings_the_one_status_to_the_other() {
    let pod = pod(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{ "name": "setup" }],
        "containers": [{ "name": "a" }, { "name": "b" }],
        "readinessGates": [{ "conditionType": "example.com/lb" }],
    }));
    let mut statuses = vec![pod.status.clone().unwrap()];
    let phases = [Phase::Waiting, Phase::Created, Phase::Running, Phase::Exited];
    for (place, phase) in phases.into_iter().enumerate() {
        for (state, work) in [
            (ObjectState::Running, Some(Work::Running)),
            (ObjectState::Ended, Some(Work::Terminated)),
            (ObjectState::Failed, None),
            (ObjectState::Suspended, None),
        ] {
            let mut sandbox = object(0, state);
            sandbox.ips = ["10.0.0.1", "fd00::1"][..place % 3].iter().map(|ip| ip.parse().unwrap()).collect();
            sandbox.disruption = if place == 2 { "NodeLost" } else { "" }.into();
            let starts = vec![exited("setup", 0, 0), Start { phase, ..running("a", 0) }, exited("b", 1, 1)];
            let seen = Observation { revision: 0, objects: vec![sandbox], starts };
            statuses.push(status::compute(&input(&pod, &seen, work)));
        }
    }
    for present in &statuses {
        for computed in &statuses {
            let mut document = json!({ "metadata": { "uid": UID }, "status": present });
            if let Some(patch) = patch(present, computed) {
                apply(&mut document, &patch);
            }
            let mut result = of(document["status"].clone());
            // A condition that others may have made is never taken away again.
            let keep = |status: &PodStatus| {
                let mut status = status.clone();
                status.conditions.iter_mut().for_each(|conditions| {
                    conditions.retain(|condition| condition.type_ != "DisruptionTarget");
                    conditions.sort_by(|a, b| a.type_.cmp(&b.type_));
                });
                status.conditions = status.conditions.filter(|conditions| !conditions.is_empty());
                status
            };
            result.conditions = result.conditions.filter(|conditions| !conditions.is_empty());
            assert_eq!(keep(&result), keep(computed));
        }
    }
}
