//! How a pod comes to its end.

use pod_worker::Work;
use pod_worker::machine::{Goal, Outcome};
use pod_worker::observation::ObjectState;
use serde_json::json;

use crate::lab::{Lab, apps, names, object, pod, running, seconds, told};

fn with_sidecars() -> Lab {
    let spec = json!({
        "initContainers": [{ "name": "first", "restartPolicy": "Always" }, { "name": "second", "restartPolicy": "Always" }],
        "containers": [{ "name": "a" }, { "name": "b" }],
    });
    Lab::running(pod(spec))
}

#[test]
fn a_deleted_pod_is_stopped_all_at_once_then_its_sandbox() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    lab.delete(30);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop a 0 in 30s", "stop b 0 in 30s"]);
    assert_eq!(told(&step.events), [("Killing", "Stopping container a"), ("Killing", "Stopping container b")]);
    assert_eq!(step.work, Work::Terminating);
    lab.carry_out(&step.actions[0]);
    assert!(lab.step().actions.is_empty());
    lab.carry_out(&step.actions[1]);
    let step = lab.step();
    assert_eq!((names(&step.actions), step.work), (vec!["stop sandbox 0".to_owned()], Work::Terminating));
    lab.carry_out(&step.actions[0]);
    let step = lab.step();
    assert_eq!((step.actions.len(), step.work, step.wake_at), (0, Work::Terminated, None));
    assert_eq!(lab.seen.starts.len(), 2, "their ends can still be read");
}

#[test]
fn removing_a_pod_leaves_nothing() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    lab.delete(30);
    lab.settle();
    lab.take_done();
    lab.goal = Goal::Remove { until: lab.now };
    assert_eq!(lab.settle().work, Work::Removed);
    assert_eq!(lab.take_done(), ["remove sandbox 0 at last"]);
    assert!(lab.seen.objects.is_empty() && lab.seen.starts.is_empty());
}

#[test]
fn a_pod_that_is_removed_while_it_runs_is_stopped_first() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.goal = Goal::Remove { until: lab.now };
    assert_eq!(lab.settle().work, Work::Removed);
    assert_eq!(lab.take_done(), ["stop app 0 in 0s", "stop sandbox 0", "remove sandbox 0 at last"]);
}

#[test]
fn a_pod_without_a_trace_is_removed_with_one_call_for_its_volumes() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.goal = Goal::Remove { until: lab.now };
    assert_eq!(lab.settle().work, Work::Removed);
    assert_eq!(lab.take_done(), ["remove sandbox 0 at last"]);
}

#[test]
fn what_is_left_after_its_removal_is_removed_again() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.goal = Goal::Remove { until: lab.now };
    loop {
        let step = lab.step();
        let action = &step.actions[0];
        if names(std::slice::from_ref(action)) == ["remove sandbox 0 at last"] {
            lab.machine.finished(lab.now, action, Ok(Outcome::Done));
            break;
        }
        lab.carry_out(action);
    }
    let step = lab.step();
    assert_eq!((step.actions.len(), step.work), (0, Work::Terminated));
    assert_eq!(step.wake_at, Some(lab.now + seconds(1)));
    assert_eq!(names(&lab.step_after(1).actions), ["remove sandbox 0 at last"]);
}

#[test]
fn all_sandboxes_and_stray_containers_go() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.seen.objects = vec![object(0, ObjectState::Ended), object(2, ObjectState::Running)];
    let mut stray = running("app", 1);
    stray.object = 1;
    let mut current = running("app", 2);
    current.object = 2;
    lab.seen.starts = vec![stray, current];
    lab.goal = Goal::Remove { until: lab.now };
    assert_eq!(lab.settle().work, Work::Removed);
    let done = lab.take_done();
    for action in ["stop app 1 in 0s", "stop app 2 in 0s", "stop sandbox 2", "remove sandbox 0", "remove app 1"] {
        assert!(done.contains(&action.to_owned()), "{action}: {done:?}");
    }
    assert_eq!(done.last().unwrap(), "remove sandbox 2 at last");
}

#[test]
fn sidecars_are_stopped_after_the_others_in_reverse_order() {
    let mut lab = with_sidecars();
    lab.delete(30);
    for expected in
        [vec!["stop a 0 in 30s", "stop b 0 in 30s"], vec!["stop second 0 in 29s"], vec!["stop first 0 in 28s"]]
    {
        let step = lab.step();
        assert_eq!(names(&step.actions), expected);
        lab.now += seconds(1);
        for action in &step.actions {
            lab.carry_out(action);
        }
    }
    assert_eq!(names(&lab.step().actions), ["stop sandbox 0"]);
}

#[test]
fn sidecars_wait_for_the_others_until_the_end_and_get_two_seconds_then() {
    let mut lab = with_sidecars();
    lab.delete(30);
    let step = lab.step();
    for action in &step.actions {
        lab.machine.finished(lab.now, action, Ok(Outcome::Done));
    }
    let step = lab.step_after(29);
    assert_eq!((step.actions.len(), step.wake_at), (0, Some(lab.now + seconds(1))));
    let step = lab.step_after(1);
    assert_eq!(names(&step.actions), ["stop first 0 in 2s", "stop second 0 in 2s", "stop a 0 in 0s", "stop b 0 in 0s"]);
    for action in &step.actions {
        lab.machine.finished(lab.now, action, Ok(Outcome::Done));
    }
    lab.exit("a", 0, 137);
    lab.exit("b", 0, 137);
    assert!(lab.step_after(1).actions.is_empty());
    assert_eq!(names(&lab.step_after(1).actions), ["stop first 0 in 0s", "stop second 0 in 0s"]);
}

#[test]
fn a_sidecar_whose_turn_comes_late_has_two_seconds_too() {
    let mut lab = with_sidecars();
    lab.delete(30);
    lab.step();
    lab.now += seconds(29);
    lab.exit("a", 0, 0);
    lab.exit("b", 0, 0);
    assert_eq!(names(&lab.step().actions), ["stop second 0 in 2s"]);
}

#[test]
fn sidecars_that_wait_are_killed_when_the_grace_period_is_taken_away() {
    let mut lab = with_sidecars();
    lab.delete(30);
    assert_eq!(lab.step().actions.len(), 2);
    lab.now += seconds(3);
    lab.delete(0);
    assert_eq!(
        names(&lab.step().actions),
        ["stop first 0 in 0s", "stop second 0 in 0s", "stop a 0 in 0s", "stop b 0 in 0s"]
    );
}

#[test]
fn without_grace_sidecars_are_killed_with_the_others() {
    let mut lab = with_sidecars();
    lab.delete(0);
    assert_eq!(lab.step().actions.len(), 4);
}

#[test]
fn sidecars_end_with_the_pod_whose_containers_are_done() {
    let spec = json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "job" }],
    });
    let mut lab = Lab::running(pod(spec));
    lab.exit("job", 0, 0);
    let step = lab.settle();
    assert_eq!(lab.take_done(), ["stop proxy 0 in 30s", "stop sandbox 0"]);
    assert_eq!(step.work, Work::Terminated);
}

#[test]
fn a_pull_under_way_does_not_hold_up_a_deletion() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.images.clear();
    for _ in 0..2 {
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
    }
    let pull = lab.step().actions.remove(0);
    lab.take_done();
    lab.delete(30);
    assert_eq!(lab.settle().work, Work::Terminated);
    assert_eq!(lab.take_done(), ["stop sandbox 0"]);
    lab.carry_out(&pull);
    lab.take_done();
    lab.settle();
    assert!(lab.take_done().is_empty(), "nothing comes of it");
}

#[test]
fn what_is_being_made_is_waited_for_and_then_stopped() {
    // The sandbox.
    let mut lab = Lab::new(apps(&["app"]));
    let step = lab.step();
    lab.delete(30);
    assert_eq!(lab.step().work, Work::Terminating);
    lab.carry_out(&step.actions[0]);
    assert_eq!(lab.settle().work, Work::Terminated);
    assert_eq!(lab.take_done(), ["run sandbox 0", "stop sandbox 0"]);

    // A container.
    for (until, stops) in [("create app 0", false), ("start app 0", true)] {
        let mut lab = Lab::new(apps(&["app"]));
        let action = loop {
            let action = lab.step().actions.remove(0);
            if names(std::slice::from_ref(&action)) == [until] {
                break action;
            }
            lab.carry_out(&action);
        };
        lab.delete(30);
        let step = lab.step();
        assert_eq!((step.actions.len(), step.work), (0, Work::Terminating), "{until}");
        lab.carry_out(&action);
        lab.take_done();
        assert_eq!(lab.settle().work, Work::Terminated);
        assert_eq!(lab.take_done().contains(&"stop app 0 in 30s".to_owned()), stops);
    }
}

#[test]
fn a_container_that_was_started_and_not_yet_seen_is_stopped_too() {
    let mut lab = Lab::new(apps(&["app"]));
    let nothing = lab.seen.clone();
    for _ in 0..4 {
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
    }
    lab.seen = nothing;
    lab.delete(30);
    let step = lab.step_with_old_eyes();
    assert_eq!(names(&step.actions), ["stop app 0 in 30s"]);
    assert!(lab.step_with_old_eyes().actions.is_empty());
}

#[test]
fn a_container_whose_start_seemed_to_fail_is_looked_for_before_its_pod_is_called_over() {
    let mut lab = Lab::new(apps(&["app"]));
    for _ in 0..3 {
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
    }
    let step = lab.step();
    let before = lab.seen.clone();
    lab.act(&step.actions[0]);
    lab.fail(&step.actions[0], "", "timeout");
    lab.delete(30);
    let after = std::mem::replace(&mut lab.seen, before);
    let step = lab.step_with_old_eyes();
    assert_eq!((step.actions.len(), step.work, step.refresh), (0, Work::Terminating, true));
    lab.seen = after;
    assert_eq!(names(&lab.step().actions), ["stop app 0 in 30s"]);
}

#[test]
fn a_sandbox_that_outlives_its_stop_is_stopped_again() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.exit("app", 0, 0);
    lab.delete(10);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop sandbox 0"]);
    lab.machine.finished(lab.now, &step.actions[0], Ok(Outcome::Done));
    assert_eq!(lab.step().work, Work::Terminating);
    assert_eq!(names(&lab.step_after(1).actions), ["stop sandbox 0"]);
    // One whose state can't be read was stopped all the same.
    let mut lab = Lab::running(apps(&["app"]));
    lab.exit("app", 0, 0);
    lab.sandbox(0).state = ObjectState::Unknown;
    lab.delete(10);
    let step = lab.step();
    lab.machine.finished(lab.now, &step.actions[0], Ok(Outcome::Done));
    assert_eq!(lab.step().work, Work::Terminated);
}

#[test]
fn nothing_is_restarted_while_a_pod_ends() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    lab.delete(30);
    lab.step();
    lab.exit("a", 0, 1);
    let step = lab.step();
    assert!(step.actions.is_empty() && step.waiting.is_empty());
}

#[test]
fn a_pod_that_is_being_ended_is_not_brought_back() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    lab.settle();
    lab.goal = Goal::Run;
    assert_eq!(lab.settle().work, Work::Terminated);
    assert!(!lab.take_done().iter().any(|action| action.starts_with("run")));
}

#[test]
fn a_pod_nobody_knows_anything_of_is_stopped_without_its_definition() {
    let mut lab = Lab::new(pod(json!({ "containers": [] })));
    lab.seen.objects = vec![object(3, ObjectState::Running)];
    let starts = ["proxy", "app"].map(|name| {
        let mut start = running(name, 2);
        start.object = 3;
        start
    });
    lab.seen.starts = starts.to_vec();
    lab.goal = Goal::Remove { until: lab.now };
    assert_eq!(lab.settle().work, Work::Removed);
    assert_eq!(
        lab.take_done(),
        ["stop proxy 2 in 0s", "stop app 2 in 0s", "stop sandbox 3", "remove sandbox 3 at last"]
    );
}

#[test]
fn last_words_are_read_before_a_pod_is_over() {
    let spec = json!({
        "restartPolicy": "Never",
        "containers": [{
            "name": "app",
            "terminationMessagePath": "/dev/termination-log",
            "terminationMessagePolicy": "FallbackToLogsOnError",
        }],
    });
    for (code, or_log) in [(0, "or_log: false"), (1, "or_log: true")] {
        let mut lab = Lab::running(pod(spec.clone()));
        lab.exit("app", 0, code);
        let step = lab.step();
        assert_eq!((names(&step.actions), step.work), (vec!["read app 0".to_owned()], Work::Terminating));
        assert!(format!("{:?}", step.actions[0]).contains(or_log));
        lab.carry_out(&step.actions[0]);
        let step = lab.settle();
        assert_eq!(step.work, Work::Terminated);
        assert_eq!(&*step.messages[0].message, "bye from app");
        lab.write_status(&step);
        let state = lab.pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].state.clone();
        assert_eq!(state.unwrap().terminated.unwrap().message.as_deref(), Some("bye from app"));
        // Once the status has it, it is not kept, nor read again by a host that knows nothing of it.
        assert!(lab.step().messages.is_empty());
        lab.restart_host();
        lab.take_done();
        lab.settle();
        assert!(lab.take_done().is_empty());
        let again = lab.step();
        assert_eq!(lab.status_after(&again), lab.pod.status.clone().unwrap());
    }
}
