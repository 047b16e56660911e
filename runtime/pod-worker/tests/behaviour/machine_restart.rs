//! When a container that ended, or whose definition changed, is started again.

use pod_worker::observation::Phase;
use pod_worker::{Work, spec_hash};
use serde_json::{Value, json};

use crate::lab::{Lab, POD, apps, at, names, pod, seconds, told, waits};

#[test]
fn the_policy_decides_who_is_started_again() {
    let rule = |action: &str, operator: &str| json!([{ "action": action, "exitCodes": { "operator": operator, "values": [3] } }]);
    let none = Value::Null;
    for (pods, containers, rules, code, again) in [
        ("Always", &none, &none, 0, true),
        ("Always", &none, &none, 1, true),
        ("OnFailure", &none, &none, 0, false),
        ("OnFailure", &none, &none, 1, true),
        ("Never", &none, &none, 0, false),
        ("Never", &none, &none, 1, false),
        ("Never", &json!("Always"), &none, 0, true),
        ("Never", &json!("OnFailure"), &none, 1, true),
        ("Never", &json!("OnFailure"), &none, 0, false),
        ("Always", &json!("Never"), &none, 1, false),
        ("Always", &json!("Never"), &rule("Restart", "In"), 3, true),
        ("Always", &json!("Never"), &rule("Restart", "In"), 4, false),
        ("Always", &json!("Never"), &rule("Restart", "NotIn"), 4, true),
        ("Always", &json!("Never"), &rule("Restart", "NotIn"), 3, false),
        ("Never", &json!("Never"), &rule("SomethingNew", "In"), 3, false),
    ] {
        let spec = json!({
            "restartPolicy": pods,
            "containers": [
                { "name": "app", "restartPolicy": containers, "restartPolicyRules": rules },
                { "name": "stays" },
            ],
        });
        let mut lab = Lab::running(pod(spec));
        lab.exit("app", 0, code);
        lab.settle();
        let restarted = !lab.take_done().is_empty();
        assert_eq!(restarted, again, "pod {pods}, container {containers}, rules {rules}, code {code}");
    }
}

#[test]
fn a_crash_loop_waits_longer_each_time_and_says_so() {
    let mut lab = Lab::running(apps(&["app"]));
    let words = ["10s", "20s", "40s", "1m20s", "2m40s", "5m0s", "5m0s"];
    lab.exit("app", 0, 1);
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 1", "start app 1"], "at once the first time");
    for (attempt, (delay, words)) in [10, 20, 40, 80, 160, 300, 300].into_iter().zip(words).enumerate() {
        let attempt = u32::try_from(attempt).unwrap() + 1;
        lab.now += seconds(2);
        lab.exit("app", attempt, 1);
        lab.take_events();
        let step = lab.settle();
        let message = format!("back-off {words} restarting failed container=app pod={POD}");
        assert_eq!(waits(&step), [("app", "CrashLoopBackOff", &*message)]);
        assert_eq!(step.wake_at, Some(lab.now + seconds(delay)));
        let back_off = format!("Back-off restarting failed container app in pod {POD}");
        assert!(told(&lab.take_events()).contains(&("BackOff", &*back_off)));
        lab.now += seconds(delay - 1);
        lab.take_done();
        lab.settle();
        assert!(lab.take_done().is_empty());
        lab.now += seconds(1);
        lab.settle();
        let next = attempt + 1;
        assert_eq!(
            lab.take_done()[..3],
            ["check app".into(), format!("create app {next}"), format!("start app {next}")]
        );
    }
}

#[test]
fn the_crash_loop_is_told_until_the_container_runs() {
    let mut lab = Lab::running(apps(&["app"]));
    for attempt in 0..2 {
        lab.exit("app", attempt, 1);
        lab.settle();
    }
    lab.now += seconds(10);
    lab.settle();
    lab.exit("app", 2, 1);
    lab.settle();
    lab.now += seconds(20);
    for expected in ["check app", "create app 3", "start app 3"] {
        let step = lab.step();
        assert_eq!(names(&step.actions)[0], expected);
        assert_eq!(&*step.waiting[0].reason, "CrashLoopBackOff", "{expected}");
        lab.carry_out(&step.actions[0]);
    }
    assert!(lab.step().waiting.is_empty());
}

#[test]
fn a_container_that_ran_for_ten_minutes_is_restarted_at_once() {
    let mut lab = Lab::running(apps(&["app"]));
    for attempt in 0..4 {
        lab.exit("app", attempt, 1);
        lab.now += seconds(300);
        lab.settle();
    }
    lab.now += seconds(601);
    lab.exit("app", 4, 1);
    lab.take_done();
    lab.settle();
    assert!(lab.take_done().contains(&"start app 5".to_owned()));
}

#[test]
fn a_restarted_host_hammers_no_crash_loop_and_shows_the_same() {
    let mut lab = Lab::running(apps(&["app"]));
    for attempt in 0..3 {
        lab.exit("app", attempt, 1);
        lab.now += seconds(if attempt == 2 { 0 } else { 40 });
        lab.settle();
    }
    let before = lab.step();
    assert_eq!(before.waiting[0].reason, "CrashLoopBackOff".into());
    lab.restart_host();
    lab.now += seconds(5);
    let after = lab.step();
    assert!(after.actions.is_empty());
    assert_eq!((before.waiting, before.wake_at), (after.waiting, after.wake_at));
}

#[test]
fn a_clock_that_is_off_stops_no_restart() {
    // The engine's clock is an hour ahead.
    let mut lab = Lab::running(apps(&["app"]));
    lab.exit("app", 0, 1);
    lab.settle();
    lab.exit("app", 1, 1);
    for attempt in [0, 1] {
        let start = lab.find("app", attempt);
        start.started_at = start.started_at.map(|at| at + seconds(3_600));
        start.finished_at = start.finished_at.map(|at| at + seconds(3_600));
    }
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(10)));
    // The host's is set back by a day.
    lab.now -= seconds(86_400);
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(10)));
    lab.now += seconds(10);
    lab.take_done();
    lab.settle();
    assert!(lab.take_done().contains(&"start app 2".to_owned()));
}

#[test]
fn a_backends_clock_that_is_behind_ends_no_back_off() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.exit("app", 0, 1);
    lab.settle();
    lab.now += seconds(4);
    lab.step();
    lab.now += seconds(3);
    lab.exit("app", 1, 1);
    for attempt in [0, 1] {
        let start = lab.find("app", attempt);
        start.started_at = start.started_at.map(|at| at - seconds(3_600));
        start.finished_at = start.finished_at.map(|at| at - seconds(3_600));
    }
    // It ended after it was last seen to run.
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(7)));
}

#[test]
fn an_end_without_a_time_counts_from_when_it_was_seen() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.exit("app", 0, 1);
    lab.settle();
    lab.exit("app", 1, 1);
    lab.find("app", 1).finished_at = None;
    lab.now += seconds(3);
    assert_eq!(lab.step().wake_at, Some(lab.now + seconds(10)));
}

#[test]
fn a_changed_image_restarts_the_container_whatever_its_policy() {
    for policy in ["Always", "OnFailure", "Never"] {
        let mut lab = Lab::running(pod(json!({ "restartPolicy": policy, "containers": [{ "name": "app" }] })));
        let image = "registry.example.com/app:v2";
        lab.pod.spec.as_mut().unwrap().containers[0].image = Some(image.into());
        lab.images.push(image.into());
        let step = lab.step();
        assert_eq!(told(&step.events), [("Killing", "Container app definition changed, will be restarted")]);
        assert_eq!(names(&step.actions), ["stop app 0 in 30s"]);
        lab.carry_out(&step.actions[0]);
        let step = lab.step();
        assert_eq!(step.work, Work::Running);
        assert_eq!(waits(&step), [("app", "ContainerCreating", "")], "it is not shown as ended");
        assert_eq!(names(&step.actions), ["check app"]);
        lab.carry_out(&step.actions[0]);
        lab.settle();
        assert_eq!(lab.take_done(), ["stop app 0 in 30s", "check app", "create app 1", "start app 1"]);
        assert_eq!(lab.find("app", 1).spec_hash, Some(spec_hash("app", image)));
    }
}

#[test]
fn a_definition_that_the_backend_does_not_tell_is_not_compared() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.find("app", 0).spec_hash = None;
    lab.pod.spec.as_mut().unwrap().containers[0].image = Some("registry.example.com/app:v2".into());
    assert!(lab.step().actions.is_empty());
}

#[test]
fn a_container_in_an_unknown_state_is_stopped_after_a_minute_and_restarted() {
    let mut lab = Lab::running(apps(&["app"]));
    lab.find("app", 0).phase = Phase::Unknown;
    assert!(lab.step().actions.is_empty());
    assert!(lab.step_after(59).actions.is_empty());
    let step = lab.step_after(1);
    assert_eq!(names(&step.actions), ["stop app 0 in 30s"]);
    assert_eq!(told(&step.events), [("Killing", "Container is in \"Unknown\" state, try killing it before restart")]);
    lab.machine.finished(lab.now, &step.actions[0], Ok(pod_worker::machine::Outcome::Done));
    assert!(lab.step().actions.is_empty());
    let step = lab.step_after(30);
    assert_eq!(names(&step.actions), ["stop app 0 in 0s"]);
    // It still says nothing, but it was killed.
    lab.machine.finished(lab.now, &step.actions[0], Ok(pod_worker::machine::Outcome::Done));
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 1", "start app 1"]);
}

#[test]
fn a_container_that_was_there_and_is_gone_ends_as_nobody_saw() {
    for (policy, again) in [("Always", true), ("OnFailure", true), ("Never", false)] {
        let mut lab = Lab::running(pod(json!({
            "restartPolicy": policy, "containers": [{ "name": "app" }, { "name": "other" }],
        })));
        let step = lab.step();
        lab.write_status(&step);
        lab.seen.starts.retain(|start| &*start.name != "app");
        lab.settle();
        let done = lab.take_done();
        assert_eq!(done.contains(&"start app 1".to_owned()), again, "{policy}: {done:?}");
    }
}

#[test]
fn one_look_that_misses_a_container_starts_no_second_one() {
    let mut lab = Lab::running(apps(&["app"]));
    let whole = lab.seen.clone();
    lab.seen.starts.clear();
    let step = lab.step();
    assert!(step.actions.is_empty() && step.refresh);
    lab.seen = whole;
    let step = lab.step();
    assert!(step.actions.is_empty() && !step.refresh);
}

#[test]
fn an_old_observation_does_not_bring_back_what_has_ended() {
    let mut lab = Lab::running(apps(&["app"]));
    let old = lab.seen.clone();
    lab.seen.starts.clear();
    lab.step();
    lab.settle();
    assert_eq!(lab.take_done(), ["check app", "create app 1", "start app 1"]);
    lab.seen = old;
    let step = lab.step();
    assert!(step.actions.is_empty() && step.refresh, "{step:?}");
    assert_eq!(at(0), lab.now);
}
