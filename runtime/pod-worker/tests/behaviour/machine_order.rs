//! What is started when.

use pod_worker::machine::Goal;
use pod_worker::observation::ObjectState;
use pod_worker::{Probe, Work};
use serde_json::json;

use crate::lab::{Lab, apps, exited, names, object, pod, running, told};

#[test]
fn a_new_pod_gets_a_sandbox_its_image_a_container_and_a_start() {
    let mut lab = Lab::new(apps(&["app"]));
    let step = lab.settle();
    assert_eq!(lab.take_done(), ["run sandbox 0", "check app", "create app 0", "start app 0"]);
    assert_eq!((step.work, step.wake_at, step.refresh), (Work::Running, None, false));
    assert_eq!(
        told(&lab.events),
        [
            (
                "Pulled",
                "Container image \"registry.example.com/app:v1\" already present on machine and can be accessed by the pod"
            ),
            ("Created", "Container created"),
            ("Started", "Container started"),
        ]
    );
    assert!(lab.events.iter().all(|event| event.field_path == "spec.containers{app}" && !event.warning));
}

#[test]
fn a_container_comes_to_run_without_an_observation_in_between() {
    let mut lab = Lab::new(apps(&["app"]));
    let blind = lab.seen.clone();
    for expected in ["run sandbox 0", "check app", "create app 0", "start app 0"] {
        let step = lab.machine.step(lab.now, crate::lab::view(&lab.pod, &[]), &blind, Goal::Run);
        assert_eq!(names(&step.actions), [expected]);
        assert!(!step.refresh, "before {expected}");
        lab.carry_out(&step.actions[0]);
    }
    let step = lab.machine.step(lab.now, crate::lab::view(&lab.pod, &[]), &blind, Goal::Run);
    assert!(step.actions.is_empty() && step.refresh);
}

#[test]
fn nothing_is_asked_for_twice_while_it_is_under_way() {
    let mut lab = Lab::new(apps(&["app"]));
    for expected in ["run sandbox 0", "check app", "create app 0", "start app 0"] {
        let step = lab.step();
        assert_eq!(names(&step.actions), [expected]);
        assert!(lab.step().actions.is_empty());
        assert!(lab.step_after(3_600).actions.is_empty(), "not even after an hour");
        lab.carry_out(&step.actions[0]);
    }
}

#[test]
fn app_containers_start_side_by_side_and_one_that_fails_holds_up_no_other() {
    let mut lab = Lab::new(apps(&["a", "b", "c"]));
    let step = lab.step();
    lab.carry_out(&step.actions[0]);
    let step = lab.step();
    assert_eq!(names(&step.actions), ["check a", "check b", "check c"]);
    lab.fail(&step.actions[0], "", "disk on fire");
    lab.carry_out(&step.actions[1]);
    // c is still being checked.
    let step = lab.step();
    assert_eq!(names(&step.actions), ["create b 0"]);
    lab.carry_out(&step.actions[0]);
    assert_eq!(names(&lab.step().actions), ["start b 0"]);
}

#[test]
fn init_containers_run_one_after_another_before_the_app_containers() {
    let spec = json!({ "initContainers": [{ "name": "one" }, { "name": "two" }], "containers": [{ "name": "app" }] });
    let mut lab = Lab::new(pod(spec));
    lab.settle();
    assert_eq!(lab.take_done(), ["run sandbox 0", "check one", "create one 0", "start one 0"]);
    lab.exit("one", 0, 0);
    lab.settle();
    assert_eq!(lab.take_done(), ["check two", "create two 0", "start two 0"]);
    lab.exit("two", 0, 0);
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 0", "start app 0"]);
}

#[test]
fn an_init_container_that_fails_is_tried_again_before_the_next() {
    let spec = json!({ "initContainers": [{ "name": "one" }, { "name": "two" }], "containers": [{ "name": "app" }] });
    let mut lab = Lab::running(pod(spec));
    lab.exit("one", 0, 1);
    lab.settle();
    assert_eq!(lab.take_done(), ["check one", "create one 1", "start one 1"]);
    lab.exit("one", 1, 0);
    lab.settle();
    assert_eq!(lab.take_done(), ["check two", "create two 0", "start two 0"]);
}

#[test]
fn an_init_container_that_ran_out_of_memory_failed_whatever_its_code_says() {
    let spec = json!({ "initContainers": [{ "name": "one" }], "containers": [{ "name": "app" }] });
    let mut lab = Lab::running(pod(spec));
    lab.exit("one", 0, 0);
    lab.find("one", 0).reason = "OOMKilled".into();
    lab.settle();
    assert_eq!(lab.take_done(), ["check one", "create one 1", "start one 1"]);
}

#[test]
fn init_containers_that_the_backend_has_removed_do_not_run_again() {
    let spec = json!({ "initContainers": [{ "name": "one" }, { "name": "two" }], "containers": [{ "name": "app" }] });
    let mut lab = Lab::new(pod(spec.clone()));
    lab.seen.objects = vec![object(0, ObjectState::Running)];
    lab.seen.starts = vec![running("app", 0)];
    assert!(lab.step().actions.is_empty());

    let mut lab = Lab::new(pod(spec));
    lab.seen.objects = vec![object(0, ObjectState::Running)];
    lab.seen.starts = vec![exited("two", 0, 0)];
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 0", "start app 0"]);
}

#[test]
fn a_sidecar_starts_in_its_turn_and_the_next_does_not_wait_for_its_end() {
    let spec = json!({
        "initContainers": [{ "name": "one" }, { "name": "proxy", "restartPolicy": "Always" }, { "name": "two" }],
        "containers": [{ "name": "app" }],
    });
    let mut lab = Lab::new(pod(spec));
    lab.settle();
    lab.exit("one", 0, 0);
    lab.take_done();
    lab.settle();
    assert_eq!(
        lab.take_done(),
        ["check proxy", "create proxy 0", "start proxy 0", "check two", "create two 0", "start two 0"]
    );
    lab.exit("two", 0, 0);
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 0", "start app 0"]);
}

#[test]
fn a_sidecar_with_a_startup_probe_holds_up_the_next_until_it_has_started() {
    let spec = json!({
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always", "startupProbe": { "tcpSocket": { "port": 80 } } }],
        "containers": [{ "name": "app" }],
    });
    let mut lab = Lab::new(pod(spec));
    lab.settle();
    assert_eq!(lab.take_done(), ["run sandbox 0", "check proxy", "create proxy 0", "start proxy 0"]);
    lab.probes = vec![Probe { container: "proxy".into(), started: Some(true), ready: None }];
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 0", "start app 0"]);
}

#[test]
fn a_sidecar_that_ends_is_started_again_whatever_the_pods_policy() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "app" }],
    });
    let mut lab = Lab::running(pod(spec));
    lab.exit("proxy", 0, 0);
    lab.settle();
    assert_eq!(lab.take_done(), ["check proxy", "create proxy 1", "start proxy 1"]);
}

#[test]
fn an_ephemeral_container_is_started_once_when_it_appears() {
    let mut lab = Lab::running(apps(&["app"]));
    let with_debugger = pod(json!({
        "containers": [{ "name": "app" }],
        "ephemeralContainers": [{ "name": "debugger" }],
    }));
    lab.pod.spec = with_debugger.spec;
    lab.images.push("registry.example.com/debugger:v1".into());
    lab.settle();
    assert_eq!(lab.take_done(), ["check debugger", "create debugger 0", "start debugger 0"]);
    lab.exit("debugger", 0, 1);
    lab.settle();
    assert!(lab.take_done().is_empty());
    let step = lab.step();
    lab.write_status(&step);
    lab.seen.starts.retain(|start| &*start.name != "debugger");
    lab.settle();
    assert!(lab.take_done().is_empty(), "the status tells that it ran");
}

#[test]
fn an_ephemeral_container_does_not_wait_for_init_containers() {
    let spec = json!({
        "initContainers": [{ "name": "stuck" }],
        "containers": [{ "name": "app" }],
        "ephemeralContainers": [{ "name": "debugger" }],
    });
    let mut lab = Lab::new(pod(spec));
    lab.settle();
    assert!(lab.take_done().contains(&"start debugger 0".to_owned()));
}

#[test]
fn a_pod_whose_containers_are_done_ends_and_keeps_them_for_their_logs() {
    for (policy, code) in [("Never", 0), ("Never", 1), ("OnFailure", 0)] {
        let spec = json!({ "restartPolicy": policy, "containers": [{ "name": "app" }, { "name": "other" }] });
        let mut lab = Lab::running(pod(spec));
        lab.exit("app", 0, code);
        assert_eq!(lab.settle().work, Work::Running);
        lab.exit("other", 0, 0);
        let step = lab.settle();
        assert_eq!(step.work, Work::Terminated);
        assert_eq!(lab.take_done(), ["stop sandbox 0"]);
        assert_eq!(lab.seen.starts.len(), 2);
        // Also for a host that knows nothing of it.
        lab.restart_host();
        assert_eq!(lab.settle().work, Work::Terminated);
        assert!(lab.take_done().is_empty());
    }
}

#[test]
fn an_init_container_that_may_not_be_repeated_ends_the_pod() {
    let spec = json!({
        "restartPolicy": "Never",
        "initContainers": [{ "name": "proxy", "restartPolicy": "Always" }, { "name": "setup" }],
        "containers": [{ "name": "app" }],
    });
    let mut lab = Lab::running(pod(spec));
    lab.exit("setup", 0, 3);
    let step = lab.settle();
    assert_eq!(lab.take_done(), ["stop proxy 0 in 30s", "stop sandbox 0"]);
    assert_eq!(step.work, Work::Terminated);
}

#[test]
fn a_pod_that_is_over_at_the_api_server_is_never_started() {
    for phase in ["Succeeded", "Failed"] {
        let mut lab = Lab::new(apps(&["app"]));
        lab.pod.status.as_mut().unwrap().phase = Some(phase.into());
        assert_eq!(lab.settle().work, Work::Terminated);
        assert!(lab.take_done().is_empty());
    }
}
