//! The pod's phase, reason and message.

use k8s_openapi::api::core::v1::Pod;
use pod_worker::observation::{ObjectState, Phase, Start};
use pod_worker::{Verdict, Work, status};
use serde_json::{Value, json};

use crate::lab::{apps, exited, input, object, pod, running, seen, status_of};

/// `r`unning, `w`aiting, or an exit code.
fn start(name: &str, how: &str) -> Option<Start> {
    match how {
        "r" => Some(running(name, 0)),
        "w" => None,
        code => Some(exited(name, 0, code.parse().unwrap())),
    }
}

fn phase_of(pod: &Pod, states: &[(&str, &str)], work: Work) -> String {
    let starts = states.iter().filter_map(|(name, how)| start(name, how)).collect();
    let sandbox = if work.is_over() { ObjectState::Ended } else { ObjectState::Running };
    status_of(pod, &seen(vec![object(0, sandbox)], starts), work).phase.unwrap()
}

#[test]
fn app_containers_and_restart_policy_make_the_phase() {
    for (a, b, always, on_failure, never) in [
        ("w", "w", "Pending", "Pending", "Pending"),
        ("r", "w", "Pending", "Pending", "Pending"),
        ("r", "r", "Running", "Running", "Running"),
        ("r", "0", "Running", "Running", "Running"),
        ("r", "1", "Running", "Running", "Running"),
        ("0", "w", "Pending", "Pending", "Pending"),
        ("0", "0", "Running", "Running*", "Running*"),
        ("0", "1", "Running", "Running", "Running*"),
        ("1", "1", "Running", "Running", "Running*"),
    ] {
        for (policy, expected) in [("Always", always), ("OnFailure", on_failure), ("Never", never)] {
            let mut pod = pod(json!({ "restartPolicy": policy, "containers": [{ "name": "a" }, { "name": "b" }] }));
            // A phase that would be the last one waits until nothing can run any more.
            pod.status.as_mut().unwrap().phase = Some(expected.trim_end_matches('*').into());
            let phase = phase_of(&pod, &[("a", a), ("b", b)], Work::Running);
            assert_eq!(phase, expected.trim_end_matches('*'), "{policy}: {a} {b}");
            if expected.ends_with('*') {
                let last = if (a, b) == ("0", "0") { "Succeeded" } else { "Failed" };
                assert_eq!(phase_of(&pod, &[("a", a), ("b", b)], Work::Terminating), "Running", "{policy}: {a} {b}");
                assert_eq!(phase_of(&pod, &[("a", a), ("b", b)], Work::Terminated), last, "{policy}: {a} {b}");
            }
        }
    }
}

#[test]
fn a_pod_that_was_ended_succeeded_if_all_its_containers_did() {
    for (a, b, expected) in
        [("0", "0", "Succeeded"), ("0", "143", "Failed"), ("w", "0", "Failed"), ("w", "w", "Failed")]
    {
        for policy in ["Always", "OnFailure", "Never"] {
            let pod = pod(json!({ "restartPolicy": policy, "containers": [{ "name": "a" }, { "name": "b" }] }));
            assert_eq!(phase_of(&pod, &[("a", a), ("b", b)], Work::Terminated), expected, "{policy}: {a} {b}");
        }
    }
}

#[test]
fn init_containers_and_sidecars_make_the_phase_too() {
    for (policy, states, work, expected) in [
        ("Always", [("setup", "w"), ("proxy", "w"), ("app", "w")], Work::Running, "Pending"),
        ("Always", [("setup", "r"), ("proxy", "w"), ("app", "w")], Work::Running, "Pending"),
        ("Always", [("setup", "1"), ("proxy", "w"), ("app", "w")], Work::Running, "Pending"),
        ("Always", [("setup", "0"), ("proxy", "r"), ("app", "w")], Work::Running, "Pending"),
        ("Always", [("setup", "0"), ("proxy", "r"), ("app", "r")], Work::Running, "Running"),
        ("Always", [("setup", "0"), ("proxy", "1"), ("app", "r")], Work::Running, "Running"),
        ("Never", [("setup", "1"), ("proxy", "w"), ("app", "w")], Work::Running, "Pending"),
        ("Never", [("setup", "1"), ("proxy", "w"), ("app", "w")], Work::Terminated, "Failed"),
        ("Never", [("setup", "0"), ("proxy", "r"), ("app", "0")], Work::Running, "Running"),
        ("Never", [("setup", "0"), ("proxy", "143"), ("app", "0")], Work::Terminated, "Succeeded"),
        ("OnFailure", [("setup", "0"), ("proxy", "143"), ("app", "1")], Work::Running, "Running"),
    ] {
        let mut pod = pod(json!({
            "restartPolicy": policy,
            "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }],
            "containers": [{ "name": "app" }],
        }));
        pod.status.as_mut().unwrap().phase = Some(if expected == "Pending" { "Pending" } else { "Running" }.into());
        assert_eq!(phase_of(&pod, &states, work), expected, "{policy} {states:?} {work:?}");
    }
}

#[test]
fn a_sidecar_that_has_not_started_keeps_the_pod_pending_only_before_its_app_containers_came() {
    let spec = json!({
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always", "startupProbe": { "tcpSocket": { "port": 1 } } }],
        "containers": [{ "name": "app" }],
    });
    let pod = pod(spec);
    assert_eq!(phase_of(&pod, &[("proxy", "r"), ("app", "w")], Work::Running), "Pending");
    assert_eq!(phase_of(&pod, &[("proxy", "r"), ("app", "r")], Work::Running), "Running");
}

#[test]
fn ephemeral_containers_do_not_count() {
    let pod = pod(json!({ "containers": [{ "name": "app" }], "ephemeralContainers": [{ "name": "debugger" }] }));
    assert_eq!(phase_of(&pod, &[("app", "r"), ("debugger", "w")], Work::Running), "Running");
    assert_eq!(phase_of(&pod, &[("app", "r"), ("debugger", "1")], Work::Running), "Running");
}

#[test]
fn a_phase_that_is_the_last_one_is_never_left() {
    for phase in ["Succeeded", "Failed"] {
        let mut pod = apps(&["app"]);
        let status = pod.status.as_mut().unwrap();
        (status.phase, status.reason, status.message) =
            (Some(phase.into()), Some("Why".into()), Some("Because.".into()));
        let seen = seen(vec![object(0, ObjectState::Running)], vec![running("app", 0)]);
        let status = status_of(&pod, &seen, Work::Running);
        assert_eq!(status.phase.as_deref(), Some(phase));
        assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("Why"), Some("Because.")));
    }
}

#[test]
fn reason_and_message_stay_with_the_phase_they_came_with() {
    let mut pod = apps(&["app"]);
    let status = pod.status.as_mut().unwrap();
    (status.phase, status.reason) = (Some("Running".into()), Some("NodeLost".into()));
    let sandbox = || vec![object(0, ObjectState::Running)];
    let runs = status_of(&pod, &seen(sandbox(), vec![running("app", 0)]), Work::Running);
    assert_eq!(runs.reason.as_deref(), Some("NodeLost"));
    let ended = status_of(&pod, &seen(sandbox(), vec![exited("app", 0, 0)]), Work::Terminated);
    assert_eq!((ended.phase.as_deref(), ended.reason), (Some("Succeeded"), None));
}

fn judged(pod: &Pod, verdict: &Verdict, work: Work, start: Start) -> k8s_openapi::api::core::v1::PodStatus {
    let seen = seen(vec![object(0, ObjectState::Running)], vec![start]);
    status::compute(&status::Input { verdict: Some(verdict), ..input(pod, &seen, Some(work)) })
}

#[test]
fn a_verdict_is_told_when_nothing_runs_any_more() {
    let evicted = Verdict::evicted("The node was low on resource: memory.");
    for (verdict, reason, disrupted) in [
        (&evicted, "Evicted", true),
        (&Verdict::deadline_exceeded(), "DeadlineExceeded", false),
        (&Verdict::node_shutdown(), "Terminated", true),
    ] {
        let mut pod = apps(&["app"]);
        pod.status.as_mut().unwrap().phase = Some("Running".into());
        let terminating = judged(&pod, verdict, Work::Terminating, running("app", 0));
        assert_eq!((terminating.phase.as_deref(), terminating.reason), (Some("Running"), None));
        let over = judged(&pod, verdict, Work::Terminated, exited("app", 0, 0));
        assert_eq!(over.phase.as_deref(), Some("Failed"), "though it ended well");
        assert_eq!((over.reason.as_deref(), over.message.as_deref()), (Some(reason), Some(&*verdict.message)));
        let condition = over.conditions.unwrap().into_iter().find(|condition| condition.type_ == "DisruptionTarget");
        assert_eq!(condition.is_some(), disrupted);
        if let Some(condition) = condition {
            assert_eq!(
                (condition.status.as_str(), condition.reason.as_deref()),
                ("True", Some("TerminationByKubelet"))
            );
        }
    }
}

#[test]
fn a_rejected_pod_is_failed_and_says_nothing_of_containers() {
    let mut pod = apps(&["app"]);
    let scheduled = json!([{ "type": "PodScheduled", "status": "True", "lastTransitionTime": "2023-11-14T22:00:00Z" }]);
    pod.status.as_mut().unwrap().conditions = serde_json::from_value(scheduled).unwrap();
    let verdict = Verdict::rejected("OutOfcpu", "Node didn't have enough resource: cpu");
    let nothing = seen(vec![], vec![]);
    let status = status::compute(&status::Input { verdict: Some(&verdict), ..input(&pod, &nothing, None) });
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("OutOfcpu")));
    assert_eq!(status.message.as_deref(), Some("Pod was rejected: Node didn't have enough resource: cpu"));
    assert_eq!(status.container_statuses, None);
    assert_eq!(status.conditions, pod.status.as_ref().unwrap().conditions);
    assert!(status.start_time.is_some());
}

#[test]
fn the_deadline_counts_from_the_start_time() {
    let mut pod = pod(json!({ "containers": [{ "name": "app" }], "activeDeadlineSeconds": 60 }));
    assert_eq!(crate::lab::view(&pod, &[]).active_deadline(), None);
    pod.status = serde_json::from_value(json!({ "startTime": "2023-11-14T22:13:20Z" })).unwrap();
    assert_eq!(crate::lab::view(&pod, &[]).active_deadline(), Some(crate::lab::at(60)));
}

#[test]
fn the_quality_of_service_class_is_the_api_servers() {
    let of = |pod: &Pod| status_of(pod, &seen(vec![], vec![]), Work::Running).qos_class.unwrap();
    assert_eq!(of(&apps(&["app"])), "BestEffort");
    let both = |cpu: &str, memory: &str| json!({ "cpu": cpu, "memory": memory });
    for (requests, limits, expected) in [
        (Value::Null, Value::Null, "BestEffort"),
        (both("1", "1Gi"), both("1000m", "1024Mi"), "Guaranteed"),
        (both("1", "1Gi"), both("2", "1Gi"), "Burstable"),
        (both("1", "1Gi"), Value::Null, "Burstable"),
        (json!({ "cpu": "0" }), Value::Null, "BestEffort"),
        (json!({ "nvidia.com/gpu": "1" }), Value::Null, "BestEffort"),
    ] {
        let mut pod =
            pod(json!({ "containers": [{ "name": "app", "resources": { "requests": requests, "limits": limits } }] }));
        pod.status.as_mut().unwrap().qos_class = None;
        assert_eq!(of(&pod), expected, "{requests} {limits}");
    }
}

#[test]
fn a_container_that_was_made_and_not_started_waits() {
    let pod = apps(&["app"]);
    let mut made = running("app", 0);
    (made.phase, made.started_at) = (Phase::Created, None);
    let status = status_of(&pod, &seen(vec![object(0, ObjectState::Running)], vec![made]), Work::Running);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    let state = status.container_statuses.unwrap().remove(0).state.unwrap();
    assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("ContainerCreating"));
}
