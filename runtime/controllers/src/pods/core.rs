//! What is known of one pod, and what follows from it: no I/O, no clock.
//!
//! [`Core::plan`] looks at the pod's object and at what the backend has of it, and says what is to be done at the backend;
//! [`Core::report`] says what the API server is to be told. Whoever does these things tells what came of them, and asks
//! again. Both may be called at any time and do nothing when there is nothing to do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodStatus;
use pod_worker::machine::{self, Machine};
use pod_worker::observation::Observation;
use pod_worker::{PodView, TerminationMessage, Verdict, Waiting, Work, status};
use provider::{PodKey, PodRef};
use serde_json::Value;

use super::admission::{Applicant, Refusal};
use super::observer::has_anything;
use super::whole::Whole;
use super::withheld::{self, Given};
use super::{containers, probes, whole};
use crate::events::PodEvent;
use crate::record::{Parsed, Record};

/// Two writes of one pod are at least this far apart: what changes in between makes one.
const APART: Duration = Duration::from_millis(50);
/// The first pause after a write failed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What all pods of a node have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// The backend runs whole pods.
    pub is_whole: bool,
    /// The backend was listed completely at least once: what it did not name it does not have.
    pub is_known: bool,
    /// The API server listed the node's pods at least once: what it did not name it does not have.
    pub is_listed: bool,
    /// Addresses of the node.
    pub host_ips: Vec<IpAddr>,
}

/// Something to be done at the backend, or told.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Effect {
    /// A verb of a backend that runs containers.
    Act(machine::Action),
    /// Make the backend run the pod.
    Create { attempt: u32 },
    /// Tell the backend that the pod changed.
    Update { attempt: u32, changed: Vec<String> },
    /// Have the backend end it.
    Delete { reference: PodRef, grace: Duration },
    /// Have the backend remove what is left.
    Forget { reference: PodRef },
    /// Ask the backend for its state.
    Refresh,
    /// Tell.
    Event(PodEvent),
    /// The API server may have to be told something: ask [`Core::report`].
    Report,
    /// There is nothing of it anywhere: forget it.
    Drop,
}

/// What is to be done, and when to ask again at the latest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Todo {
    pub effects: Vec<Effect>,
    pub wake_at: Option<Timestamp>,
}

impl Todo {
    pub fn wake(&mut self, at: Timestamp) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// What the API server is to be told.
#[derive(Debug)]
pub(crate) enum Report {
    /// Nothing.
    Nothing,
    /// Nothing as long as a write is under way.
    Busy,
    /// Nothing before this time.
    Later(Timestamp),
    /// This patch of the status.
    Patch(Value),
    /// That the pod is gone.
    Delete,
}

/// How the backend is driven for this pod.
#[derive(Debug)]
pub(super) enum Plan {
    Whole(Whole),
    Containers(Box<Machine>),
}

/// What the plan told last, for the status.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub work: Option<Work>,
    pub waiting: Vec<Waiting>,
    pub messages: Vec<TerminationMessage>,
}

/// What was written to the API server.
#[derive(Debug, Default)]
struct Writing {
    in_flight: bool,
    /// Computed last, and not seen at the API server yet.
    pending: Option<Arc<PodStatus>>,
    /// Version of the object that the last write made.
    own_version: String,
    failures: u32,
    not_before: Option<Timestamp>,
    deleted: bool,
}

/// One pod.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) key: PodKey,
    pub(super) record: Option<Arc<Record>>,
    parsed: Option<Arc<Parsed>>,
    pub(super) seen: Option<Observation>,
    pub(super) plan: Plan,
    pub(super) verdict: Option<Verdict>,
    /// The node has taken it.
    taken: bool,
    pub(super) told: Told,
    given: Given,
    probes_told: bool,
    /// When its grace period ends, once somebody asked for its deletion: counted from when we heard of it, as the kubelet
    /// does, for the API server's clock is another one.
    pub(super) delete_by: Option<Timestamp>,
    writing: Writing,
}

impl Core {
    pub fn new(key: PodKey, context: &Context) -> Self {
        let plan =
            if context.is_whole { Plan::Whole(Whole::default()) } else { Plan::Containers(Box::new(Machine::new())) };
        Self {
            key,
            record: None,
            parsed: None,
            seen: None,
            plan,
            verdict: None,
            taken: false,
            told: Told::default(),
            given: Given::new(),
            probes_told: false,
            delete_by: None,
            writing: Writing::default(),
        }
    }

    pub const fn key(&self) -> &PodKey {
        &self.key
    }

    pub const fn record(&self) -> Option<&Arc<Record>> {
        self.record.as_ref()
    }

    pub const fn seen(&self) -> Option<&Observation> {
        self.seen.as_ref()
    }

    /// The API server has this of it; none: it is gone there. Returns whether a plan or a report may follow.
    pub fn set_record(&mut self, now: Timestamp, record: Option<Record>) -> bool {
        let Some(mut record) = record else {
            self.parsed = None;
            return self.record.take().is_some();
        };
        let own = !self.writing.own_version.is_empty() && record.version == self.writing.own_version;
        let unchanged = self.record.as_ref().is_some_and(|known| {
            record.share_spec(known);
            known.same_but_for_status(&record)
        });
        if let Some(grace) = record.deletion_grace {
            let by = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
            self.delete_by = Some(self.delete_by.map_or(by, |earlier| earlier.min(by)));
        }
        if !self.writing.in_flight {
            self.writing.pending = None;
        }
        self.parsed = None;
        self.record = Some(Arc::new(record));
        // What was written by us is what was computed from all that is known.
        !(own && unchanged)
    }

    /// The backend has this of it.
    pub fn set_seen(&mut self, seen: Observation) -> bool {
        let changed = self.seen.as_ref() != Some(&seen);
        self.seen = Some(seen);
        changed
    }

    /// To be read before the backend is asked.
    pub const fn revision(&self) -> u32 {
        match &self.plan {
            Plan::Whole(_) => 0,
            Plan::Containers(machine) => machine.revision(),
        }
    }

    /// Something that was missing may be there now.
    pub fn retry_now(&mut self) {
        match &mut self.plan {
            Plan::Whole(whole) => whole.retry_now(),
            Plan::Containers(machine) => machine.retry_now(),
        }
    }

    /// How to name the pod to the provider.
    pub fn reference(&self) -> PodRef {
        let object = self.seen.as_ref().and_then(Observation::object);
        PodRef {
            key: self.key.clone(),
            attempt: object.map_or(0, |object| object.attempt),
            id: object.map(|object| object.id.to_string()).unwrap_or_default(),
        }
    }

    /// The pod, parsed; none: the API server does not have it, or what it has can't be read.
    pub fn parsed(&mut self) -> Option<Arc<Parsed>> {
        if self.parsed.is_none() {
            let record = self.record.as_ref()?;
            match record.parse() {
                Ok(parsed) => self.parsed = Some(Arc::new(parsed)),
                Err(error) => {
                    tracing::error!(pod = %self.key, uid = %self.key.uid, %error, "the pod can't be read");
                    return None;
                }
            }
        }
        self.parsed.clone()
    }

    /// The pod, to be decided about whether the node takes it; none: that was done, or does not matter any more.
    pub fn applicant(&self) -> Option<Applicant> {
        let record = self.record.as_ref().filter(|record| !record.finished)?;
        if self.taken || self.verdict.is_some() {
            return None;
        }
        let parsed = record.parse().ok()?;
        let begun = parsed.status.start_time.is_some() || self.seen.as_ref().is_some_and(has_anything);
        (begun || self.delete_by.is_none()).then(|| Applicant {
            key: self.key.clone(),
            generation: record.generation,
            made: parsed.metadata.creation_timestamp.map(|time| time.0),
            begun,
            spec: parsed.spec,
        })
    }

    /// Whether the node has taken it.
    pub const fn is_taken(&self) -> bool {
        self.taken
    }

    /// The node takes it.
    pub const fn take(&mut self) {
        self.taken = true;
    }

    /// The node does not take it.
    pub fn refuse(&mut self, refusal: &Refusal) {
        self.verdict = Some(Verdict::rejected(refusal.reason.as_str(), &refusal.message));
    }

    /// Whether it has to be decided first whether the node takes it.
    fn is_undecided(&self) -> bool {
        let open = !self.taken && self.verdict.is_none() && self.delete_by.is_none();
        open && self.record.as_ref().is_some_and(|record| !record.finished)
    }

    /// What is to be done at the backend now.
    pub fn plan(&mut self, now: Timestamp, context: &Context) -> Todo {
        let mut todo = Todo::default();
        if self.record.is_none() && !context.is_listed {
            // Whether it is an orphan is not known yet.
            return todo;
        }
        if self.seen.is_none() {
            if !context.is_known {
                // Whether the backend runs it already is not known yet.
                return todo;
            }
            self.seen = Some(Observation::default());
        }
        if self.is_undecided() {
            return todo;
        }
        self.withhold();
        self.judge(now, &mut todo);
        match self.plan {
            Plan::Whole(_) => whole::plan(self, now, &mut todo),
            Plan::Containers(_) => containers::plan(self, now, &mut todo),
        }
        if self.record.is_some() {
            todo.effects.push(Effect::Report);
        }
        if todo.effects.iter().all(|effect| matches!(effect, Effect::Report)) && todo.wake_at.is_none() {
            self.rest();
        }
        todo
    }

    /// The provider was given what a container's Secrets hold; an empty name stands for all containers.
    pub fn gave_secrets(&mut self, container: &str) {
        self.given.insert(container.into());
    }

    fn withhold(&mut self) {
        let speaks = |seen: &Observation| seen.starts.iter().any(|start| !start.message.is_empty());
        // All containers' at once: the backend runs whole pods.
        if self.given.contains("") || !self.seen.as_ref().is_some_and(speaks) {
            return;
        }
        let Some(parsed) = self.parsed() else { return };
        if let Some(seen) = &mut self.seen {
            withheld::withhold(seen, &self.given, &parsed.spec, &parsed.status);
        }
    }

    /// Decides about the pod as a whole.
    fn judge(&mut self, now: Timestamp, todo: &mut Todo) {
        if self.verdict.is_some() || self.record.as_ref().is_none_or(|record| record.finished) {
            return;
        }
        let Some(parsed) = self.parsed() else { return };
        // Once: before the first status.
        if parsed.status.start_time.is_none() && !std::mem::replace(&mut self.probes_told, true) {
            todo.effects.extend(probes::told(&parsed.spec).map(Effect::Event));
        }
        let status = self.base_status(&parsed);
        let view = view(&parsed, &status);
        match view.active_deadline() {
            Some(deadline) if deadline <= now => {
                let verdict = Verdict::deadline_exceeded();
                todo.effects.push(Effect::Event(PodEvent {
                    warning: false,
                    reason: verdict.reason.to_string(),
                    message: verdict.message.to_string(),
                    field_path: String::new(),
                }));
                self.verdict = Some(verdict);
            }
            Some(deadline) => todo.wake(deadline),
            None => {}
        }
    }

    /// Lets go of memory that is not needed while nothing happens.
    fn rest(&mut self) {
        self.parsed = None;
        self.told.waiting.shrink_to_fit();
        self.told.messages.shrink_to_fit();
    }

    /// The status that the next one goes on from: the last that was computed, or the API server's.
    pub(super) fn base_status(&self, parsed: &Parsed) -> Arc<PodStatus> {
        self.writing.pending.clone().unwrap_or_else(|| Arc::new(parsed.status.clone()))
    }

    /// What the API server is to be told now. After [`Report::Patch`] and [`Report::Delete`] the answer is to be told with
    /// [`Core::written`] and [`Core::deleted`].
    pub fn report(&mut self, now: Timestamp, context: &Context) -> Report {
        if self.writing.in_flight {
            return Report::Busy;
        }
        if self.writing.deleted || self.seen.is_none() {
            return Report::Nothing;
        }
        if let Some(at) = self.writing.not_before.filter(|at| *at > now) {
            return Report::Later(at);
        }
        self.withhold();
        let Some(parsed) = self.parsed() else { return Report::Nothing };
        let status = self.base_status(&parsed);
        let empty = Observation::default();
        let computed = status::compute(&status::Input {
            pod: view(&parsed, &status),
            observation: self.seen.as_ref().unwrap_or(&empty),
            work: self.told.work,
            waiting: &self.told.waiting,
            messages: &self.told.messages,
            verdict: self.verdict.as_ref(),
            resize: &[],
            host_ips: &context.host_ips,
            now,
        });
        match status::patch(&self.key.uid, &parsed.status, &computed) {
            Some(patch) if !self.is_gone() => {
                self.writing.in_flight = true;
                self.writing.pending = Some(Arc::new(computed));
                Report::Patch(patch)
            }
            _ if self.is_to_be_deleted(&parsed, &computed) => {
                self.writing.in_flight = true;
                Report::Delete
            }
            _ => {
                self.rest();
                Report::Nothing
            }
        }
    }

    const fn is_gone(&self) -> bool {
        self.record.is_none()
    }

    /// Nothing runs any more, the last states are written, and somebody asked for its deletion.
    fn is_to_be_deleted(&self, parsed: &Parsed, computed: &PodStatus) -> bool {
        if parsed.metadata.deletion_timestamp.is_none() {
            return false;
        }
        match &self.plan {
            Plan::Containers(_) => self.told.work.is_some_and(Work::is_over),
            Plan::Whole(whole) => whole.is_over(self.seen.as_ref(), parsed, computed, self.verdict.is_some()),
        }
    }

    /// The API server took the patch, and the object has this version now; or it did not. Returns when to report again, if
    /// that is not left to what happens.
    pub fn written(&mut self, now: Timestamp, result: Result<String, Option<Duration>>) -> Option<Timestamp> {
        self.writing.in_flight = false;
        match result {
            Ok(version) => {
                self.writing.failures = 0;
                self.writing.own_version = version;
                let at = self.pause(now, APART);
                self.delete_by.map(|_| at)
            }
            Err(retry_after) => {
                self.writing.pending = None;
                let pause = retry_after.unwrap_or_else(|| {
                    (FIRST_PAUSE * 2_u32.saturating_pow(self.writing.failures.min(10))).min(LONGEST_PAUSE)
                });
                self.writing.failures = self.writing.failures.saturating_add(1);
                Some(self.pause(now, pause))
            }
        }
    }

    /// The API server deleted the object, or did not. Returns when to report again.
    pub fn deleted(&mut self, now: Timestamp, result: Result<(), Option<Duration>>) -> Option<Timestamp> {
        match result {
            Ok(()) => {
                self.writing.in_flight = false;
                self.writing.deleted = true;
                None
            }
            Err(retry_after) => self.written(now, Err(retry_after)),
        }
    }

    /// Whether the object was deleted by us; that it is gone is told later.
    pub(super) const fn was_deleted(&self) -> bool {
        self.writing.deleted
    }

    fn pause(&mut self, now: Timestamp, pause: Duration) -> Timestamp {
        let at = now.saturating_add(pause).unwrap_or(now);
        self.writing.not_before = Some(at);
        at
    }
}

pub(super) fn view<'a>(parsed: &'a Parsed, status: &'a PodStatus) -> PodView<'a> {
    PodView { metadata: &parsed.metadata, spec: &parsed.spec, status, probes: &parsed.probes }
}

#[cfg(test)]
mod tests {
    use pod_worker::observation::{Object, ObjectState};

    use super::*;

    /// A pod that the backend runs and that the API server has not told of.
    fn untold(context: &Context) -> Core {
        let mut core = Core::new(PodKey::new("u", "default", "web"), context);
        core.set_seen(Observation {
            objects: vec![Object::new(0, "backend-1", ObjectState::Running)],
            ..Observation::default()
        });
        core
    }

    #[test]
    fn what_the_backend_runs_is_no_orphan_before_the_api_server_has_listed_its_pods() {
        let now = Timestamp::UNIX_EPOCH;
        for is_whole in [true, false] {
            let context = Context { is_whole, is_known: true, ..Context::default() };
            let mut core = untold(&context);
            assert_eq!(core.plan(now, &context), Todo::default());
            let listed = Context { is_listed: true, ..context };
            assert!(!core.plan(now, &listed).effects.is_empty(), "an orphan is ended");
        }
    }
}
