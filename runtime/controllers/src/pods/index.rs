//! All pods of a node, by UID and by name, and who is to be looked at next.
//!
//! A pod is in each queue at most once, however often it is asked for.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use provider::{PodKey, PodRef};
use tokio::sync::mpsc;

use super::core::{Context, Core};
use super::timer::Timer;
use crate::clock;
use crate::record::Record;

/// One pod, and whether it is in a queue.
pub(crate) struct Cell {
    core: Mutex<Core>,
    planned: AtomicBool,
    reported: AtomicBool,
    /// Something came up while a report was under way.
    pub(super) report_again: AtomicBool,
    /// Ids of the images that its containers were checked to have.
    pub(super) images: Mutex<HashMap<String, String>>,
    /// Number of the last look that had begun when the backend was last heard of about it; see `observer`.
    heard_during: AtomicU64,
    /// The next times it asked for: of its plan, and of its report.
    wakes: Mutex<(Option<Timestamp>, Option<Timestamp>)>,
}

impl Cell {
    pub fn core(&self) -> MutexGuard<'_, Core> {
        let mut core = self.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.clock_set(clock::set_by());
        core
    }

    /// The backend was heard of about it, by this look or while it was the last that had begun. Returns whether that is news:
    /// what an earlier look says, or one that was under way meanwhile, may be older.
    pub(super) fn heard_of(&self, look: u64) -> bool {
        self.heard_during.fetch_max(look, Ordering::AcqRel) < look
    }

    /// Asks for a time; false: an earlier one is asked for already.
    pub(super) fn wants(&self, at: Timestamp, report: bool) -> bool {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = if report { &mut wakes.1 } else { &mut wakes.0 };
        let earlier = wake.is_none_or(|known| at < known);
        if earlier {
            *wake = Some(at);
        }
        earlier
    }

    /// The time has come.
    pub(super) fn woken(&self, at: Timestamp, report: bool) {
        let mut wakes = self.wakes.lock().unwrap_or_else(PoisonError::into_inner);
        let wake = if report { &mut wakes.1 } else { &mut wakes.0 };
        if *wake == Some(at) {
            *wake = None;
        }
    }
}

/// A queue that several take from.
pub(super) type Queue = Arc<tokio::sync::Mutex<mpsc::UnboundedReceiver<Arc<Cell>>>>;

/// What is to be done.
pub(super) struct Work {
    /// Pods whose plan is to be looked at.
    pub plans: Queue,
    /// Pods that the API server may have to be told of.
    pub reports: Queue,
}

#[derive(Default)]
struct Pods {
    by_uid: BTreeMap<Arc<str>, Arc<Cell>>,
    /// The pod that has a name now: of several the one made last.
    by_name: HashMap<(Arc<str>, Arc<str>), Arc<str>>,
}

/// The pods of a node.
pub struct Index {
    pods: Mutex<Pods>,
    plans: mpsc::UnboundedSender<Arc<Cell>>,
    reports: mpsc::UnboundedSender<Arc<Cell>>,
    timer: Timer,
}

impl Index {
    pub(super) fn new() -> (Arc<Self>, Work) {
        // Bounded by the number of pods: each is in a queue at most once.
        let (plans, plan_queue) = mpsc::unbounded_channel();
        let (reports, report_queue) = mpsc::unbounded_channel();
        let queue = |receiver| Arc::new(tokio::sync::Mutex::new(receiver));
        let work = Work { plans: queue(plan_queue), reports: queue(report_queue) };
        (Arc::new(Self { pods: Mutex::default(), plans, reports, timer: Timer::default() }), work)
    }

    fn pods(&self) -> MutexGuard<'_, Pods> {
        self.pods.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn cell(&self, uid: &str) -> Option<Arc<Cell>> {
        self.pods().by_uid.get(uid).cloned()
    }

    pub(super) fn cells(&self) -> Vec<Arc<Cell>> {
        self.pods().by_uid.values().cloned().collect()
    }

    /// The pod of this key, which the API server or the backend has.
    pub(super) fn cell_or_new(&self, key: &PodKey, context: &Context) -> Arc<Cell> {
        let mut pods = self.pods();
        if let Some(cell) = pods.by_uid.get(&key.uid) {
            return cell.clone();
        }
        let cell = Arc::new(Cell {
            core: Mutex::new(Core::new(key.clone(), context)),
            planned: AtomicBool::new(false),
            reported: AtomicBool::new(false),
            report_again: AtomicBool::new(false),
            images: Mutex::default(),
            heard_during: AtomicU64::new(0),
            wakes: Mutex::default(),
        });
        pods.by_uid.insert(key.uid.clone(), cell.clone());
        cell
    }

    /// The API server has this pod.
    pub(super) fn applied(&self, now: Timestamp, record: Record, context: &Context) {
        let key = record.key.clone();
        let cell = self.cell_or_new(&key, context);
        let worth_a_look = cell.core().set_record(now, Some(record));
        self.pods().by_name.insert((key.namespace, key.name), key.uid);
        if worth_a_look {
            self.plan(&cell);
        }
    }

    /// The API server does not have this pod any more.
    pub(super) fn deleted(&self, now: Timestamp, uid: &str) {
        if let Some(cell) = self.cell(uid) {
            self.unname(&cell);
            cell.core().set_record(now, None);
            self.plan(&cell);
        }
    }

    /// The API server has no pods but these.
    pub(super) fn keep_only(&self, now: Timestamp, uids: &HashSet<Arc<str>>) {
        for cell in self.cells() {
            let key = cell.core().key().clone();
            if !uids.contains(&key.uid) {
                self.deleted(now, &key.uid);
            }
        }
    }

    fn unname(&self, cell: &Cell) {
        let key = cell.core().key().clone();
        let mut pods = self.pods();
        let name = (key.namespace, key.name);
        if pods.by_name.get(&name) == Some(&key.uid) {
            pods.by_name.remove(&name);
        }
    }

    /// There is nothing of it anywhere.
    pub(super) fn drop_pod(&self, uid: &str) {
        if let Some(cell) = self.cell(uid) {
            self.unname(&cell);
            self.pods().by_uid.remove(uid);
        }
    }

    /// Has a pod's plan looked at.
    pub(super) fn plan(&self, cell: &Arc<Cell>) {
        if !cell.planned.swap(true, Ordering::AcqRel) {
            // Fails only when the controller is being dropped.
            let _ = self.plans.send(cell.clone());
        }
    }

    /// The same, at a time.
    pub(super) fn plan_at(&self, cell: &Arc<Cell>, at: Timestamp) {
        self.timer.plan(cell, at);
    }

    /// Has the API server told of a pod, if there is something to tell.
    pub(super) fn report(&self, cell: &Arc<Cell>) {
        cell.report_again.store(true, Ordering::Release);
        if !cell.reported.swap(true, Ordering::AcqRel) {
            let _ = self.reports.send(cell.clone());
        }
    }

    /// The same, at a time.
    pub(super) fn report_at(&self, cell: &Arc<Cell>, at: Timestamp) {
        self.timer.report(cell, at);
    }

    /// Something that these pods wait for may be there now.
    pub(super) fn retry(&self, uids: &[Arc<str>]) {
        for cell in uids.iter().filter_map(|uid| self.cell(uid)) {
            cell.core().retry_now();
            self.plan(&cell);
        }
    }

    /// Wakes pods whose time has come, for ever.
    pub(super) async fn run_timer(self: Arc<Self>) {
        let index = Arc::downgrade(&self);
        drop(self);
        loop {
            let Some(own) = index.upgrade() else { return };
            own.timer.wait(&own).await;
        }
    }
}

/// Takes the next pod from a queue whose plan is to be looked at.
pub(super) async fn next_plan(queue: &Queue) -> Option<Arc<Cell>> {
    let cell = queue.lock().await.recv().await?;
    cell.planned.store(false, Ordering::Release);
    Some(cell)
}

/// Takes the next pod from a queue that the API server may have to be told of.
pub(super) async fn next_report(queue: &Queue) -> Option<Arc<Cell>> {
    let cell = queue.lock().await.recv().await?;
    cell.reported.store(false, Ordering::Release);
    Some(cell)
}

/// A pod, as it is seen from outside.
#[derive(Clone, Debug)]
pub struct PodView {
    /// How to name it to the provider.
    pub reference: PodRef,
    /// Its containers, in the manifest's order.
    pub containers: Vec<ContainerView>,
}

/// A container, as it is seen from outside.
#[derive(Clone, Debug)]
pub struct ContainerView {
    /// Its name.
    pub name: String,
    /// Its status at the API server.
    pub status: Option<k8s_openapi::api::core::v1::ContainerStatus>,
}

impl Index {
    /// The pod that has this name.
    pub fn pod(&self, namespace: &str, name: &str) -> Option<PodView> {
        let uid = self.pods().by_name.get(&(namespace.into(), name.into())).cloned()?;
        let cell = self.cell(&uid)?;
        let (reference, record) = {
            let core = cell.core();
            (core.reference(), core.record()?.clone())
        };
        let parsed = record.parse().ok()?;
        let (spec, status) = (&parsed.spec, &parsed.status);
        let statuses =
            [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
        let statuses: HashMap<&str, _> =
            statuses.into_iter().flatten().flatten().map(|status| (status.name.as_str(), status)).collect();
        let plain = spec.init_containers.iter().flatten().chain(&spec.containers).map(|container| &container.name);
        let names = plain.chain(spec.ephemeral_containers.iter().flatten().map(|container| &container.name));
        let status = |name: &String| statuses.get(name.as_str()).copied().cloned();
        let containers = names.map(|name| ContainerView { status: status(name), name: name.clone() }).collect();
        Some(PodView { reference, containers })
    }

    /// Every pod that the backend has, to name it to the provider.
    pub fn references(&self) -> Vec<PodRef> {
        let has = |cell: &Arc<Cell>| {
            let core = cell.core();
            core.seen().and_then(|seen| seen.object()).is_some().then(|| core.reference())
        };
        self.cells().iter().filter_map(has).collect()
    }

    /// The objects of all pods bound to the node, JSON, one after another.
    pub fn bound(&self) -> impl Iterator<Item = String> + Send + 'static {
        self.cells().into_iter().filter_map(|cell| {
            let record = cell.core().record().cloned();
            record.map(|record| record.object())
        })
    }

    /// The objects of all pods that the backend runs and that nobody deletes, JSON, one after another.
    pub fn running(&self) -> impl Iterator<Item = String> + Send + 'static {
        self.cells().into_iter().filter_map(|cell| {
            let core = cell.core();
            let runs = core.seen().and_then(|seen| seen.object()).is_some();
            let record = core.record().filter(|record| runs && record.deletion_grace.is_none()).cloned();
            drop(core);
            record.map(|record| record.object())
        })
    }

    /// The pods that a drain of the node evicts, each with whether its end was asked for already: all that have not
    /// finished, but those of DaemonSets.
    pub(crate) fn evictable(&self) -> Vec<(PodKey, bool)> {
        let candidate = |cell: &Arc<Cell>| {
            let core = cell.core();
            let record = core.record().filter(|record| !record.finished)?.clone();
            let key = core.key().clone();
            drop(core);
            let parsed = record.parse().ok()?;
            let mut owners = parsed.metadata.owner_references.iter().flatten();
            let of_daemon_set = owners.any(|own| own.controller == Some(true) && own.kind == "DaemonSet");
            (!of_daemon_set).then_some((key, record.deletion_grace.is_some()))
        };
        self.cells().iter().filter_map(candidate).collect()
    }

    /// Whether this very pod is one of the node's.
    pub fn has(&self, key: &PodKey) -> bool {
        self.cell(&key.uid).is_some_and(|cell| cell.core().key() == key)
    }

    /// How many pods there are.
    pub fn len(&self) -> usize {
        self.pods().by_uid.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
