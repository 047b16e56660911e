//! What the node takes, and what it refuses with which words.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Value, json};

use super::*;
use crate::testing::ready;

fn ledger() -> Ledger {
    let all = [("pods", 3), ("cpu", 2_000), ("memory", 4 << 30), ("example.com/gpu", 1), ("ephemeral-storage", 1_000)];
    Ledger::new("web", &ready(&all))
}

fn applicant(uid: &str, spec: Value) -> Applicant {
    let mut whole = json!({ "containers": [] });
    whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    Applicant {
        key: PodKey::new(uid, "default", uid),
        generation: 1,
        made: None,
        begun: false,
        parsed: Arc::new(Parsed {
            metadata: ObjectMeta::default(),
            spec: serde_json::from_value(whole).unwrap(),
            status: Arc::default(),
            probes: Vec::new(),
        }),
    }
}

fn asking(uid: &str, requests: Value) -> Applicant {
    applicant(uid, json!({ "containers": [{ "name": "c", "resources": { "requests": requests } }] }))
}

fn refused(decision: Decision) -> (String, String) {
    match decision {
        Decision::Refuses(own) => (own.reason, own.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_resource_that_is_used_up_refuses_in_the_kubelets_words() {
    for (requests, reason, numbers) in [
        (json!({ "cpu": "1500m" }), "OutOfcpu", "cpu, requested: 1500, used: 1000, capacity: 2000"),
        (json!({ "memory": "4Gi" }), "OutOfmemory", "memory, requested: 4294967296, used: 1024, capacity: 4294967296"),
        (
            json!({ "ephemeral-storage": "1001" }),
            "OutOfephemeral-storage",
            "ephemeral-storage, requested: 1001, used: 0, capacity: 1000",
        ),
        (
            json!({ "example.com/gpu": "1" }),
            "OutOfexample.com/gpu",
            "example.com/gpu, requested: 1, used: 1, capacity: 1",
        ),
        (
            json!({ "hugepages-2Mi": "2Mi" }),
            "OutOfhugepages-2Mi",
            "hugepages-2Mi, requested: 2097152, used: 0, capacity: 0",
        ),
    ] {
        let mut ledger = ledger();
        let first = asking("first", json!({ "cpu": "1", "memory": "1Ki", "example.com/gpu": "1" }));
        assert_eq!(ledger.decide(&first, false), Decision::Takes);
        let (own, message) = refused(ledger.decide(&asking("second", requests), false));
        assert_eq!(own, reason);
        assert_eq!(message, format!("Node didn't have enough resource: {numbers}"));
    }
}

#[test]
fn the_number_of_pods_is_a_resource() {
    let mut ledger = ledger();
    for uid in ["a", "b", "c"] {
        assert_eq!(ledger.decide(&asking(uid, json!({})), false), Decision::Takes);
    }
    let (reason, message) = refused(ledger.decide(&asking("d", json!({})), false));
    assert_eq!(reason, "OutOfpods");
    assert_eq!(message, "Node didn't have enough resource: pods, requested: 1, used: 3, capacity: 3");
}

#[test]
fn an_extended_resource_that_the_node_does_not_know_may_be_the_clusters() {
    assert_eq!(ledger().decide(&asking("a", json!({ "example.com/license": "5" })), false), Decision::Takes);
}

#[test]
fn what_has_finished_holds_nothing() {
    let mut ledger = ledger();
    assert_eq!(ledger.decide(&asking("a", json!({ "cpu": "2" })), false), Decision::Takes);
    let next = asking("b", json!({ "cpu": "2" }));
    assert_eq!(refused(ledger.decide(&next, false)).0, "OutOfcpu");
    ledger.release("a");
    assert_eq!(ledger.decide(&next, false), Decision::Takes);
    // Neither does what a new list does not name.
    ledger.keep_only(&HashSet::new());
    assert_eq!(ledger.decide(&asking("c", json!({ "cpu": "2" })), false), Decision::Takes);
}

#[test]
fn what_was_begun_is_never_refused_and_holds_what_it_takes() {
    let mut ledger = ledger();
    let begun = |uid: &str| Applicant { begun: true, ..asking(uid, json!({ "cpu": "2" })) };
    for uid in ["a", "b"] {
        assert_eq!(ledger.decide(&begun(uid), false), Decision::Takes);
    }
    let (_, message) = refused(ledger.decide(&asking("c", json!({ "cpu": "1m" })), false));
    assert!(message.contains("used: 4000, capacity: 2000"), "{message}");
}

#[test]
fn what_was_begun_comes_first_then_what_is_oldest() {
    let of = |uid: &str, begun: bool, made: &str| Applicant {
        begun,
        made: Some(made.parse().unwrap()),
        ..asking(uid, json!({}))
    };
    let mut all = [
        of("young", false, "2026-01-03T00:00:00Z"),
        of("b", false, "2026-01-02T00:00:00Z"),
        of("a", false, "2026-01-02T00:00:00Z"),
        of("begun", true, "2026-01-04T00:00:00Z"),
    ];
    all.sort_by_key(Applicant::rank);
    assert_eq!(all.map(|own| own.key.name.to_string()), ["begun", "a", "b", "young"]);
}

#[test]
fn a_pod_that_grew_holds_more() {
    let mut ledger = ledger();
    let own = asking("a", json!({ "cpu": "1" }));
    assert_eq!(ledger.decide(&own, false), Decision::Takes);
    assert!(!ledger.is_older("a", 1));
    assert!(ledger.is_older("a", 2));
    ledger.resize(&own.key.uid, &asking("a", json!({ "cpu": "2" })).parsed.spec, 2);
    assert!(!ledger.is_older("a", 2));
    assert_eq!(refused(ledger.decide(&asking("b", json!({ "cpu": "1" })), false)).0, "OutOfcpu");
}

#[test]
fn a_port_of_the_host_is_had_once() {
    let on = |uid: &str, port: u16| {
        let ports = json!([{ "containerPort": 80, "hostPort": port }]);
        applicant(uid, json!({ "containers": [{ "name": "c", "ports": ports }] }))
    };
    let mut ledger = ledger();
    assert_eq!(ledger.decide(&on("a", 80), false), Decision::Takes);
    assert_eq!(ledger.decide(&on("b", 81), false), Decision::Takes);
    let (reason, message) = refused(ledger.decide(&on("c", 80), false));
    assert_eq!(reason, "NodePorts");
    assert_eq!(message, "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports");
}

#[test]
fn another_operating_system_is_refused() {
    let os = |name: &str| applicant("a", json!({ "os": { "name": name } }));
    assert_eq!(ledger().decide(&os("linux"), false), Decision::Takes);
    let (reason, message) = refused(ledger().decide(&os("windows"), false));
    assert_eq!(reason, "PodOSNotSupported");
    assert_eq!(message, "Failed to admit pod as the OS field doesn't match node OS");
}

#[test]
fn a_feature_that_the_node_does_not_declare_is_refused() {
    let rules = json!([{ "action": "RestartAllContainers", "exitCodes": { "operator": "In", "values": [1] } }]);
    let container = json!({ "name": "c", "restartPolicyRules": rules });
    let own = applicant("a", json!({ "containers": [container], "hostNetwork": true, "hostUsers": false }));
    let (reason, message) = refused(ledger().decide(&own, false));
    assert_eq!(reason, "PodFeatureUnsupported");
    assert_eq!(
        message,
        "Pod requires node features that are not available: RestartAllContainersOnContainerExits, \
         UserNamespacesHostNetworkSupport"
    );
    let strict = applicant("a", json!({ "securityContext": { "supplementalGroupsPolicy": "Strict" } }));
    assert_eq!(refused(ledger().decide(&strict, false)).0, "SupplementalGroupsPolicyNotSupported");
}

#[test]
fn a_pod_is_refused_for_labels_only_when_they_were_read_since_it_came() {
    let mut ledger = ledger();
    let own = applicant("a", json!({ "nodeSelector": { "team": "a" } }));
    assert!(ledger.must_read_labels(&own));
    ledger.label(Labels::new());
    assert!(!ledger.must_read_labels(&own));
    assert_eq!(ledger.decide(&own, false), Decision::WantsLabels);
    assert_eq!(ledger.take_waiting(), HashSet::from([own.key.uid.clone()]));
    let (reason, message) = refused(ledger.decide(&own, true));
    assert_eq!(reason, "NodeAffinity");
    assert_eq!(message, "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector");
    ledger.label(Labels::from([("team".to_owned(), "a".to_owned())]));
    assert_eq!(ledger.decide(&own, false), Decision::Takes);
}

#[test]
fn taints_are_no_reason() {
    // Nothing of a pod's tolerations is looked at: its controller ends it if it has to.
    assert_eq!(ledger().decide(&applicant("a", json!({ "tolerations": [] })), false), Decision::Takes);
}

#[test]
fn nothing_is_decided_before_the_node_was_described() {
    assert!(!Ledger::new("web", &Description::default()).is_described());
    assert!(ledger().is_described());
}
