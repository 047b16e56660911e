//! New contents for the files of pods that run, when what they were made of changes: ConfigMaps, Secrets, trust bundles,
//! labels and annotations, and ServiceAccount tokens that want to be replaced.
//!
//! Who learns of a change says so ([`Deliveries::changed`]); changes are gathered for [`GATHER`], then the pod's files are
//! resolved anew, and each volume that differs from what the backend was given is replaced through the provider's export
//! `files`. Nothing is asked of the provider, and nothing written, where nothing differs. As with the kubelet, environment
//! variables and what a container mounts by `subPath` stay as they are until a container is made anew, and immutable objects
//! are never read twice. What fails is tried again after [`FIRST_PAUSE`] doubling to [`LONGEST_PAUSE`], a fifth of it at
//! random, pod by pod, and is told once; the files stay as they were. A provider that can't replace files is said on the
//! pod at its first change.
//!
//! After a start of the runtime it is not known what the pods that already run were given: each gets its files once more,
//! spread over [`SPREAD`], from a provider that can replace them; what it can't replace is not followed.
//!
//! Bound: [`AT_ONCE`] pods at once. Cost: a hash a volume; one task for all pods, and nothing that polls.

mod due;
mod given;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pod_worker::observation::{ObjectState, Observation};
use provider::{Code, Error, File, OriginKind, PodKey, PodRef, Volume};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::due::Due;
use self::given::{Given, Print};
use super::Shared;
use super::index::Cell;
use crate::events::PodEvent;
use crate::record::Record;
use crate::resolve::Unresolved;

const GATHER: Duration = Duration::from_secs(1);
const SPREAD: Duration = Duration::from_secs(30);
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
const AT_ONCE: usize = 16;

/// A pod to be looked at, and when.
type Ask = (Arc<str>, Instant);
pub(super) type Asks = mpsc::UnboundedReceiver<Ask>;

/// What pods' files were, and which are to be looked at.
pub(crate) struct Deliveries {
    given: Mutex<HashMap<Arc<str>, Given>>,
    /// Pods of which something changed before they were given anything: what they are being made of may be older. Locked
    /// after `given`.
    early: Mutex<HashSet<Arc<str>>>,
    /// Taken out at once: see [`run`].
    asks: mpsc::UnboundedSender<Ask>,
    hashes: RandomState,
}

impl Deliveries {
    pub fn new() -> (Arc<Self>, Asks) {
        let (asks, asked) = mpsc::unbounded_channel();
        (Arc::new(Self { given: Mutex::default(), early: Mutex::default(), asks, hashes: RandomState::new() }), asked)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Given>> {
        self.given.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn early(&self) -> MutexGuard<'_, HashSet<Arc<str>>> {
        self.early.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has a pod's files looked at, at this time at the latest.
    pub fn look_at(&self, uid: &Arc<str>, at: Instant) {
        // Fails only when the controller is being dropped.
        let _ = self.asks.send((uid.clone(), at));
    }

    /// Something changed that the files of these pods may be made of.
    pub fn changed(&self, pods: &[Arc<str>]) {
        let at = Instant::now() + GATHER;
        pods.iter().for_each(|uid| self.look_at(uid, at));
    }

    /// The backend runs this pod, which the API server has.
    pub fn found(&self, uid: &Arc<str>) {
        if !self.lock().contains_key(uid) {
            self.look_at(uid, Instant::now() + SPREAD.mul_f64(fastrand::f64()));
        }
    }

    /// The backend is asked to make the pod with these volumes; [`Deliveries::given`] is to follow.
    pub async fn giving(&self, pod: &PodKey, attempt: u32, volumes: &[Volume]) {
        let mut prints = Vec::new();
        for volume in volumes {
            if let Volume::Files { name, files } = volume {
                prints.push((name.as_str().into(), self.print(files).await.ok()));
            }
        }
        if !prints.is_empty() {
            let mut given = self.lock();
            let early = self.early().remove(&pod.uid);
            given.entry(pod.uid.clone()).or_default().giving(attempt, prints, early);
        }
    }

    /// It has them, or the call failed.
    pub fn given(&self, uid: &Arc<str>) {
        if self.lock().get_mut(uid).is_some_and(Given::given) {
            self.changed(std::slice::from_ref(uid));
        }
    }

    /// The pod is gone.
    pub fn forget(&self, uid: &str) {
        let mut given = self.lock();
        given.remove(uid);
        self.early().remove(uid);
    }

    async fn print(&self, files: &[File]) -> Result<Print, Error> {
        let mut hasher = self.hashes.build_hasher();
        for file in files {
            (&file.path, file.mode, file.user, file.group).hash(&mut hasher);
            match file.origin.kind {
                // It is not asked for before somebody wants it.
                OriginKind::Token => file.content.version().hash(&mut hasher),
                _ => file.content.read().await?.hash(&mut hasher),
            }
        }
        Ok(hasher.finish())
    }

    fn with<T>(&self, uid: &str, then: impl FnOnce(&mut Given) -> T) -> Option<T> {
        self.lock().get_mut(uid).map(then)
    }
}

/// The API server has this of a pod, which is not known yet.
pub(super) fn applied(shared: &Shared, record: &Record) {
    // The files of one that is ended don't matter any more.
    if record.deletion_grace.is_some() {
        return;
    }
    let Some(cell) = shared.index.cell(&record.key.uid) else { return };
    let core = cell.core();
    match core.record() {
        Some(known) if !known.same_but_for_status(record) => {
            shared.deliveries.changed(std::slice::from_ref(&record.key.uid));
        }
        None if core.seen().and_then(Observation::object).is_some() => shared.deliveries.found(&record.key.uid),
        _ => {}
    }
}

/// Looks at pods whose time has come, for ever.
pub(super) async fn run(shared: Arc<Shared>, mut asks: Asks) {
    let mut due = Due::default();
    let mut looking: JoinSet<(Arc<str>, Option<Instant>)> = JoinSet::new();
    loop {
        let next = due.next().filter(|_| looking.len() < AT_ONCE);
        tokio::select! {
            asked = asks.recv() => {
                let Some((uid, at)) = asked else { return };
                due.ask(uid, at);
            }
            Some(Ok((uid, again))) = looking.join_next(), if !looking.is_empty() => due.done(uid, again),
            () = tokio::time::sleep_until(next.unwrap_or_else(Instant::now)), if next.is_some() => {
                if let Some(uid) = due.take(Instant::now()) {
                    let shared = shared.clone();
                    looking.spawn(async move {
                        let again = look(&shared, &uid).await;
                        (uid, again)
                    });
                }
            }
        }
    }
}

/// How a pod stands at the backend.
enum Standing {
    There(Arc<Record>, PodRef),
    /// It will be made, or made again.
    NotThere,
    /// Its files don't matter any more.
    Over,
}

fn standing(cell: &Cell) -> Standing {
    let core = cell.core();
    let Some(record) = core.record().filter(|record| !record.finished) else { return Standing::Over };
    if core.delete_by.is_some() || core.verdict.is_some() {
        return Standing::Over;
    }
    match core.seen().and_then(Observation::object).map(|object| object.state) {
        Some(
            ObjectState::Queued
            | ObjectState::Starting
            | ObjectState::Running
            | ObjectState::Suspended
            | ObjectState::Unknown,
        ) => Standing::There(record.clone(), core.reference()),
        _ => Standing::NotThere,
    }
}

/// Why a volume was not replaced.
enum Failed {
    /// Tried again.
    ForNow { message: String, retry_after: Option<Duration> },
    /// Not before it changes again.
    ForGood(PodEvent),
}

impl Failed {
    fn for_now(volume: &str, error: &Error) -> Self {
        Self::ForNow { message: failed_mount(volume, error), retry_after: error.retry_after }
    }

    fn not_replaced(volume: &str, why: &str) -> Self {
        let message =
            format!("volume {volume:?}: what its files are made of has changed, but they stay as they are: {why}");
        Self::ForGood(PodEvent::warning("FilesNotUpdated", message))
    }
}

fn failed_mount(volume: &str, error: &Error) -> String {
    format!("MountVolume.SetUp failed for volume {volume:?} : {error}")
}

/// Replaces what differs; returns when to look again.
async fn look(shared: &Shared, uid: &Arc<str>) -> Option<Instant> {
    let cell = shared.index.cell(uid)?;
    let deliveries = &shared.deliveries;
    let (record, pod) = match standing(&cell) {
        Standing::There(record, pod) => (record, pod),
        Standing::NotThere => {
            let mut given = deliveries.lock();
            let failures = given.get_mut(uid).map(Given::failed);
            if failures.is_none() {
                deliveries.early().insert(uid.clone());
            }
            return failures.map(|failures| Instant::now() + pause(failures));
        }
        Standing::Over => return None,
    };
    match deliveries.with(uid, Given::may_be_replaced) {
        Some(true) => {}
        Some(false) => return None,
        None if shared.provider.files().is_none() => return None,
        None => {
            deliveries.lock().insert(uid.clone(), Given::unknown(pod.attempt));
        }
    }
    let parsed = record.parse().ok()?;
    let volumes = shared.resolver.files_of(&record.key, &parsed, &shared.facts()).await;
    if volumes.is_empty() {
        deliveries.forget(uid);
        return None;
    }
    let (mut clean, mut failed, mut retry_after) = (true, false, None);
    for (volume, files) in volumes {
        let event = match replace(shared, &pod, &volume, files).await {
            Ok(()) => continue,
            Err(Failed::ForGood(event)) => event,
            Err(Failed::ForNow { message, retry_after: after }) => {
                retry_after = retry_after.max(after);
                failed = true;
                PodEvent::warning("FailedMount", message)
            }
        };
        clean = false;
        if deliveries.with(uid, |given| given.tells(&event.message)) == Some(true) {
            shared.recorder.pod(&record.key, event);
        }
    }
    let refresh = shared.resolver.tokens.next_refresh(uid).filter(|at| *at > Instant::now());
    if !failed {
        deliveries.with(uid, |given| given.settled(clean));
        return refresh;
    }
    let failures = deliveries.with(uid, Given::failed)?;
    let again = Instant::now() + retry_after.unwrap_or_else(|| pause(failures));
    Some(refresh.map_or(again, |refresh| refresh.min(again)))
}

async fn replace(
    shared: &Shared,
    pod: &PodRef,
    volume: &str,
    files: Result<Vec<File>, Unresolved>,
) -> Result<(), Failed> {
    let (deliveries, uid) = (&shared.deliveries, &pod.key.uid);
    let failed = |error: Error| Failed::for_now(volume, &error);
    let files = files.map_err(|unresolved| Failed::ForNow { message: unresolved.message, retry_after: None })?;
    let print = deliveries.print(&files).await.map_err(failed)?;
    if deliveries.with(uid, |given| given.is_stale(volume, print)) != Some(true) {
        return Ok(());
    }
    let Some(export) = shared.provider.files() else {
        return Err(Failed::not_replaced(volume, "this node's provider can't replace files of a pod that runs"));
    };
    // A token that can't be had is no failure of the provider's.
    for token in files.iter().filter(|file| file.origin.kind == OriginKind::Token) {
        token.content.read().await.map_err(failed)?;
    }
    shared.gate.pass("files.update").await;
    let result = export.update(pod.clone(), volume.to_owned(), files).await;
    shared.gate.note("files.update", &result);
    let failed = match result {
        Ok(()) => None,
        Err(error) => Some(match error.code {
            Code::Unsupported => Failed::not_replaced(volume, &error.message),
            Code::Invalid | Code::Denied => {
                Failed::ForGood(PodEvent::warning("FailedMount", failed_mount(volume, &error)))
            }
            _ => return Err(failed(error)),
        }),
    };
    deliveries.with(uid, |given| given.replaced(pod.attempt, volume, print));
    failed.map_or(Ok(()), Err)
}

fn pause(failures: u32) -> Duration {
    let pause = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(12))).min(LONGEST_PAUSE);
    pause.mul_f64(0.8 + fastrand::f64() * 0.4)
}

#[cfg(test)]
mod tests;
