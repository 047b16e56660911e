//! Asks the backend what it has: all of it now and then, some pods when that is wished or while they change, and whatever it
//! tells by itself.
//!
//! Default: a list every 30 s, and every second a look at the pods that change, or at all of them where a quarter does; where
//! the provider pushes, every 5 minutes and every 30 s. Wishes for single pods are gathered for [`GATHER`] and asked for
//! together. A list that is incomplete, or fails, never reads as "gone".

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use pod_worker::observation::{ObjectState, Observation, Phase};
use provider::{Change, Error, Kind, PodRef, PodState, Snapshot};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::Shared;
use super::index::{Cell, Index};
use super::observe;
use crate::record;
use crate::resolve::NodeFacts;

const INTERVAL: Duration = Duration::from_secs(30);
const BUSY_INTERVAL: Duration = Duration::from_secs(1);
const WATCHED_INTERVAL: Duration = Duration::from_secs(300);
const WATCHED_BUSY_INTERVAL: Duration = Duration::from_secs(30);
/// How long a pod is taken for changing after the last thing was done to it.
const BUSY_FOR: Duration = Duration::from_secs(5);
/// The next look begins after this many times what the last one took, so that thousands of pods cost no more than a tenth
/// of the time; but not more than [`INTERVAL`] after it.
const SHARE: u32 = 10;
/// One in so many pods changes: all are listed.
const MANY: usize = 4;
const GATHER: Duration = Duration::from_millis(5);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// For how long a pod is taken for changing whatever it looks like: until then, and until a look has begun after this one.
#[derive(Clone, Copy)]
struct Moving {
    until: Instant,
    look: u64,
}

/// What is wished of the observer.
pub(crate) struct Wishes {
    pods: Mutex<BTreeSet<Arc<str>>>,
    refresh: Notify,
    list: Notify,
    watched: AtomicBool,
    /// Pods that change.
    moving: Mutex<BTreeMap<Arc<str>, Moving>>,
    moves: Notify,
    looks: AtomicU64,
}

impl Default for Wishes {
    fn default() -> Self {
        Self {
            pods: Mutex::default(),
            refresh: Notify::new(),
            list: Notify::new(),
            watched: AtomicBool::new(false),
            moving: Mutex::default(),
            moves: Notify::new(),
            looks: AtomicU64::new(0),
        }
    }
}

impl Wishes {
    /// Asks for one pod.
    pub fn refresh(&self, uid: Arc<str>) {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner).insert(uid);
        self.refresh.notify_one();
    }

    /// Asks for all.
    pub fn list(&self) {
        self.list.notify_one();
    }

    /// Something was done to this pod: its state will change.
    pub fn acted(&self, uid: Arc<str>) {
        let moving = Moving { until: Instant::now() + BUSY_FOR, look: self.last_look() };
        self.moving().insert(uid, moving);
        self.moves.notify_one();
    }

    /// This pod is on its way to be something else.
    fn is_unsettled(&self, uid: Arc<str>) {
        self.moving().entry(uid).or_insert_with(|| Moving { until: Instant::now(), look: 0 });
        self.moves.notify_one();
    }

    fn moving(&self) -> MutexGuard<'_, BTreeMap<Arc<str>, Moving>> {
        self.moving.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pods that change.
    fn pods_that_move(&self, index: &Index) -> Vec<Arc<Cell>> {
        let (now, mut cells) = (Instant::now(), Vec::new());
        // Nobody waits for this lock with a pod's own at hand, nor the other way round.
        let all: Vec<(Arc<str>, Moving)> = self.moving().iter().map(|(uid, own)| (uid.clone(), *own)).collect();
        for (uid, Moving { until, look }) in all {
            let cell = index.cell(&uid);
            let moves = cell.as_ref().is_some_and(|cell| {
                let core = cell.core();
                match core.seen() {
                    Some(seen) if is_unsettled(seen) => true,
                    Some(seen) if has_stopped(seen) => false,
                    Some(seen) if core.is_to_end() && has_anything(seen) => true,
                    _ => until > now || self.last_look() <= look,
                }
            });
            if moves {
                cells.extend(cell);
                continue;
            }
            // Unless something was done to it meanwhile.
            let mut moving = self.moving();
            if moving.get(&uid).is_some_and(|own| own.until == until) {
                moving.remove(&uid);
            }
        }
        cells
    }

    /// Number of the last look that began.
    pub fn last_look(&self) -> u64 {
        self.looks.load(Ordering::Acquire)
    }

    /// A look at the backend begins; what it takes from now on may come too late for it.
    fn begins(&self) -> u64 {
        self.looks.fetch_add(1, Ordering::AcqRel) + 1
    }

    fn list_interval(&self, facts: &NodeFacts) -> Duration {
        let own = if self.watched.load(Ordering::Acquire) { WATCHED_INTERVAL } else { INTERVAL };
        facts.list_interval.unwrap_or(own)
    }

    fn busy_interval(&self, facts: &NodeFacts) -> Duration {
        let own = if self.watched.load(Ordering::Acquire) { WATCHED_BUSY_INTERVAL } else { BUSY_INTERVAL };
        facts.busy_list_interval.unwrap_or(own)
    }
}

fn pause(failures: u32) -> Duration {
    let longest = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(10))).min(LONGEST_PAUSE);
    longest.mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Lists, and looks at what changes in between, for ever.
pub(super) async fn list(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let began = Instant::now();
        let listed = list_once(&shared).await;
        let mut took = began.elapsed();
        if let Err(error) = listed {
            tracing::warn!(node = shared.settings.node, %error, "the backend can't be listed");
            failures += 1;
            let sleep = error.retry_after.unwrap_or_else(|| pause(failures));
            // Whatever changes: it would not be told now either.
            let _ = tokio::time::timeout(sleep, shared.observer.list.notified()).await;
            shared.observer.pods_that_move(&shared.index);
            continue;
        }
        failures = 0;
        record::rest();
        let next = Instant::now() + shared.observer.list_interval(&shared.facts()).max(cost(took));
        loop {
            let moving = tokio::select! {
                () = tokio::time::sleep_until(next) => break,
                () = shared.observer.list.notified() => break,
                moving = moving(&shared, took) => moving,
            };
            if moving.len() * MANY > shared.index.len() {
                break;
            }
            let began = Instant::now();
            look(&shared, &moving).await;
            took = began.elapsed();
        }
    }
}

/// How long nobody looks after a look that took so long.
fn cost(took: Duration) -> Duration {
    (took * SHARE).min(INTERVAL)
}

/// Waits until it is time to look again at pods that change, after a look that took so long.
async fn moving(shared: &Shared, took: Duration) -> Vec<Arc<Cell>> {
    loop {
        if shared.observer.pods_that_move(&shared.index).is_empty() {
            shared.observer.moves.notified().await;
        }
        tokio::time::sleep(shared.observer.busy_interval(&shared.facts()).max(cost(took))).await;
        let moving = shared.observer.pods_that_move(&shared.index);
        if !moving.is_empty() {
            return moving;
        }
    }
}

/// A list that is being read: of a page nothing is kept but who was named.
struct List {
    look: u64,
    /// By UID: as the pods were when it began.
    revisions: HashMap<Arc<str>, u32>,
    named: HashSet<Arc<str>>,
}

impl List {
    fn begin(shared: &Shared) -> Self {
        let look = shared.observer.begins();
        let revision = |cell: Arc<Cell>| {
            let core = cell.core();
            (core.key().uid.clone(), core.revision())
        };
        let revisions = shared.index.cells().into_iter().map(revision).collect();
        Self { look, revisions, named: HashSet::new() }
    }

    fn revision(&self, uid: &str) -> u32 {
        self.revisions.get(uid).copied().unwrap_or(0)
    }

    /// Takes over what a page says.
    fn page(&mut self, shared: &Shared, states: Vec<PodState>) {
        let context = shared.context();
        for (uid, states) in by_uid(states) {
            let Some(first) = states.first() else { continue };
            let cell = shared.index.cell_or_new(&first.key, &context);
            // What replaced it may be on another page.
            let latest = states.iter().map(|state| state.attempt).max();
            let known = cell.core().seen().and_then(Observation::object).map(|object| object.attempt);
            let is_all = self.named.insert(uid.clone()) && known <= latest;
            if is_all && cell.heard_of(self.look) {
                let revision = self.revision(&uid);
                see(shared, &cell, revision, |before, revision| observe::observation(&states, before, revision));
            }
            if !is_all || states.iter().any(|state| state.partial) {
                shared.observer.refresh(uid);
            }
        }
    }

    /// It was complete: what it did not name is gone.
    fn end(&self, shared: &Shared) {
        let is_whole = shared.context().is_whole;
        for cell in shared.index.cells() {
            let uid = cell.core().key().uid.clone();
            let had = !self.named.contains(&uid) && cell.core().seen().is_some_and(has_anything);
            if had && cell.heard_of(self.look) {
                let revision = self.revision(&uid);
                see(shared, &cell, revision, |before, revision| observe::gone(before, revision, is_whole));
            }
        }
    }
}

/// Reads all pages. What was read before an error counts; what was not does not read as gone.
async fn list_once(shared: &Shared) -> Result<(), Error> {
    let mut list = List::begin(shared);
    let (mut cursor, mut complete) = (None, true);
    loop {
        let page = page(shared, cursor).await?;
        complete &= page.complete;
        list.page(shared, page.pods);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    if complete {
        list.end(shared);
        if !shared.context().is_known {
            known(shared);
        }
    }
    Ok(())
}

fn by_uid(states: Vec<PodState>) -> HashMap<Arc<str>, Vec<PodState>> {
    let mut by_uid: HashMap<Arc<str>, Vec<PodState>> = HashMap::new();
    for state in states {
        by_uid.entry(state.key.uid.clone()).or_default().push(state);
    }
    by_uid
}

/// The backend was listed completely for the first time.
fn known(shared: &Shared) {
    shared.learn(|context| context.is_known = true);
    shared.desk.settle(shared, &HashSet::new());
    let replaces_files = shared.provider.files().is_some();
    for cell in shared.index.cells() {
        if replaces_files && cell.core().seen().is_some_and(has_anything) {
            let uid = cell.core().key().uid.clone();
            shared.deliveries.found(&uid);
        }
        shared.index.plan(&cell);
    }
}

async fn page(shared: &Shared, cursor: Option<String>) -> Result<Snapshot, Error> {
    match shared.provider.kind() {
        Kind::Pods(pods) => {
            shared.gate.pass("pods.list").await;
            let page = pods.list(cursor).await;
            shared.gate.note("pods.list", &page);
            page
        }
        Kind::Containers(containers) => {
            shared.gate.pass("containers.list").await;
            let page = containers.list(cursor).await;
            shared.gate.note("containers.list", &page);
            page
        }
    }
}

/// Whether the backend has anything of the pod.
pub(super) fn has_anything(seen: &Observation) -> bool {
    !seen.starts.is_empty() || seen.objects.iter().any(|object| object.state != ObjectState::Lost)
}

fn has_stopped(seen: &Observation) -> bool {
    seen.object().is_some_and(|object| object.state.has_stopped())
}

/// Something of it is on its way to be something else.
fn is_unsettled(seen: &Observation) -> bool {
    let of_object = seen.object().is_some_and(|object| {
        matches!(object.state, ObjectState::Starting | ObjectState::Deleting | ObjectState::Unknown)
    });
    of_object
        || seen.starts.iter().any(|start| matches!(start.phase, Phase::Waiting | Phase::Unknown))
            && seen.object().is_some_and(|object| object.state != ObjectState::Queued)
}

/// Takes over what was seen of a pod, unless something newer is known.
fn see(shared: &Shared, cell: &Arc<Cell>, revision: u32, make: impl FnOnce(Option<&Observation>, u32) -> Observation) {
    let (changed, unsettled) = {
        let mut core = cell.core();
        if core.seen().is_some_and(|seen| seen.revision > revision) {
            // It was asked for before what is known was.
            return;
        }
        let seen = make(core.seen(), revision);
        let unsettled = is_unsettled(&seen).then(|| core.key().uid.clone());
        (core.set_seen(seen), unsettled)
    };
    if let Some(uid) = unsettled {
        shared.observer.is_unsettled(uid);
    }
    if changed {
        shared.index.plan(cell);
    }
}

/// Asks for the pods that were wished for, for ever.
pub(super) async fn refresh(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        shared.observer.refresh.notified().await;
        tokio::time::sleep(GATHER).await;
        let uids = std::mem::take(&mut *shared.observer.pods.lock().unwrap_or_else(PoisonError::into_inner));
        let cells: Vec<Arc<Cell>> = uids.iter().filter_map(|uid| shared.index.cell(uid)).collect();
        let failed = look(&shared, &cells).await;
        match failed {
            None => failures = 0,
            Some(retry_after) => {
                failures += 1;
                // They all want an answer still; one that came is asked for in vain.
                for cell in &cells {
                    shared.observer.refresh(cell.core().key().uid.clone());
                }
                tokio::time::sleep(retry_after.unwrap_or_else(|| pause(failures))).await;
            }
        }
    }
}

/// Asks for these pods; returns after how long to try again if that failed, if the provider says so.
async fn look(shared: &Shared, cells: &[Arc<Cell>]) -> Option<Option<Duration>> {
    let at_once = match shared.facts().refresh_max {
        0 => usize::MAX,
        most => most as usize,
    };
    for chunk in cells.chunks(at_once.min(cells.len().max(1))) {
        if let Err(error) = refresh_once(shared, chunk).await {
            tracing::debug!(node = shared.settings.node, %error, "the backend can't be asked");
            return Some(error.retry_after);
        }
    }
    None
}

async fn refresh_once(shared: &Shared, cells: &[Arc<Cell>]) -> Result<(), Error> {
    let asked: Vec<(PodRef, u32)> = cells
        .iter()
        .map(|cell| {
            let core = cell.core();
            (core.reference(), core.revision())
        })
        .collect();
    let number = shared.observer.begins();
    let references = asked.iter().map(|(reference, _)| reference.clone()).collect();
    let states = match shared.provider.kind() {
        Kind::Pods(pods) => {
            shared.gate.pass("pods.refresh").await;
            let states = pods.refresh(references).await;
            shared.gate.note("pods.refresh", &states);
            states?
        }
        Kind::Containers(containers) => {
            shared.gate.pass("containers.refresh").await;
            let states = containers.refresh(references).await;
            shared.gate.note("containers.refresh", &states);
            states?
        }
    };
    let by_uid = by_uid(states);
    let is_whole = shared.context().is_whole;
    for (cell, (reference, revision)) in cells.iter().zip(asked) {
        if !cell.heard_of(number) {
            shared.observer.refresh(reference.key.uid.clone());
            continue;
        }
        match by_uid.get(&reference.key.uid) {
            Some(states) => {
                see(shared, cell, revision, |before, revision| observe::observation(states, before, revision));
            }
            None => see(shared, cell, revision, |before, revision| observe::gone(before, revision, is_whole)),
        }
    }
    Ok(())
}

/// Follows what the provider tells by itself, for ever.
pub(super) async fn watch(shared: Arc<Shared>) {
    let mut failures = 0;
    loop {
        let opened = match shared.provider.watch() {
            Some(watch) if shared.facts().watches == provider::Watches::Node => watch.open(None).await,
            // A new version may push.
            _ => {
                tokio::time::sleep(INTERVAL).await;
                continue;
            }
        };
        match opened {
            Ok(mut changes) => {
                shared.observer.watched.store(true, Ordering::Release);
                // What happened before is not told.
                shared.observer.list();
                let began = Instant::now();
                while let Some(change) = changes.next().await {
                    told(&shared, change);
                }
                shared.observer.watched.store(false, Ordering::Release);
                failures = if began.elapsed() > LONGEST_PAUSE { 0 } else { failures + 1 };
                tracing::debug!(node = shared.settings.node, "the provider's watch has ended");
            }
            Err(error) => {
                failures += 1;
                tracing::warn!(node = shared.settings.node, %error, "the provider can't be watched");
            }
        }
        shared.observer.list();
        tokio::time::sleep(pause(failures)).await;
    }
}

fn told(shared: &Shared, change: Change) {
    match change {
        Change::Anything => shared.observer.list(),
        Change::Touched(key) | Change::Gone(key) => match shared.index.cell(&key.uid) {
            Some(_) => shared.observer.refresh(key.uid),
            // One that nobody knows: an orphan, or one that was just made.
            None => shared.observer.list(),
        },
        Change::State(state) => {
            let cell = shared.index.cell_or_new(&state.key, &shared.context());
            let revision = cell.core().revision();
            cell.heard_of(shared.observer.last_look());
            see(shared, &cell, revision, |before, revision| observe::merge(before, &state, revision));
        }
    }
}
