//! The pod's conditions, addresses and start time.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{Pod, PodCondition, PodStatus};
use pod_worker::observation::{ObjectState, Observation, Start};
use pod_worker::{Work, status};
use serde_json::{Value, json};

use crate::lab::{apps, exited, input, object, pod, running, seen, status_of};

fn in_sandbox(starts: Vec<Start>) -> Observation {
    seen(vec![object(0, ObjectState::Running)], starts)
}

/// Status, reason and message.
fn condition(status: &PodStatus, kind: &str) -> (String, String, String) {
    let condition = find(status, kind);
    let words = |text: Option<String>| text.unwrap_or_default();
    (condition.status, words(condition.reason), words(condition.message))
}

fn find(status: &PodStatus, kind: &str) -> PodCondition {
    status.conditions.iter().flatten().find(|condition| condition.type_ == kind).unwrap().clone()
}

fn is(status: &str, reason: &str, message: &str) -> (String, String, String) {
    (status.into(), reason.into(), message.into())
}

#[test]
fn a_pod_that_runs_has_all_conditions() {
    let status = status_of(&apps(&["a", "b"]), &in_sandbox(vec![running("a", 0), running("b", 0)]), Work::Running);
    let kinds: Vec<&str> = status.conditions.iter().flatten().map(|condition| condition.type_.as_str()).collect();
    assert_eq!(kinds, ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"]);
    for kind in kinds {
        assert_eq!(condition(&status, kind), is("True", "", ""));
        assert_eq!(find(&status, kind).observed_generation, Some(1));
    }
}

#[test]
fn unready_containers_are_named() {
    let status = status_of(&apps(&["a", "b", "c"]), &in_sandbox(vec![running("b", 0)]), Work::Running);
    let expected = is("False", "ContainersNotReady", "containers with unready status: [a c]");
    assert_eq!(condition(&status, "ContainersReady"), expected);
    assert_eq!(condition(&status, "Ready"), expected);
}

#[test]
fn sidecars_count_for_readiness_and_init_containers_do_not() {
    let pod = pod(json!({
        "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "app" }],
    }));
    let starts = vec![exited("setup", 0, 0), exited("proxy", 0, 1), running("app", 0)];
    let status = status_of(&pod, &in_sandbox(starts), Work::Running);
    let expected = is("False", "ContainersNotReady", "containers with unready status: [proxy]");
    assert_eq!(condition(&status, "Ready"), expected);
}

#[test]
fn init_containers_make_a_pod_initialized() {
    let spec = json!({
        "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }, { "name": "more" }],
        "containers": [{ "name": "app" }],
    });
    let of = |starts| condition(&status_of(&pod(spec.clone()), &in_sandbox(starts), Work::Running), "Initialized");
    let incomplete =
        |names: &str| is("False", "ContainersNotInitialized", &format!("containers with incomplete status: [{names}]"));
    assert_eq!(of(vec![]), incomplete("setup proxy more"));
    assert_eq!(of(vec![exited("setup", 0, 0), running("proxy", 0)]), incomplete("more"));
    assert_eq!(of(vec![exited("setup", 0, 0), running("proxy", 0), exited("more", 0, 1)]), incomplete("more"));
    assert_eq!(of(vec![exited("setup", 0, 0), running("proxy", 0), exited("more", 0, 0)]), is("True", "", ""));
}

#[test]
fn a_pod_stays_initialized_while_its_init_containers_run_again() {
    let mut pod = pod(json!({ "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }] }));
    pod.status.as_mut().unwrap().conditions =
        serde_json::from_value(json!([{ "type": "Initialized", "status": "True" }])).unwrap();
    let status = status_of(&pod, &in_sandbox(vec![running("setup", 1)]), Work::Running);
    assert_eq!(condition(&status, "Initialized").0, "True");
}

#[test]
fn a_pod_that_is_over_says_so_in_its_conditions() {
    let mut pod = apps(&["app"]);
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    for (code, reason, initialized) in [(0, "PodCompleted", "PodCompleted"), (1, "PodFailed", "")] {
        let status =
            status_of(&pod, &seen(vec![object(0, ObjectState::Ended)], vec![exited("app", 0, code)]), Work::Terminated);
        assert_eq!(condition(&status, "Ready"), is("False", reason, ""));
        assert_eq!(condition(&status, "ContainersReady"), is("False", reason, ""));
        assert_eq!(condition(&status, "Initialized"), is("True", initialized, ""));
        assert_eq!(condition(&status, "PodReadyToStartContainers"), is("False", "", ""));
    }
}

#[test]
fn a_sandbox_makes_a_pod_ready_to_start_containers() {
    for (objects, expected) in [
        (vec![], "False"),
        (vec![object(0, ObjectState::Starting)], "False"),
        (vec![object(0, ObjectState::Running)], "True"),
        (vec![object(0, ObjectState::Ended)], "False"),
        (vec![object(0, ObjectState::Ended), object(1, ObjectState::Running)], "True"),
    ] {
        let status = status_of(&apps(&["app"]), &seen(objects, vec![]), Work::Running);
        assert_eq!(condition(&status, "PodReadyToStartContainers").0, expected);
    }
}

#[test]
fn readiness_gates_hold_a_pod_back() {
    let mut pod = pod(json!({
        "containers": [{ "name": "app" }],
        "readinessGates": [{ "conditionType": "example.com/lb" }, { "conditionType": "example.com/dns" }],
    }));
    let seen = in_sandbox(vec![running("app", 0)]);
    let mut ready = |conditions: Value| {
        pod.status.as_mut().unwrap().conditions = serde_json::from_value(conditions).unwrap();
        let status = status_of(&pod, &seen, Work::Running);
        assert_eq!(condition(&status, "ContainersReady").0, "True");
        condition(&status, "Ready")
    };
    assert_eq!(
        ready(json!([{ "type": "example.com/lb", "status": "False" }])),
        is(
            "False",
            "ReadinessGatesNotReady",
            "the status of pod readiness gate \"example.com/lb\" is not \"True\", but False, corresponding condition of \
             pod readiness gate \"example.com/dns\" does not exist."
        )
    );
    let both = json!([
        { "type": "example.com/lb", "status": "True" },
        { "type": "example.com/dns", "status": "True" },
    ]);
    assert_eq!(ready(both), is("True", "", ""));
}

#[test]
fn others_conditions_are_left_alone() {
    let others = json!([
        { "type": "example.com/lb", "status": "Unknown", "lastProbeTime": "2020-01-01T00:00:00Z", "reason": "Why" },
        { "type": "DisruptionTarget", "status": "True", "reason": "PreemptionByScheduler" },
    ]);
    let mut pod = apps(&["app"]);
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(others.clone()).unwrap();
    let status = status_of(&pod, &in_sandbox(vec![running("app", 0)]), Work::Running);
    let conditions = serde_json::to_value(&status.conditions.unwrap()[..2]).unwrap();
    assert_eq!(conditions, others);
}

#[test]
fn a_transition_time_changes_only_with_the_status() {
    let mut pod = apps(&["app"]);
    let old = "2020-01-01T00:00:00Z";
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(json!([
        { "type": "PodScheduled", "status": "True", "lastTransitionTime": old },
        { "type": "Ready", "status": "False", "lastTransitionTime": old, "reason": "Other" },
        { "type": "ContainersReady", "status": "True", "lastTransitionTime": old },
    ]))
    .unwrap();
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    let time = |kind: &str| serde_json::to_value(find(&status, kind).last_transition_time).unwrap();
    assert_eq!(time("PodScheduled"), old);
    assert_eq!(time("Ready"), old, "the reason changed, the status did not");
    assert_eq!(time("ContainersReady"), "2023-11-14T22:15:00Z");
}

#[test]
fn resize_conditions_come_from_outside_and_go_when_they_are_not_given() {
    let mut pod = apps(&["app"]);
    let resize =
        json!([{ "type": "PodResizePending", "status": "True", "reason": "Deferred", "observedGeneration": 3 }]);
    let given: Vec<PodCondition> = serde_json::from_value(resize.clone()).unwrap();
    let seen = in_sandbox(vec![running("app", 0)]);
    let status = status::compute(&status::Input { resize: &given, ..input(&pod, &seen, Some(Work::Running)) });
    let pending = find(&status, "PodResizePending");
    assert_eq!((pending.reason.as_deref(), pending.observed_generation), (Some("Deferred"), Some(3)));
    assert!(pending.last_transition_time.is_some());
    pod.status = Some(status);
    let status = status_of(&pod, &seen, Work::Running);
    assert!(status.conditions.unwrap().iter().all(|condition| condition.type_ != "PodResizePending"));
}

#[test]
fn generations_are_told_and_never_go_back() {
    let mut pod = apps(&["app"]);
    pod.metadata.generation = Some(4);
    pod.status.as_mut().unwrap().observed_generation = Some(6);
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    assert_eq!(status.observed_generation, Some(6));
    assert_eq!(find(&status, "Ready").observed_generation, Some(4));
    pod.metadata.generation = None;
    pod.status.as_mut().unwrap().observed_generation = None;
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    assert_eq!((status.observed_generation, find(&status, "Ready").observed_generation), (None, None));
}

#[test]
fn the_start_time_is_set_once() {
    let mut pod = apps(&["app"]);
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    assert_eq!(serde_json::to_value(&status.start_time).unwrap(), "2023-11-14T22:15:00Z");
    pod.status = Some(status.clone());
    let seen = in_sandbox(vec![]);
    let later = status::Input { now: crate::lab::at(5_000), ..input(&pod, &seen, Some(Work::Running)) };
    assert_eq!(status::compute(&later).start_time, status.start_time);
}

fn ips(addresses: &[&str]) -> Vec<IpAddr> {
    addresses.iter().map(|address| address.parse().unwrap()).collect()
}

fn addressed(pod: &Pod, pod_ips: &[&str], object_hosts: &[&str], hosts: &[&str], work: Work) -> PodStatus {
    let mut sandbox = object(0, ObjectState::Running);
    (sandbox.ips, sandbox.host_ips) = (ips(pod_ips), ips(object_hosts));
    let (hosts, seen) = (ips(hosts), seen(vec![sandbox], vec![]));
    status::compute(&status::Input { host_ips: &hosts, ..input(pod, &seen, Some(work)) })
}

fn pod_ips(status: &PodStatus) -> Vec<&str> {
    status.pod_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect()
}

fn host_ips(status: &PodStatus) -> Vec<&str> {
    status.host_ips.iter().flatten().map(|ip| ip.ip.as_str()).collect()
}

#[test]
fn addresses_are_one_of_each_family_with_the_nodes_first() {
    let pod = apps(&["app"]);
    for (told, hosts, expected, expected_hosts) in [
        (vec!["10.0.0.1"], vec!["192.0.2.1"], vec!["10.0.0.1"], vec!["192.0.2.1"]),
        (vec!["fd00::1", "10.0.0.1", "10.0.0.2"], vec!["192.0.2.1"], vec!["10.0.0.1", "fd00::1"], vec!["192.0.2.1"]),
        (
            vec!["10.0.0.1", "fd00:0:0::1"],
            vec!["2001:db8::1", "192.0.2.1"],
            vec!["fd00::1", "10.0.0.1"],
            vec!["2001:db8::1", "192.0.2.1"],
        ),
        (vec![], vec![], vec![], vec![]),
    ] {
        let status = addressed(&pod, &told, &[], &hosts, Work::Running);
        assert_eq!((pod_ips(&status), host_ips(&status)), (expected.clone(), expected_hosts.clone()));
        assert_eq!(status.pod_ip.as_deref(), expected.first().copied());
        assert_eq!(status.host_ip.as_deref(), expected_hosts.first().copied());
    }
}

#[test]
fn a_machine_of_its_own_gives_the_host_address() {
    let status = addressed(&apps(&["app"]), &["10.0.0.1"], &["198.51.100.7"], &["192.0.2.1"], Work::Running);
    assert_eq!(host_ips(&status), ["198.51.100.7"]);
}

#[test]
fn a_pod_on_the_hosts_network_has_its_addresses() {
    let mut pod = pod(json!({ "containers": [{ "name": "app" }], "hostNetwork": true }));
    let status = addressed(&pod, &["10.0.0.1"], &[], &["192.0.2.1"], Work::Running);
    assert_eq!(pod_ips(&status), ["192.0.2.1"]);
    pod.status = Some(status);
    let status = addressed(&pod, &[], &[], &["192.0.2.9", "2001:db8::1"], Work::Running);
    assert_eq!(pod_ips(&status), ["192.0.2.1", "2001:db8::1"], "once set it stays, and another family joins");
}

#[test]
fn a_pod_that_ends_keeps_its_addresses() {
    let mut pod = apps(&["app"]);
    pod.status = Some(addressed(&pod, &["10.0.0.1"], &[], &["192.0.2.1"], Work::Running));
    let over = addressed(&pod, &[], &[], &[], Work::Terminated);
    assert_eq!((pod_ips(&over), host_ips(&over)), (vec!["10.0.0.1"], vec!["192.0.2.1"]));
    let new_sandbox = addressed(&pod, &[], &[], &["192.0.2.1"], Work::Running);
    assert!(pod_ips(&new_sandbox).is_empty(), "a new sandbox has new ones");
}

#[test]
fn a_sandbox_that_stopped_gives_its_addresses_to_a_pod_that_is_over_alone() {
    let pod = apps(&["app"]);
    let mut sandbox = object(0, ObjectState::Ended);
    sandbox.ips = ips(&["10.0.0.1"]);
    let seen = seen(vec![sandbox], vec![]);
    for (work, expected) in [(Work::Terminated, vec!["10.0.0.1"]), (Work::Running, vec![])] {
        let status = status::compute(&input(&pod, &seen, Some(work)));
        assert_eq!(pod_ips(&status), expected, "{work:?}");
    }
}
