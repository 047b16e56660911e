//! Events against an API server of the test's own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::Method;

use super::*;
use crate::api::fake::{self, Log};

const EVENTS: &str = "/api/v1/namespaces/default/events";

fn recorder() -> (Recorder, Log, Api) {
    let (api, log) = fake::api(|_| (200, json!({})));
    let (recorder, writer) = Recorder::new(api.clone(), "web");
    tokio::spawn(writer);
    (recorder, log, api)
}

fn pod(uid: &str) -> PodKey {
    PodKey::new(uid, "default", "web")
}

async fn settled(log: &Log) {
    let mut before = usize::MAX;
    while before != log.all().len() {
        before = log.all().len();
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_event_that_is_told_again_is_counted_up() {
    let (recorder, log, _) = recorder();
    for _ in 0..3 {
        recorder.pod(&pod("u"), PodEvent::warning("Failed", "no image"));
    }
    settled(&log).await;
    let all = log.all();
    assert_eq!(log.count(&Method::POST, EVENTS), 1);
    let counts: Vec<_> = all[1..].iter().map(|asked| asked.body["count"].as_u64().unwrap()).collect();
    assert_eq!(counts, [2, 3]);
    let name = all[0].body["metadata"]["name"].as_str().unwrap();
    assert_eq!(all[1].path, format!("{EVENTS}/{name}"));
}

#[tokio::test(start_paused = true)]
async fn one_object_may_tell_25_at_once_and_then_one_in_five_minutes() {
    let (recorder, log, _) = recorder();
    for n in 0..40 {
        recorder.pod(&pod("u"), PodEvent::warning(format!("Reason{n}"), "same"));
        recorder.pod(&pod("v"), PodEvent::warning("Reason", "same"));
    }
    settled(&log).await;
    let of = |uid: &str| log.all().iter().filter(|asked| asked.body["involvedObject"]["uid"] == uid).count();
    assert_eq!(of("u"), 25);
    assert_eq!(recorder.dropped(), 30);
    tokio::time::advance(Duration::from_secs(301)).await;
    recorder.pod(&pod("u"), PodEvent::warning("Late", "same"));
    recorder.pod(&pod("u"), PodEvent::warning("Later", "same"));
    settled(&log).await;
    assert_eq!(of("u"), 26);
}

#[tokio::test(start_paused = true)]
async fn events_give_way_to_what_is_urgent_but_not_for_ever() {
    let (recorder, log, api) = recorder();
    let urgent = api.urgent();
    recorder.pod(&pod("u"), PodEvent::warning("Failed", "a"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(log.all(), []);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(log.all().len(), 1);
    drop(urgent);
    recorder.pod(&pod("u"), PodEvent::warning("Failed", "b"));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(log.all().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_can_not_wait_in_the_queue_is_dropped_and_counted_and_nobody_waits() {
    let refuses = Arc::new(AtomicBool::new(true));
    let own = refuses.clone();
    let (api, _) = fake::api(move |_| match own.load(Ordering::Relaxed) {
        true => fake::error(500, "InternalError", "no"),
        false => (200, json!({})),
    });
    let (recorder, writer) = Recorder::new(api, "web");
    for n in 0..QUEUE + 5 {
        recorder.pod(&pod(&n.to_string()), PodEvent::warning("Failed", "a"));
    }
    assert_eq!(recorder.dropped(), 5);
    refuses.store(false, Ordering::Relaxed);
    drop(writer);
}
