//! The status of each container.

use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use pod_worker::observation::{ObjectState, Observation, Phase, Resources, Start};
use pod_worker::{Probe, TerminationMessage, Waiting, Work, status};
use serde_json::{Value, json};

use crate::lab::{apps, at, exited, id, input, object, pod, running, seen, status_of, view};

fn in_sandbox(starts: Vec<Start>) -> Observation {
    seen(vec![object(0, ObjectState::Running)], starts)
}

/// The status of the only container.
fn only(status: &PodStatus) -> Value {
    let statuses = status.container_statuses.as_ref().unwrap();
    assert_eq!(statuses.len(), 1);
    serde_json::to_value(&statuses[0]).unwrap()
}

fn app(starts: Vec<Start>) -> Value {
    only(&status_of(&apps(&["app"]), &in_sandbox(starts), Work::Running))
}

fn with_status(status: Value) -> Pod {
    let mut pod = apps(&["app"]);
    let statuses: Vec<ContainerStatus> = serde_json::from_value(json!([status])).unwrap();
    pod.status.as_mut().unwrap().container_statuses = Some(statuses);
    pod
}

#[test]
fn a_container_that_runs() {
    let start = Start {
        image: "registry.example.com/app:v1".into(),
        image_id: "registry.example.com/app@sha256:1".into(),
        ..running("app", 0)
    };
    assert_eq!(
        app(vec![start]),
        json!({
            "name": "app",
            "state": { "running": { "startedAt": "2023-11-14T22:13:20Z" } },
            "lastState": {},
            "ready": true,
            "started": true,
            "restartCount": 0,
            "image": "registry.example.com/app:v1",
            "imageID": "registry.example.com/app@sha256:1",
            "containerID": "lab://app-0",
        })
    );
}

#[test]
fn a_container_that_is_not_there_waits_with_the_kubelets_reason() {
    let status = app(vec![]);
    assert_eq!(status["state"], json!({ "waiting": { "reason": "ContainerCreating" } }));
    assert_eq!((&status["ready"], &status["started"], &status["imageID"]), (&json!(false), &json!(false), &json!("")));
    assert_eq!(status["image"], "registry.example.com/app:v1");

    let with_init = pod(json!({ "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }] }));
    let status = status_of(&with_init, &in_sandbox(vec![]), Work::Running);
    for statuses in [status.container_statuses, status.init_container_statuses] {
        let waiting = statuses.unwrap()[0].state.clone().unwrap().waiting.unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("PodInitializing"));
    }
}

#[test]
fn an_end_has_a_reason_by_its_code_unless_the_backend_knows_better() {
    for (code, signal, reason, expected_code, expected) in [
        (Some(0), 0, "", 0, "Completed"),
        (Some(3), 0, "", 3, "Error"),
        (Some(137), 9, "OOMKilled", 137, "OOMKilled"),
        (Some(128), 0, "StartError", 128, "StartError"),
        (Some(127), 0, "ContainerCannotRun", 127, "ContainerCannotRun"),
        (None, 15, "", 143, "Error"),
        (None, 0, "", 137, "ContainerStatusUnknown"),
    ] {
        let start = Start { exit_code: code, signal, reason: reason.into(), ..exited("app", 0, 0) };
        let end = &app(vec![start])["state"]["terminated"];
        assert_eq!((&end["exitCode"], &end["reason"]), (&json!(expected_code), &json!(expected)));
        assert_eq!(end.get("signal").is_some(), signal != 0);
        assert_eq!(end["containerID"], "lab://app-0");
    }
}

#[test]
fn times_have_no_fractions_of_a_second() {
    let start = Start { started_at: Some(at(0) + std::time::Duration::from_millis(999)), ..running("app", 0) };
    assert_eq!(app(vec![start])["state"]["running"]["startedAt"], "2023-11-14T22:13:20Z");
}

#[test]
fn the_highest_start_is_the_state_and_the_one_before_the_last_state() {
    let status = app(vec![exited("app", 1, 1), running("app", 2), exited("app", 0, 7)]);
    assert_eq!(status["restartCount"], 2);
    assert!(status["state"]["running"].is_object());
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    // One that was only announced doesn't count yet.
    let announced = Start { reason: "PullingImage".into(), ..Start::new("app", 3, Phase::Waiting) };
    let status = app(vec![exited("app", 1, 1), exited("app", 2, 2), announced]);
    assert_eq!(status["restartCount"], 2);
    assert_eq!(status["state"]["waiting"]["reason"], "PullingImage");
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 2);
}

#[test]
fn the_restart_count_never_goes_down() {
    let pod = with_status(json!({
        "name": "app", "image": "x", "imageID": "", "ready": true, "restartCount": 7,
        "containerID": "lab://app-0", "state": { "running": { "startedAt": "2023-11-14T22:13:20Z" } },
    }));
    let status = status_of(&pod, &in_sandbox(vec![running("app", 0)]), Work::Running);
    assert_eq!(only(&status)["restartCount"], 7);
    let status = status_of(&pod, &in_sandbox(vec![running("app", 9)]), Work::Running);
    assert_eq!(only(&status)["restartCount"], 9);
}

#[test]
fn why_the_host_does_not_start_it_is_what_it_waits_for() {
    let pod = apps(&["app"]);
    let waiting = [Waiting { container: "app".into(), reason: "CrashLoopBackOff".into(), message: "back-off".into() }];
    let of = |starts| {
        let seen = in_sandbox(starts);
        only(&status::compute(&status::Input { waiting: &waiting, ..input(&pod, &seen, Some(Work::Running)) }))
    };
    let status = of(vec![exited("app", 0, 1)]);
    assert_eq!(status["state"], json!({ "waiting": { "reason": "CrashLoopBackOff", "message": "back-off" } }));
    assert_eq!(status["lastState"]["terminated"]["exitCode"], 1);
    assert_eq!(status["restartCount"], 0);
    assert!(of(vec![running("app", 1)])["state"]["running"].is_object(), "what runs does not wait");
    assert_eq!(of(vec![])["state"]["waiting"]["reason"], "CrashLoopBackOff");
}

#[test]
fn a_container_that_ran_and_is_gone_is_told_as_the_kubelet_does() {
    let pod = with_status(json!({
        "name": "app", "image": "x", "imageID": "", "ready": true, "restartCount": 2,
        "containerID": "lab://app-2", "state": { "running": { "startedAt": "2023-11-14T22:13:20Z" } },
    }));
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    let gone = only(&status);
    assert_eq!(gone["state"]["waiting"]["reason"], "ContainerCreating");
    assert_eq!(
        gone["lastState"]["terminated"],
        json!({
            "exitCode": 137,
            "reason": "ContainerStatusUnknown",
            "message": "The container could not be located when the pod was deleted.  The container used to be Running",
        })
    );
    assert_eq!(gone["restartCount"], 3);
    assert_eq!(status.phase.as_deref(), Some("Running"));
    // It is counted once.
    let again = Pod { status: Some(status.clone()), ..pod };
    assert_eq!(status_of(&again, &in_sandbox(vec![]), Work::Running), status);
    assert_eq!(only(&status_of(&again, &in_sandbox(vec![running("app", 3)]), Work::Running))["restartCount"], 3);
}

#[test]
fn a_container_that_is_gone_and_not_restarted_has_ended() {
    let mut pod = with_status(json!({
        "name": "app", "image": "x", "imageID": "", "ready": true, "restartCount": 0,
        "containerID": "lab://app-0", "state": { "running": {} },
    }));
    pod.spec.as_mut().unwrap().restart_policy = Some("Never".into());
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    assert_eq!(only(&status)["state"]["terminated"]["reason"], "ContainerStatusUnknown");
}

#[test]
fn an_end_that_is_recorded_outlives_its_container() {
    let pod = with_status(json!({
        "name": "app", "image": "x", "imageID": "y", "ready": false, "started": false, "restartCount": 2,
        "containerID": "lab://app-2",
        "state": { "terminated": { "exitCode": 5, "reason": "Error", "containerID": "lab://app-2" } }, "lastState": {},
    }));
    let status = status_of(&pod, &in_sandbox(vec![]), Work::Running);
    assert_eq!(Some(&status.container_statuses.unwrap()[0]), pod.status.unwrap().container_statuses.unwrap().first());
}

#[test]
fn a_container_that_may_not_come_back_stays_ended() {
    for (policy, code, stays) in
        [("Never", 0, true), ("Never", 1, true), ("OnFailure", 0, true), ("OnFailure", 1, false), ("Always", 0, false)]
    {
        let mut pod = with_status(json!({
            "name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "containerID": "lab://app-0",
            "state": { "terminated": { "exitCode": code, "containerID": "lab://app-0" } },
        }));
        pod.spec.as_mut().unwrap().restart_policy = Some(policy.into());
        let status = status_of(&pod, &in_sandbox(vec![running("app", 1)]), Work::Running);
        assert_eq!(only(&status)["state"]["terminated"].is_object(), stays, "{policy} {code}");
    }
}

#[test]
fn a_state_that_is_not_told_stays_as_it_was() {
    let before = json!({
        "name": "app", "image": "x", "imageID": "y", "ready": true, "started": true, "restartCount": 2,
        "containerID": "lab://app-2", "state": { "running": { "startedAt": "2023-11-14T22:13:20Z" } }, "lastState": {},
    });
    let pod = with_status(before.clone());
    let unreadable = seen(vec![object(0, ObjectState::Unknown)], vec![]);
    assert_eq!(only(&status_of(&pod, &unreadable, Work::Running)), before);
    let unsure = in_sandbox(vec![Start { phase: Phase::Unknown, ..running("app", 2) }]);
    assert_eq!(only(&status_of(&pod, &unsure, Work::Running)), before);
}

#[test]
fn messages_come_from_the_backend_the_file_or_what_is_recorded() {
    let pod = apps(&["app"]);
    let read = |attempt| TerminationMessage {
        container: "app".into(),
        attempt,
        message: "from the file".into(),
        not_started: None,
    };
    let of = |pod: &Pod, start: Start, messages: &[TerminationMessage]| {
        let seen = in_sandbox(vec![start]);
        only(&status::compute(&status::Input { messages, ..input(pod, &seen, Some(Work::Running)) }))
    };
    let message = |status: Value| status["state"]["terminated"]["message"].clone();
    let told = Start { message: "from the backend".into(), ..exited("app", 0, 1) };
    assert_eq!(message(of(&pod, told, &[read(0)])), "from the backend");
    assert_eq!(message(of(&pod, exited("app", 0, 1), &[read(0)])), "from the file");
    assert_eq!(message(of(&pod, exited("app", 0, 1), &[read(1)])), Value::Null, "another start's");

    let recorded = with_status(json!({
        "name": "app", "image": "x", "imageID": "", "ready": false, "restartCount": 0, "containerID": "lab://app-0",
        "state": { "waiting": { "reason": "CrashLoopBackOff" } },
        "lastState": { "terminated": { "exitCode": 1, "containerID": "lab://app-0", "message": "recorded" } },
    }));
    assert_eq!(message(of(&recorded, exited("app", 0, 1), &[])), "recorded");
}

#[test]
fn all_messages_of_a_pod_share_twelve_kibibytes() {
    let spec = json!({ "containers": [{ "name": "a" }, { "name": "b" }, { "name": "c" }] });
    let long = Start { message: "é".repeat(5_000).into(), ..exited("a", 0, 1) };
    let status = status_of(&pod(spec), &in_sandbox(vec![long]), Work::Running);
    let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.terminated.unwrap().message.unwrap().len(), 4096);
    let odd = Start { message: format!("a{}", "é".repeat(5_000)).into(), ..exited("a", 0, 1) };
    let status = status_of(&apps(&["a", "b", "c"]), &in_sandbox(vec![odd]), Work::Running);
    let state = status.container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.terminated.unwrap().message.unwrap().len(), 4095, "whole characters");
}

#[test]
fn started_and_ready_follow_the_probes() {
    let probe = json!({ "tcpSocket": { "port": 80 } });
    for (startup, readiness, host, backend, expected) in [
        (false, false, (None, None), (None, None), (true, true)),
        (true, false, (None, None), (None, None), (false, false)),
        (true, false, (Some(true), None), (None, None), (true, true)),
        (false, true, (None, None), (None, None), (true, false)),
        (false, true, (None, Some(true)), (None, None), (true, true)),
        (false, true, (None, Some(false)), (None, Some(true)), (true, false)),
        (true, true, (None, None), (Some(true), Some(true)), (true, true)),
        (true, true, (Some(false), Some(true)), (None, None), (false, false)),
        (false, false, (None, None), (None, Some(false)), (true, false)),
    ] {
        let mut container = json!({ "name": "app" });
        if startup {
            container["startupProbe"] = probe.clone();
        }
        if readiness {
            container["readinessProbe"] = probe.clone();
        }
        let pod = pod(json!({ "containers": [container] }));
        let probes = [Probe { container: "app".into(), started: host.0, ready: host.1 }];
        let seen = in_sandbox(vec![Start { started: backend.0, ready: backend.1, ..running("app", 0) }]);
        let status =
            status::compute(&status::Input { pod: view(&pod, &probes), ..input(&pod, &seen, Some(Work::Running)) });
        let status = only(&status);
        assert_eq!(
            (&status["started"], &status["ready"]),
            (&json!(expected.0), &json!(expected.1)),
            "{startup} {readiness} {host:?} {backend:?}"
        );
    }
}

#[test]
fn a_restarted_host_takes_no_readiness_away_before_it_has_probed() {
    let mut pod = with_status(json!({
        "name": "app", "image": "x", "imageID": "", "ready": true, "started": true, "restartCount": 0,
        "containerID": "lab://app-0", "state": { "running": { "startedAt": "2023-11-14T22:13:20Z" } },
    }));
    let container = &mut pod.spec.as_mut().unwrap().containers[0];
    let probe: k8s_openapi::api::core::v1::Probe =
        serde_json::from_value(json!({ "tcpSocket": { "port": 1 } })).unwrap();
    (container.startup_probe, container.readiness_probe) = (Some(probe.clone()), Some(probe));
    let status = only(&status_of(&pod, &in_sandbox(vec![running("app", 0)]), Work::Running));
    assert_eq!((&status["ready"], &status["started"]), (&json!(true), &json!(true)));
    let next = only(&status_of(&pod, &in_sandbox(vec![running("app", 1)]), Work::Running));
    assert_eq!((&next["ready"], &next["started"]), (&json!(false), &json!(false)), "a new container proves itself");
}

#[test]
fn statuses_come_in_the_order_of_the_manifest() {
    let pod = pod(json!({
        "initContainers": [{ "name": "z-setup" }, { "name": "a-setup" }],
        "containers": [{ "name": "z" }, { "name": "a" }],
        "ephemeralContainers": [{ "name": "y" }, { "name": "b" }],
    }));
    let status = status_of(&pod, &in_sandbox(vec![running("a", 0), exited("a-setup", 0, 0)]), Work::Running);
    let names = |statuses: Option<Vec<ContainerStatus>>| -> Vec<String> {
        statuses.unwrap().into_iter().map(|status| status.name).collect()
    };
    assert_eq!(names(status.init_container_statuses), ["z-setup", "a-setup"]);
    assert_eq!(names(status.container_statuses), ["z", "a"]);
    assert_eq!(names(status.ephemeral_container_statuses), ["y", "b"]);
}

#[test]
fn init_containers_are_ready_once_they_succeeded_and_ephemeral_ones_never_say() {
    let pod = pod(json!({
        "initContainers": [{ "name": "good" }, { "name": "bad" }, { "name": "going" }],
        "containers": [{ "name": "app" }],
        "ephemeralContainers": [{ "name": "debugger" }],
    }));
    let starts = vec![exited("good", 0, 0), exited("bad", 0, 1), running("going", 0), running("debugger", 0)];
    let status = status_of(&pod, &in_sandbox(starts), Work::Running);
    let ready: Vec<bool> = status.init_container_statuses.unwrap().iter().map(|status| status.ready).collect();
    assert_eq!(ready, [true, false, false]);
    let debugger = &status.ephemeral_container_statuses.unwrap()[0];
    assert_eq!((debugger.ready, debugger.started), (false, None));
}

#[test]
fn an_init_container_that_the_backend_removed_had_succeeded_if_the_app_containers_came() {
    let pod = pod(json!({ "initContainers": [{ "name": "setup" }], "containers": [{ "name": "app" }] }));
    let status = status_of(&pod, &in_sandbox(vec![running("app", 0)]), Work::Running);
    let setup = &status.init_container_statuses.unwrap()[0];
    let end = setup.state.clone().unwrap().terminated.unwrap();
    assert_eq!((end.exit_code, end.reason.as_deref(), setup.ready), (0, Some("Completed"), true));
}

#[test]
fn a_pod_that_is_over_has_no_container_that_is_not() {
    let pod = pod(json!({
        "initContainers": [{ "name": "setup" }, { "name": "later" }],
        "containers": [{ "name": "app" }],
    }));
    // The app containers never had their turn.
    let status = status_of(&pod, &in_sandbox(vec![exited("setup", 0, 1)]), Work::Terminated);
    let states = |statuses: &Option<Vec<ContainerStatus>>| -> Vec<Option<i32>> {
        let state = |status: &ContainerStatus| status.state.clone().unwrap().terminated.map(|end| end.exit_code);
        statuses.as_ref().unwrap().iter().map(state).collect()
    };
    assert_eq!(states(&status.init_container_statuses), [Some(1), None]);
    assert_eq!(states(&status.container_statuses), [None]);
    // They had.
    let starts = vec![exited("setup", 0, 0), exited("later", 0, 0)];
    let status = status_of(&pod, &in_sandbox(starts), Work::Terminated);
    assert_eq!(states(&status.container_statuses), [Some(137)]);
    let end = status.container_statuses.unwrap()[0].state.clone().unwrap().terminated.unwrap();
    assert_eq!(end.reason.as_deref(), Some("ContainerStatusUnknown"));
    assert_eq!(end.message.as_deref(), Some("The container could not be located when the pod was terminated"));
}

#[test]
fn resources_are_those_of_the_definition_and_what_is_in_force() {
    let resources =
        json!({ "requests": { "cpu": "100m", "memory": "128Mi" }, "limits": { "cpu": "1", "memory": "256Mi" } });
    let pod = pod(json!({ "containers": [{ "name": "app", "resources": resources }] }));
    let of = |start: Start| only(&status_of(&pod, &in_sandbox(vec![start]), Work::Running));
    let status = of(running("app", 0));
    assert_eq!((&status["resources"], &status["allocatedResources"]), (&resources, &resources["requests"]));
    let in_force = Resources {
        cpu_request: Some(100),
        cpu_limit: Some(1_500),
        memory_request: Some(128 << 20),
        memory_limit: Some(512 << 20),
    };
    let status = of(Start { resources: Some(Box::new(in_force)), ..running("app", 0) });
    assert_eq!(status["resources"]["requests"], resources["requests"]);
    assert_eq!(status["resources"]["limits"], json!({ "cpu": "1500m", "memory": "512Mi" }));
}

#[test]
fn mounts_are_told() {
    let mounts =
        json!([{ "name": "data", "mountPath": "/data" }, { "name": "token", "mountPath": "/token", "readOnly": true }]);
    let pod = pod(json!({ "containers": [{ "name": "app", "volumeMounts": mounts }] }));
    let status = only(&status_of(&pod, &in_sandbox(vec![running("app", 0)]), Work::Running));
    assert_eq!(
        status["volumeMounts"],
        json!([
            { "name": "data", "mountPath": "/data" },
            { "name": "token", "mountPath": "/token", "readOnly": true, "recursiveReadOnly": "Disabled" },
        ])
    );
}

#[test]
fn equal_input_gives_an_equal_status_and_it_comes_out_again() {
    let pod = pod(json!({
        "restartPolicy": "OnFailure",
        "initContainers": [{ "name": "setup" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "a" }, { "name": "b" }],
        "ephemeralContainers": [{ "name": "debugger" }],
    }));
    let phases = [Phase::Waiting, Phase::Created, Phase::Running, Phase::Exited, Phase::Unknown];
    let states =
        [ObjectState::Running, ObjectState::Ended, ObjectState::Lost, ObjectState::Unknown, ObjectState::Suspended];
    for object_state in states {
        for (place, phase) in phases.into_iter().enumerate() {
            let other = phases[(place + 2) % phases.len()];
            let starts = vec![
                exited("setup", 0, 0),
                Start { phase: other, ..running("proxy", 1) },
                exited("a", 0, 1),
                Start { phase, exit_code: Some(3), ..running("a", 1) },
                Start { phase: other, id: id("b", 0), ..running("b", 0) },
            ];
            let seen = seen(vec![object(0, object_state)], starts);
            for work in [None, Some(Work::Running), Some(Work::Terminating), Some(Work::Terminated)] {
                let first = status::compute(&input(&pod, &seen, work));
                assert_eq!(first, status::compute(&input(&pod, &seen, work)));
                let again = Pod { status: Some(first.clone()), ..pod.clone() };
                assert_eq!(first, status::compute(&input(&again, &seen, work)), "{object_state:?} {phase:?} {work:?}");
            }
        }
    }
}
