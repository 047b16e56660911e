//! A host that was restarted goes on where the last one was.

use pod_worker::observation::{ObjectState, Phase};
use pod_worker::{Work, spec_hash, with_default_tag};
use serde_json::json;

use crate::lab::{Lab, apps, exited, names, object, running, seconds, waits};

#[test]
fn what_runs_is_left_alone() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    let step = lab.step();
    lab.write_status(&step);
    lab.restart_host();
    let step = lab.settle();
    assert!(lab.take_done().is_empty());
    assert_eq!(lab.status_after(&step), lab.pod.status.clone().unwrap(), "nothing to write");
}

#[test]
fn a_restart_at_any_moment_makes_nothing_twice() {
    for moment in 0..4 {
        let mut lab = Lab::new(apps(&["app"]));
        for _ in 0..moment {
            let step = lab.step();
            lab.carry_out(&step.actions[0]);
        }
        // The next call is under way, and may be done or not when the host is gone.
        for was_done in [false, true] {
            let mut lab = Lab { done: vec![], ..Lab::new(apps(&["app"])) };
            for _ in 0..moment {
                let step = lab.step();
                lab.carry_out(&step.actions[0]);
            }
            let step = lab.step();
            if was_done {
                lab.act(&step.actions[0]);
            }
            lab.restart_host();
            lab.settle();
            assert_eq!((lab.seen.objects.len(), lab.seen.starts.len()), (1, 1), "moment {moment}, done {was_done}");
            assert_eq!(lab.find("app", 0).phase, Phase::Running);
        }
    }
}

#[test]
fn a_container_that_was_made_is_started_not_made_again() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.seen.objects = vec![object(0, ObjectState::Running)];
    let mut made = running("app", 4);
    made.phase = Phase::Created;
    made.spec_hash = Some(spec_hash("app", "registry.example.com/app:v1"));
    lab.seen.starts = vec![made];
    lab.settle();
    assert_eq!(lab.take_done(), ["start app 4"]);
}

#[test]
fn a_container_that_was_made_of_another_image_is_replaced() {
    let mut lab = Lab::new(apps(&["app"]));
    lab.seen.objects = vec![object(0, ObjectState::Running)];
    let mut made = running("app", 4);
    made.phase = Phase::Created;
    made.spec_hash = Some(spec_hash("app", "registry.example.com/app:v0"));
    lab.seen.starts = vec![made];
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "remove app 4", "create app 5", "start app 5"]);
}

#[test]
fn attempts_go_on_from_the_status_when_the_backend_lost_everything() {
    let mut lab = Lab::running(apps(&["app"]));
    for attempt in 0..3 {
        lab.exit("app", attempt, 1);
        lab.now += seconds(300);
        lab.settle();
    }
    let step = lab.step();
    lab.write_status(&step);
    lab.restart_host();
    lab.seen.objects.clear();
    lab.seen.starts.clear();
    lab.take_done();
    let step = lab.step();
    assert!(step.refresh && step.actions.is_empty(), "one look is not enough");
    let step = lab.step();
    assert_eq!(names(&step.actions), ["run sandbox 1"]);
    lab.write_status(&step);
    lab.carry_out(&step.actions[0]);
    let restarts = |lab: &Lab| lab.pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].restart_count;
    assert_eq!(restarts(&lab), 4);
    lab.settle();
    assert!(lab.take_done().contains(&"start app 4".to_owned()));
    let step = lab.step();
    lab.write_status(&step);
    assert_eq!(restarts(&lab), 4, "counted once");
}

#[test]
fn what_was_shown_stays_shown_until_it_is_known_better() {
    for (reason, message) in [
        ("ImagePullBackOff", "Back-off pulling image \"x\": ErrImagePull: gone"),
        ("CreateContainerConfigError", "secret \"token\" not found"),
        ("RunContainerError", "no such program"),
    ] {
        let mut lab = Lab::new(apps(&["app"]));
        lab.pod.status.as_mut().unwrap().container_statuses = Some(vec![
            serde_json::from_value(json!({
                "name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": reason, "message": message } },
            }))
            .unwrap(),
        ]);
        lab.seen.objects = vec![object(0, ObjectState::Running)];
        let step = lab.step();
        assert_eq!(waits(&step), [("app", reason, message)]);
        assert_eq!(names(&step.actions), ["check app"], "and tried again");
        lab.carry_out(&step.actions[0]);
        assert!(lab.settle().waiting.is_empty());
    }
}

#[test]
fn a_sandbox_that_could_not_be_made_stays_told() {
    let mut lab = Lab::new(apps(&["app"]));
    let step = lab.step();
    lab.fail(&step.actions[0], "FailedMount", "no such volume");
    let step = lab.step();
    lab.write_status(&step);
    lab.restart_host();
    let step = lab.step();
    assert_eq!(waits(&step), [("app", "FailedMount", "no such volume")]);
    assert_eq!(names(&step.actions), ["run sandbox 0"]);
}

#[test]
fn a_pod_that_was_being_deleted_goes_on_ending() {
    let mut lab = Lab::running(apps(&["a", "b"]));
    lab.delete(30);
    let step = lab.step();
    lab.act(&step.actions[0]);
    lab.restart_host();
    lab.settle();
    assert_eq!(lab.take_done(), ["stop b 0 in 30s", "stop sandbox 0"]);
    assert_eq!(lab.step().work, Work::Terminated);
}

#[test]
fn a_container_that_ended_while_nobody_looked_is_restarted_by_its_policy() {
    let mut lab = Lab::running(apps(&["app"]));
    let step = lab.step();
    lab.write_status(&step);
    lab.restart_host();
    lab.seen.starts = vec![exited("app", 0, 1)];
    lab.seen.starts[0].spec_hash = None;
    lab.now += seconds(60);
    lab.settle();
    assert!(lab.take_done().contains(&"start app 1".to_owned()));
}

#[test]
fn the_default_tag_is_part_of_the_name_that_is_pulled() {
    assert_eq!(with_default_tag("registry.example.com/app").as_deref(), Ok("registry.example.com/app:latest"));
}
