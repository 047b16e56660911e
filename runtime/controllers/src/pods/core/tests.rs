use pod_worker::observation::{Object, ObjectState, Phase, Start};
use pod_worker::status;
use serde_json::{Value, json};

use super::*;
use crate::api::FromWatch as _;
use crate::pods::CallFailed;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn at(millis: i64) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap()
}

/// A node that has listed everything once.
fn settled(is_whole: bool) -> Context {
    Context { is_whole, is_known: true, is_listed: true, ..Context::default() }
}

fn record(version: &str, status: &Value, deletion: bool) -> Record {
    of_generation(1, version, status, deletion)
}

fn of_generation(generation: i64, version: &str, status: &Value, deletion: bool) -> Record {
    let mut pod = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "resourceVersion": version },
        "spec": { "containers": [{ "name": "main", "image": "busybox" }], "nodeName": "n" },
        "status": status,
    });
    pod["metadata"]["generation"] = generation.into();
    if deletion {
        pod["metadata"]["deletionTimestamp"] = "1970-01-01T00:00:00Z".into();
        pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    }
    Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap()
}

fn observation(phase: Phase, state: ObjectState) -> Observation {
    let exited = phase == Phase::Exited;
    Observation {
        objects: vec![Object::new(0, "backend-1", state)],
        starts: vec![Start {
            started_at: Some(NOW),
            finished_at: exited.then_some(NOW),
            exit_code: exited.then_some(0),
            id: "c-1".into(),
            ..Start::new("main", 0, phase)
        }],
        ..Observation::default()
    }
}

/// A pod that the node has taken, and that is being made.
fn being_made(context: &Context) -> Core {
    let mut core = Core::new(PodKey::new("u", "default", "web"), context);
    core.set_record(NOW, Some(record("1", &json!({}), false)));
    core.take();
    let todo = core.plan(NOW, context);
    assert!(todo.effects.contains(&Effect::Create { attempt: 0 }), "{todo:?}");
    core
}

/// The backend runs it, and said so.
fn made(core: &mut Core, now: Timestamp) {
    core.set_seen(observation(Phase::Running, ObjectState::Running));
    called(core, now, Ok(None));
}

/// A call that was given the pod as it is now came back.
fn called(core: &mut Core, now: Timestamp, result: Result<Option<Duration>, CallFailed>) {
    let given = core.record.clone();
    let Plan::Whole(whole) = &mut core.plan else { panic!("it is no whole pod") };
    whole.called(now, given, result);
    core.returned();
}

/// A call that ends it or removes it came back.
fn ended(core: &mut Core, now: Timestamp) {
    let Plan::Whole(whole) = &mut core.plan else { panic!("it is no whole pod") };
    whole.ended(now, Ok(()));
    core.returned();
}

fn lost_answer() -> CallFailed {
    CallFailed {
        reason: "FailedCreatePodSandBox".into(),
        message: "no answer".into(),
        retry_after: None,
        is_final: false,
        is_stale: false,
    }
}

fn phase(report: &Report) -> Option<&str> {
    match report {
        Report::Patch(patch) => patch["status"]["phase"].as_str(),
        _ => None,
    }
}

/// A pod that the backend runs and that the API server has not told of.
fn untold(context: &Context) -> Core {
    let mut core = Core::new(PodKey::new("u", "default", "web"), context);
    core.set_seen(Observation {
        objects: vec![Object::new(0, "backend-1", ObjectState::Running)],
        ..Observation::default()
    });
    core
}

#[test]
fn what_the_backend_runs_is_no_orphan_before_the_api_server_has_listed_its_pods() {
    for is_whole in [true, false] {
        let context = Context { is_listed: false, ..settled(is_whole) };
        let mut core = untold(&context);
        assert_eq!(core.plan(NOW, &context), Todo::default());
        let listed = Context { is_listed: true, ..context };
        assert!(!core.plan(NOW, &listed).effects.is_empty(), "an orphan is ended");
    }
}

#[test]
fn a_pod_that_begins_at_once_makes_one_write() {
    let context = settled(true);
    let mut core = being_made(&context);
    assert!(matches!(core.report(at(1), &context), Report::Later(until) if until == at(21)));
    made(&mut core, at(5));
    let report = core.report(at(5), &context);
    assert_eq!(phase(&report), Some("Running"), "{report:?}");
}

#[test]
fn one_that_takes_longer_is_told_of_meanwhile() {
    let context = settled(true);
    let mut core = being_made(&context);
    assert!(matches!(core.report(at(1), &context), Report::Later(_)));
    let report = core.report(at(21), &context);
    assert_eq!(phase(&report), Some("Pending"), "{report:?}");
    core.written(at(25), Ok("2".to_owned()));
    made(&mut core, at(26));
    // Two writes are apart.
    assert!(matches!(core.report(at(26), &context), Report::Later(until) if until == at(45)));
    assert_eq!(phase(&core.report(at(45), &context)), Some("Running"));
}

#[test]
fn a_pod_is_deleted_as_soon_as_its_last_states_are_written() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, at(1));
    let Report::Patch(patch) = core.report(at(1), &context) else { panic!("nothing to tell") };
    core.written(at(2), Ok("2".to_owned()));
    core.set_record(at(3), Some(record("3", &patch["status"], true)));
    assert!(core.plan(at(3), &context).effects.iter().any(|effect| matches!(effect, Effect::Delete { .. })));
    ended(&mut core, at(3));
    core.set_seen(observation(Phase::Exited, ObjectState::Ended));
    core.plan(at(4), &context);
    assert!(matches!(core.report(at(30), &context), Report::Patch(_)));
    assert_eq!(core.written(at(32), Ok("4".to_owned())), Some(at(32)));
    assert!(matches!(core.report(at(32), &context), Report::Delete));
    // The API server ends its grace period before it deletes it: the backend is not asked to end it once more.
    let mut ended = record("5", &patch["status"], true);
    ended.deletion_grace = Some(Duration::ZERO);
    core.set_record(at(33), Some(ended));
    assert!(!core.plan(at(33), &context).effects.iter().any(Effect::is_call));
    core.deleted(at(34), Ok(()));
    assert!(core.plan(at(34), &context).effects.iter().any(|effect| matches!(effect, Effect::Forget { .. })));
}

#[test]
fn a_pod_that_ends_soon_after_its_deletion_makes_one_write() {
    let context = settled(true);
    let running = |context: &Context| {
        let mut core = being_made(context);
        made(&mut core, at(1));
        let Report::Patch(patch) = core.report(at(1), context) else { panic!("nothing to tell") };
        core.written(at(2), Ok("2".to_owned()));
        core.set_record(at(100), Some(of_generation(2, "3", &patch["status"], true)));
        core.plan(at(100), context);
        core.returned();
        core
    };
    // That the deletion was seen can wait for what comes of it.
    let mut core = running(&context);
    assert!(matches!(core.report(at(200), &context), Report::Later(until) if until == at(10_100)));
    core.set_seen(observation(Phase::Exited, ObjectState::Ended));
    let report = core.report(at(300), &context);
    assert_eq!(phase(&report), Some("Succeeded"), "{report:?}");

    let mut core = running(&context);
    assert!(matches!(core.report(at(200), &context), Report::Later(_)));
    let Report::Patch(patch) = core.report(at(10_100), &context) else { panic!("it is told after a while") };
    assert_eq!(patch["status"]["observedGeneration"], 2);
    assert!(!status::is_news(&patch), "{patch}");
}

#[test]
fn the_backend_is_not_asked_for_what_it_has_forgotten() {
    let context = settled(true);
    let mut core = untold(&context);
    core.set_seen(observation(Phase::Exited, ObjectState::Ended));
    assert!(core.plan(NOW, &context).effects.iter().any(|effect| matches!(effect, Effect::Forget { .. })));
    assert!(core.forgotten(0));
    ended(&mut core, NOW);
    assert_eq!(core.plan(NOW, &context).effects, [Effect::Drop]);

    // Another attempt is there still.
    let mut core = untold(&context);
    let mut seen = observation(Phase::Exited, ObjectState::Ended);
    seen.objects.push(Object::new(1, "backend-2", ObjectState::Running));
    core.set_seen(seen);
    assert!(!core.forgotten(0));
}

#[test]
fn what_the_api_server_took_is_not_written_again_before_it_tells_of_it() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, at(1));
    assert!(matches!(core.report(at(1), &context), Report::Patch(_)));
    core.written(at(2), Ok("7".to_owned()));
    assert!(matches!(core.report(at(500), &context), Report::Nothing));
    // Told late of a change that somebody made before.
    core.set_record(at(501), Some(record("5", &json!({}), false)));
    assert!(matches!(core.report(at(502), &context), Report::Nothing));
    // Somebody wrote another status over it.
    core.set_record(at(503), Some(record("9", &json!({ "phase": "Pending" }), false)));
    assert_eq!(phase(&core.report(at(504), &context)), Some("Running"));
}

#[test]
fn a_clock_that_is_set_back_holds_nothing_up() {
    let context = settled(true);
    let mut core = being_made(&context);
    let hour = 3_600_000;
    assert!(matches!(core.report(at(hour), &context), Report::Later(_)));
    core.clock_set(SignedDuration::from_hours(-1));
    assert!(matches!(core.report(at(30), &context), Report::Patch(_)), "it waits for the old clock");
    core.written(at(40), Err(None));
    core.clock_set(SignedDuration::from_hours(-2));
    made(&mut core, at(40 - hour));
    assert!(matches!(core.report(at(40 - hour), &context), Report::Later(_)), "a pause is no shorter by it");
    assert!(matches!(core.report(at(600 - hour), &context), Report::Patch(_)), "it waits for the old clock");
}

#[test]
fn an_image_that_changed_while_a_create_seemed_to_fail_is_told_of() {
    let context = settled(true);
    let mut core = being_made(&context);
    // The backend made it, and the answer was lost; meanwhile the pod was given another image.
    let failed = lost_answer();
    called(&mut core, NOW, Err(failed.clone()));
    let mut other = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "2", "generation": 2 },
        "spec": { "containers": [{ "name": "main", "image": "busybox:2" }], "nodeName": "n" },
    });
    let other_record = |pod: &Value| Record::read(&serde_json::value::to_raw_value(pod).unwrap()).unwrap();
    core.set_record(NOW, Some(other_record(&other)));
    let later = at(10_000);
    assert!(core.plan(later, &context).effects.contains(&Effect::Create { attempt: 0 }));
    let mut seen = observation(Phase::Running, ObjectState::Running);
    seen.starts[0].spec_hash = Some(pod_worker::spec_hash("main", "busybox"));
    core.set_seen(seen);
    called(&mut core, later, Ok(None));
    let image = Effect::Update { attempt: 0, changed: vec!["spec.containers[0].image".to_owned()] };
    assert!(core.plan(later, &context).effects.contains(&image));
    called(&mut core, later, Err(failed));
    let later = at(20_000);
    assert!(core.plan(later, &context).effects.contains(&image), "again, when that failed");

    // What the backend was told of is not told again, though it shows the old one for a while.
    called(&mut core, later, Ok(None));
    assert!(!core.plan(later, &context).effects.iter().any(Effect::is_call));
    other["metadata"]["resourceVersion"] = "3".into();
    core.set_record(later, Some(other_record(&other)));
    assert!(!core.plan(later, &context).effects.iter().any(Effect::is_call));
}

#[test]
fn what_changed_while_no_host_ran_is_told_of() {
    let context = Context { resizes: true, ..settled(true) };
    let object = |generation: i64, spec: &Value, status: &Value| {
        let pod = json!({
            "metadata": {
                "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "9", "generation": generation,
            },
            "spec": spec, "status": status,
        });
        Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap()
    };
    let updates = |core: &mut Core, now: Timestamp| {
        core.plan(now, &context).effects.into_iter().find_map(|effect| match effect {
            Effect::Update { changed, .. } => Some(changed),
            _ => None,
        })
    };
    let restarted = |generation: i64, spec: &Value, status: &Value| {
        let mut core = Core::new(PodKey::new("u", "default", "web"), &context);
        core.set_record(NOW, Some(object(generation, spec, status)));
        core.set_seen(observation(Phase::Running, ObjectState::Running));
        core.take();
        let told = updates(&mut core, NOW);
        (core, told.unwrap_or_default())
    };
    let mut spec = json!({
        "nodeName": "n",
        "containers": [{ "name": "main", "image": "busybox", "resources": { "requests": { "cpu": "1" } } }],
        "ephemeralContainers": [{ "name": "debug", "image": "busybox" }],
    });
    let running = json!({ "running": { "startedAt": "1970-01-01T00:00:00Z" } });
    let began =
        json!([{ "name": "debug", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": running }]);
    let status = json!({ "phase": "Running", "observedGeneration": 2, "ephemeralContainerStatuses": began });
    assert!(restarted(2, &spec, &status).1.is_empty(), "nothing changed");
    let (mut core, told) = restarted(3, &spec, &status);
    assert_eq!(told, ["spec.containers[0].resources"]);
    // It is told until that went well, though the status says meanwhile that it was seen.
    called(&mut core, NOW, Err(lost_answer()));
    let later = json!({ "phase": "Running", "observedGeneration": 3, "ephemeralContainerStatuses": began });
    core.set_record(NOW, Some(object(3, &spec, &later)));
    assert_eq!(updates(&mut core, at(10_000)).unwrap_or_default(), ["spec.containers[0].resources"]);
    called(&mut core, at(10_000), Ok(None));
    assert!(!core.plan(at(10_000), &context).effects.iter().any(Effect::is_call), "told once");
    spec["containers"][0]["resources"] = json!({});
    let status = json!({ "phase": "Running", "observedGeneration": 2 });
    assert_eq!(restarted(3, &spec, &status).1, ["spec.ephemeralContainers[0]"]);
}

#[test]
fn a_pod_that_runs_after_all_when_its_object_was_deleted_is_ended() {
    let context = settled(true);
    let mut core = being_made(&context);
    // Its deletion was asked for while it was made, and nothing of it was there yet.
    called(&mut core, at(1), Err(lost_answer()));
    core.set_record(at(2), Some(record("2", &json!({}), true)));
    core.plan(at(2), &context);
    assert!(matches!(core.report(at(20_000), &context), Report::Patch(_)));
    core.written(at(20_000), Ok("3".to_owned()));
    assert!(matches!(core.report(at(20_100), &context), Report::Delete));
    core.deleted(at(20_101), Ok(()));
    core.set_seen(observation(Phase::Running, ObjectState::Running));
    let todo = core.plan(at(20_102), &context);
    assert!(todo.effects.iter().any(|effect| matches!(effect, Effect::Delete { .. })), "{todo:?}");
    assert!(!todo.effects.iter().any(|effect| matches!(effect, Effect::Forget { .. })), "{todo:?}");
}

#[test]
fn a_status_of_a_pod_that_the_api_server_does_not_have_is_not_written_again_at_once() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, at(1));
    core.set_record(at(2), Some(record("2", &json!({}), true)));
    assert!(matches!(core.report(at(2), &context), Report::Patch(_)));
    // Not found.
    assert_eq!(core.written(at(3), Ok(String::new())), None);
    assert!(matches!(core.report(at(500), &context), Report::Nothing));
}

#[test]
fn a_pod_that_begins_at_once_is_looked_at_again_when_its_active_deadline_comes() {
    let context = settled(true);
    let pod = json!({
        "metadata": { "name": "web", "namespace": "default", "uid": "u", "resourceVersion": "1", "generation": 1 },
        "spec": { "containers": [{ "name": "main", "image": "busybox" }], "nodeName": "n", "activeDeadlineSeconds": 60 },
    });
    let mut core = Core::new(PodKey::new("u", "default", "web"), &context);
    core.set_record(NOW, Some(Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap()));
    core.take();
    assert!(core.plan(NOW, &context).wake_at.is_some_and(|wake| wake <= at(60_000)));
    made(&mut core, at(5));
    assert!(core.plan(at(5), &context).wake_at.is_some_and(|wake| wake <= at(60_005)));
    assert!(matches!(core.report(at(30), &context), Report::Patch(_)));
    core.written(at(31), Ok("2".to_owned()));
    assert!(core.plan(at(60_100), &context).effects.iter().any(|effect| matches!(effect, Effect::Delete { .. })));
}

#[test]
fn a_pod_that_could_not_be_told_of_a_change_is_made_again_when_it_is_lost() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, NOW);
    let pod = |version: &str, labels: Value| {
        let pod = json!({
            "metadata": {
                "name": "web", "namespace": "default", "uid": "u", "resourceVersion": version, "generation": 2,
                "labels": labels,
            },
            "spec": { "containers": [{ "name": "main", "image": "busybox:2" }], "nodeName": "n" },
        });
        Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap()
    };
    core.set_record(NOW, Some(pod("2", json!({}))));
    assert!(core.plan(NOW, &context).effects.iter().any(|effect| matches!(effect, Effect::Update { .. })));
    called(&mut core, NOW, Err(CallFailed { is_final: true, ..lost_answer() }));
    let day = at(86_400_000);
    assert!(!core.plan(day, &context).effects.iter().any(Effect::is_call), "it is refused for good");
    core.set_record(day, Some(pod("3", json!({ "a": "b" }))));
    let labels = Effect::Update { attempt: 0, changed: vec!["metadata.labels".to_owned()] };
    assert!(core.plan(day, &context).effects.contains(&labels), "another change is told");
    called(&mut core, day, Err(CallFailed { is_final: true, ..lost_answer() }));
    core.set_seen(observe::lost(0, 0));
    assert!(core.plan(day, &context).effects.contains(&Effect::Create { attempt: 1 }));
}

#[test]
fn a_change_that_may_have_been_told_and_was_taken_back_is_told() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, NOW);
    let pod = |version: &str, labels: Value| {
        let pod = json!({
            "metadata": {
                "name": "web", "namespace": "default", "uid": "u", "resourceVersion": version, "generation": 1,
                "labels": labels,
            },
            "spec": { "containers": [{ "name": "main", "image": "busybox" }], "nodeName": "n" },
        });
        Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap()
    };
    let labels = Effect::Update { attempt: 0, changed: vec!["metadata.labels".to_owned()] };
    core.set_record(NOW, Some(pod("2", json!({ "a": "b" }))));
    assert!(core.plan(NOW, &context).effects.contains(&labels));
    called(&mut core, NOW, Err(lost_answer()));
    core.set_record(NOW, Some(pod("3", json!({}))));
    assert!(core.plan(at(10_000), &context).effects.contains(&labels));
    called(&mut core, at(10_000), Ok(None));
    assert!(!core.plan(at(10_000), &context).effects.iter().any(Effect::is_call));
}

#[test]
fn a_write_after_one_whose_answer_was_lost_is_checked_once_the_api_server_tells_of_it() {
    let context = settled(true);
    let mut core = being_made(&context);
    made(&mut core, at(1));
    let Report::Patch(running) = core.report(at(1), &context) else { panic!("nothing to tell") };
    core.written(at(2), Ok("2".to_owned()));
    core.set_record(at(3), Some(record("2", &running["status"], false)));
    // It is lost; this is written, and nobody hears of it.
    core.set_seen(observe::lost(0, 0));
    core.plan(at(100), &context);
    core.returned();
    assert!(matches!(core.report(at(100), &context), Report::Patch(_)));
    core.written(at(101), Err(None));
    // It runs again. The API server has both writes.
    let mut seen = observation(Phase::Running, ObjectState::Running);
    (seen.objects[0].attempt, seen.starts[0].object, seen.starts[0].attempt) = (1, 1, 1);
    core.set_seen(seen);
    let Report::Patch(patch) = core.report(at(5_000), &context) else { panic!("nothing to tell") };
    core.written(at(5_001), Ok("4".to_owned()));
    let mut both = running["status"].clone();
    both["phase"] = "Pending".into();
    both["containerStatuses"] = patch["status"]["containerStatuses"].clone();
    // Nor of the next one before it tells of that.
    let mut seen = core.seen().unwrap().clone();
    seen.starts[0].ready = Some(false);
    core.set_seen(seen);
    let Report::Patch(patch) = core.report(at(5_100), &context) else { panic!("nothing to tell") };
    core.written(at(5_101), Ok("5".to_owned()));
    core.set_record(at(5_102), Some(record("4", &both, false)));
    assert!(matches!(core.report(at(5_200), &context), Report::Nothing));
    both["containerStatuses"] = patch["status"]["containerStatuses"].clone();
    assert!(core.set_record(at(5_300), Some(record("5", &both, false))), "it is worth a look");
    assert_eq!(phase(&core.report(at(6_000), &context)), Some("Running"));
}
