//! What the Node should be, and how it is brought there.

use provider::Quantity;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use provider::{Condition, Description, Taint};
use serde_json::json;

use super::object::Desired;
use super::*;

fn settings() -> NodeSettings {
    NodeSettings {
        name: "web".into(),
        addresses: vec!["10.77.0.1".parse().unwrap()],
        kubelet_port: 10_250,
        labels: vec![("team".into(), "a".into())],
        taints: vec![Taint { key: "k".into(), value: "v".into(), effect: "NoSchedule".into() }],
        version: "v1.36.0-vk".into(),
        stays_deleted: false,
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

fn of(settings: &NodeSettings, heartbeat: &Heartbeat, now: Timestamp) -> Desired {
    Desired::new(settings, heartbeat, &BTreeMap::new(), now)
}

fn desired() -> Desired {
    of(&settings(), &Heartbeat::new(Ok(description())), "2026-01-01T00:00:00Z".parse().unwrap())
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
    assert_eq!(desired().taints_change(&node), None);
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
    assert_eq!(desired().taints_change(&node), None);
    assert_eq!(desired().status_change(&node, false), None);
}

#[test]
fn what_was_ours_goes_when_it_is_not_wanted_any_more() {
    let node = registered();
    let mut fewer = settings();
    fewer.labels.clear();
    fewer.taints.clear();
    let now = Timestamp::UNIX_EPOCH;
    let desired = of(&fewer, &Heartbeat::new(Ok(description())), now);
    let change = desired.metadata_change(&node).unwrap();
    assert_eq!(change["metadata"]["labels"], json!({ "team": null }));
    let change = desired.taints_change(&node).unwrap();
    assert_eq!(change["spec"]["taints"], json!([]));
    assert_eq!(change["metadata"]["resourceVersion"], "5");
}

#[test]
fn what_somebody_changed_is_repaired() {
    let mut node = registered();
    node.metadata.labels.as_mut().unwrap().insert("kubernetes.io/os".into(), "plan9".into());
    node.spec.as_mut().unwrap().taints = None;
    assert_eq!(desired().metadata_change(&node).unwrap()["metadata"]["labels"], json!({ "kubernetes.io/os": "linux" }));
    let change = desired().taints_change(&node).unwrap();
    assert_eq!(change["spec"]["taints"], json!([{ "key": "k", "value": "v", "effect": "NoSchedule" }]));
}

#[test]
fn a_condition_keeps_its_transition_time_while_its_status_stays() {
    let node = registered();
    let failing = Heartbeat::new(Err(provider::Error::new(provider::Code::Unavailable, "no engine")));
    let later = "2026-01-01T01:00:00Z".parse().unwrap();
    let change = of(&settings(), &failing, later).status_change(&node, true).unwrap();
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

#[test]
fn a_label_that_only_others_may_set_is_known() {
    for own in [
        "team",
        "example.com/team",
        "kubernetes.io/os",
        "node.kubernetes.io/instance-type",
        "topology.kubernetes.io/zone",
        "kubelet.kubernetes.io/x",
        "a.node.kubernetes.io/x",
    ] {
        assert!(object::may_set(own), "{own}");
    }
    for others in
        ["kubernetes.io/role", "node-role.kubernetes.io/agent", "node-restriction.kubernetes.io/x", "x.k8s.io/y"]
    {
        assert!(!object::may_set(others), "{others}");
    }
}

#[test]
fn a_condition_that_nobody_tells_any_more_goes_and_others_stay() {
    let told =
        |kind: &str| Condition { kind: kind.into(), status: "True".into(), reason: "R".into(), message: String::new() };
    let host: BTreeMap<_, _> = [("A".to_owned(), told("A")), ("Ready".to_owned(), told("Ready"))].into();
    let heartbeat = Heartbeat::new(Err(provider::Error::new(provider::Code::Unavailable, "no engine")));
    let now = "2026-01-01T00:00:00Z".parse().unwrap();
    let with = Desired::new(&settings(), &heartbeat, &host, now);
    let mut node: Node = serde_json::from_value(with.object()).unwrap();
    let conditions = node.status.as_mut().unwrap().conditions.as_mut().unwrap();
    // What the host computes nobody replaces.
    assert!(conditions.iter().any(|own| own.type_ == "Ready" && own.status == "False"));
    conditions.push(serde_json::from_value(json!({ "type": "Others", "status": "True" })).unwrap());
    let change = of(&settings(), &heartbeat, now).status_change(&node, false).unwrap();
    assert_eq!(change["status"]["conditions"], json!([{ "type": "A", "$patch": "delete" }]));
    // It is remembered until it is gone.
    let left = of(&settings(), &heartbeat, now).metadata_change(&node);
    assert_eq!(left, None);
    node.status.as_mut().unwrap().conditions.as_mut().unwrap().retain(|own| own.type_ != "A");
    let after = of(&settings(), &heartbeat, now).metadata_change(&node).unwrap();
    assert!(!after["metadata"]["annotations"]["vk-runtime.io/owned"].as_str().unwrap().contains("\"A\""));
}

#[test]
fn a_node_that_the_host_cordoned_can_be_scheduled_to_after_its_next_start() {
    let mut node = registered();
    let cordoned = object::cordon(&node);
    assert_eq!(cordoned["spec"]["unschedulable"], true);
    node.spec.as_mut().unwrap().unschedulable = Some(true);
    node.metadata.annotations = serde_json::from_value(cordoned["metadata"]["annotations"].clone()).unwrap();
    let mut ending = desired();
    ending.is_ending = true;
    assert_eq!(ending.cordon_change(&node), None);
    assert_eq!(desired().cordon_change(&node).unwrap()["spec"], json!({ "unschedulable": null }));
    // Somebody else's stays.
    let mut others = registered();
    others.spec.as_mut().unwrap().unschedulable = Some(true);
    assert_eq!(desired().cordon_change(&others), None);
    others.metadata.annotations =
        serde_json::from_value(object::cordon(&others)["metadata"]["annotations"].clone()).unwrap();
    assert_eq!(desired().cordon_change(&others), None);
}

#[test]
fn features_are_declared_sorted_and_once_and_no_others_are_left() {
    assert!(status::DECLARED_FEATURES.is_sorted());
    let mut node = registered();
    node.status.as_mut().unwrap().declared_features = Some(vec!["Others".into()]);
    let change = desired().status_change(&node, false).unwrap();
    assert_eq!(change["status"]["declaredFeatures"], json!(status::DECLARED_FEATURES));
}

/// A node that declares what it does not do is given what another node would have done.
#[test]
fn no_feature_is_declared_that_is_not_there() {
    assert_eq!(status::DECLARED_FEATURES, [""; 0]);
    assert_eq!(desired().object()["status"]["declaredFeatures"], json!([]));
}

#[test]
fn what_is_registered_has_the_labels_that_pods_ask_for() {
    let labels = desired().object()["metadata"]["labels"].clone();
    for (label, value) in [
        ("kubernetes.io/os", "linux"),
        ("beta.kubernetes.io/os", "linux"),
        ("kubernetes.io/hostname", "web"),
        ("type", "virtual-kubelet"),
        ("node.kubernetes.io/exclude-from-external-load-balancers", "true"),
    ] {
        assert_eq!(labels[label], value, "{label}");
    }
    assert!(labels["kubernetes.io/arch"].is_string());
    // And what the provider says of where it is.
    let zone = ("topology.kubernetes.io/zone".to_owned(), "eu-1a".to_owned());
    let kind = ("node.kubernetes.io/instance-type".to_owned(), "cell.large".to_owned());
    let told = Description { labels: vec![zone, kind], ..description() };
    let own = of(&settings(), &Heartbeat::new(Ok(told)), "2026-01-01T00:00:00Z".parse().unwrap()).object();
    assert_eq!(own["metadata"]["labels"]["topology.kubernetes.io/zone"], "eu-1a");
    assert_eq!(own["metadata"]["labels"]["node.kubernetes.io/instance-type"], "cell.large");
}
