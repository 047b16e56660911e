//! The ConfigMaps and Secrets that this node's pods refer to, and no others.
//!
//! Each is watched by its name as soon as a pod refers to it, whichever pods share it, and dropped with the last of them.
//! An object that is immutable is read once. So a node identity under the Node authorizer may read all that is asked for,
//! and nothing is ever asked for that no pod refers to. When one changes, the pods that refer to it are told.
//! That authorizer may hear of a binding after us: a refusal counts from [`RIGHTS_ARRIVE`] on.
//!
//! Cost: one watch an object, all on the same connection. Values of Secrets are wiped from memory when they are dropped.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use provider::PodKey;
use tokio::sync::watch;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::api::{Api, Event, RIGHTS_ARRIVE, Watch};

/// How long a pod waits for an object that was never read before.
const FIRST_READ: Duration = Duration::from_secs(10);

/// What kind of object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum ReferenceKind {
    ConfigMap,
    Secret,
}

impl ReferenceKind {
    const fn path(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmaps",
            Self::Secret => "secrets",
        }
    }

    /// As messages name it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ConfigMap => "configmap",
            Self::Secret => "secret",
        }
    }
}

/// An object's content.
#[derive(Debug, Default)]
pub(crate) struct Content {
    /// `metadata.resourceVersion`: changes with the content.
    pub version: String,
    /// A Secret's `type`.
    pub kind: String,
    /// `data`; of a Secret, decoded.
    pub data: BTreeMap<String, Zeroizing<Vec<u8>>>,
    /// A ConfigMap's `binaryData`, decoded.
    pub binary: BTreeMap<String, Vec<u8>>,
    /// Never changes.
    pub immutable: bool,
}

/// What is known of an object.
#[derive(Clone, Debug)]
enum State {
    Unread,
    Absent,
    Present(Arc<Content>),
    Failed(String),
}

struct Slot {
    state: watch::Sender<State>,
    users: Mutex<BTreeSet<Arc<str>>>,
    watching: Mutex<Option<tokio::task::AbortHandle>>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.lock().unwrap_or_else(PoisonError::into_inner).take() {
            watching.abort();
        }
    }
}

type Name = (ReferenceKind, Arc<str>, String);

/// Called with the UIDs of the pods that refer to what changed.
pub(crate) type Changed = Box<dyn Fn(Vec<Arc<str>>) + Send + Sync>;

/// The objects that pods refer to.
pub(crate) struct References {
    api: Api,
    slots: Mutex<HashMap<Name, Arc<Slot>>>,
    changed: Arc<Changed>,
}

impl References {
    /// None yet.
    pub fn new(api: Api, changed: Changed) -> Self {
        Self { api, slots: Mutex::default(), changed: Arc::new(changed) }
    }

    /// An object of the pod's namespace; none: it does not exist.
    pub async fn get(&self, pod: &PodKey, kind: ReferenceKind, name: &str) -> Result<Option<Arc<Content>>, String> {
        let slot = self.slot(pod, kind, name);
        let mut state = slot.state.subscribe();
        let known = tokio::time::timeout(FIRST_READ, state.wait_for(|state| !matches!(state, State::Unread))).await;
        let failed = |reason: &str| format!("{} {name:?} can't be read: {reason}", kind.word());
        match known {
            Ok(Ok(state)) => match &*state {
                State::Present(content) => Ok(Some(content.clone())),
                State::Absent => Ok(None),
                State::Failed(reason) => Err(failed(reason)),
                State::Unread => Err(failed("it was not read")),
            },
            Ok(Err(_)) => Err(failed("it was dropped")),
            Err(_) => Err(failed(&format!("no answer within {} s", FIRST_READ.as_secs()))),
        }
    }

    /// The pod is gone: what only it referred to is dropped.
    pub fn release(&self, uid: &Arc<str>) {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        slots.retain(|_, slot| {
            let mut users = slot.users.lock().unwrap_or_else(PoisonError::into_inner);
            users.remove(uid);
            !users.is_empty()
        });
    }

    fn slot(&self, pod: &PodKey, kind: ReferenceKind, name: &str) -> Arc<Slot> {
        let full: Name = (kind, pod.namespace.clone(), name.to_owned());
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.entry(full).or_insert_with(|| self.watch(kind, &pod.namespace, name)).clone();
        slot.users.lock().unwrap_or_else(PoisonError::into_inner).insert(pod.uid.clone());
        slot
    }

    fn watch(&self, kind: ReferenceKind, namespace: &str, name: &str) -> Arc<Slot> {
        let slot = Arc::new(Slot {
            state: watch::Sender::new(State::Unread),
            users: Mutex::default(),
            watching: Mutex::default(),
        });
        let watch = Watch {
            path: format!("/api/v1/namespaces/{namespace}/{}", kind.path()),
            field_selector: format!("metadata.name={name}"),
            is_busy: false,
        };
        let observer = Observer { slot: Arc::downgrade(&slot), changed: self.changed.clone(), began: Instant::now() };
        let api = self.api.clone();
        let running = tokio::spawn(async move {
            match kind {
                ReferenceKind::ConfigMap => observer.run(api, watch, |own: &ConfigMap| own.into()).await,
                ReferenceKind::Secret => observer.run(api, watch, |own: &Secret| own.into()).await,
            }
        });
        *slot.watching.lock().unwrap_or_else(PoisonError::into_inner) = Some(running.abort_handle());
        slot
    }
}

/// Keeps one slot's state.
struct Observer {
    slot: std::sync::Weak<Slot>,
    changed: Arc<Changed>,
    began: Instant,
}

impl Observer {
    async fn run<T>(self, api: Api, watch: Watch, content: impl Fn(&T) -> Content)
    where
        T: for<'de> serde::Deserialize<'de>,
    {
        let mut listed = None;
        let immutable = Arc::new(tokio::sync::Notify::new());
        let stop = immutable.clone();
        let running = watch.run::<Box<T>>(api, move |event| match event {
            Event::Listing => listed = Some(State::Absent),
            Event::Applied(object) => {
                let content = content(&object);
                if content.immutable {
                    // There is nothing to watch any more.
                    stop.notify_one();
                }
                let state = State::Present(Arc::new(content));
                match &mut listed {
                    Some(listed) => *listed = state,
                    None => self.set(state),
                }
            }
            Event::Deleted(_) => self.set(State::Absent),
            Event::Listed => {
                if let Some(state) = listed.take() {
                    self.set(state);
                }
            }
            Event::Failed(error) if error.is_forbidden() && self.began.elapsed() < RIGHTS_ARRIVE => {}
            Event::Failed(error) => self.fail(&error.to_string()),
        });
        tokio::select! {
            () = running => {}
            () = immutable.notified() => {}
        }
    }

    fn set(&self, new: State) {
        let Some(slot) = self.slot.upgrade() else { return };
        let mut first = false;
        let changed = slot.state.send_if_modified(|state| {
            let same = match (&*state, &new) {
                (State::Present(old), State::Present(new)) => old.version == new.version,
                (State::Absent, State::Absent) => true,
                _ => false,
            };
            first = matches!(state, State::Unread);
            if !same {
                *state = new;
            }
            !same
        });
        // Who asked first waits for it, and need not be told.
        if changed && !first {
            let users = slot.users.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
            (self.changed)(users);
        }
    }

    /// What was read stays; only who has nothing yet hears of it.
    fn fail(&self, reason: &str) {
        let Some(slot) = self.slot.upgrade() else { return };
        slot.state.send_if_modified(|state| {
            let nothing_yet = matches!(state, State::Unread | State::Failed(_));
            if nothing_yet {
                *state = State::Failed(reason.to_owned());
            }
            nothing_yet
        });
    }
}

impl From<&ConfigMap> for Content {
    fn from(own: &ConfigMap) -> Self {
        let data = own.data.iter().flatten();
        Self {
            version: own.metadata.resource_version.clone().unwrap_or_default(),
            kind: String::new(),
            data: data.map(|(key, value)| (key.clone(), Zeroizing::new(value.clone().into_bytes()))).collect(),
            binary: own.binary_data.iter().flatten().map(|(key, value)| (key.clone(), value.0.clone())).collect(),
            immutable: own.immutable == Some(true),
        }
    }
}

impl From<&Secret> for Content {
    fn from(own: &Secret) -> Self {
        let data = own.data.iter().flatten();
        Self {
            version: own.metadata.resource_version.clone().unwrap_or_default(),
            kind: own.type_.clone().unwrap_or_default(),
            data: data.map(|(key, value)| (key.clone(), Zeroizing::new(value.0.clone()))).collect(),
            binary: BTreeMap::new(),
            immutable: own.immutable == Some(true),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use serde_json::json;

    use super::*;
    use crate::api::fake;

    async fn read_refused(times: u64) -> Result<Option<Arc<Content>>, String> {
        let asked = AtomicU64::new(0);
        let (api, _log) = fake::api(move |own| match own.watches() {
            true => (200, json!([])),
            false if asked.fetch_add(1, Ordering::Relaxed) < times => {
                fake::error(403, "Forbidden", "no relationship found between node 'n' and this object")
            }
            false => fake::list(&[json!({ "metadata": { "resourceVersion": "1" }, "data": { "a": "b" } })]),
        });
        let references = References::new(api, Box::new(|_| {}));
        references.get(&PodKey::new("u", "default", "web"), ReferenceKind::ConfigMap, "own").await
    }

    #[tokio::test(start_paused = true)]
    async fn rights_that_come_a_moment_after_the_binding_are_waited_for() {
        let content = read_refused(3).await.unwrap().unwrap();
        assert_eq!(content.data["a"].as_slice(), b"b");
    }

    #[tokio::test(start_paused = true)]
    async fn rights_that_do_not_come_are_an_error() {
        let began = Instant::now();
        let error = read_refused(u64::MAX).await.unwrap_err();
        assert!(error.contains("configmap \"own\" can't be read") && error.contains("no relationship"), "{error}");
        assert!(began.elapsed() >= RIGHTS_ARRIVE && began.elapsed() < FIRST_READ, "{:?}", began.elapsed());
    }
}
