//! Certificates asked for, renewed and kept, with an authority and a clock of the test's own.

use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::Method;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair, PublicKeyData,
    SanType, SignatureAlgorithm,
};
use serde_json::{Value, json};
use x509_cert::der::Decode;
use x509_cert::request::CertReq;
use zeroize::Zeroizing;

use super::*;
use crate::api::Api;
use crate::api::fake::{self, Answer, Log};
use crate::node::NodeConditions;

const REQUESTS: &str = "/apis/certificates.k8s.io/v1/certificatesigningrequests";

struct PublicKey(Vec<u8>);

impl PublicKeyData for PublicKey {
    fn der_bytes(&self) -> &[u8] {
        &self.0
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

/// A cluster's authority.
struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    fn new() -> Self {
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    /// Signs for this user and these names.
    fn sign(&self, key: &impl PublicKeyData, user: &str, names: &[&str], life: (SystemTime, SystemTime)) -> String {
        let mut parameters = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.subject_alt_names.push(SanType::IpAddress("10.0.0.1".parse().unwrap()));
        parameters.not_before = life.0.into();
        parameters.not_after = life.1.into();
        parameters.signed_by(key, &self.0).unwrap().pem()
    }
}

fn day() -> (SystemTime, SystemTime) {
    let now = SystemTime::now();
    (now - Duration::from_secs(60), now + Duration::from_secs(86_400))
}

/// The request that came last, as the API server keeps it.
type Kept = Arc<Mutex<Option<Value>>>;

/// An API server that keeps one request and answers it as `status` says.
fn cluster(status: impl Fn(&Value) -> Value + Send + Sync + 'static) -> (Api, Log, Kept) {
    let kept = Kept::default();
    let own = kept.clone();
    let (api, log) = fake::api(move |asked| -> Answer {
        let mut kept = own.lock().unwrap();
        if asked.is(Method::POST, REQUESTS) {
            let mut object = asked.body.clone();
            object["metadata"]["resourceVersion"] = "2".into();
            object["status"] = status(&object);
            *kept = Some(object.clone());
            return (201, object);
        }
        if asked.watches() {
            return (200, json!([]));
        }
        fake::list(&kept.iter().cloned().collect::<Vec<_>>())
    });
    (api, log, kept)
}

fn signed(request: &Value, user: &str, life: (SystemTime, SystemTime)) -> Value {
    let pem = STANDARD.decode(request["spec"]["request"].as_str().unwrap()).unwrap();
    let pem = String::from_utf8(pem).unwrap();
    let base64: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
    let request = CertReq::from_der(&STANDARD.decode(base64).unwrap()).unwrap();
    let key = PublicKey(request.info.public_key.subject_public_key.raw_bytes().to_vec());
    let certificate = Ca::new().sign(&key, user, &["web"], life);
    json!({ "conditions": [{ "type": "Approved", "status": "True" }], "certificate": STANDARD.encode(certificate) })
}

fn folder() -> (tempfile::TempDir, Folder) {
    let temporary = tempfile::tempdir().unwrap();
    let folder = Folder::open(&temporary.path().join("pki")).unwrap();
    (temporary, folder)
}

fn names() -> ServingNames {
    ServingNames { names: vec!["web".into()], addresses: vec!["10.0.0.1".parse().unwrap()] }
}

/// A pair of this user with this life.
fn pair(user: &str, life: (SystemTime, SystemTime)) -> Pair {
    let key = KeyPair::generate().unwrap();
    let chain = Ca::new().sign(&key, user, &["web"], life);
    Pair::new(&chain, Zeroizing::new(key.serialize_pem())).unwrap()
}

#[tokio::test]
async fn a_client_certificate_is_asked_for_as_the_kubelet_does() {
    let (_temporary, folder) = folder();
    let (api, log, _) = cluster(|request| signed(request, "system:node:web", day()));
    let pair = request::certificate(&api, &folder, "web", &Purpose::Client, |_| {}).await.unwrap();
    assert_eq!(pair.user(), "system:node:web");
    let all = log.all();
    let spec = &all[0].body["spec"];
    assert_eq!(spec["signerName"], "kubernetes.io/kube-apiserver-client-kubelet");
    assert_eq!(spec["usages"], json!(["digital signature", "client auth"]));
    let pem = String::from_utf8(STANDARD.decode(spec["request"].as_str().unwrap()).unwrap()).unwrap();
    assert!(pem.starts_with("-----BEGIN CERTIFICATE REQUEST-----"), "{pem}");
    // Nothing but the one request is looked at.
    let name = all[0].body["metadata"]["name"].as_str().unwrap();
    assert!(name.starts_with("node-csr-"));
    assert!(all[1..].iter().all(|asked| asked.path.contains(&format!("fieldSelector=metadata.name%3D{name}"))));
}

#[tokio::test]
async fn certificate_and_key_are_for_their_owner_alone_and_found_again() {
    let (_temporary, folder) = folder();
    let (api, ..) = cluster(|request| signed(request, "system:node:web", day()));
    let own = request::certificate(&api, &folder, "web", &Purpose::Client, |_| {}).await.unwrap();
    let path = folder.client_file();
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(std::fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o777, 0o700);
    let found = folder.pair(&Purpose::Client).unwrap().unwrap();
    assert_eq!((found.chain().trim(), found.key().trim()), (own.chain().trim(), own.key().trim()));
    // Neither a half-written file nor the key of the request is left.
    let left: Vec<_> = std::fs::read_dir(path.parent().unwrap()).unwrap().map(|own| own.unwrap().file_name()).collect();
    assert_eq!(left, ["kubelet-client-current.pem"]);
}

#[tokio::test]
async fn after_a_crash_the_same_request_goes_on() {
    let (_temporary, folder) = folder();
    let (silent, log, kept) = cluster(|_| json!({}));
    let waiting = request::certificate(&silent, &folder, "web", &Purpose::Client, |_| {});
    assert!(tokio::time::timeout(Duration::from_millis(200), waiting).await.is_err());
    let first = kept.lock().unwrap().clone().unwrap();
    let name = log.all()[0].body["metadata"]["name"].clone();
    // Somebody approves it while nobody looks.
    let mut answered = first.clone();
    answered["status"] = signed(&first, "system:node:web", day());
    let (api, log) = fake::api(move |asked| match asked.method {
        Method::POST => fake::error(409, "AlreadyExists", "it exists"),
        _ if asked.watches() => (200, json!([])),
        _ => fake::list(std::slice::from_ref(&answered)),
    });
    request::certificate(&api, &folder, "web", &Purpose::Client, |_| {}).await.unwrap();
    assert_eq!(log.all()[0].body["metadata"]["name"], name);
}

#[tokio::test]
async fn what_was_denied_is_said_and_asked_for_anew_with_another_key() {
    let (_temporary, folder) = folder();
    let denied =
        json!({ "conditions": [{ "type": "Denied", "status": "True", "reason": "No", "message": "not you" }] });
    let (api, log, _) = cluster(move |_| denied.clone());
    for _ in 0..2 {
        let error = request::certificate(&api, &folder, "web", &Purpose::Client, |_| {}).await.unwrap_err();
        assert!(error.to_string().ends_with("was denied: No: not you"), "{error}");
    }
    let made: Vec<_> = log.all().into_iter().filter(|asked| asked.is(Method::POST, REQUESTS)).collect();
    assert_ne!(made[0].body["metadata"]["name"], made[1].body["metadata"]["name"]);
}

#[tokio::test]
async fn a_certificate_for_somebody_else_is_not_taken() {
    let (_temporary, folder) = folder();
    let (api, ..) = cluster(|request| signed(request, "system:node:other", day()));
    let error = request::certificate(&api, &folder, "web", &Purpose::Client, |_| {}).await.unwrap_err();
    assert!(error.to_string().contains("system:node:other"), "{error}");
    assert!(folder.pair(&Purpose::Client).unwrap().is_none());
}

#[test]
fn renewal_is_due_between_70_and_90_percent_of_the_life() {
    let begin = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
    let own = pair("system:node:web", (begin, begin + Duration::from_secs(1_000)));
    let after = |chance: f64| own.renewal(chance).duration_since(begin).unwrap().as_secs();
    assert_eq!((after(0.0), after(0.5), after(1.0)), (700, 800, 900));
}

#[test]
fn a_key_is_never_shown() {
    let own = pair("system:node:web", day());
    assert!(!format!("{own:?}").contains("PRIVATE"));
}

#[test]
fn a_key_of_another_certificate_is_refused() {
    let other = KeyPair::generate().unwrap();
    let error = Pair::new(pair("a", day()).chain(), Zeroizing::new(other.serialize_pem())).unwrap_err();
    assert!(error.to_string().contains("another key"), "{error}");
}

/// Runs a keeper until it took so many certificates.
async fn kept(keeper: Keeper, taken: &Mutex<Vec<Pair>>, number: usize) {
    tokio::select! {
        () = keeper.run() => {}
        () = async { while taken.lock().unwrap().len() < number { tokio::time::sleep(Duration::from_millis(5)).await } } => {}
        () = tokio::time::sleep(Duration::from_secs(10)) => panic!("{} of {number}", taken.lock().unwrap().len()),
    }
}

fn serving(folder: &Folder, api: Api, conditions: &NodeConditions) -> (Keeper, Arc<Mutex<Vec<Pair>>>) {
    let taken = Arc::new(Mutex::new(Vec::new()));
    let own = taken.clone();
    let keeper = Keeper::serving("web", folder.clone(), names(), api, conditions.clone(), move |pair| {
        own.lock().unwrap().push(pair.clone());
        Ok(())
    });
    (keeper, taken)
}

#[tokio::test]
async fn a_serving_certificate_is_renewed_without_a_restart() {
    let (_temporary, folder) = folder();
    // Each is nearly at its end when it comes.
    let short = || {
        let now = SystemTime::now();
        (now - Duration::from_secs(100), now + Duration::from_secs(8))
    };
    let (api, log, _) = cluster(move |request| signed(request, "system:node:web", short()));
    let conditions = NodeConditions::default();
    let (keeper, taken) = serving(&folder, api, &conditions);
    kept(keeper, &taken, 3).await;
    assert!(log.count(&Method::POST, REQUESTS) >= 3);
    let all = log.all();
    let spec = &all[0].body["spec"];
    assert_eq!(spec["signerName"], "kubernetes.io/kubelet-serving");
    assert_eq!(spec["usages"], json!(["digital signature", "server auth"]));
    assert_eq!(conditions.get("ServingCertificateApproved").unwrap().status, "True");
}

#[tokio::test]
async fn until_somebody_approves_a_condition_says_that_the_certificate_is_self_signed() {
    let (_temporary, folder) = folder();
    let (api, ..) = cluster(|_| json!({}));
    let conditions = NodeConditions::default();
    let (keeper, taken) = serving(&folder, api, &conditions);
    assert!(tokio::time::timeout(Duration::from_millis(300), keeper.run()).await.is_err());
    let told = conditions.get("ServingCertificateApproved").unwrap();
    assert_eq!((told.status.as_str(), told.reason.as_str()), ("False", "WaitingForApproval"));
    assert!(told.message.contains("signed itself"), "{}", told.message);
    assert!(taken.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_serving_certificate_of_an_earlier_run_is_used_if_it_names_all_that_is_needed() {
    let (_temporary, folder) = folder();
    let purpose = Purpose::Serving(names());
    folder.keep(&purpose, &pair("system:node:web", day())).unwrap();
    let (api, log, _) = cluster(|_| json!({}));
    let (keeper, taken) = serving(&folder, api.clone(), &NodeConditions::default());
    kept(keeper, &taken, 1).await;
    assert_eq!(log.all(), []);
    let more = ServingNames { addresses: vec!["10.0.0.2".parse().unwrap()], ..names() };
    let keeper = Keeper::serving("web", folder, more, api, NodeConditions::default(), |_| Ok(()));
    assert!(tokio::time::timeout(Duration::from_millis(200), keeper.run()).await.is_err());
    assert_eq!(log.count(&Method::POST, REQUESTS), 1);
}
