//! Pods that their backend runs as a whole: what its object's state makes of them.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pod_worker::observation::{Object, ObjectState, Observation, Phase, Start};
use pod_worker::{is_over, may_be_over, status};
use serde_json::json;

use crate::lab::{apps, at, exited, object, pod, running, seen, view, whole_status};

fn told(state: ObjectState, reason: &str, message: &str) -> Object {
    Object { reason: reason.into(), message: message.into(), ..object(0, state) }
}

fn waiting(status: &PodStatus) -> (String, String) {
    let state = status.container_statuses.as_ref().unwrap()[0].state.clone().unwrap();
    let waiting = state.waiting.unwrap();
    (waiting.reason.unwrap_or_default(), waiting.message.unwrap_or_default())
}

fn condition(status: &PodStatus, kind: &str) -> Option<(String, String, String)> {
    let condition = status.conditions.iter().flatten().find(|condition| condition.type_ == kind)?;
    let words = |text: &Option<String>| text.clone().unwrap_or_default();
    Some((condition.status.clone(), words(&condition.reason), words(&condition.message)))
}

/// A pod that runs, as the API server has it.
fn started(policy: &str) -> Pod {
    let mut pod = pod(json!({ "restartPolicy": policy, "containers": [{ "name": "app" }] }));
    pod.status = Some(whole_status(&pod, &seen(vec![object(0, ObjectState::Running)], vec![running("app", 0)])));
    assert_eq!(pod.status.as_ref().unwrap().phase.as_deref(), Some("Running"));
    pod
}

fn over(pod: &Pod, seen: &Observation) -> bool {
    is_over(view(pod, &[]), seen, false)
}

#[test]
fn a_queued_pod_waits_with_the_backends_reason() {
    let queued = told(ObjectState::Queued, "SlurmPending", "Waits for resources.");
    let status = whole_status(&apps(&["app"]), &seen(vec![queued], vec![]));
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert_eq!(waiting(&status), ("SlurmPending".into(), "Waits for resources.".into()));
    // A container's own reason is better.
    let own =
        Start { reason: "PullingImage".into(), message: "layer 3 of 5".into(), ..Start::new("app", 0, Phase::Waiting) };
    let status = whole_status(&apps(&["app"]), &seen(vec![told(ObjectState::Starting, "Booting", "")], vec![own]));
    assert_eq!(waiting(&status), ("PullingImage".into(), "layer 3 of 5".into()));
    let bare = whole_status(&apps(&["app"]), &seen(vec![object(0, ObjectState::Queued)], vec![]));
    assert_eq!(waiting(&bare).0, "ContainerCreating");
}

#[test]
fn a_suspended_pod_still_runs_and_is_not_ready() {
    let pod = started("Always");
    for starts in [vec![running("app", 0)], vec![], vec![Start::new("app", 1, Phase::Waiting)]] {
        let suspended = told(ObjectState::Suspended, "SlurmSuspended", "Preempted by another partition.");
        let status = whole_status(&pod, &seen(vec![suspended], starts));
        assert_eq!(status.phase.as_deref(), Some("Running"));
        let expected = ("False".into(), "SlurmSuspended".into(), "Preempted by another partition.".into());
        assert_eq!(condition(&status, "Ready"), Some(expected));
        let container = &status.container_statuses.unwrap()[0];
        assert!(container.state.as_ref().unwrap().running.is_some() && !container.ready);
        assert_eq!(container.restart_count, 0);
    }
}

#[test]
fn an_object_that_ended_leaves_its_containers_ends_to_tell() {
    for (code, phase) in [(0, "Succeeded"), (1, "Failed")] {
        for policy in ["Always", "Never"] {
            let pod = started(policy);
            let seen = seen(vec![object(0, ObjectState::Ended)], vec![exited("app", 0, code)]);
            assert_eq!(whole_status(&pod, &seen).phase.as_deref(), Some(phase), "{policy}");
            assert!(over(&pod, &seen));
        }
    }
}

#[test]
fn an_object_that_ended_without_telling_how_has_failed() {
    let status = whole_status(&started("Never"), &seen(vec![object(0, ObjectState::Ended)], vec![running("app", 0)]));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let end = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref()), (137, Some("ContainerStatusUnknown")));
}

#[test]
fn an_object_that_failed_fails_the_pod_whatever_its_containers_say() {
    let failed = told(ObjectState::Failed, "DeadlineExceeded", "TIMEOUT");
    let status = whole_status(&started("Never"), &seen(vec![failed], vec![exited("app", 0, 0)]));
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    assert_eq!((status.reason.as_deref(), status.message.as_deref()), (Some("DeadlineExceeded"), Some("TIMEOUT")));
    assert_eq!(condition(&status, "DisruptionTarget"), None);
}

#[test]
fn an_object_that_was_taken_away_fails_the_pod_and_says_why() {
    let taken = Object { disruption: "SpotTermination".into(), ..told(ObjectState::Ended, "", "Capacity is needed.") };
    let status = whole_status(&started("Always"), &seen(vec![taken], vec![exited("app", 0, 0)]));
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("SpotTermination")));
    let expected = ("True".into(), "SpotTermination".into(), "Capacity is needed.".into());
    assert_eq!(condition(&status, "DisruptionTarget"), Some(expected));
}

#[test]
fn a_warning_is_told_while_the_pod_still_runs() {
    let warned = Object { disruption: "SpotTermination".into(), ..object(0, ObjectState::Running) };
    let status = whole_status(&started("Always"), &seen(vec![warned], vec![running("app", 0)]));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert_eq!(condition(&status, "DisruptionTarget").unwrap().0, "True");
    assert_eq!(condition(&status, "Ready").unwrap().0, "True");
}

#[test]
fn who_said_first_why_a_pod_is_taken_away_keeps_the_word() {
    let mut pod = started("Always");
    pod.status.as_mut().unwrap().conditions.as_mut().unwrap().push(
        serde_json::from_value(
            json!({ "type": "DisruptionTarget", "status": "True", "reason": "DeletionByTaintManager" }),
        )
        .unwrap(),
    );
    let taken = Object { disruption: "NodeLost".into(), ..object(0, ObjectState::Failed) };
    let status = whole_status(&pod, &seen(vec![taken], vec![]));
    assert_eq!(condition(&status, "DisruptionTarget").unwrap().1, "DeletionByTaintManager");
}

#[test]
fn a_lost_object_is_made_again_unless_the_pod_has_run_and_is_never_restarted() {
    let lost = || told(ObjectState::Lost, "", "The machine is gone.");
    for (policy, has_run, ends) in [
        ("Always", true, false),
        ("OnFailure", true, false),
        ("Never", true, true),
        ("Never", false, false),
        ("Always", false, false),
    ] {
        let pod = if has_run {
            started(policy)
        } else {
            pod(json!({ "restartPolicy": policy, "containers": [{ "name": "app" }] }))
        };
        let seen = seen(vec![lost()], vec![]);
        assert_eq!(over(&pod, &seen), ends, "{policy}, has run: {has_run}");
        let status = whole_status(&pod, &seen);
        let expected = match (has_run, ends) {
            (true, true) => "Failed",
            (true, false) => "Running",
            _ => "Pending",
        };
        assert_eq!(status.phase.as_deref(), Some(expected), "{policy}, has run: {has_run}");
        if ends {
            assert_eq!(
                (status.reason.as_deref(), status.message.as_deref()),
                (Some("NodeLost"), Some("The machine is gone."))
            );
        }
    }
    let nothing_started =
        whole_status(&apps(&["app"]), &seen(vec![told(ObjectState::Lost, "NoCapacity", "None left.")], vec![]));
    assert_eq!(waiting(&nothing_started), ("NoCapacity".into(), "None left.".into()));
}

#[test]
fn a_new_object_that_counts_from_0_again_adds_to_the_restarts() {
    let mut pod = started("Always");
    let gone = seen(vec![object(0, ObjectState::Lost)], vec![]);
    pod.status = Some(whole_status(&pod, &gone));
    let again = Start { object: 1, id: "lab://second".into(), started_at: Some(at(50)), ..running("app", 0) };
    let status = whole_status(&pod, &seen(vec![object(1, ObjectState::Running)], vec![again.clone()]));
    assert_eq!(status.container_statuses.as_ref().unwrap()[0].restart_count, 1);

    // It came so fast that nobody saw the gap.
    let pod = started("Always");
    let seen = seen(vec![object(1, ObjectState::Running)], vec![again]);
    let status = whole_status(&pod, &seen);
    assert_eq!(status.container_statuses.as_ref().unwrap()[0].restart_count, 1);
    let pod = Pod { status: Some(status.clone()), ..pod };
    assert_eq!(whole_status(&pod, &seen), status, "counted once");
}

#[test]
fn a_backend_that_changes_the_form_of_its_ids_restarts_nothing() {
    let pod = started("Always");
    let renamed = Start { id: "docker://app-0".into(), ..running("app", 0) };
    let status = whole_status(&pod, &seen(vec![object(0, ObjectState::Running)], vec![renamed]));
    assert_eq!(status.container_statuses.unwrap()[0].restart_count, 0);
}

#[test]
fn a_deleted_pod_is_over_when_its_containers_ended_or_its_object_is_gone() {
    let mut pod = started("Always");
    pod.metadata.deletion_timestamp = Some(Time(at(30)));
    let running_object = || vec![object(0, ObjectState::Running)];
    assert!(!over(&pod, &seen(running_object(), vec![running("app", 0)])));
    assert!(!over(&pod, &seen(vec![object(0, ObjectState::Unknown)], vec![])));
    let ended = seen(running_object(), vec![exited("app", 0, 0)]);
    assert!(over(&pod, &ended));
    assert_eq!(whole_status(&pod, &ended).phase.as_deref(), Some("Succeeded"));
    let gone = seen(vec![], vec![]);
    assert!(over(&pod, &gone));
    let status = whole_status(&pod, &gone);
    assert_eq!(status.phase.as_deref(), Some("Failed"));
    let end = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.reason.as_deref(), Some("ContainerStatusUnknown"));
}

#[test]
fn a_pod_that_ended_by_itself_needs_no_word_of_its_object() {
    let mut pod = started("Never");
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let seen = seen(vec![object(0, ObjectState::Running)], vec![exited("app", 0, 0)]);
    assert_eq!(whole_status(&pod, &seen).phase.as_deref(), Some("Succeeded"));
}

#[test]
fn an_evicted_pod_waits_for_its_containers() {
    let pod = started("Always");
    let verdict = pod_worker::Verdict::evicted("Out of money.");
    let of = |seen: &Observation| {
        status::compute(&status::Input { verdict: Some(&verdict), ..crate::lab::input(&pod, seen, None) })
    };
    let objects = || vec![object(0, ObjectState::Running)];
    assert_eq!(of(&seen(objects(), vec![running("app", 0)])).phase.as_deref(), Some("Running"));
    let status = of(&seen(objects(), vec![exited("app", 0, 0)]));
    assert_eq!((status.phase.as_deref(), status.reason.as_deref()), (Some("Failed"), Some("Evicted")));
}

#[test]
fn a_container_that_its_backend_restarts_is_told_as_ended_until_it_runs_again() {
    let pod = started("Always");
    let status = whole_status(&pod, &seen(vec![object(0, ObjectState::Running)], vec![exited("app", 0, 1)]));
    assert_eq!(status.phase.as_deref(), Some("Running"));
    assert!(status.container_statuses.unwrap()[0].state.as_ref().unwrap().terminated.is_some());
    let crash_loop = Start { reason: "CrashLoopBackOff".into(), ..Start::new("app", 1, Phase::Waiting) };
    let status = whole_status(&pod, &seen(vec![object(0, ObjectState::Running)], vec![crash_loop]));
    assert_eq!(waiting(&status).0, "CrashLoopBackOff");
    let container = &status.container_statuses.as_ref().unwrap()[0];
    assert!(container.last_state.as_ref().unwrap().terminated.is_some(), "it ran, and does no more");
    assert_eq!(status.phase.as_deref(), Some("Running"));
}

#[test]
fn what_is_over_may_be_over() {
    let states = [
        ObjectState::Queued,
        ObjectState::Starting,
        ObjectState::Running,
        ObjectState::Suspended,
        ObjectState::Ended,
        ObjectState::Failed,
        ObjectState::Lost,
        ObjectState::Deleting,
        ObjectState::Unknown,
    ];
    let all = states.iter().map(|state| vec![object(0, *state)]).chain([vec![]]);
    let mut found = 0;
    for objects in all {
        for (starts, deleting, ending) in [
            (vec![], false, false),
            (vec![running("app", 0)], false, true),
            (vec![exited("app", 0, 0)], false, false),
            (vec![exited("app", 0, 1)], true, true),
            (vec![], true, true),
        ] {
            let mut pod = started("Never");
            pod.metadata.deletion_timestamp = deleting.then(|| Time(at(9)));
            let seen = seen(objects.clone(), starts);
            if is_over(view(&pod, &[]), &seen, ending) {
                found += 1;
                assert!(may_be_over(&seen, ending), "{seen:?}");
            }
        }
    }
    assert!(found > 10, "{found}");
}
