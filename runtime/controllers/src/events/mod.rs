//! Kubernetes Events on pods and on the Node.
//!
//! As client-go's recorder has it: Events that are the same, or similar, are counted up instead of made anew
//! (`correlate`), and one source on one object may tell [`BURST`] at once and then one in [`REFILL`]. Events are of low
//! priority: they are written one after another and give way to pods' statuses, for [`GIVES_WAY`] each; at most [`QUEUE`]
//! wait, and what is over that is dropped and counted. Nothing waits for them.

mod correlate;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use provider::PodKey;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::Instant;

use self::correlate::{Correlator, Key};
use crate::api::{Api, Patch};
use crate::clock;

const QUEUE: usize = 10_000;
/// How long an Event gives way to what is more urgent.
const GIVES_WAY: Duration = Duration::from_secs(1);
/// Events of one object at once.
const BURST: f64 = 25.0;
/// Then one in this time.
const REFILL: Duration = Duration::from_secs(300);
/// Objects remembered.
const REMEMBERED: usize = 4_096;
/// Longest message (Kubernetes' own bound).
const MAX_MESSAGE: usize = 1_024;

/// What an Event says.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PodEvent {
    /// `Warning`, not `Normal`.
    pub warning: bool,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// `spec.containers{app}`; empty: the pod as a whole.
    pub field_path: String,
}

impl PodEvent {
    /// A warning about the pod as a whole.
    pub fn warning(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { warning: true, reason: reason.into(), message: message.into(), field_path: String::new() }
    }
}

/// What an Event is on.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Object {
    Pod(PodKey),
    Node(Arc<str>, Arc<str>),
}

struct Told {
    object: Object,
    event: PodEvent,
    at: Timestamp,
}

/// Tells Events under one node's name. Cheap to clone.
#[derive(Clone)]
pub struct Recorder {
    queue: mpsc::Sender<Told>,
    dropped: Arc<AtomicU64>,
    buckets: Arc<Mutex<HashMap<Object, Bucket>>>,
}

struct Bucket {
    tokens: f64,
    at: Instant,
}

impl Recorder {
    /// A recorder, and its writer to be run.
    pub(crate) fn new(api: Api, node: &str) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (queue, told) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let writer = Writer { api, node: node.to_owned(), correlator: Correlator::default(), dropped: dropped.clone() };
        (Self { queue, dropped, buckets: Arc::default() }, writer.run(told))
    }

    /// Tells of a pod.
    pub fn pod(&self, pod: &PodKey, event: PodEvent) {
        self.tell(Object::Pod(pod.clone()), event, None);
    }

    /// Tells of a pod what happened before.
    pub fn pod_at(&self, pod: &PodKey, event: PodEvent, at: Option<Timestamp>) {
        self.tell(Object::Pod(pod.clone()), event, at);
    }

    /// Tells of the Node; its UID may be unknown.
    pub fn node(&self, name: &str, uid: &str, event: PodEvent) {
        self.tell(Object::Node(name.into(), uid.into()), event, None);
    }

    fn tell(&self, object: Object, mut event: PodEvent, at: Option<Timestamp>) {
        if event.message.len() > MAX_MESSAGE {
            let at = (0..=MAX_MESSAGE).rev().find(|at| event.message.is_char_boundary(*at)).unwrap_or(0);
            event.message.truncate(at);
        }
        let now = clock::now();
        let told = Told { object, event, at: at.unwrap_or(now).min(now) };
        if !self.may_tell(&told.object) || self.queue.try_send(told).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn may_tell(&self, object: &Object) -> bool {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if buckets.len() > REMEMBERED {
            buckets.retain(|_, bucket| now.duration_since(bucket.at) < REFILL);
        }
        let bucket = buckets.entry(object.clone()).or_insert(Bucket { tokens: BURST, at: now });
        let earned = now.duration_since(bucket.at).as_secs_f64() / REFILL.as_secs_f64();
        bucket.tokens = (bucket.tokens + earned).min(BURST);
        bucket.at = now;
        let may = bucket.tokens >= 1.0;
        if may {
            bucket.tokens -= 1.0;
        }
        may
    }

    /// How many were not told.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

struct Writer {
    api: Api,
    node: String,
    correlator: Correlator,
    dropped: Arc<AtomicU64>,
}

impl Writer {
    async fn run(mut self, mut told: mpsc::Receiver<Told>) {
        while let Some(one) = told.recv().await {
            self.api.give_way(GIVES_WAY).await;
            if let Err(error) = self.write(one).await {
                self.dropped.fetch_add(1, Ordering::Relaxed);
                tracing::debug!(%error, "an Event can't be written");
            }
        }
    }

    async fn write(&mut self, told: Told) -> Result<(), crate::ApiError> {
        let Told { object, event, at } = told;
        let now = Instant::now();
        let correlated = self.correlator.correlate(object, event, now);
        let (key, message) = (correlated.key, correlated.message);
        if let Some(known) = self.correlator.count_up(&key, now) {
            let path = format!("/api/v1/namespaces/{}/events/{}", known.namespace, known.name);
            let change = json!({ "count": known.count, "lastTimestamp": seconds(at), "message": message });
            match self.api.patch(&path, Patch::Strategic, &change).await {
                Err(error) if error.is_not_found() => {}
                other => return other,
            }
        }
        let (name, namespace, body) = self.body(&key, &message, at);
        self.api.post(&format!("/api/v1/namespaces/{namespace}/events"), &body).await?;
        self.correlator.written(key, name, namespace, now);
        Ok(())
    }

    fn body(&self, (object, event): &Key, message: &str, at: Timestamp) -> (String, String, Value) {
        let (namespace, involved) = match object {
            Object::Pod(pod) => {
                let mut involved = json!({
                    "apiVersion": "v1", "kind": "Pod", "namespace": &*pod.namespace, "name": &*pod.name, "uid": &*pod.uid,
                });
                if !event.field_path.is_empty() {
                    involved["fieldPath"] = event.field_path.clone().into();
                }
                (pod.namespace.to_string(), involved)
            }
            Object::Node(name, uid) => {
                ("default".to_owned(), json!({ "kind": "Node", "name": &**name, "uid": &**uid, "apiVersion": "v1" }))
            }
        };
        let owner = involved["name"].as_str().unwrap_or_default();
        // Of now: what is told late may have happened within one second.
        let name = format!("{owner}.{:x}", clock::now().as_nanosecond());
        let time = seconds(at);
        let body = json!({
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": { "name": name, "namespace": namespace },
            "involvedObject": involved,
            "reason": event.reason,
            "message": message,
            "type": if event.warning { "Warning" } else { "Normal" },
            "count": 1,
            "firstTimestamp": time,
            "lastTimestamp": time,
            "source": { "component": "kubelet", "host": self.node },
            "reportingComponent": "kubelet",
            "reportingInstance": self.node,
        });
        (name, namespace, body)
    }
}

fn seconds(at: Timestamp) -> String {
    Timestamp::from_second(at.as_second()).unwrap_or(at).to_string()
}

#[cfg(test)]
mod tests;
