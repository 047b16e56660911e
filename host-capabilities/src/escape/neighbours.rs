//! Two providers in one process.

use std::sync::Arc;

use super::{connect, fetch, get, is_refused};
use crate::bindings::vk::host::{events, log, metrics, secrets};
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::{Guest, grants, secrets as granted};
use crate::testing::lines::Lines;
use crate::{Call, CallData, Grants};

async fn open(guest: &mut Guest, name: &str) -> Result<usize, crate::error::Error> {
    let names = vec![name.to_owned()];
    let opened =
        guest.run(async |accessor| <CallData as secrets::HostWithStore<Call>>::open(accessor, names).await).await;
    opened.unwrap().map(|handles| handles.len())
}

#[tokio::test]
async fn what_is_granted_to_one_is_not_granted_to_the_other() {
    let backend = Backend::http(|_| ok("")).await;
    let mut one = Guest::new(grants(&["http://127.0.0.1:*"], &["127.0.0.1:*"], &[]));
    let mut other = Guest::new(Grants::default());
    fetch(&mut one, get(&backend.url("/"))).await.unwrap();
    is_refused("a request", &fetch(&mut other, get(&backend.url("/"))).await.unwrap_err());
    let address = format!("tcp://127.0.0.1:{}", backend.port);
    is_refused("a connection", &connect(&mut other, &address).await.unwrap_err());
}

#[tokio::test]
async fn a_pooled_connection_of_one_does_not_serve_the_other() {
    let backend = Backend::http(|_| ok("")).await;
    let allowed = || grants(&["http://127.0.0.1:*"], &[], &[]);
    let (mut one, mut other) = (Guest::new(allowed()), Guest::new(allowed()));
    fetch(&mut one, get(&backend.url("/"))).await.unwrap();
    fetch(&mut one, get(&backend.url("/"))).await.unwrap();
    assert_eq!(backend.connections(), 1);
    fetch(&mut other, get(&backend.url("/"))).await.unwrap();
    assert_eq!(backend.connections(), 2);
}

#[tokio::test]
async fn a_secret_of_one_is_unknown_to_the_other_under_the_same_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "canary").unwrap();
    let mut one = Guest::new(granted(&[format!("key=file:{}:reveal", path.display())]));
    let mut other = Guest::new(Grants::default());
    assert_eq!(open(&mut one, "key").await.unwrap(), 1);
    let error = open(&mut other, "key").await.unwrap_err();
    assert_eq!(error.code, "denied");
    assert!(!error.message.contains("canary") && !error.message.contains("file:"), "{}", error.message);
}

#[tokio::test]
async fn a_limit_that_one_reaches_is_not_the_others() {
    let lines = Lines::capture();
    let (mut greedy, mut good) = (Guest::new(Grants::default()), Guest::new(Grants::default()));
    for _ in 0..10_000 {
        let call = greedy.store.data_mut();
        log::Host::write(call, log::Level::Info, "x".repeat(1_000), Vec::new()).unwrap();
    }
    let before = lines.of_provider().len();
    assert!(before < 1_000, "{before}");
    log::Host::write(good.store.data_mut(), log::Level::Info, "mine".to_owned(), Vec::new()).unwrap();
    assert!(lines.text().contains("mine"));
    let event = || events::Event {
        severity: "Normal".to_owned(),
        at: None,
        reason: "R".to_owned(),
        message: String::new(),
        container: String::new(),
        key: String::new(),
    };
    for _ in 0..1_000 {
        events::Host::emit(greedy.store.data_mut(), None, event()).unwrap();
    }
    events::Host::emit(good.store.data_mut(), None, event()).unwrap();
    assert_eq!(good.events.lock().unwrap().len(), 1);
    assert!(greedy.events.lock().unwrap().len() < 60);
}

#[tokio::test]
async fn all_connections_that_one_may_have_leave_the_other_its_own() {
    let backend = Backend::http(|_| ok("")).await;
    let address = format!("tcp://127.0.0.1:{}", backend.port);
    let allowed = || grants(&["http://127.0.0.1:*"], &["127.0.0.1:*"], &[]);
    let mut greedy = Guest::limited(allowed(), &[("connections", "4")]);
    for _ in 0..4 {
        connect(&mut greedy, &address).await.unwrap();
    }
    let error = connect(&mut greedy, &address).await.unwrap_err();
    assert!(matches!(error.code.as_str(), "timeout" | "limit"), "{error:?}");
    let mut good = Guest::limited(allowed(), &[("connections", "4")]);
    fetch(&mut good, get(&backend.url("/"))).await.unwrap();
}

#[tokio::test]
async fn a_series_of_one_is_not_under_the_others_name() {
    let (mut one, other) = (Guest::new(Grants::default()), Guest::new(Grants::default()));
    metrics::Host::set(one.store.data_mut(), "g".to_owned(), Vec::new(), 1.0).unwrap();
    assert!(!Arc::ptr_eq(&one.capabilities.metrics, &other.capabilities.metrics));
    let shown = format!("{:?}", other.capabilities.metrics);
    assert!(!shown.contains("\"g\""), "{shown}");
}
