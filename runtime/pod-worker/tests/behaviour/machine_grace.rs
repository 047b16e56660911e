//! The calls that a container is stopped with: its signal, its kill when its grace period is over, and no more than that.

use pod_worker::Work;
use pod_worker::machine::{Action, Failure, Goal, Outcome, Step};
use pod_worker::observation::Phase;
use serde_json::json;

use crate::lab::{Lab, apps, names, pod, seconds, told};

/// The signals are sent; nothing has ended for that.
fn sent(lab: &mut Lab, step: &Step) {
    for action in &step.actions {
        lab.machine.finished(lab.now, action, Ok(Outcome::Done));
    }
}

#[test]
fn a_container_gets_its_signal_and_when_its_time_is_over_its_kill() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop app 0 in 30s"]);
    sent(&mut lab, &step);
    for _ in 0..29 {
        let step = lab.step_after(1);
        assert!(step.actions.is_empty() && step.events.is_empty());
        assert!(step.wake_at.is_some());
    }
    let step = lab.step_after(1);
    assert_eq!(names(&step.actions), ["stop app 0 in 0s"]);
    assert!(step.events.is_empty(), "it was told already");
    lab.carry_out(&step.actions[0]);
    assert_eq!(names(&lab.step().actions), ["stop sandbox 0"]);
}

#[test]
fn one_that_has_ended_gets_no_second_call() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    sent(&mut lab, &step);
    lab.now += seconds(4);
    lab.exit("app", 0, 0);
    assert_eq!(names(&lab.step().actions), ["stop sandbox 0"]);
    lab.settle();
    lab.now += seconds(60);
    lab.take_done();
    lab.settle();
    assert!(lab.take_done().is_empty());
}

#[test]
fn an_end_that_was_seen_is_not_forgotten_over_an_older_observation() {
    let mut lab = Lab::running(apps(&["app", "slow"]));
    lab.delete(30);
    let step = lab.step();
    sent(&mut lab, &step);
    lab.now += seconds(4);
    let before = lab.seen.clone();
    lab.exit("app", 0, 0);
    lab.step();
    lab.seen = before;
    let step = lab.step();
    assert!(step.actions.is_empty() && step.events.is_empty(), "{:?}", step.actions);
}

#[test]
fn the_end_is_seen_in_an_observation_that_is_younger_than_the_call() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    sent(&mut lab, &step);
    let step = lab.step_with_old_eyes();
    assert!(step.actions.is_empty() && step.refresh);
    let step = lab.step();
    assert!(step.actions.is_empty() && !step.refresh);
    assert_eq!(step.wake_at, Some(lab.now + seconds(30)));
}

#[test]
fn a_container_that_outlives_its_kill_is_killed_again_with_back_off() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(0);
    let mut delays = vec![];
    for _ in 0..6 {
        let step = lab.step();
        assert_eq!(names(&step.actions), ["stop app 0 in 0s"]);
        sent(&mut lab, &step);
        let step = lab.step();
        let wake_at = step.wake_at.unwrap();
        delays.push(wake_at.duration_since(lab.now).as_secs());
        lab.now = wake_at;
    }
    assert_eq!(delays, [1, 2, 4, 6, 6, 6]);
}

#[test]
fn a_signal_that_was_not_sent_is_sent_again_with_what_is_left_of_its_time() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    lab.now += seconds(2);
    lab.fail(&step.actions[0], "", "busy");
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(1)));
    let step = lab.step_after(1);
    assert_eq!(names(&step.actions), ["stop app 0 in 27s"]);
    sent(&mut lab, &step);
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(27)));
    assert_eq!(names(&lab.step_after(27).actions), ["stop app 0 in 0s"]);
}

#[test]
fn a_kill_waits_for_no_signal_that_fails_or_hangs() {
    for fails in [true, false] {
        let mut lab = Lab::running(apps(&["app"]));
        lab.delete(10);
        let first = lab.step();
        lab.now += seconds(9);
        if fails {
            for _ in 0..5 {
                lab.step();
            }
            lab.fail(&first.actions[0], "", "busy");
        }
        assert_eq!(lab.step().wake_at, Some(lab.now + seconds(1)), "{fails}");
        let kill = lab.step_after(1);
        assert_eq!(names(&kill.actions), ["stop app 0 in 0s"], "{fails}");
        assert!(lab.step_after(5).actions.is_empty(), "once");
        lab.carry_out(&kill.actions[0]);
        if !fails {
            sent(&mut lab, &first);
        }
        assert_eq!(names(&lab.step().actions), ["stop sandbox 0"], "{fails}");
    }
}

#[test]
fn a_backend_that_says_when_to_come_again_is_obeyed() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(0);
    let step = lab.step();
    let failure = Failure { retry_after: Some(seconds(20)), ..Failure::new("slow down") };
    lab.machine.finished(lab.now, &step.actions[0], Err(failure));
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(20)));
    assert!(lab.step_after(19).actions.is_empty());
    assert_eq!(names(&lab.step_after(1).actions), ["stop app 0 in 0s"]);
}

#[test]
fn a_grace_period_that_is_shortened_later_on_is_one_more_call() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    sent(&mut lab, &step);
    lab.now += seconds(3);
    lab.delete(5);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop app 0 in 5s"]);
    sent(&mut lab, &step);
    assert!(lab.step_after(4).actions.is_empty());
    assert_eq!(names(&lab.step_after(1).actions), ["stop app 0 in 0s"]);
}

#[test]
fn a_container_in_an_unknown_state_is_stopped_once_it_was_killed() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.find("app", 0).phase = Phase::Unknown;
    lab.delete(10);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop app 0 in 10s"]);
    sent(&mut lab, &step);
    assert!(lab.step().actions.is_empty(), "it may still run");
    let step = lab.step_after(10);
    assert_eq!(names(&step.actions), ["stop app 0 in 0s"]);
    sent(&mut lab, &step);
    assert_eq!(names(&lab.step().actions), ["stop sandbox 0"]);
}

#[test]
fn a_pod_that_is_done_gives_its_sidecars_its_grace_period() {
    let spec = json!({
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": 7,
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "job" }],
    });
    let mut lab = Lab::running(pod(spec));
    lab.exit("job", 0, 0);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["stop proxy 0 in 7s"]);
    sent(&mut lab, &step);
    assert!(lab.step_after(6).actions.is_empty());
    assert_eq!(names(&lab.step_after(1).actions), ["stop proxy 0 in 0s"]);
}

#[test]
fn an_orphan_is_killed() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.goal = Goal::Remove { until: lab.now };
    let actions = lab.step().actions;
    assert!(matches!(&actions[..], [Action::StopContainer { grace, .. }] if grace.is_zero()), "{actions:?}");
}

#[test]
fn a_grace_period_that_is_shortened_is_honoured_while_the_first_stop_is_under_way() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let first = lab.step();
    lab.now += seconds(3);
    assert!(lab.step().actions.is_empty());
    lab.delete(5);
    let second = lab.step();
    assert_eq!(names(&second.actions), ["stop app 0 in 5s"]);
    lab.delete(0);
    let third = lab.step();
    assert_eq!(names(&third.actions), ["stop app 0 in 0s"]);
    lab.carry_out(&third.actions[0]);
    lab.machine.finished(lab.now, &second.actions[0], Ok(Outcome::Done));
    lab.machine.finished(lab.now, &first.actions[0], Ok(Outcome::Done));
    assert_eq!(lab.settle().work, Work::Terminated);
}

#[test]
fn a_grace_period_is_never_lengthened() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(5);
    let step = lab.step();
    lab.delete(60);
    assert!(lab.step().actions.is_empty());
    lab.fail(&step.actions[0], "", "busy");
    lab.now += seconds(6);
    assert_eq!(names(&lab.step().actions), ["stop app 0 in 0s"]);
}

#[test]
fn no_grace_kills() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(0);
    assert_eq!(names(&lab.step().actions), ["stop app 0 in 0s"]);
}

#[test]
fn a_clock_that_is_set_back_lengthens_no_grace_period() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let step = lab.step();
    lab.now -= seconds(3_600);
    lab.fail(&step.actions[0], "", "busy");
    assert_eq!(names(&lab.step().actions), ["stop app 0 in 30s"]);
}

#[test]
fn a_stop_that_fails_is_tried_again_for_ever_and_told() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.delete(30);
    let mut delays = vec![];
    for round in 0..6 {
        let step = lab.step();
        assert_eq!(names(&step.actions).len(), 1, "round {round}");
        lab.fail(&step.actions[0], "", "the engine is stuck");
        let step = lab.step();
        let message = "error killing pod: failed to \"KillContainer\" for \"app\" with KillContainerError: \"the engine is stuck\"";
        assert_eq!(told(&step.events), [("FailedKillPod", message)]);
        let wake_at = step.wake_at.unwrap();
        delays.push(wake_at.duration_since(lab.now).as_secs());
        lab.now = wake_at;
    }
    assert_eq!(delays, [1, 2, 4, 6, 6, 6]);
    lab.settle();
    assert_eq!(lab.step().work, Work::Terminated);
}
