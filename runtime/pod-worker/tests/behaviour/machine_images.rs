//! Images, and everything else that can keep a container from being started.

use std::time::Duration;

use pod_worker::machine::{Failure, Image, Outcome};
use serde_json::{Value, json};

use crate::lab::{Lab, POD, names, pod, seconds, told, waits};

/// A pod whose sandbox is there, and whose image has to be looked after next.
fn ready(container: Value) -> Lab {
    let mut lab = Lab::new(pod(json!({ "containers": [container] })));
    let step = lab.step();
    lab.carry_out(&step.actions[0]);
    lab.take_done();
    lab
}

#[test]
fn the_pull_policy_decides_what_is_done_about_an_image() {
    for (policy, image, there, expected) in [
        (json!("Always"), "app:v1", true, vec!["pull app", "create app 0", "start app 0"]),
        (json!("IfNotPresent"), "app:v1", true, vec!["check app", "create app 0", "start app 0"]),
        (json!("IfNotPresent"), "app:v1", false, vec!["check app", "pull app", "create app 0", "start app 0"]),
        (json!("Never"), "app:v1", true, vec!["check app", "create app 0", "start app 0"]),
        (json!("Never"), "app:v1", false, vec!["check app"]),
        (Value::Null, "app", true, vec!["pull app", "create app 0", "start app 0"]),
        (Value::Null, "app:v1", true, vec!["check app", "create app 0", "start app 0"]),
    ] {
        let mut lab = ready(json!({ "name": "app", "image": image, "imagePullPolicy": policy }));
        if !there {
            lab.images.clear();
        }
        lab.settle();
        assert_eq!(lab.take_done(), expected, "{policy} {image} {there}");
    }
}

#[test]
fn a_pull_is_told_with_its_time_and_size() {
    let mut lab = ready(json!({ "name": "app", "imagePullPolicy": "Always" }));
    let step = lab.step();
    assert_eq!(told(&step.events), [("Pulling", "Pulling image \"registry.example.com/app:v1\"")]);
    lab.now += Duration::from_millis(1_250);
    lab.carry_out(&step.actions[0]);
    let expected = "Successfully pulled image \"registry.example.com/app:v1\" in 1.25s (1.25s including waiting). \
                    Image size: 7 bytes.";
    assert_eq!(told(&lab.step().events), [("Pulled", expected)]);
}

#[test]
fn a_failed_pull_is_an_error_first_and_a_back_off_then() {
    let mut lab = ready(json!({ "name": "app", "image": "app:v9", "imagePullPolicy": "Always" }));
    let step = lab.step();
    lab.fail(&step.actions[0], "", "manifest unknown");
    let step = lab.step();
    assert_eq!(waits(&step), [("app", "ErrImagePull", "manifest unknown")]);
    assert_eq!(
        told(&step.events),
        [("Failed", "Failed to pull image \"app:v9\": manifest unknown"), ("Failed", "Error: ErrImagePull")]
    );
    assert_eq!(step.wake_at, Some(lab.now + seconds(5)));

    let step = lab.step_after(5);
    let back_off = "Back-off pulling image \"app:v9\": ErrImagePull: manifest unknown";
    assert_eq!(waits(&step), [("app", "ImagePullBackOff", back_off)]);
    assert_eq!(
        told(&step.events),
        [("BackOff", "Back-off pulling image \"app:v9\""), ("Failed", "Error: ImagePullBackOff")]
    );
    assert_eq!(step.wake_at, Some(lab.now + seconds(5)));
    assert!(lab.step().events.is_empty());
}

#[test]
fn pulls_back_off_to_five_minutes_and_are_shown_as_such_all_the_time() {
    let mut lab = ready(json!({ "name": "app", "imagePullPolicy": "Always" }));
    for delay in [10, 20, 40, 80, 160, 300, 300] {
        let step = lab.step();
        assert_eq!(names(&step.actions), ["pull app"]);
        lab.fail(&step.actions[0], "", "no");
        lab.step();
        let step = lab.step_after(delay - 1);
        assert!(step.actions.is_empty());
        assert_eq!(step.waiting[0].reason, "ImagePullBackOff".into());
        lab.now += seconds(1);
    }
    lab.settle();
    assert!(lab.step().waiting.is_empty());
}

#[test]
fn what_the_registry_says_is_shown_in_its_own_word() {
    let mut lab = ready(json!({ "name": "app", "imagePullPolicy": "Always" }));
    let step = lab.step();
    lab.fail(&step.actions[0], "RegistryUnavailable", "no route to host");
    let step = lab.step();
    let message =
        "image pull failed for registry.example.com/app:v1 because the registry is unavailable: no route to host";
    assert_eq!(waits(&step), [("app", "RegistryUnavailable", message)]);
    assert_eq!(
        told(&step.events),
        [
            ("Failed", "Failed to pull image \"registry.example.com/app:v1\": RegistryUnavailable: no route to host"),
            ("Failed", "Error: RegistryUnavailable"),
        ]
    );
    let message = format!("Back-off pulling image \"registry.example.com/app:v1\": RegistryUnavailable: {message}");
    assert_eq!(waits(&lab.step_after(5)), [("app", "ImagePullBackOff", &*message)]);

    let mut lab = ready(json!({ "name": "app", "imagePullPolicy": "Always" }));
    let step = lab.step();
    lab.fail(&step.actions[0], "SignatureValidationFailed", "no key fits");
    let message =
        "image pull failed for registry.example.com/app:v1 because the signature validation failed: no key fits";
    assert_eq!(waits(&lab.step()), [("app", "SignatureValidationFailed", message)]);
}

#[test]
fn a_backend_that_says_when_to_come_again_is_obeyed() {
    let mut lab = ready(json!({ "name": "app", "imagePullPolicy": "Always" }));
    let step = lab.step();
    let failure = Failure { retry_after: Some(seconds(90)), ..Failure::new("slow down") };
    lab.machine.finished(lab.now, &step.actions[0], Err(failure));
    lab.step();
    assert!(lab.step_after(89).actions.is_empty());
    assert_eq!(names(&lab.step_after(1).actions), ["pull app"]);
}

#[test]
fn an_invalid_image_name_is_told_once_and_tried_again_only_when_it_changes() {
    let mut lab = ready(json!({ "name": "app", "image": "Not A Name", "imagePullPolicy": "Always" }));
    let step = lab.step();
    let message = "Failed to apply default image tag \"Not A Name\": couldn't parse image name \"Not A Name\": invalid \
                   reference format: repository name (library/Not A Name) must be lowercase";
    assert_eq!(waits(&step), [("app", "InvalidImageName", message)]);
    assert_eq!(told(&step.events), [("InspectFailed", message), ("Failed", "Error: InvalidImageName")]);
    let step = lab.step_after(3_600);
    assert!(step.actions.is_empty() && step.events.is_empty() && step.wake_at.is_none());
    assert_eq!(waits(&step).len(), 1);
    lab.pod.spec.as_mut().unwrap().containers[0].image = Some("app:v1".into());
    assert_eq!(names(&lab.step().actions), ["pull app"]);
}

#[test]
fn an_image_that_may_not_be_pulled_is_waited_for() {
    let mut lab = ready(json!({ "name": "app", "image": "app:v1", "imagePullPolicy": "Never" }));
    lab.images.clear();
    let step = lab.settle();
    let message = "Container image \"app:v1\" is not present with pull policy of Never";
    assert_eq!(waits(&step), [("app", "ErrImageNeverPull", message)]);
    assert_eq!(told(&lab.events), [("ErrImageNeverPull", message), ("Failed", "Error: ErrImageNeverPull")]);
    lab.images.push("app:v1".into());
    lab.now += seconds(10);
    lab.take_done();
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 0", "start app 0"]);
}

#[test]
fn every_failure_is_shown_in_the_kubelets_word_unless_it_has_one_of_its_own() {
    for (until, own, expected, event) in [
        ("check app", "", "ImageInspectError", "Error: ImageInspectError"),
        ("create app 0", "", "CreateContainerError", "Error: no"),
        ("create app 0", "CreateContainerConfigError", "CreateContainerConfigError", "Error: no"),
        ("create app 0", "ImageNotFound", "CreateContainerError", "Error: no"),
        ("start app 0", "", "RunContainerError", "Error: no"),
    ] {
        let mut lab = ready(json!({ "name": "app" }));
        loop {
            let step = lab.step();
            let action = &step.actions[0];
            if names(std::slice::from_ref(action)) == [until] {
                lab.fail(action, own, "no");
                break;
            }
            lab.carry_out(action);
        }
        let step = lab.step();
        assert_eq!(&*step.waiting[0].reason, expected);
        let last = step.events.last().unwrap();
        assert_eq!((&*last.reason, &*last.message, last.warning), ("Failed", event, true));
        assert_eq!(step.wake_at, Some(lab.now + seconds(10)));
    }
}

#[test]
fn failures_are_tried_again_for_ever_at_most_a_minute_apart() {
    let mut lab = ready(json!({ "name": "app" }));
    let mut delays = vec![];
    for _ in 0..6 {
        let step = lab.step();
        assert_eq!(names(&step.actions), ["check app"]);
        lab.carry_out(&step.actions[0]);
        let step = lab.step();
        lab.fail(&step.actions[0], "CreateContainerConfigError", "configmap \"settings\" not found");
        let step = lab.step();
        let wake_at = step.wake_at.unwrap();
        delays.push(wake_at.duration_since(lab.now).as_secs());
        lab.now = wake_at;
    }
    assert_eq!(delays, [10, 20, 40, 60, 60, 60]);
}

#[test]
fn what_has_changed_may_be_tried_at_once() {
    let mut lab = ready(json!({ "name": "app" }));
    let step = lab.step();
    lab.carry_out(&step.actions[0]);
    let step = lab.step();
    lab.fail(&step.actions[0], "CreateContainerConfigError", "configmap \"settings\" not found");
    assert!(lab.step().actions.is_empty());
    lab.machine.retry_now();
    let step = lab.step();
    assert_eq!(names(&step.actions), ["check app"]);
    assert_eq!(step.waiting.len(), 1, "until it runs, why it didn't stays told");
}

#[test]
fn a_container_that_would_not_start_is_replaced_by_another_one() {
    let mut lab = ready(json!({ "name": "app" }));
    for _ in 0..2 {
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
    }
    let step = lab.step();
    assert_eq!(names(&step.actions), ["start app 0"]);
    lab.fail(&step.actions[0], "", "exec: \"nope\": executable file not found in $PATH");
    assert!(lab.step_after(9).actions.is_empty());
    lab.now += seconds(1);
    lab.take_done();
    lab.settle();
    // The old one goes first: two can never run at once, however late its start comes.
    assert_eq!(lab.take_done(), ["check app", "remove app 0", "create app 1", "start app 1"]);
}

#[test]
fn a_container_that_started_though_its_start_seemed_to_fail_is_left_alone() {
    let mut lab = ready(json!({ "name": "app" }));
    for _ in 0..2 {
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
    }
    let step = lab.step();
    lab.act(&step.actions[0]);
    lab.fail(&step.actions[0], "", "timeout");
    let step = lab.step();
    assert!(step.actions.is_empty() && step.waiting.is_empty());
}

#[test]
fn run_as_non_root_is_checked_against_the_images_user() {
    let place = format!("(pod: \"{POD}\", container: app)");
    let root = format!("container has runAsNonRoot and image will run as root {place}");
    let name = format!(
        "container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root {place}"
    );
    let breaks = format!("container's runAsUser breaks non-root policy {place}");
    let invalid = format!(
        "container has runAsNonRoot and image has an invalid user id (-5). (Must be 1-(2147483647)): must be between 0 \
         and 2147483647, inclusive {place}"
    );
    let non_root = json!({ "runAsNonRoot": true });
    let none = Value::Null;
    for (pods, own, user, expected) in [
        (&none, &none, "", None),
        (&none, &non_root, "", Some(&root)),
        (&non_root, &none, "0", Some(&root)),
        (&non_root, &none, "0:0", Some(&root)),
        (&non_root, &none, "nobody", Some(&name)),
        (&non_root, &none, "-5", Some(&invalid)),
        (&non_root, &none, "1000:0", None),
        (&non_root, &json!({ "runAsUser": 5 }), "", None),
        (&json!({ "runAsNonRoot": true, "runAsUser": 5 }), &none, "", None),
        (&non_root, &json!({ "runAsUser": 0 }), "1000", Some(&breaks)),
        (&non_root, &json!({ "runAsNonRoot": false }), "", None),
    ] {
        let container = json!({ "name": "app", "securityContext": own });
        let mut lab = Lab::new(pod(json!({ "securityContext": pods, "containers": [container] })));
        let step = lab.step();
        lab.carry_out(&step.actions[0]);
        let step = lab.step();
        let image = Image { user: user.into(), size: 0 };
        lab.machine.finished(lab.now, &step.actions[0], Ok(Outcome::Image(Some(image))));
        let step = lab.step();
        match expected {
            None => assert_eq!(names(&step.actions), ["create app 0"]),
            Some(message) => assert_eq!(waits(&step), [("app", "CreateContainerConfigError", &**message)]),
        }
    }
}
