//! The sandbox: how it is made, and how another one takes its place.

use pod_worker::Work;
use pod_worker::observation::{ObjectState, Phase};
use serde_json::json;

use crate::lab::{Lab, apps, names, object, pod, seconds, told, waits};

#[test]
fn a_lost_sandbox_is_replaced_and_the_containers_start_again_by_their_policy() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    lab.now += seconds(60);
    lab.lose_sandbox(0);
    lab.settle();
    let done = lab.take_done();
    assert_eq!(done[0], "run sandbox 1");
    assert!(done.contains(&"start a 1".to_owned()) && done.contains(&"start b 1".to_owned()), "{done:?}");
    let changed = "Pod sandbox changed, it will be killed and re-created.";
    assert_eq!(told(&lab.events)[0], ("SandboxChanged", changed));
    assert!(lab.seen.objects.iter().all(|object| object.attempt == 0 || object.state == ObjectState::Running));
}

#[test]
fn a_container_that_went_down_with_its_sandbox_is_not_held_back() {
    let mut lab = Lab::running(apps(&["app"]));
    for attempt in 0..4 {
        lab.exit("app", attempt, 1);
        lab.now += seconds(300);
        lab.settle();
    }
    lab.lose_sandbox(0);
    lab.take_done();
    lab.settle();
    assert!(lab.take_done().contains(&"start app 5".to_owned()));
}

#[test]
fn init_containers_run_again_in_a_new_sandbox_with_higher_attempts() {
    let spec = json!({ "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }] });
    let mut lab = Lab::running(pod(spec));
    lab.exit("setup", 0, 0);
    lab.settle();
    lab.now += seconds(60);
    lab.lose_sandbox(0);
    lab.take_done();
    lab.settle();
    assert_eq!(lab.take_done(), ["run sandbox 1", "check setup", "create setup 1", "start setup 1"]);
    lab.exit("setup", 1, 0);
    lab.settle();
    assert!(lab.take_done().contains(&"start app 1".to_owned()));
}

#[test]
fn containers_that_are_done_for_good_do_not_come_back_with_a_new_sandbox() {
    let spec = json!({ "restartPolicy": "OnFailure", "containers": [{ "name": "done" }, { "name": "app" }] });
    let mut lab = Lab::running(pod(spec));
    lab.exit("done", 0, 0);
    lab.settle();
    lab.lose_sandbox(0);
    lab.settle();
    let done = lab.take_done();
    assert!(done.contains(&"start app 1".to_owned()) && !done.iter().any(|it| it.ends_with("done 1")), "{done:?}");
}

#[test]
fn a_pod_that_is_never_restarted_ends_with_its_sandbox() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "app" }] });
    let mut lab = Lab::running(pod(spec));
    lab.lose_sandbox(0);
    let step = lab.settle();
    assert_eq!(step.work, Work::Terminated);
    assert!(lab.take_done().is_empty());
}

#[test]
fn a_sandbox_that_never_held_a_container_is_replaced_also_for_a_pod_that_is_never_restarted() {
    let spec = json!({ "restartPolicy": "Never", "containers": [{ "name": "app" }] });
    let mut lab = Lab::new(pod(spec));
    let step = lab.step();
    lab.carry_out(&step.actions[0]);
    lab.lose_sandbox(0);
    lab.settle();
    assert!(lab.take_done().contains(&"run sandbox 1".to_owned()));
}

#[test]
fn a_sandbox_that_fails_or_is_lost_is_stopped_before_another_one_comes() {
    for state in [ObjectState::Failed, ObjectState::Lost] {
        let mut lab = Lab::running(apps(&["app"]));
        lab.lose_sandbox(0);
        lab.sandbox(0).state = state;
        lab.settle();
        assert_eq!(lab.take_done()[..2], ["stop sandbox 0", "run sandbox 1"]);
    }
}

#[test]
fn what_still_runs_in_a_dead_sandbox_is_stopped_first() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.sandbox(0).state = ObjectState::Ended;
    lab.settle();
    assert_eq!(lab.take_done()[..2], ["stop app 0 in 30s", "run sandbox 1"]);
}

#[test]
fn a_sandbox_that_is_suspended_or_not_to_be_read_is_waited_for() {
    for state in [ObjectState::Suspended, ObjectState::Unknown, ObjectState::Deleting, ObjectState::Starting] {
        let mut lab = Lab::running(apps(&["app"]));
        lab.sandbox(0).state = state;
        lab.exit("app", 0, 1);
        assert!(lab.settle().actions.is_empty());
        assert!(lab.take_done().is_empty(), "{state:?}");
    }
}

#[test]
fn a_sandbox_that_cant_be_made_is_told_on_every_container() {
    let mut lab = Lab::new(apps(&["a", "b"]));
    let step = lab.step();
    lab.fail(&step.actions[0], "", "no network");
    let step = lab.step();
    assert_eq!(
        waits(&step),
        [("a", "FailedCreatePodSandBox", "no network"), ("b", "FailedCreatePodSandBox", "no network")]
    );
    assert_eq!(told(&step.events), [("FailedCreatePodSandBox", "Failed to create pod sandbox: no network")]);
    assert_eq!(step.wake_at, Some(lab.now + seconds(10)));
    let step = lab.step_after(10);
    assert_eq!(names(&step.actions), ["run sandbox 0"]);
    lab.fail(&step.actions[0], "FailedMount", "configmap \"settings\" not found");
    let step = lab.step();
    assert_eq!(told(&step.events), [("FailedMount", "configmap \"settings\" not found")]);
    assert_eq!(step.wake_at, Some(lab.now + seconds(20)));
    lab.now += seconds(20);
    assert!(lab.settle().waiting.is_empty());
}

#[test]
fn sandboxes_that_die_soon_are_replaced_ever_more_slowly() {
    let mut lab = Lab::running(apps(&["app"]));
    let mut delays = vec![];
    for attempt in 0..5 {
        lab.lose_sandbox(attempt);
        let step = lab.step();
        for action in &step.actions {
            lab.carry_out(action);
        }
        let wait = step.wake_at.map_or(0, |at| at.duration_since(lab.now).as_secs());
        delays.push(wait);
        lab.now += seconds(u64::try_from(wait).unwrap());
        lab.settle();
        lab.now += seconds(3);
    }
    assert_eq!(delays, [0, 10, 20, 40, 80]);
    lab.now += seconds(700);
    lab.lose_sandbox(5);
    assert_eq!(names(&lab.step().actions)[..1], ["run sandbox 6"], "it lived long enough");
}

#[test]
fn a_sandbox_that_vanished_gets_a_higher_attempt() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.seen.objects.clear();
    lab.seen.starts.clear();
    let step = lab.step();
    assert!(step.actions.is_empty() && step.refresh, "one look is not enough");
    lab.settle();
    let done = lab.take_done();
    assert!(done.contains(&"run sandbox 1".to_owned()) && done.contains(&"start app 1".to_owned()), "{done:?}");
}

#[test]
fn a_sandbox_of_which_only_containers_are_left_is_gone() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.sandbox(0).id = "".into();
    lab.exit("app", 0, 137);
    lab.settle();
    assert!(lab.take_done().contains(&"run sandbox 1".to_owned()));
}

#[test]
fn a_container_that_runs_in_a_sandbox_that_was_replaced_is_stopped() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.lose_sandbox(0);
    lab.settle();
    // A start that came late.
    lab.find("app", 0).phase = Phase::Running;
    lab.take_done();
    lab.settle();
    assert_eq!(lab.take_done(), ["stop app 0 in 30s"]);
}

#[test]
fn a_sandbox_whose_making_was_interrupted_is_made_to_its_end() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.step();
    lab.seen.objects = vec![object(0, ObjectState::Starting)];
    lab.restart_host();
    let step = lab.step();
    assert_eq!(names(&step.actions), ["run sandbox 0"]);
    lab.fail(&step.actions[0], "FailedCreatePodSandBox", "no such network");
    assert!(lab.step().actions.is_empty());
    lab.now += seconds(60);
    lab.seen.objects.clear();
    lab.settle();
    assert!(lab.take_done().contains(&"start app 0".to_owned()));
}
