//! A secret's value through the whole crate: it never stands in anything that people or other systems read.
//!
//! Every way out is tried with a value that the provider was shown, and with one that it may only sign with.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;
use provider::Content;

use crate::bindings::vk::host::{blobs, config, dial, events, http, log, metrics, secrets, store};
use crate::blobs::Blob;
use crate::error::{denied, to_provider};
use crate::mask::Mask;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants, secrets as granted};
use crate::testing::lines::Lines;
use crate::testing::request::get;
use crate::{CallData, Grants};

const SHOWN: &str = "canary-shown-4711";
const HIDDEN: &str = "canary-hidden-4711";
const OF_POD: &str = "canary-pod-4711";
const IN_FILE: &str = "canary-file-4711";

struct SecretFile;

#[async_trait]
impl Content for SecretFile {
    fn size(&self) -> Option<u64> {
        None
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    async fn read(&self) -> Result<Bytes, provider::Error> {
        Ok(Bytes::from(format!("{IN_FILE}\n")))
    }
}

fn without_canary(what: &str, text: &str) {
    for part in ["canary", "4711"] {
        assert!(!text.contains(part), "{what}: {text}");
    }
}

/// A guest that was shown three values, holds a handle on a fourth, and the fourth's handle.
async fn guest(files: &tempfile::TempDir, more: Grants) -> Guest {
    let grant = |name: &str, value: &str, mode: &str| {
        let path = files.path().join(name);
        std::fs::write(&path, value).unwrap();
        format!("{name}=file:{}:{mode}", path.display())
    };
    let own = granted(&[grant("shown", SHOWN, "reveal"), grant("hidden", HIDDEN, "sign")]);
    let mut mask = Mask::default();
    mask.add(OF_POD);
    let mut guest = Guest::with_mask(Grants { secrets: own.secrets, ..more }, mask);
    let blob = guest.store.data_mut().push_blob(Blob { content: Arc::new(SecretFile), sensitive: true }).unwrap();
    guest
        .run(async |accessor| {
            let names = vec!["shown".to_owned(), "hidden".to_owned()];
            let opened = <CallData as secrets::HostWithStore<_>>::open(accessor, names).await.unwrap().unwrap();
            accessor.with(|mut access| {
                for (secret, says) in opened.into_iter().zip([Some(SHOWN), None]) {
                    let revealed = secrets::HostSecret::reveal(access.get(), secret).unwrap();
                    match says {
                        Some(says) => assert_eq!(revealed.unwrap(), says.as_bytes()),
                        None => without_canary("reveal", &format!("{:?}", revealed.unwrap_err())),
                    }
                }
            });
            let read = <CallData as blobs::HostBlobWithStore<_>>::read(accessor, blob, 0, 1024).await;
            assert_eq!(read.unwrap().unwrap(), format!("{IN_FILE}\n").as_bytes());
        })
        .await;
    guest
}

/// Texts in which a guest says what it was shown.
fn sayings() -> Vec<String> {
    let mut said: Vec<String> = [SHOWN, OF_POD, IN_FILE].iter().map(|value| format!("it is {value}!")).collect();
    said.push(format!("{SHOWN}{OF_POD}{IN_FILE}"));
    said
}

#[tokio::test]
async fn what_a_guest_says_of_a_secret_is_masked_on_every_way_out() {
    let lines = Lines::capture();
    let files = tempfile::tempdir().unwrap();
    let mut guest = guest(&files, Grants::default()).await;
    let call = guest.store.data_mut();
    for said in sayings() {
        let field = |text: &str| vec![("label".to_owned(), text.to_owned())];
        log::Host::write(call, log::Level::Error, said.clone(), vec![(said.clone(), said.clone())]).unwrap();
        let event = events::Event {
            severity: "Warning".to_owned(),
            at: None,
            reason: said.clone(),
            message: said.clone(),
            container: said.clone(),
            key: said.clone(),
        };
        events::Host::emit(call, None, event).unwrap();
        metrics::Host::set(call, "said".to_owned(), field(&said), 1.0).unwrap();
        metrics::Host::add(call, "said_total".to_owned(), field(&said), 1.0).unwrap();
        metrics::Host::observe(call, "said_seconds".to_owned(), field(&said), 1.0).unwrap();
        let error = denied(&said, &said);
        let told = to_provider(error, |text| call.logger().mask(text));
        without_canary("the guest's own error", &format!("{told} {told:?}"));
    }
    without_canary("the log", &lines.text());
    assert_eq!(lines.of_provider().len(), sayings().len());
    let events = format!("{:?}", guest.events.lock().unwrap());
    without_canary("events", &events);
    assert!(events.contains("it is ***!"), "{events}");
    let mut registry = Registry::default();
    let mut page = String::new();
    registry.register_collector(Box::new(crate::metrics::Registered(guest.capabilities.metrics.clone())));
    encode(&mut page, &registry).unwrap();
    without_canary("metrics", &page);
    assert!(page.contains("label=\"it is ***!\""), "{page}");
}

#[tokio::test]
async fn what_was_only_filled_in_is_masked_in_its_encodings_too() {
    let lines = Lines::capture();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "user:canary-filled-4711").unwrap();
    let mut guest = Guest::new(granted(&[format!("key=file:{}:inject,api.test", file.path().display())]));
    guest
        .run(async |accessor| {
            let names = vec!["key".to_owned()];
            let opened = <CallData as secrets::HostWithStore<_>>::open(accessor, names).await.unwrap().unwrap();
            accessor.with(|mut access| {
                for secret in opened {
                    secrets::HostSecret::placeholder(access.get(), secret, "basic".to_owned()).unwrap().unwrap();
                }
            });
        })
        .await;
    let call = guest.store.data_mut();
    // As a server may tell them to the guest in a way that nobody finds.
    for said in ["user:canary-filled-4711", "user%3Acanary-filled-4711", "dXNlcjpjYW5hcnktZmlsbGVkLTQ3MTE="] {
        log::Host::write(call, log::Level::Error, format!("it is {said}!"), Vec::new()).unwrap();
        metrics::Host::set(call, "said".to_owned(), vec![("label".to_owned(), said.to_owned())], 1.0).unwrap();
        let told = to_provider(denied(said, said), |text| call.logger().mask(text));
        without_canary("an error", &format!("{told:?}"));
        assert!(!told.message.contains("dXNl"), "{told:?}");
    }
    without_canary("the log", &lines.text());
    assert_eq!(lines.of_provider().iter().filter(|line| line.contains("it is ***!")).count(), 3);
    let mut registry = Registry::default();
    let mut page = String::new();
    registry.register_collector(Box::new(crate::metrics::Registered(guest.capabilities.metrics.clone())));
    encode(&mut page, &registry).unwrap();
    without_canary("metrics", &page);
    assert!(page.contains("label=\"***\"") && !page.contains("dXNl"), "{page}");
}

#[tokio::test]
async fn errors_of_the_host_repeat_no_secret() {
    let lines = Lines::capture();
    let files = tempfile::tempdir().unwrap();
    let backend = Backend::http(|request| match request {
        request if request.starts_with("GET /away") => redirect(302, "http://denied.test/?token=canary-4711"),
        request if request.starts_with("GET /stop") => {
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\nconnection: close\r\n\r\n".to_owned()
        }
        request if request.starts_with("GET /junk") => "canary-4711\r\n\r\n".to_owned(),
        request if request.starts_with("GET /hang") => String::new(),
        _ => ok("canary-4711"),
    })
    .await;
    let mut guest = guest(&files, grants(&["http://127.0.0.1:*"], &["127.0.0.1:*"], &[])).await;
    let errors = guest
        .run(async |accessor| {
            let mut errors = Vec::new();
            let paths = ["/away", "/stop", "/junk", "/hang", "/large"].map(|path| backend.url(path));
            let elsewhere = ["http://denied.test/".to_owned(), "ftp://x/".to_owned(), "http://127.0.0.1:1/".to_owned()];
            for url in paths.into_iter().chain(elsewhere) {
                let request = http::Request {
                    headers: vec![("authorization".to_owned(), format!("Bearer {SHOWN}"))],
                    body: http::Body::Bytes(SHOWN.as_bytes().to_vec()),
                    redirects: 3,
                    timeout: Some(100_000_000),
                    idle_timeout: Some(100_000_000),
                    ..get(format!("{url}?token={SHOWN}"))
                };
                let fetched = <CallData as http::HostWithStore<_>>::fetch(accessor, request, 3).await.unwrap();
                errors.push(fetched.err().unwrap());
            }
            let options = dial::Options {
                server_name: String::new(),
                tls: String::new(),
                headers: vec![("authorization".to_owned(), SHOWN.to_owned())],
                protocols: Vec::new(),
                timeout: None,
            };
            for address in ["tcp://127.0.0.1:1", "tls://denied.test:443", "wss://denied.test/"] {
                let dialled =
                    <CallData as dial::HostWithStore<_>>::connect(accessor, address.to_owned(), options.clone());
                errors.push(dialled.await.unwrap().err().unwrap());
            }
            for (value, condition) in [(1, store::Condition::Version(1)), ((1 << 20) + 1, store::Condition::Always)] {
                let value = SHOWN.as_bytes().iter().copied().cycle().take(value).collect();
                let put = <CallData as store::HostWithStore<_>>::put(accessor, "k".to_owned(), value, condition, None);
                errors.push(put.await.unwrap().err().unwrap());
            }
            errors
        })
        .await;
    for error in errors {
        without_canary("an error", &format!("{error:?}"));
    }
    // What the libraries below log, down to their traces, counts too.
    without_canary("the log", &lines.text());
}

#[tokio::test]
async fn a_pods_secret_is_not_read_without_the_grant() {
    let denied = Grants { pod_secrets: crate::PodSecrets::Deny, ..Grants::default() };
    let mut guest = Guest::new(denied);
    let call = guest.store.data_mut();
    let secret = call.push_blob(Blob { content: Arc::new(SecretFile), sensitive: true }).unwrap();
    let other = call.push_blob(Blob { content: Arc::new(SecretFile), sensitive: false }).unwrap();
    let borrow = wasmtime::component::Resource::new_borrow;
    guest
        .run(async |accessor| {
            let rep = secret.rep();
            let read = <CallData as blobs::HostBlobWithStore<_>>::read(accessor, borrow(rep), 0, 10).await.unwrap();
            let chunks = accessor
                .with(|access| <CallData as blobs::HostBlobWithStore<_>>::chunks(access, borrow(rep)))
                .unwrap()
                .err();
            for error in [read.unwrap_err(), chunks.unwrap()] {
                assert_eq!(error.code, "denied");
                assert!(error.message.contains("--pod-secrets=reveal"), "{}", error.message);
            }
            let read = <CallData as blobs::HostBlobWithStore<_>>::read(accessor, other, 7, 4).await.unwrap();
            assert_eq!(read.unwrap(), b"file");
        })
        .await;
}

#[tokio::test]
async fn what_is_granted_is_printed_without_values() {
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("shown");
    std::fs::write(&path, SHOWN).unwrap();
    let grants = granted(&[format!("shown=file:{}:reveal", path.display())]);
    without_canary("grants", &format!("{grants:?}"));
    let mut guest = guest(&files, Grants::default()).await;
    without_canary("metrics", &format!("{:?}", guest.capabilities.metrics));
    assert!(config::Host::list(guest.store.data_mut()).unwrap().is_empty());
    without_canary("events", &format!("{:?}", guest.events.lock().unwrap()));
}
