//! What is removed while a pod goes on.

use pod_worker::observation::{ObjectState, Phase};
use serde_json::json;

use crate::lab::{Lab, apps, exited, names, object, pod, running, seconds};

#[test]
fn the_last_container_and_the_one_before_it_are_kept() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.seen.starts = vec![exited("app", 0, 1), exited("app", 1, 1), exited("app", 2, 1), running("app", 3)];
    lab.settle();
    let mut done = lab.take_done();
    done.sort();
    assert_eq!(done, ["remove app 0", "remove app 1"]);
    assert_eq!(lab.seen.starts.len(), 2);
}

#[test]
fn a_container_that_was_never_started_is_not_kept_for_its_logs() {
    let mut lab = Lab::running(apps(&["app"]));
    let mut never = running("app", 2);
    never.phase = Phase::Created;
    lab.seen.starts = vec![exited("app", 0, 1), exited("app", 1, 1), never, running("app", 3)];
    lab.settle();
    let mut done = lab.take_done();
    done.sort();
    assert_eq!(done, ["remove app 0", "remove app 2"]);
}

#[test]
fn an_older_container_that_still_runs_is_stopped() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.seen.starts = vec![running("app", 0), running("app", 1)];
    lab.settle();
    assert_eq!(lab.take_done(), ["stop app 0 in 30s"]);
    assert_eq!(lab.seen.starts.len(), 2, "its end is the one before the last now");
}

#[test]
fn a_sandbox_that_was_replaced_stays_as_long_as_it_holds_something_that_is_kept() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.now += seconds(60);
    lab.lose_sandbox(0);
    lab.settle();
    assert!(!lab.take_done().contains(&"remove sandbox 0".to_owned()), "app 0 is kept for its logs");
    lab.now += seconds(60);
    lab.exit("app", 1, 1);
    lab.now += seconds(60);
    lab.settle();
    lab.settle();
    let done = lab.take_done();
    assert!(done.ends_with(&["remove app 0".to_owned(), "remove sandbox 0".to_owned()]), "{done:?}");
}

#[test]
fn a_sandbox_that_was_replaced_and_still_runs_is_stopped_before_it_is_removed() {
    let mut lab = Lab::new(apps(&["app"]));
    let mut start = running("app", 0);
    start.object = 1;
    lab.seen.objects = vec![object(0, ObjectState::Running), object(1, ObjectState::Running)];
    lab.seen.starts = vec![start];
    lab.settle();
    assert_eq!(lab.take_done(), ["stop sandbox 0", "remove sandbox 0"]);
}

#[test]
fn a_removal_that_fails_is_tried_again_later() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.seen.starts = vec![exited("app", 0, 1), exited("app", 1, 1), running("app", 2)];
    let step = lab.step();
    assert_eq!(names(&step.actions), ["remove app 0"]);
    lab.fail(&step.actions[0], "", "busy");
    let step = lab.step();
    assert_eq!((step.actions.len(), step.wake_at), (0, Some(lab.now + seconds(1))));
    assert_eq!(names(&lab.step_after(1).actions), ["remove app 0"]);
}

#[test]
fn containers_of_other_names_are_left_alone() {
    let mut lab = Lab::running(pod(json!({ "containers": [{ "name": "app" }] })));
    lab.seen.starts.push(exited("stranger", 0, 0));
    lab.seen.starts.push(exited("stranger", 1, 0));
    lab.seen.starts.push(exited("stranger", 2, 0));
    lab.settle();
    assert!(lab.take_done().is_empty());
}
