//! A cluster and a backend for tests: objects that change under open watches, and pods whose files are kept.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use http::Method;
use provider::{
    Code, ContainerPhase, ContainerState, Description, Error, File, Files, Kind, ObjectState, PodConfig, PodRef,
    PodState, Pods, Provider, Result, Snapshot, Volume,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::api::Api;
use crate::api::fake::{self, Asked, Log, Reply};
use crate::testing::ready;

/// Where the objects of a kind are.
pub const PODS: &str = "/api/v1/pods";
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";
pub const SECRETS: &str = "/api/v1/namespaces/default/secrets";
pub const BUNDLES: &str = "/apis/certificates.k8s.io/v1beta1/clustertrustbundles";

#[derive(Default)]
struct Objects {
    version: u64,
    /// By collection and name.
    all: BTreeMap<(String, String), Value>,
    events: Vec<(u64, String, Value)>,
}

/// An API server.
pub struct Cluster {
    objects: Mutex<Objects>,
    changed: watch::Sender<u64>,
    tokens: AtomicU64,
    /// TokenRequests are refused.
    pub refuses_tokens: AtomicBool,
    /// It has ClusterTrustBundles.
    pub has_bundles: AtomicBool,
}

impl Cluster {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            objects: Mutex::default(),
            changed: watch::Sender::new(0),
            tokens: AtomicU64::new(0),
            refuses_tokens: AtomicBool::new(false),
            has_bundles: AtomicBool::new(true),
        })
    }

    fn happened(&self, kind: &str, collection: &str, mut object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let mut objects = self.objects.lock().unwrap();
        objects.version += 1;
        let version = objects.version;
        object["metadata"]["resourceVersion"] = version.to_string().into();
        objects.events.push((version, collection.to_owned(), json!({ "type": kind, "object": object })));
        match kind {
            "DELETED" => objects.all.remove(&(collection.to_owned(), name)),
            _ => objects.all.insert((collection.to_owned(), name), object),
        };
        drop(objects);
        self.changed.send_modify(|number| *number += 1);
    }

    /// Makes or replaces an object.
    pub fn put(&self, collection: &str, object: Value) {
        self.happened("MODIFIED", collection, object);
    }

    pub fn get(&self, collection: &str, name: &str) -> Value {
        self.objects.lock().unwrap().all.get(&(collection.to_owned(), name.to_owned())).cloned().unwrap()
    }

    pub fn edit(&self, collection: &str, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut object = self.get(collection, name);
        edit(&mut object);
        self.put(collection, object);
    }

    pub fn remove(&self, collection: &str, name: &str) {
        self.happened("DELETED", collection, self.get(collection, name));
    }

    /// How many tokens were asked for.
    pub fn tokens(&self) -> u64 {
        self.tokens.load(Ordering::Relaxed)
    }

    pub fn api(self: &Arc<Self>) -> (Api, Log) {
        let own = self.clone();
        fake::api(move |asked| own.answer(asked))
    }

    fn answer(self: &Arc<Self>, asked: &Asked) -> Reply {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        match asked.method {
            Method::POST if path.ends_with("/token") => self.token(&asked.body).into(),
            Method::POST => (201, json!({ "metadata": { "name": "e", "resourceVersion": "1" } })).into(),
            Method::PATCH if path.ends_with("/status") => {
                let name = path.rsplit('/').nth(1).unwrap();
                self.edit(PODS, name, |pod| {
                    for (field, value) in asked.body["status"].as_object().unwrap() {
                        pod["status"][field] = value.clone();
                    }
                });
                (200, self.get(PODS, name)).into()
            }
            Method::PATCH => (200, json!({ "metadata": { "name": "e", "resourceVersion": "1" } })).into(),
            _ if path.starts_with("/apis/certificates.k8s.io/") && !query.contains('=') => {
                let served = self.has_bundles.load(Ordering::Relaxed) && path.ends_with("/v1beta1");
                let resources = if served { json!([{ "name": "clustertrustbundles" }]) } else { json!([]) };
                (200, json!({ "resources": resources })).into()
            }
            _ => {
                let name =
                    query.split("metadata.name%3D").nth(1).map(|rest| rest.split('&').next().unwrap().to_owned());
                if asked.watches() { self.watch(path, query, name) } else { self.list(path, name) }
            }
        }
    }

    fn token(&self, request: &Value) -> fake::Answer {
        if self.refuses_tokens.load(Ordering::Relaxed) {
            return fake::error(500, "InternalError", "no tokens today");
        }
        let number = self.tokens.fetch_add(1, Ordering::Relaxed) + 1;
        (201, json!({ "spec": request["spec"], "status": { "token": format!("canary-{number}") } }))
    }

    fn list(&self, path: &str, name: Option<String>) -> Reply {
        let objects = self.objects.lock().unwrap();
        let wanted = |own: &(String, String)| own.0 == path && name.as_ref().is_none_or(|name| own.1 == *name);
        let items: Vec<&Value> = objects.all.iter().filter(|(own, _)| wanted(own)).map(|(_, object)| object).collect();
        (200, json!({ "metadata": { "resourceVersion": objects.version.to_string() }, "items": items })).into()
    }

    fn watch(self: &Arc<Self>, path: &str, query: &str, name: Option<String>) -> Reply {
        let from = query.split("resourceVersion=").nth(1).unwrap().split('&').next().unwrap();
        let (own, path, from): (_, _, u64) = (self.clone(), path.to_owned(), from.parse().unwrap());
        let state = (own, self.changed.subscribe(), from);
        let lines = futures::stream::unfold(state, move |(own, mut changed, from)| {
            let (path, name) = (path.clone(), name.clone());
            async move {
                loop {
                    changed.mark_unchanged();
                    let found = own.objects.lock().unwrap().events.iter().find_map(|(version, collection, line)| {
                        let of_name = name.as_ref().is_none_or(|name| line["object"]["metadata"]["name"] == **name);
                        (*version > from && *collection == path && of_name).then(|| (*version, line.clone()))
                    });
                    if let Some((version, line)) = found {
                        return Some((line, (own, changed, version)));
                    }
                    changed.changed().await.ok()?;
                }
            }
        });
        Reply::Lines(lines.boxed())
    }
}

/// What a volume holds: texts by path.
pub type Texts = BTreeMap<String, String>;

/// A backend that runs whole pods at once.
pub struct Backend {
    pods: Mutex<BTreeMap<String, PodState>>,
    /// By volume.
    files: Mutex<BTreeMap<String, Texts>>,
    /// The volumes that were replaced, in this order.
    updates: Mutex<Vec<String>>,
    /// Calls of `files.update`.
    calls: AtomicU64,
    /// What `files.update` answers.
    pub refusal: Mutex<Option<Error>>,
    /// It has no `files`.
    pub lacks_files: AtomicBool,
    /// How long `create` takes.
    pub create_takes: Mutex<Duration>,
}

pub fn description() -> Description {
    ready(&[("pods", 100), ("cpu", 4_000)])
}

impl Backend {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            pods: Mutex::default(),
            files: Mutex::default(),
            updates: Mutex::default(),
            calls: AtomicU64::new(0),
            refusal: Mutex::default(),
            lacks_files: AtomicBool::new(false),
            create_takes: Mutex::default(),
        })
    }

    pub fn calls(&self) -> u64 {
        self.calls.load(Ordering::Relaxed)
    }

    pub fn updates(&self) -> Vec<String> {
        self.updates.lock().unwrap().clone()
    }

    /// The text of a file.
    pub fn text(&self, volume: &str, path: &str) -> String {
        let files = self.files.lock().unwrap();
        files.get(volume).and_then(|texts| texts.get(path)).cloned().unwrap_or_default()
    }

    pub fn is_made(&self) -> bool {
        !self.pods.lock().unwrap().is_empty()
    }
}

async fn texts(files: &[File]) -> Result<Texts> {
    let mut texts = Texts::new();
    for file in files {
        let bytes = file.content.read().await?;
        texts.insert(file.path.clone(), String::from_utf8_lossy(&bytes).into_owned());
    }
    Ok(texts)
}

#[async_trait]
impl Provider for Backend {
    async fn describe(&self) -> Result<Description> {
        Ok(description())
    }

    fn kind(&self) -> Kind<'_> {
        Kind::Pods(self)
    }

    fn files(&self) -> Option<&dyn Files> {
        (!self.lacks_files.load(Ordering::Relaxed)).then_some(self)
    }
}

#[async_trait]
impl Files for Backend {
    async fn update(&self, _: PodRef, volume: String, files: Vec<File>) -> Result<()> {
        self.calls.fetch_add(1, Ordering::Relaxed);
        if let Some(refusal) = self.refusal.lock().unwrap().clone() {
            return Err(refusal);
        }
        let texts = texts(&files).await?;
        self.files.lock().unwrap().insert(volume.clone(), texts);
        self.updates.lock().unwrap().push(volume);
        Ok(())
    }
}

#[async_trait]
impl Pods for Backend {
    async fn create(&self, pod: PodConfig) -> Result<PodState> {
        for volume in &pod.sandbox.volumes {
            if let Volume::Files { name, files } = volume {
                let texts = texts(files).await?;
                self.files.lock().unwrap().insert(name.clone(), texts);
            }
        }
        let takes = *self.create_takes.lock().unwrap();
        tokio::time::sleep(takes).await;
        let state = PodState {
            id: "b-1".into(),
            containers: vec![ContainerState {
                started_at: Some(jiff::Timestamp::now()),
                ..ContainerState::new("c", 0, ContainerPhase::Running)
            }],
            ..PodState::new(pod.sandbox.key.clone(), pod.sandbox.attempt, ObjectState::Running)
        };
        self.pods.lock().unwrap().insert(pod.sandbox.key.uid.to_string(), state.clone());
        Ok(state)
    }

    async fn update(&self, _: PodConfig, _: Vec<String>) -> Result<()> {
        Ok(())
    }

    async fn delete(&self, pod: PodRef, _: Duration) -> Result<()> {
        self.pods.lock().unwrap().remove(&*pod.key.uid);
        Ok(())
    }

    async fn forget(&self, pod: PodRef) -> Result<()> {
        self.pods.lock().unwrap().remove(&*pod.key.uid).map(|_| ()).ok_or_else(|| Error::new(Code::NotFound, "gone"))
    }

    async fn list(&self, _: Option<String>) -> Result<Snapshot> {
        let pods = self.pods.lock().unwrap().values().cloned().collect();
        Ok(Snapshot { pods, next: None, complete: true })
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let own = self.pods.lock().unwrap();
        Ok(pods.iter().filter_map(|pod| own.get(&*pod.key.uid)).cloned().collect())
    }
}
