//! Which Events a provider gets written, and in which words.

use super::*;
use crate::Grants;
use crate::bindings::vk::host::events::{Event, Host as _};
use crate::mask::Mask;
use crate::testing::guest::{Guest, pod};
use crate::testing::lines::Lines;

fn event(reason: &str, message: &str) -> Event {
    Event {
        severity: "Normal".to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
        container: String::new(),
        at: None,
        key: String::new(),
    }
}

fn on_pod(uid: &str) -> Option<types::PodKey> {
    Some(types::PodKey { uid: uid.to_owned(), namespace: "default".to_owned(), name: "web".to_owned() })
}

fn emit(guest: &mut Guest, pod: Option<types::PodKey>, event: Event) {
    guest.store.data_mut().emit(pod, event).unwrap();
}

/// Events that pass at once by default.
const BURST: usize = 50;

fn told(guest: &Guest) -> Vec<ProviderEvent> {
    guest.events.lock().unwrap().clone()
}

#[tokio::test]
async fn an_event_is_on_its_pod_or_on_the_node() {
    let mut guest = Guest::new(Grants::default());
    let mut warning = event("Failed", "no image");
    warning.severity = "Warning".to_owned();
    warning.container = "app".to_owned();
    warning.at = Some(7_000_000_000);
    emit(&mut guest, on_pod("uid-1"), warning);
    emit(&mut guest, None, event("Quota", "half is used"));
    let own = ProviderEvent {
        pod: Some(pod()),
        container: "app".to_owned(),
        warning: true,
        reason: "Failed".to_owned(),
        message: "no image".to_owned(),
        at: Timestamp::from_second(7).ok(),
    };
    let nodes = ProviderEvent {
        pod: None,
        container: String::new(),
        warning: false,
        reason: "Quota".to_owned(),
        message: "half is used".to_owned(),
        at: None,
    };
    assert_eq!(told(&guest), [own, nodes]);
}

#[tokio::test]
async fn what_the_api_server_would_refuse_is_put_right() {
    let mut guest = Guest::new(Grants::default());
    emit(&mut guest, None, event("not CamelCase!\n", &"\u{e9}".repeat(2_000)));
    emit(&mut guest, None, event("\u{e9}", ""));
    emit(&mut guest, None, event(&"R".repeat(500), ""));
    let told = told(&guest);
    assert_eq!(told[0].reason, "notCamelCase");
    assert!(told[0].message.len() <= MAX_MESSAGE && told[0].message.ends_with('…'), "{}", told[0].message.len());
    assert_eq!(told[1].reason, "Provider");
    assert_eq!(told[2].reason.len(), MAX_REASON);
    let mut long = event("R", "");
    long.container = "c".repeat(MAX_NAME + 1);
    assert!(guest.store.data_mut().emit(None, long).is_err());
    assert!(guest.store.data_mut().emit(on_pod(&"u".repeat(MAX_NAME + 1)), event("R", "")).is_err());
}

#[tokio::test]
async fn an_event_with_a_key_is_told_once_for_each_pod() {
    let mut guest = Guest::new(Grants::default());
    let keyed = |key: &str| Event { key: key.to_owned(), ..event("Pulled", "") };
    for (pod, key) in [("a", "1"), ("a", "1"), ("a", "2"), ("b", "1"), ("a", "2")] {
        emit(&mut guest, on_pod(pod), keyed(key));
    }
    emit(&mut guest, None, keyed("1"));
    emit(&mut guest, None, keyed("1"));
    assert_eq!(told(&guest).len(), 4);
}

#[tokio::test]
async fn what_is_remembered_of_keys_is_bounded() {
    let events = Events::new(Box::new(|_| {}));
    let mut bounds = crate::quota::Bounds::default();
    bounds.set("events", "1000").unwrap().unwrap();
    let quotas = crate::quota::Quotas::new("mock", &bounds);
    for n in 0..REMEMBERED + 100 {
        assert_eq!(events.pass(&quotas.events, "uid", &n.to_string()), Some(Ok(0)));
    }
    let seen = events.seen.lock().unwrap();
    assert_eq!((seen.keys.len(), seen.order.len()), (REMEMBERED, REMEMBERED));
}

#[tokio::test]
async fn a_flood_is_cut_off_and_what_was_dropped_may_come_again() {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    for _ in 0..BURST + 20 {
        emit(&mut guest, on_pod("a"), event("Same", "again"));
    }
    let passed = told(&guest).len();
    assert!((BURST..BURST + 2).contains(&passed), "{passed}");
    let keyed = || Event { key: "k".to_owned(), ..event("Keyed", "") };
    emit(&mut guest, on_pod("a"), keyed());
    assert!(told(&guest).iter().all(|event| event.reason != "Keyed"), "it is over the limit");
    std::thread::sleep(std::time::Duration::from_millis(250));
    emit(&mut guest, on_pod("a"), keyed());
    assert_eq!(told(&guest).pop().unwrap().reason, "Keyed");
    let text = lines.text();
    assert!(text.contains("Events of the provider were dropped") && text.contains("provider=\"mock\""), "{text}");
}

#[tokio::test]
async fn a_pods_secret_values_are_masked() {
    let mut mask = Mask::default();
    mask.add("hunter2canary");
    let mut guest = Guest::with_mask(Grants::default(), mask);
    let mut said = event("hunter2canary", &format!("{} hunter2canary", "x".repeat(MAX_MESSAGE - 8)));
    said.container = "hunter2canary".to_owned();
    emit(&mut guest, on_pod("a"), said);
    emit(&mut guest, None, event("R", "exit: hunter2canary is wrong"));
    let shown = format!("{:?}", told(&guest));
    assert!(!shown.contains("hunter2") && shown.contains("exit: *** is wrong"), "{shown}");
}
