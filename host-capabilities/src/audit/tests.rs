//! What is written of the uses of capabilities, where, and what never is.

use std::os::unix::fs::PermissionsExt;

use serde_json::Value;

use super::*;
use crate::CallData;
use crate::Grants;
use crate::bindings::vk::host::{blobs, dial, events, http, secrets, store};
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants, secrets as granted};
use crate::testing::lines::Lines;
use crate::testing::request::{fetch, get};

/// An audit log in a file.
struct Log {
    folder: tempfile::TempDir,
    audit: Audit,
}

impl Log {
    fn new(mode: Mode) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let audit = Audit::to_file(mode, &folder.path().join("audit.jsonl")).unwrap();
        Self { folder, audit }
    }

    fn text(&self) -> String {
        self.audit.flush();
        std::fs::read_to_string(self.folder.path().join("audit.jsonl")).unwrap_or_default()
    }

    fn records(&self) -> Vec<Value> {
        self.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

fn request(url: &str) -> http::Request {
    http::Request { redirects: 3, ..get(url) }
}

#[tokio::test]
async fn a_request_and_each_of_its_redirects_is_a_record() {
    let log = Log::new(Mode::All);
    let backend =
        Backend::http(|request| if request.contains(" /next") { ok("body") } else { redirect(302, "/next?t=canary") })
            .await;
    let mut guest = Guest::audited(grants(&["http://127.0.0.1:*"], &[], &[]), &log.audit);
    let mut post = request(&backend.url("/first?token=canary#canary"));
    post.method = "POST".to_owned();
    post.body = http::Body::Bytes(b"canary".to_vec());
    fetch(&mut guest, post).await.unwrap();
    let records = log.records();
    assert_eq!(records.len(), 3, "{records:?}");
    let first = &records[0];
    assert_eq!(first["provider"], "mock");
    assert_eq!(first["version"], "sha256:abc");
    assert_eq!(first["node"], "node-1");
    assert_eq!(first["call"], 7);
    assert_eq!(first["export"], "pods.create");
    assert_eq!(first["pod"]["uid"], "uid-1");
    assert_eq!(first["capability"], "http");
    assert_eq!(first["operation"], "POST");
    assert_eq!(first["target"], backend.url("/first"));
    assert_eq!(first["outcome"], "allowed");
    assert_eq!((&first["status"], &first["bytesOut"]), (&302.into(), &6.into()));
    assert!(first["time"].as_str().unwrap().ends_with('Z'));
    assert_eq!(records[1]["operation"], "GET");
    assert_eq!(records[1]["target"], backend.url("/next"));
    assert_eq!((&records[2]["operation"], &records[2]["bytesIn"]), (&"body".into(), &4.into()));
    assert!(!log.text().contains("canary"), "{}", log.text());
}

#[tokio::test]
async fn refusals_alone_are_written_where_only_they_are_wanted() {
    let log = Log::new(Mode::Refusals);
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::audited(grants(&["http://127.0.0.1:*"], &[], &[]), &log.audit);
    fetch(&mut guest, request(&backend.url("/"))).await.unwrap();
    fetch(&mut guest, request("http://127.0.0.1:1/")).await.unwrap_err();
    fetch(&mut guest, request("http://metadata.internal/latest?token=canary")).await.unwrap_err();
    fetch(&mut guest, request("http://user:canary@host/")).await.unwrap_err();
    let records = log.records();
    assert_eq!(records.len(), 2, "{records:?}");
    assert_eq!(records[0]["outcome"], "refused");
    assert_eq!(records[0]["error"], "denied");
    assert_eq!(records[0]["target"], "http://metadata.internal/latest");
    assert!(records[0]["why"].as_str().unwrap().contains("--allow-http=http://metadata.internal:80"));
    assert_eq!(records[1]["error"], "invalid");
    assert!(!log.text().contains("canary"), "{}", log.text());
}

#[tokio::test]
async fn every_capability_that_touches_something_is_recorded() {
    let log = Log::new(Mode::All);
    let files = tempfile::tempdir().unwrap();
    let path = files.path().join("key");
    std::fs::write(&path, "canary-4711").unwrap();
    let own = granted(&[format!("key=file:{}:reveal", path.display())]);
    let mut guest = Guest::audited(Grants { secrets: own.secrets, ..grants(&[], &["127.0.0.1:*"], &[]) }, &log.audit);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("tcp://{}", listener.local_addr().unwrap());
    guest
        .run(async |accessor| {
            let opened = <CallData as secrets::HostWithStore<_>>::open(accessor, vec!["key".to_owned()]).await;
            let secret = opened.unwrap().unwrap().remove(0);
            let missing = <CallData as secrets::HostWithStore<_>>::open(accessor, vec!["no".to_owned()]).await;
            missing.unwrap().unwrap_err();
            accessor.with(|mut access| {
                let rep = secret.rep();
                let borrow = wasmtime::component::Resource::new_borrow;
                secrets::HostSecret::reveal(access.get(), borrow(rep)).unwrap().unwrap();
                secrets::HostSecret::sign(access.get(), borrow(rep), "hmac-sha256".to_owned(), Vec::new())
                    .unwrap()
                    .unwrap();
            });
            let options = dial::Options {
                server_name: String::new(),
                tls: String::new(),
                headers: Vec::new(),
                protocols: Vec::new(),
                timeout: None,
            };
            for address in [address.clone(), "tcp://10.0.0.1:22".to_owned()] {
                let dialled =
                    <CallData as dial::HostWithStore<_>>::connect(accessor, address, options.clone()).await.unwrap();
                drop(dialled);
            }
            let always = store::Condition::Always;
            for key in ["pod/uid-1", "canary-4711"] {
                let put =
                    <CallData as store::HostWithStore<_>>::put(accessor, key.to_owned(), vec![0; 9], always, None);
                put.await.unwrap().unwrap();
            }
            <CallData as store::HostWithStore<_>>::get(accessor, "pod/uid-1".to_owned()).await.unwrap().unwrap();
            let scan = <CallData as store::HostWithStore<_>>::scan(accessor, "pod/".to_owned(), String::new(), 10);
            scan.await.unwrap().unwrap();
            <CallData as store::HostWithStore<_>>::delete(accessor, "pod/uid-1".to_owned(), always)
                .await
                .unwrap()
                .unwrap();
        })
        .await;
    let event = events::Event {
        severity: "Normal".to_owned(),
        at: None,
        reason: "Pulled".to_owned(),
        message: "canary-4711".to_owned(),
        container: String::new(),
        key: String::new(),
    };
    events::Host::emit(guest.store.data_mut(), None, event).unwrap();
    let said: Vec<String> = log
        .records()
        .iter()
        .map(|own| {
            let text = |name: &str| own[name].as_str().unwrap_or_default().to_owned();
            format!("{}.{} {} {}", text("capability"), text("operation"), text("target"), text("outcome"))
        })
        .collect();
    let dialled = format!("dial.connect {address} allowed");
    assert_eq!(
        said,
        [
            "secrets.open key allowed",
            "secrets.open no refused",
            "secrets.reveal key allowed",
            "secrets.sign key allowed",
            &dialled,
            "dial.connect tcp://10.0.0.1:22 refused",
            "store.put pod/… allowed",
            "store.put *** allowed",
            "store.get pod/… allowed",
            "store.scan pod/… allowed",
            "store.delete pod/… allowed",
            "events.emit Node Pulled allowed",
        ]
    );
    assert!(!log.text().contains("canary") && !log.text().contains("4711"), "{}", log.text());
}

#[tokio::test]
async fn a_pods_secret_that_was_read_is_a_record() {
    use provider::Content;
    struct Secret;
    #[async_trait::async_trait]
    impl Content for Secret {
        fn size(&self) -> Option<u64> {
            None
        }
        fn version(&self) -> String {
            String::new()
        }
        async fn read(&self) -> Result<bytes::Bytes, provider::Error> {
            Ok("canary-4711".into())
        }
    }
    let log = Log::new(Mode::All);
    let mut guest = Guest::audited(Grants::default(), &log.audit);
    let mut push = |sensitive| {
        let blob = crate::blobs::Blob { content: Arc::new(Secret), sensitive };
        guest.store.data_mut().push_blob(blob).unwrap()
    };
    let (secret, other) = (push(true), push(false));
    guest
        .run(async |accessor| {
            for blob in [secret, other] {
                let read = <CallData as blobs::HostBlobWithStore<_>>::read(accessor, blob, 0, 100).await;
                read.unwrap().unwrap();
            }
        })
        .await;
    let records = log.records();
    assert_eq!(records.len(), 1, "what is no secret is the pod's own to read: {records:?}");
    assert_eq!((&records[0]["capability"], &records[0]["bytesIn"]), (&"blobs".into(), &11.into()));
    assert!(!log.text().contains("canary"));
}

#[tokio::test]
async fn what_a_guest_writes_into_a_record_is_one_line_and_short() {
    let log = Log::new(Mode::All);
    let mut guest = Guest::audited(Grants::default(), &log.audit);
    let evil = "http://a\n{\"outcome\":\"allowed\"}\u{1b}[2J\u{2028}";
    fetch(&mut guest, request(evil)).await.unwrap_err();
    let mut odd = request("http://host/");
    odd.method = format!("GET\n{}", "x".repeat(10_000));
    fetch(&mut guest, odd).await.unwrap_err();
    let text = log.text();
    assert_eq!(text.lines().count(), 2, "{text}");
    assert!(!text.contains('\u{1b}') && text.len() < 6 * MAX_TEXT, "{text}");
    assert!(log.records().iter().all(|record| record["outcome"] == "refused"));
}

#[test]
fn the_file_is_its_owners_alone_appended_to_and_follows_a_rotation() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("audit.jsonl");
    std::fs::write(&path, "{}\n").unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o644)).unwrap();
    let mut file = AuditFile::open(&path).unwrap();
    file.write(b"one\n").unwrap();
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    let old = folder.path().join("audit.jsonl.1");
    std::fs::rename(&path, &old).unwrap();
    file.write(b"two\n").unwrap();
    std::fs::remove_file(&path).unwrap();
    file.write(b"three\n").unwrap();
    assert_eq!(std::fs::read_to_string(&old).unwrap(), "{}\none\n");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "three\n");
    assert_eq!(mode(&path), 0o600);
    let error = AuditFile::open(&folder.path().join("no/such")).unwrap_err().to_string();
    assert!(error.contains("no/such can't be written"), "{error}");
}

#[tokio::test]
async fn what_the_disk_can_not_keep_up_with_is_dropped_and_counted_and_nobody_waits() {
    // A pipe that nobody reads fills up.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let audit = Audit::to_file(Mode::All, &path).unwrap();
    let guest = Guest::audited(Grants::default(), &audit);
    let logger = guest.store.data().logger().clone();
    let began = std::time::Instant::now();
    for _ in 0..QUEUE * 2 {
        audit.used(&logger, None, || Used::new("http", "GET", "x".repeat(MAX_TEXT)));
    }
    assert!(began.elapsed() < std::time::Duration::from_secs(5), "{:?}", began.elapsed());
    assert!(audit.dropped() >= (QUEUE * 2 - SHARE - 1_024) as u64, "{}", audit.dropped());
    // Once somebody reads, the lines say what is missing.
    let dropped = audit.dropped();
    let reading = std::thread::spawn(move || {
        use std::io::BufRead;
        let lines = std::io::BufReader::new(reader).lines().map(Result::unwrap);
        let mut told = 0;
        for line in lines {
            told += serde_json::from_str::<Value>(&line).unwrap()["dropped"].as_u64().unwrap_or(0);
            if told == dropped {
                break;
            }
        }
        told
    });
    assert_eq!(reading.join().unwrap(), dropped);
}

#[tokio::test]
async fn into_the_log_goes_the_same_line() {
    let audit = Audit::to_log(Mode::All).unwrap();
    assert!(audit.is_on() && !Audit::default().is_on());
    assert!(!Audit::to_log(Mode::Off).unwrap().is_on());
    let _lines = Lines::capture();
    for (text, mode) in [("off", Mode::Off), ("refusals", Mode::Refusals), ("all", Mode::All)] {
        assert_eq!((text.parse(), mode.to_string().as_str()), (Ok(mode), text));
    }
    assert_eq!("some".parse::<Mode>().unwrap_err(), "`some` is none of off, refusals, all");
}
