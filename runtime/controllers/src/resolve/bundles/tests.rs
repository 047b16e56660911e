//! Which anchors are selected, and how they are written.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Value, json};

use super::*;
use crate::api::fake::{self, Asked, Log};

const ONE: &str = "AAAA";
const TWO: &str = "BBBB";

fn block(base64: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}

fn bundle(name: &str, signer: &str, team: &str, text: &str) -> Value {
    json!({
        "metadata": { "name": name, "labels": { "team": team } },
        "spec": { "signerName": signer, "trustBundle": text },
    })
}

/// A cluster that serves these at a version.
fn bundles(version: &'static str, all: Vec<Value>) -> (TrustBundles, Log) {
    let (api, log) = fake::api(move |asked: &Asked| {
        let path = asked.path.split('?').next().unwrap_or_default();
        match path.strip_prefix("/apis/certificates.k8s.io/") {
            Some(own) if own == version => (200, json!({ "resources": [{ "name": RESOURCE }] })),
            Some(own) if own == format!("{version}/{RESOURCE}") && asked.watches() => (200, json!([])),
            Some(own) if own == format!("{version}/{RESOURCE}") => fake::list(&all),
            Some("v1") => (200, json!({ "resources": [{ "name": "certificatesigningrequests" }] })),
            _ => fake::error(404, "NotFound", "there is no such version"),
        }
    });
    (TrustBundles::new(api, Box::new(|_| {})), log)
}

async fn anchors(bundles: &TrustBundles, wanted: Value) -> Result<String, String> {
    let mut wanted = wanted;
    wanted["path"] = "ca.pem".into();
    bundles.anchors(&PodKey::new("u", "default", "web"), &serde_json::from_value(wanted).unwrap()).await
}

fn some() -> Vec<Value> {
    let noisy = format!("a comment\n{}\nsubject=x\n{}{}", block(TWO), block(ONE), block(TWO));
    vec![
        bundle("noisy", "", "a", &noisy),
        bundle("example.com:s:one", "example.com/s", "a", &block(ONE)),
        bundle("example.com:s:both", "example.com/s", "b", &format!("{}{}", block(TWO), block(ONE))),
        bundle("example.com:t:two", "example.com/t", "a", &block(TWO)),
    ]
}

#[tokio::test]
async fn a_bundle_by_name_is_its_certificates_once_each_and_nothing_else() {
    let (bundles, log) = bundles("v1beta1", some());
    let both = format!("{}{}", block(ONE), block(TWO));
    assert_eq!(anchors(&bundles, json!({ "name": "noisy" })).await.unwrap(), both);
    let error = anchors(&bundles, json!({ "name": "none" })).await.unwrap_err();
    assert!(error.contains("\"none\" not found"), "{error}");
    assert_eq!(anchors(&bundles, json!({ "name": "none", "optional": true })).await.unwrap(), "");
    assert_eq!(log.all().iter().filter(|asked| asked.watches()).count(), 1, "one watch for all");
}

#[tokio::test]
async fn bundles_of_a_signer_are_selected_by_labels_and_put_together() {
    let (bundles, _) = bundles("v1beta1", some());
    let own = |selector: Value| json!({ "signerName": "example.com/s", "labelSelector": selector });
    let both = format!("{}{}", block(ONE), block(TWO));
    assert_eq!(anchors(&bundles, own(json!({}))).await.unwrap(), both, "an empty selector selects all");
    let of_a = own(json!({ "matchLabels": { "team": "a" } }));
    assert_eq!(anchors(&bundles, of_a).await.unwrap(), block(ONE));
    let not_a = own(json!({ "matchExpressions": [{ "key": "team", "operator": "NotIn", "values": ["a"] }] }));
    assert_eq!(anchors(&bundles, not_a).await.unwrap(), both);
    // No selector selects nothing.
    let error = anchors(&bundles, json!({ "signerName": "example.com/s" })).await.unwrap_err();
    assert!(error.contains("\"example.com/s\""), "{error}");
    assert_eq!(anchors(&bundles, json!({ "signerName": "example.com/s", "optional": true })).await.unwrap(), "");
    let unread = own(json!({ "matchExpressions": [{ "key": "team", "operator": "Like", "values": ["a"] }] }));
    assert!(anchors(&bundles, unread).await.unwrap_err().contains("labelSelector"));
    assert!(anchors(&bundles, json!({})).await.unwrap_err().contains("name or a signerName"));
}

#[tokio::test]
async fn the_newest_version_that_is_served_is_used_and_none_is_said() {
    for version in ["v1", "v1beta1", "v1alpha1"] {
        let (bundles, log) = bundles(version, some());
        assert!(anchors(&bundles, json!({ "name": "noisy" })).await.is_ok(), "{version}");
        let list = format!("/apis/certificates.k8s.io/{version}/{RESOURCE}");
        assert!(log.all().iter().any(|asked| asked.path.starts_with(&list)), "{version}");
    }
    let (bundles, _) = bundles("v9", some());
    let error = anchors(&bundles, json!({ "name": "noisy", "optional": true })).await.unwrap_err();
    assert!(error.contains("serves no ClusterTrustBundles"), "{error}");
}

#[tokio::test]
async fn an_identity_that_may_not_read_them_is_told_so() {
    let (api, _) = fake::api(|asked: &Asked| match asked.path.contains(RESOURCE) {
        true => fake::error(403, "Forbidden", "robot may not list them"),
        false => (200, json!({ "resources": [{ "name": RESOURCE }] })),
    });
    let bundles = TrustBundles::new(api, Box::new(|_| {}));
    let error = anchors(&bundles, json!({ "name": "noisy" })).await.unwrap_err();
    assert!(error.contains("robot may not list them"), "{error}");
}

#[tokio::test]
async fn with_the_last_pod_the_watch_ends_and_the_next_one_begins_anew() {
    let (bundles, log) = bundles("v1", some());
    let lists = || log.all().iter().filter(|asked| asked.path.contains("limit=")).count();
    assert!(anchors(&bundles, json!({ "name": "noisy" })).await.is_ok());
    assert!(anchors(&bundles, json!({ "name": "noisy" })).await.is_ok());
    assert_eq!(lists(), 1);
    bundles.release("another");
    assert!(bundles.lock().watching.is_some());
    bundles.release("u");
    assert!(bundles.lock().watching.is_none() && bundles.lock().bundles.is_empty());
    assert!(anchors(&bundles, json!({ "name": "noisy" })).await.is_ok());
    assert_eq!(lists(), 2);
}

#[test]
fn only_what_changes_a_bundle_is_told() {
    static TOLD: AtomicUsize = AtomicUsize::new(0);
    let known: Arc<Mutex<Known>> = Arc::default();
    let mut observer = Observer {
        known,
        listed: watch::Sender::new(None),
        changed: Arc::new(Box::new(|_| {
            TOLD.fetch_add(1, Ordering::Relaxed);
        })),
        next: None,
    };
    let object = |text: &str| -> Box<Object> { serde_json::from_value(bundle("a", "s", "t", text)).unwrap() };
    let mut after = |event| {
        observer.see(event);
        TOLD.load(Ordering::Relaxed)
    };
    after(Event::Listing);
    after(Event::Applied(object(&block(ONE))));
    assert_eq!(after(Event::Listed), 0, "who asked first waits for it");
    assert_eq!(after(Event::Applied(object(&format!("comment\n{}", block(ONE))))), 0);
    assert_eq!(after(Event::Applied(object(&block(TWO)))), 1);
    after(Event::Listing);
    after(Event::Applied(object(&block(TWO))));
    assert_eq!(after(Event::Listed), 1, "a new list of the same");
    assert_eq!(after(Event::Deleted(object(&block(TWO)))), 2);
    // Who was told that they can't be read is told that they can.
    observer.listed.send_replace(Some(Err("no".to_owned())));
    observer.see(Event::Listing);
    observer.see(Event::Listed);
    assert_eq!(TOLD.load(Ordering::Relaxed), 3);
}

#[test]
fn lines_of_pem_are_64_characters_long() {
    let anchors = BTreeSet::from([vec![0; 100]]);
    let text = pem(&anchors);
    let lines: Vec<usize> = text.lines().map(str::len).collect();
    assert_eq!(lines, [27, 64, 64, 8, 25]);
    let read: Vec<_> = CertificateDer::pem_slice_iter(text.as_bytes()).map(|own| own.unwrap().to_vec()).collect();
    assert_eq!(read, [vec![0; 100]]);
}
