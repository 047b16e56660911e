//! A secret's value on every way out: URLs, headers, logs, Events, metrics, errors, the audit log.
//!
//! What a provider that may read a value does with it is its own; what people and other systems read of it is not.

use std::path::Path;

use super::{attempts, fetch, get};
use crate::audit::{Audit, Mode};
use crate::bindings::vk::host::{events, log, metrics, secrets, store};
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants, secrets as granted};
use crate::testing::lines::Lines;
use crate::{Call, CallData, Grants};

const CANARY: &str = "canary-4711-of-the-operator";

/// A guest that was shown the canary, and its audit log.
async fn shown(folder: &Path, more: Grants) -> (Guest, Audit) {
    let path = folder.join("key");
    std::fs::write(&path, CANARY).unwrap();
    let audit = Audit::to_file(Mode::All, &folder.join("audit")).unwrap();
    let own = granted(&[format!("key=file:{}:reveal", path.display())]);
    let mut guest = Guest::audited(Grants { secrets: own.secrets, ..more }, &audit);
    guest
        .run(async |accessor| {
            let opened = <CallData as secrets::HostWithStore<Call>>::open(accessor, vec!["key".to_owned()]).await;
            let secret = opened.unwrap().unwrap().remove(0);
            let value = accessor.with(|mut access| secrets::HostSecret::reveal(access.get(), secret)).unwrap();
            assert_eq!(value.unwrap(), CANARY.as_bytes());
        })
        .await;
    (guest, audit)
}

fn without_canary(what: &str, text: &str) {
    assert!(!text.contains("canary") && !text.contains("4711"), "{what}: {text}");
}

/// A request whose URL holds the value, of which nobody reads.
async fn in_a_url(url: &str) {
    let lines = Lines::capture();
    let folder = tempfile::tempdir().unwrap();
    let backend = Backend::http(|request| {
        if request.contains("/redirect") {
            redirect(302, &format!("http://denied.test/{CANARY}?{CANARY}"))
        } else {
            ok("")
        }
    })
    .await;
    let (mut guest, audit) = shown(folder.path(), grants(&["http://127.0.0.1:*"], &[], &[])).await;
    let url = url.replace("HERE", &format!("127.0.0.1:{}", backend.port)).replace("CANARY", CANARY);
    if let Err(error) = fetch(&mut guest, get(&url)).await {
        // What goes back into the guest, it knows; what comes out of it is masked.
        let told = crate::error::to_provider(error, |text| guest.store.data().logger().mask(text));
        without_canary("the error", &format!("{told:?}"));
    }
    audit.flush();
    without_canary("the audit log", &std::fs::read_to_string(folder.path().join("audit")).unwrap());
    without_canary("the log", &lines.text());
}

attempts! { in_a_url;
    in_the_query_of_a_url: "http://HERE/?token=CANARY";
    in_the_path_of_a_url: "http://HERE/CANARY/x";
    in_the_fragment_of_a_url: "http://HERE/#CANARY";
    in_the_host_of_a_url: "http://CANARY.test/";
    in_the_user_of_a_url: "http://CANARY@HERE/";
    in_the_password_of_a_url: "http://user:CANARY@HERE/";
    in_the_scheme_of_a_url: "CANARY://HERE/";
    in_a_url_that_is_none: "CANARY";
    in_a_url_that_nobody_answers: "http://127.0.0.1:1/CANARY?CANARY";
    in_the_location_of_a_redirect: "http://HERE/redirect";
}

#[tokio::test]
async fn in_words_to_people() {
    let lines = Lines::capture();
    let folder = tempfile::tempdir().unwrap();
    let (mut guest, audit) = shown(folder.path(), Grants::default()).await;
    let call = guest.store.data_mut();
    let said = format!("it is {CANARY}");
    log::Host::write(call, log::Level::Error, said.clone(), vec![(said.clone(), said.clone())]).unwrap();
    let event = events::Event {
        severity: said.clone(),
        at: None,
        reason: said.clone(),
        message: said.clone(),
        container: said.clone(),
        key: said.clone(),
    };
    events::Host::emit(call, None, event).unwrap();
    metrics::Host::set(call, "g".to_owned(), vec![("said".to_owned(), said.clone())], 1.0).unwrap();
    without_canary("last words", &call.logger().last_words());
    audit.flush();
    without_canary("the audit log", &std::fs::read_to_string(folder.path().join("audit")).unwrap());
    without_canary("the log", &lines.text());
    without_canary("Events", &format!("{:?}", guest.events.lock().unwrap()));
    without_canary("metrics", &format!("{:?}", guest.capabilities.usage().await));
}

#[tokio::test]
async fn in_a_key_of_the_store() {
    let lines = Lines::capture();
    let folder = tempfile::tempdir().unwrap();
    let (mut guest, audit) = shown(folder.path(), Grants::default()).await;
    for key in [CANARY.to_owned(), format!("{CANARY}/1"), format!("pod/{CANARY}")] {
        let put = guest.run(async |accessor| {
            let value = CANARY.as_bytes().to_vec();
            <CallData as store::HostWithStore<Call>>::put(accessor, key, value, store::Condition::Always, None).await
        });
        put.await.unwrap().unwrap();
    }
    audit.flush();
    without_canary("the audit log", &std::fs::read_to_string(folder.path().join("audit")).unwrap());
    without_canary("the log", &lines.text());
}

#[tokio::test]
async fn in_the_name_of_a_secret_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (mut guest, audit) = shown(folder.path(), Grants::default()).await;
    let opened = guest
        .run(async |accessor| <CallData as secrets::HostWithStore<Call>>::open(accessor, vec![CANARY.to_owned()]).await)
        .await;
    assert_eq!(opened.unwrap().err().unwrap().code, "denied");
    audit.flush();
    without_canary("the audit log", &std::fs::read_to_string(folder.path().join("audit")).unwrap());
}
