//! An API server with the pods of one node: lists, watches that go on, patches of a status, deletions, evictions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use http::Method;
use serde_json::{Value, json};
use tokio::sync::watch;

use super::merge;
use crate::api::Api;
use crate::api::fake::{self, Asked, Log, Reply};
use crate::testing::NODE;

const PODS: &str = "/api/v1/namespaces/default/pods/";

/// The API server. Clones are the same one.
#[derive(Clone)]
pub struct Cluster(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Changes with the state's version, and when watches break.
    changed: watch::Sender<u64>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By name.
    pods: BTreeMap<String, Value>,
    /// What happened, by version.
    events: Vec<(u64, Value)>,
    /// Counts how often watches were broken.
    breaks: u64,
    /// A disruption budget is in the way of each eviction.
    is_guarded: bool,
}

/// A pod that was bound to the node.
pub fn pod(name: &str, uid: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "default", "uid": uid, "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": NODE, "restartPolicy": "Always", "terminationGracePeriodSeconds": 30,
            "enableServiceLinks": false,
            "containers": [{ "name": "c", "image": "registry.example.com/c:v1", "imagePullPolicy": "IfNotPresent" }],
        },
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    })
}

/// The status of one that ran.
pub fn running() -> Value {
    json!({
        "phase": "Running", "qosClass": "BestEffort", "startTime": "2026-01-01T00:00:01Z",
        "containerStatuses": [{
            "name": "c", "image": "registry.example.com/c:v1", "imageID": "", "containerID": "lab://c-0",
            "ready": true, "started": true, "restartCount": 0,
            "state": { "running": { "startedAt": "2026-01-01T00:00:02Z" } },
        }],
    })
}

impl Cluster {
    pub fn new() -> Self {
        Self(Arc::new(Inner { state: Mutex::default(), changed: watch::Sender::new(0) }))
    }

    fn change<R>(&self, change: impl FnOnce(&mut State) -> R) -> R {
        let result = change(&mut self.0.state.lock().unwrap());
        self.0.changed.send_modify(|number| *number += 1);
        result
    }

    /// The pod of this name.
    pub fn pod(&self, name: &str) -> Option<Value> {
        self.0.state.lock().unwrap().pods.get(name).cloned()
    }

    /// Its `status`.
    pub fn status(&self, name: &str) -> Value {
        self.pod(name).map(|mut pod| pod["status"].take()).unwrap_or_default()
    }

    /// Makes or replaces a pod.
    pub fn put(&self, pod: Value) {
        self.change(|state| state.put(pod));
    }

    /// Changes a pod.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut Value)) {
        let mut pod = self.pod(name).unwrap();
        edit(&mut pod);
        self.put(pod);
    }

    /// Somebody asks for its deletion.
    pub fn delete(&self, name: &str) {
        self.edit(name, |pod| {
            pod["metadata"]["deletionTimestamp"] = "2026-01-01T00:01:00Z".into();
            pod["metadata"]["deletionGracePeriodSeconds"] = 30.into();
        });
    }

    /// It is deleted by force.
    pub fn remove(&self, name: &str) {
        self.change(|state| state.remove(name));
    }

    /// Deletes it by force while all watches are broken; what happened before is not known any more.
    pub fn remove_unseen(&self, name: &str) {
        self.change(|state| {
            state.remove(name);
            state.events.clear();
            state.version += 1;
            state.breaks += 1;
        });
    }

    /// Evictions are refused from now on.
    pub fn guard(&self) {
        self.change(|state| state.is_guarded = true);
    }

    /// Requests to it.
    pub fn api(&self) -> (Api, Log) {
        let own = self.clone();
        fake::api(move |asked| own.answer(asked))
    }

    fn answer(&self, asked: &Asked) -> Reply {
        let path = asked.path.split('?').next().unwrap_or_default();
        match (&asked.method, path) {
            (&Method::GET, "/api/v1/pods") if asked.watches() => self.watch(asked),
            (&Method::GET, "/api/v1/pods") => {
                let state = self.0.state.lock().unwrap();
                let items: Vec<&Value> = state.pods.values().collect();
                let list = json!({ "metadata": { "resourceVersion": state.version.to_string() }, "items": items });
                (200, list).into()
            }
            (&Method::POST, path) if path.ends_with("/events") => (201, json!({ "metadata": { "name": "e" } })).into(),
            (method, path) => match path.strip_prefix(PODS) {
                Some(rest) => self.answer_pod(method, rest, &asked.body),
                None if asked.watches() => (200, json!([])).into(),
                None if *method == Method::GET => fake::list(&[]).into(),
                None => fake::error(404, "NotFound", path).into(),
            },
        }
    }

    fn answer_pod(&self, method: &Method, rest: &str, body: &Value) -> Reply {
        let (name, of) = rest.split_once('/').unwrap_or((rest, ""));
        let Some(pod) = self.pod(name) else { return fake::error(404, "NotFound", name).into() };
        let wanted =
            [&body["metadata"]["uid"], &body["preconditions"]["uid"], &body["deleteOptions"]["preconditions"]["uid"]];
        if wanted.into_iter().any(|uid| !uid.is_null() && *uid != pod["metadata"]["uid"]) {
            return fake::error(409, "Conflict", "the UID is another").into();
        }
        match (method, of) {
            (&Method::PATCH, "status") => {
                self.edit(name, |pod| merge::apply(pod, body));
                (200, self.pod(name).unwrap()).into()
            }
            (&Method::DELETE, "") => {
                self.remove(name);
                (200, json!({})).into()
            }
            (&Method::POST, "eviction") if self.0.state.lock().unwrap().is_guarded => {
                fake::error(429, "TooManyRequests", "it would violate the pod's disruption budget").into()
            }
            (&Method::POST, "eviction") => {
                self.delete(name);
                (201, json!({})).into()
            }
            _ => fake::error(405, "MethodNotAllowed", rest).into(),
        }
    }

    fn watch(&self, asked: &Asked) -> Reply {
        let from = asked.path.split_once("resourceVersion=").unwrap().1;
        let from: u64 = from.split('&').next().unwrap().parse().unwrap();
        let breaks = {
            let state = self.0.state.lock().unwrap();
            let first = state.events.first().map_or(state.version, |(version, _)| version - 1);
            if from < first {
                return fake::error(410, "Expired", "too old resource version").into();
            }
            state.breaks
        };
        let (own, changes) = (self.clone(), self.0.changed.subscribe());
        let lines = futures::stream::unfold((own, changes, from), move |(own, mut changes, from)| async move {
            loop {
                changes.mark_unchanged();
                {
                    let state = own.0.state.lock().unwrap();
                    if state.breaks != breaks {
                        return None;
                    }
                    if let Some((version, line)) = state.events.iter().find(|(version, _)| *version > from) {
                        let (version, line) = (*version, line.clone());
                        drop(state);
                        return Some((line, (own, changes, version)));
                    }
                }
                changes.changed().await.ok()?;
            }
        });
        Reply::Lines(lines.boxed())
    }
}

impl State {
    fn happened(&mut self, kind: &str, mut pod: Value) -> Value {
        self.version += 1;
        pod["metadata"]["resourceVersion"] = self.version.to_string().into();
        self.events.push((self.version, json!({ "type": kind, "object": pod })));
        pod
    }

    fn put(&mut self, pod: Value) {
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        let kind = if self.pods.contains_key(&name) { "MODIFIED" } else { "ADDED" };
        let pod = self.happened(kind, pod);
        self.pods.insert(name, pod);
    }

    fn remove(&mut self, name: &str) {
        if let Some(pod) = self.pods.remove(name) {
            self.happened("DELETED", pod);
        }
    }
}
