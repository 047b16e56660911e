//! A container whose command can't be run: a run that ended with 128, as far as anybody sees.

use k8s_openapi::api::core::v1::{ContainerStateTerminated, ContainerStatus, Pod, PodStatus};
use pod_worker::Work;
use pod_worker::machine::Step;
use serde_json::{Value, json};

use crate::lab::{Lab, POD, apps, names, pod, seconds, told, waits};

const WHY: &str = "exec: \"/no/such/command\": stat /no/such/command: no such file or directory";

/// Goes on from a step until a start comes, which fails.
fn fail_start(lab: &mut Lab, from: Step) -> Step {
    let mut step = from;
    for _ in 0..10 {
        for action in &step.actions {
            if names(std::slice::from_ref(action))[0].starts_with("start") {
                lab.fail(action, "StartError", WHY);
                return lab.step();
            }
            lab.carry_out(action);
        }
        step = lab.step();
    }
    panic!("nothing was started: {:?}", lab.done);
}

fn one(policy: &str) -> Pod {
    pod(json!({ "restartPolicy": policy, "containers": [{ "name": "app" }] }))
}

fn only(status: &PodStatus) -> &ContainerStatus {
    &status.container_statuses.as_ref().unwrap()[0]
}

fn state(status: &PodStatus) -> Value {
    serde_json::to_value(only(status).state.as_ref().unwrap()).unwrap()
}

fn last(status: &PodStatus) -> ContainerStateTerminated {
    only(status).last_state.clone().unwrap().terminated.unwrap()
}

#[test]
fn it_is_told_as_the_kubelet_does_tried_again_at_once_and_then_with_back_off() {
    let mut lab = Lab::new(one("Always"));
    let step = lab.step();
    let mut step = fail_start(&mut lab, step);
    let error = format!("Error: {WHY}");
    assert!(told(&step.events).contains(&("Failed", &*error)));
    assert_eq!(waits(&step), [("app", "RunContainerError", WHY)]);
    assert_eq!(names(&step.actions), ["check app"], "the first time at once");
    let status = lab.status_after(&step);
    assert_eq!(state(&status), json!({ "waiting": { "reason": "RunContainerError", "message": WHY } }));
    let end = last(&status);
    assert_eq!((end.reason.as_deref(), end.exit_code, end.message.as_deref()), (Some("StartError"), 128, Some(WHY)));
    assert_eq!(end.container_id.as_deref(), Some("lab://app-0"));
    assert_eq!(end.started_at, end.finished_at);
    assert_eq!((status.phase.as_deref(), only(&status).restart_count), (Some("Running"), 0));
    lab.write_status(&step);

    for (attempt, (delay, words)) in [(10, "10s"), (20, "20s"), (40, "40s"), (80, "1m20s")].into_iter().enumerate() {
        let attempt = i32::try_from(attempt).unwrap() + 1;
        step = fail_start(&mut lab, step);
        assert!(step.actions.is_empty());
        assert_eq!(waits(&step), [("app", "RunContainerError", WHY)]);
        assert_eq!(step.wake_at, Some(lab.now + seconds(5)), "the error is shown first");
        step = lab.step_after(5);
        let message = format!("back-off {words} restarting failed container=app pod={POD}");
        assert_eq!(waits(&step), [("app", "CrashLoopBackOff", &*message)]);
        assert_eq!(step.wake_at, Some(lab.now + seconds(delay - 5)));
        lab.write_status(&step);
        let status = lab.pod.status.as_ref().unwrap();
        assert_eq!(state(status), json!({ "waiting": { "reason": "CrashLoopBackOff", "message": message } }));
        assert_eq!((last(status).reason.as_deref(), last(status).exit_code), (Some("StartError"), 128));
        assert_eq!((status.phase.as_deref(), only(status).restart_count), (Some("Running"), attempt));
        step = lab.step_after(delay - 5);
    }
}

#[test]
fn the_policy_decides_whether_it_is_tried_again() {
    for (policy, again) in [("Always", true), ("OnFailure", true), ("Never", false)] {
        let mut lab = Lab::new(one(policy));
        let step = lab.step();
        let step = fail_start(&mut lab, step);
        assert_eq!(step.waiting.len(), usize::from(again), "{policy}");
        if again {
            assert_eq!(names(&step.actions), ["check app"]);
            continue;
        }
        for action in &step.actions {
            lab.carry_out(action);
        }
        let step = lab.settle();
        assert_eq!(step.work, Work::Terminated);
        let status = lab.status_after(&step);
        assert_eq!(status.phase.as_deref(), Some("Failed"));
        let end = only(&status).state.clone().unwrap().terminated.unwrap();
        assert_eq!((end.reason.as_deref(), end.exit_code), (Some("StartError"), 128));
        assert!(!lab.done.contains(&"create app 1".to_owned()));
    }
}

#[test]
fn an_init_container_holds_up_the_pod_or_fails_it() {
    let with_init = |policy: &str| {
        pod(json!({
            "restartPolicy": policy, "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }],
        }))
    };
    let mut lab = Lab::new(with_init("Always"));
    let step = lab.step();
    let step = fail_start(&mut lab, step);
    let step = fail_start(&mut lab, step);
    assert_eq!(waits(&step), [("setup", "RunContainerError", WHY)]);
    let status = lab.status_after(&step);
    assert_eq!(status.phase.as_deref(), Some("Pending"));
    assert!(!lab.done.iter().any(|action| action.ends_with("app 0")));

    let mut lab = Lab::new(with_init("Never"));
    let step = lab.step();
    let step = fail_start(&mut lab, step);
    lab.carry_out(&step.actions[0]);
    let step = lab.settle();
    assert_eq!((step.work, lab.status_after(&step).phase.as_deref()), (Work::Terminated, Some("Failed")));
}

#[test]
fn it_holds_up_no_other_container() {
    let mut lab = Lab::new(apps(&["bad", "good"]));
    for _ in 0..20 {
        let step = lab.step();
        for action in &step.actions {
            match &*names(std::slice::from_ref(action))[0] {
                "start bad 0" | "start bad 1" => lab.fail(action, "StartError", WHY),
                _ => lab.carry_out(action),
            }
        }
    }
    assert!(lab.done.contains(&"start good 0".to_owned()));
    assert_eq!(waits(&lab.step()), [("bad", "RunContainerError", WHY)]);
}

#[test]
fn a_restarted_host_goes_on_with_the_back_off_and_shows_the_same() {
    let mut lab = Lab::new(one("Always"));
    let mut step = lab.step();
    for wait in [0, 10, 6] {
        step = fail_start(&mut lab, step);
        lab.write_status(&step);
        if wait > 0 {
            step = lab.step_after(wait);
        }
    }
    assert_eq!(&*step.waiting[0].reason, "CrashLoopBackOff");
    lab.write_status(&step);
    let (before, status) = (step, lab.pod.status.clone());
    lab.restart_host();
    let after = lab.step();
    // Those before the last one are of no use any more.
    assert_eq!(names(&after.actions), ["remove app 0", "remove app 1"]);
    assert_eq!((&before.waiting, before.wake_at), (&after.waiting, after.wake_at));
    lab.write_status(&after);
    assert_eq!(lab.pod.status, status);
}

#[test]
fn an_observation_from_before_is_waited_out() {
    let mut lab = Lab::new(one("Always"));
    let before = loop {
        let before = lab.seen.clone();
        let step = lab.step();
        if names(&step.actions) == ["start app 0"] {
            lab.fail(&step.actions[0], "StartError", WHY);
            break before;
        }
        lab.carry_out(&step.actions[0]);
    };
    let whole = lab.seen.clone();
    lab.seen = pod_worker::observation::Observation { starts: vec![], ..before };
    let step = lab.step_with_old_eyes();
    assert!(step.actions.is_empty() && step.refresh);
    lab.seen = whole;
    assert_eq!(names(&lab.step().actions), ["check app"]);
}

#[test]
fn a_changed_image_is_tried_at_once_and_nothing_is_left_of_it_once_it_runs() {
    let mut lab = Lab::new(one("Always"));
    let mut step = lab.step();
    for delay in [0, 10, 20, 40, 6] {
        step = fail_start(&mut lab, step);
        if delay > 0 {
            step = lab.step_after(delay);
        }
    }
    assert!(step.actions.is_empty(), "it would be tried again after 80 s");
    let image = "registry.example.com/app:v2";
    lab.pod.spec.as_mut().unwrap().containers[0].image = Some(image.into());
    lab.images.push(image.into());
    lab.take_done();
    let step = lab.settle();
    assert_eq!(lab.take_done()[..2], ["check app", "create app 5"]);
    assert!(step.waiting.is_empty() && step.messages.is_empty());
    let status = lab.status_after(&step);
    assert!(only(&status).state.as_ref().unwrap().running.is_some());
}

#[test]
fn a_backend_that_calls_it_an_end_itself_is_told_in_the_kubelets_words_too() {
    let mut lab = Lab::new(one("Never"));
    let step = lab.step();
    let step = fail_start(&mut lab, step);
    lab.carry_out(&step.actions[0]);
    lab.exit("app", 0, 127);
    let step = lab.settle();
    let status = lab.status_after(&step);
    let end = only(&status).state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.reason.as_deref(), end.exit_code, end.message.as_deref()), (Some("StartError"), 128, Some(WHY)));
}
