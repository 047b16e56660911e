//! Files of pods that run, between an API server and a backend of the tests' own. The clock is tokio's: it goes on when
//! nothing is left to be done.

mod world;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use provider::{Code, Error};
use serde_json::{Value, json};
use tokio::time::Instant;

use self::world::{BUNDLES, Backend, CONFIG_MAPS, Cluster, PODS, SECRETS};
use crate::api::fake::Log;
use crate::pods::PodController;
use crate::testing::{NODE, run_pods};

/// Within which a change is to be delivered.
const SOON: Duration = Duration::from_secs(60);

struct Run {
    cluster: Arc<Cluster>,
    backend: Arc<Backend>,
    log: Log,
    _pods: PodController,
}

fn start(cluster: &Arc<Cluster>, backend: &Arc<Backend>) -> Run {
    let (api, log) = cluster.api();
    let pods = run_pods(&api, backend.clone(), &world::description());
    Run { cluster: cluster.clone(), backend: backend.clone(), log, _pods: pods }
}

/// A pod with these volumes.
fn pod(volumes: Value) -> Value {
    json!({
        "metadata": {
            "name": "web", "namespace": "default", "uid": "u1", "generation": 1, "labels": { "app": "web" },
            "annotations": { "team": "one" }, "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": NODE, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": false, "serviceAccountName": "robot", "volumes": volumes,
            "containers": [{
                "name": "c", "image": "busybox:1", "imagePullPolicy": "IfNotPresent",
                "env": [{ "name": "E", "valueFrom": {
                    "configMapKeyRef": { "name": "cfg", "key": "env", "optional": true },
                } }],
            }],
        },
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    })
}

fn config(mut data: Value) -> Value {
    data["env"] = "e".into();
    json!({ "metadata": { "name": "cfg", "namespace": "default" }, "data": data })
}

fn of_config() -> Value {
    json!([{ "name": "cfg", "configMap": { "name": "cfg" } }])
}

/// A pod of a ConfigMap that runs.
async fn running(volumes: Value) -> Run {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.put(CONFIG_MAPS, config(json!({ "key": "1" })));
    let run = start(&cluster, &backend);
    run.begin(volumes).await;
    run
}

impl Run {
    async fn begin(&self, volumes: Value) {
        self.cluster.put(PODS, pod(volumes));
        self.until("the pod's start", || self.backend.is_made()).await;
        a_while().await;
    }

    async fn until(&self, what: &str, mut is: impl FnMut() -> bool) {
        let began = Instant::now();
        while !is() {
            assert!(began.elapsed() < SOON, "{what} did not come; warnings: {:?}", self.log.warnings());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn holds(&self, volume: &str, path: &str, text: &str) {
        self.until(&format!("{text:?} in {volume}/{path}"), || self.backend.text(volume, path) == text).await;
    }
}

/// Longer than anything that was begun takes.
async fn a_while() {
    tokio::time::sleep(Duration::from_secs(120)).await;
}

#[tokio::test(start_paused = true)]
async fn a_config_map_that_changes_is_seen_in_files_and_what_does_not_change_them_is_not_delivered() {
    let run = running(of_config()).await;
    assert_eq!(run.backend.text("cfg", "key"), "1");
    assert_eq!(run.backend.calls(), 0, "what was given at the start is not given again");
    run.cluster.put(CONFIG_MAPS, config(json!({ "key": "2", "more": "m" })));
    run.holds("cfg", "key", "2").await;
    assert_eq!(run.backend.text("cfg", "more"), "m");
    a_while().await;
    assert_eq!(run.backend.calls(), 1);
    // Its version changes, and nothing that a file shows.
    run.cluster.edit(CONFIG_MAPS, "cfg", |own| own["metadata"]["labels"] = json!({ "x": "y" }));
    run.cluster.edit(PODS, "web", |own| own["metadata"]["labels"]["x"] = "y".into());
    let before = run.log.all().len();
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(run.backend.calls(), 1);
    assert_eq!(run.log.warnings(), []);
    let since = run.log.all().split_off(before);
    assert!(since.iter().all(|asked| asked.method == http::Method::GET), "{since:?}");
}

#[tokio::test(start_paused = true)]
async fn only_the_volume_that_differs_is_replaced_and_many_changes_make_one() {
    let run = running(json!([
        { "name": "cfg", "configMap": { "name": "cfg", "items": [{ "key": "key", "path": "sub/key" }] } },
        { "name": "secret", "secret": { "secretName": "s", "optional": true } },
        { "name": "work", "emptyDir": {} },
    ]))
    .await;
    let secret = |text: &str| json!({ "metadata": { "name": "s" }, "type": "Opaque", "data": { "k": text } });
    for text in ["YQ==", "Yg==", "Yw=="] {
        run.cluster.put(SECRETS, secret(text));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    run.holds("secret", "k", "c").await;
    a_while().await;
    assert_eq!(run.backend.updates(), ["secret"]);
    // A key that is not projected.
    run.cluster.edit(CONFIG_MAPS, "cfg", |own| own["data"]["other"] = "x".into());
    a_while().await;
    assert_eq!(run.backend.updates(), ["secret"]);
    run.cluster.edit(CONFIG_MAPS, "cfg", |own| own["data"]["key"] = "2".into());
    run.holds("cfg", "sub/key", "2").await;
    assert_eq!(run.backend.updates(), ["secret", "cfg"]);
}

#[tokio::test(start_paused = true)]
async fn labels_and_annotations_are_live_in_files() {
    let item = |path: &str, field: &str| json!({ "path": path, "fieldRef": { "fieldPath": field } });
    let run = running(json!([{ "name": "down", "projected": { "sources": [{ "downwardAPI": { "items": [
        item("labels", "metadata.labels"), item("team", "metadata.annotations['team']"),
    ] } }] } }]))
    .await;
    assert_eq!(run.backend.text("down", "labels"), "app=\"web\"");
    run.cluster.edit(PODS, "web", |own| {
        own["metadata"]["annotations"]["team"] = "two".into();
        own["metadata"]["labels"]["b"] = "c".into();
    });
    run.holds("down", "team", "two").await;
    assert_eq!(run.backend.text("down", "labels"), "app=\"web\"\nb=\"c\"");
    // One that no file shows.
    run.cluster.edit(PODS, "web", |own| own["metadata"]["annotations"]["other"] = "x".into());
    a_while().await;
    assert_eq!(run.backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn what_changes_while_the_pod_is_made_is_delivered_once_it_is() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    *backend.create_takes.lock().unwrap() = Duration::from_secs(30);
    cluster.put(CONFIG_MAPS, config(json!({ "key": "1" })));
    let run = start(&cluster, &backend);
    cluster.put(PODS, pod(of_config()));
    run.holds("cfg", "key", "1").await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!backend.is_made());
    cluster.put(CONFIG_MAPS, config(json!({ "key": "2" })));
    run.until("the pod's start", || backend.is_made()).await;
    assert_eq!(backend.calls(), 0);
    run.holds("cfg", "key", "2").await;
    a_while().await;
    assert_eq!(backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn immutable_objects_stay_as_they_were_read() {
    let run = running(json!([{ "name": "v", "configMap": { "name": "fixed", "optional": true } }])).await;
    let fixed = |text: &str| json!({ "metadata": { "name": "fixed" }, "data": { "k": text }, "immutable": true });
    run.cluster.put(CONFIG_MAPS, fixed("1"));
    run.holds("v", "k", "1").await;
    let asked = run.log.all().len();
    run.cluster.put(CONFIG_MAPS, fixed("2"));
    a_while().await;
    assert_eq!((run.backend.text("v", "k").as_str(), run.backend.calls()), ("1", 1));
    assert!(!run.log.all().split_off(asked).iter().any(|asked| asked.path.contains("fixed")), "it is not read again");
}

#[tokio::test(start_paused = true)]
async fn an_object_that_is_gone_leaves_the_files_and_is_said_and_its_return_is_delivered() {
    let run = running(of_config()).await;
    run.cluster.remove(CONFIG_MAPS, "cfg");
    a_while().await;
    let said = "MountVolume.SetUp failed for volume \"cfg\" : configmap \"cfg\" not found";
    assert_eq!(run.log.warnings(), [("FailedMount".to_owned(), said.to_owned())], "once");
    assert_eq!((run.backend.text("cfg", "key").as_str(), run.backend.calls()), ("1", 0));
    run.cluster.put(CONFIG_MAPS, config(json!({ "key": "3" })));
    run.holds("cfg", "key", "3").await;
    assert_eq!(run.backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_fails_is_asked_again_with_growing_pauses_and_that_is_said_once() {
    let run = running(of_config()).await;
    *run.backend.refusal.lock().unwrap() = Some(Error::new(Code::Unavailable, "the engine is away"));
    run.cluster.put(CONFIG_MAPS, config(json!({ "key": "2" })));
    tokio::time::sleep(Duration::from_secs(600)).await;
    let calls = run.backend.calls();
    assert!((12..=25).contains(&calls), "{calls} calls in ten minutes");
    let said = "MountVolume.SetUp failed for volume \"cfg\" : the engine is away";
    assert_eq!(run.log.warnings(), [("FailedMount".to_owned(), said.to_owned())]);
    *run.backend.refusal.lock().unwrap() = None;
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!((run.backend.text("cfg", "key").as_str(), run.backend.calls()), ("2", calls + 1));
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_can_not_replace_files_is_said_on_the_pod_once() {
    let run = running(of_config()).await;
    run.backend.lacks_files.store(true, Ordering::Relaxed);
    for text in ["2", "3"] {
        run.cluster.put(CONFIG_MAPS, config(json!({ "key": text })));
        a_while().await;
    }
    let said = run.log.warnings();
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0].0, "FilesNotUpdated");
    assert!(said[0].1.contains("\"cfg\"") && said[0].1.contains("can't replace files"), "{}", said[0].1);
    // A new version of it can: what is due is delivered with the next change.
    run.backend.lacks_files.store(false, Ordering::Relaxed);
    run.cluster.edit(PODS, "web", |own| own["metadata"]["labels"]["x"] = "y".into());
    run.holds("cfg", "key", "3").await;
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_can_not_is_asked_once_for_each_change() {
    let run = running(of_config()).await;
    *run.backend.refusal.lock().unwrap() = Some(Error::new(Code::Unsupported, "volumes are fixed here"));
    run.cluster.put(CONFIG_MAPS, config(json!({ "key": "2" })));
    a_while().await;
    run.cluster.edit(PODS, "web", |own| own["metadata"]["labels"]["x"] = "y".into());
    a_while().await;
    assert_eq!(run.backend.calls(), 1);
    run.cluster.put(CONFIG_MAPS, config(json!({ "key": "3" })));
    a_while().await;
    assert_eq!(run.backend.calls(), 2);
    let said = run.log.warnings();
    assert!(
        said.iter().all(|(reason, message)| reason == "FilesNotUpdated" && message.contains("fixed here")),
        "{said:?}"
    );
    assert_eq!(said.len(), 1, "{said:?}");
}

fn of_token(seconds: u64) -> Value {
    json!([{ "name": "token", "projected": { "sources": [
        { "serviceAccountToken": { "path": "t", "expirationSeconds": seconds, "audience": "vault" } },
    ] } }])
}

#[tokio::test(start_paused = true)]
async fn a_token_is_replaced_in_the_pod_before_it_ends_and_appears_nowhere_else() {
    let run = running(of_token(600)).await;
    assert_eq!((run.backend.text("token", "t").as_str(), run.backend.calls()), ("canary-1", 0));
    for number in 2..6 {
        let before = Instant::now();
        while run.backend.text("token", "t") != format!("canary-{number}") {
            assert!(before.elapsed() < Duration::from_secs(490), "token {number} did not come");
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
    assert_eq!((run.cluster.tokens(), run.backend.calls()), (5, 4), "no more than needed");
    let written = run.log.all().into_iter().filter(|asked| !asked.path.ends_with("/token"));
    assert!(written.into_iter().all(|asked| !asked.body.to_string().contains("canary")));
}

#[tokio::test(start_paused = true)]
async fn a_token_that_can_not_be_had_is_asked_for_until_it_can_and_the_provider_is_not_bothered() {
    let run = running(of_token(600)).await;
    run.cluster.refuses_tokens.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(480)).await;
    assert_eq!((run.backend.text("token", "t").as_str(), run.backend.calls()), ("canary-1", 0));
    let said = run.log.warnings();
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].1.contains("\"robot\"") && said[0].1.contains("no tokens today"), "{said:?}");
    run.cluster.refuses_tokens.store(false, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs(80)).await;
    assert_eq!((run.backend.text("token", "t").as_str(), run.backend.calls()), ("canary-2", 1));
}

#[tokio::test(start_paused = true)]
async fn after_a_start_of_the_runtime_files_are_given_once_more_and_followed() {
    let run = running(of_config()).await;
    let (cluster, backend) = (run.cluster.clone(), run.backend.clone());
    drop(run);
    cluster.put(CONFIG_MAPS, config(json!({ "key": "missed" })));
    let run = start(&cluster, &backend);
    run.holds("cfg", "key", "missed").await;
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!(backend.calls(), 1);
    cluster.put(CONFIG_MAPS, config(json!({ "key": "2" })));
    run.holds("cfg", "key", "2").await;
    assert_eq!(backend.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_is_deleted_is_not_followed_any_more() {
    let run = running(of_token(600)).await;
    run.cluster.edit(PODS, "web", |own| {
        own["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
        own["metadata"]["deletionGracePeriodSeconds"] = 30.into();
    });
    a_while().await;
    run.cluster.remove(PODS, "web");
    tokio::time::sleep(Duration::from_secs(3_600)).await;
    assert_eq!((run.cluster.tokens(), run.backend.calls()), (1, 0));
}

fn of_bundle() -> Value {
    json!([{ "name": "roots", "projected": { "sources": [
        { "clusterTrustBundle": { "path": "ca.pem", "name": "roots" } },
    ] } }])
}

#[tokio::test(start_paused = true)]
async fn trust_bundles_are_live_in_files() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let bundle = |text: &str| json!({ "metadata": { "name": "roots" }, "spec": { "trustBundle": pem(text) } });
    cluster.put(BUNDLES, bundle("AAAA"));
    let run = start(&cluster, &backend);
    run.begin(of_bundle()).await;
    assert_eq!(backend.text("roots", "ca.pem"), pem("AAAA"));
    cluster.put(BUNDLES, bundle("BBBB"));
    run.holds("roots", "ca.pem", &pem("BBBB")).await;
    assert_eq!(backend.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_pod_whose_trust_bundles_are_not_served_waits_and_says_so() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.has_bundles.store(false, Ordering::Relaxed);
    let run = start(&cluster, &backend);
    cluster.put(PODS, pod(of_bundle()));
    a_while().await;
    assert!(!backend.is_made());
    let said = run.log.warnings();
    let fits = |message: &str| message.contains("\"roots\"") && message.contains("serves no ClusterTrustBundles");
    assert!(said.iter().any(|(reason, message)| reason == "FailedMount" && fits(message)), "{said:?}");
}

fn pem(base64: &str) -> String {
    format!("-----BEGIN CERTIFICATE-----\n{base64}\n-----END CERTIFICATE-----\n")
}
