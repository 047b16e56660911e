//! What is known of one pod, and what follows from it: no I/O, no clock.
//!
//! [`Core::plan`] looks at the pod's object and at what the backend has of it, and says what is to be done at the backend;
//! [`Core::report`] says what the API server is to be told. Whoever does these things tells what came of them, and asks
//! again. Both may be called at any time and do nothing when there is nothing to do.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use pod_worker::machine::{self, Machine};
use pod_worker::observation::Observation;
use pod_worker::{PodView, TerminationMessage, Verdict, Waiting, Work, has_run};
use provider::{PodKey, PodRef};

use super::admission::{Applicant, Refusal};
use super::observer::has_anything;
use super::whole::Whole;
use super::withheld::{self, Given};
use super::{containers, observe, probes, whole};
use crate::events::PodEvent;
use crate::record::{Parsed, Record};

/// What all pods of a node have in common.
#[derive(Clone, Debug, Default)]
pub(crate) struct Context {
    /// The backend runs whole pods.
    pub is_whole: bool,
    /// Its provider changes the resources of pods that run.
    pub resizes: bool,
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

impl Effect {
    /// It is a call of the provider, of whose end [`Core::returned`] is told.
    pub const fn is_call(&self) -> bool {
        !matches!(self, Self::Refresh | Self::Event(_) | Self::Report | Self::Drop)
    }
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

/// How the backend is driven for this pod.
#[derive(Debug)]
pub(super) enum Plan {
    Whole(Box<Whole>),
    Containers(Box<Machine>),
}

/// What the plan told last, for the status.
#[derive(Debug, Default)]
pub(super) struct Told {
    pub work: Option<Work>,
    pub waiting: Vec<Waiting>,
    pub messages: Vec<TerminationMessage>,
}

/// One pod.
#[derive(Debug)]
pub(crate) struct Core {
    pub(super) key: PodKey,
    pub(super) record: Option<Arc<Record>>,
    pub(super) seen: Option<Observation>,
    pub(super) plan: Plan,
    pub(super) verdict: Option<Verdict>,
    /// The node has taken it.
    taken: bool,
    pub(super) told: Told,
    given: Given,
    /// It was decided about once.
    is_judged: bool,
    /// When its grace period ends, once somebody asked for its deletion: counted from when we heard of it, as the kubelet
    /// does, for the API server's clock is another one.
    pub(super) delete_by: Option<Timestamp>,
    /// Calls of the provider that are under way for it.
    calls: u32,
    /// What the clock was set by when these times were noted.
    set_by: SignedDuration,
    writing: Writing,
}

impl Core {
    pub fn new(key: PodKey, context: &Context) -> Self {
        let plan =
            if context.is_whole { Plan::Whole(Box::default()) } else { Plan::Containers(Box::new(Machine::new())) };
        Self {
            key,
            record: None,
            seen: None,
            plan,
            verdict: None,
            taken: false,
            told: Told::default(),
            given: Given::new(),
            is_judged: false,
            delete_by: None,
            calls: 0,
            set_by: SignedDuration::ZERO,
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
        let Some(mut record) = record else { return self.record.take().is_some() };
        let own = self.writing.told(&record.version);
        let unchanged = self.record.as_ref().is_some_and(|known| {
            record.share_spec(known);
            known.same_but_for_status(&record)
        });
        if let Some(grace) = record.deletion_grace {
            let by = now.saturating_add(grace).unwrap_or(Timestamp::MAX);
            self.writing.is_to_end(now);
            self.delete_by = Some(self.delete_by.map_or(by, |earlier| earlier.min(by)));
        }
        let (known, record) = (self.record.take(), Arc::new(record));
        if let (true, Plan::Whole(whole), Some(known)) = (unchanged, &mut self.plan, known) {
            whole.renew(&known, &record);
        }
        self.record = Some(record);
        // What was written by us is what was computed from all that is known.
        !(own && unchanged)
    }

    /// The backend has this of it.
    pub fn set_seen(&mut self, seen: Observation) -> bool {
        let changed = self.seen.as_ref() != Some(&seen);
        self.seen = Some(seen);
        changed
    }

    /// The backend removed what was left of this attempt. Returns whether that was all that it had: then it need not be
    /// asked. If it has something after all, its next list says so, and that is removed as well.
    pub fn forgotten(&mut self, attempt: u32) -> bool {
        let Some(seen) = &self.seen else { return false };
        let is_all = seen.objects.iter().all(|object| object.attempt == attempt);
        if is_all {
            self.seen = Some(observe::gone(Some(seen), seen.revision, true));
        }
        is_all
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
    pub fn parsed(&self) -> Option<Arc<Parsed>> {
        parsed(&self.key, self.record.as_ref()?)
    }

    /// The pod, to be decided about whether the node takes it; none: that was done, or does not matter any more.
    pub fn applicant(&self) -> Option<Applicant> {
        let record = self.record.as_ref().filter(|record| !record.finished)?;
        if self.taken || self.verdict.is_some() {
            return None;
        }
        let parsed = self.parsed()?;
        let begun = parsed.status.start_time.is_some() || self.seen.as_ref().is_some_and(has_anything);
        (begun || self.delete_by.is_none()).then(|| Applicant {
            key: self.key.clone(),
            generation: record.generation,
            made: parsed.metadata.creation_timestamp.as_ref().map(|time| time.0),
            begun,
            parsed,
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

    /// Somebody asked for its deletion, or the node ends it.
    pub const fn is_to_end(&self) -> bool {
        self.delete_by.is_some() || self.verdict.is_some()
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
            self.seen = Some(self.nothing_seen());
        }
        if self.is_undecided() {
            return todo;
        }
        self.withhold();
        self.judge(now, &mut todo);
        match self.plan {
            Plan::Whole(_) => whole::plan(self, now, context, &mut todo),
            Plan::Containers(_) => containers::plan(self, now, &mut todo),
        }
        let calls = todo.effects.iter().filter(|effect| effect.is_call()).count();
        self.calls = self.calls.saturating_add(u32::try_from(calls).unwrap_or(u32::MAX));
        if self.record.is_some() {
            todo.effects.push(Effect::Report);
        }
        self.told.waiting.shrink_to_fit();
        self.told.messages.shrink_to_fit();
        todo
    }

    /// An effect that is a call was performed, whatever came of it.
    pub const fn returned(&mut self) {
        self.calls = self.calls.saturating_sub(1);
    }

    /// What is seen of a pod of which a complete list has nothing. A whole pod that ran, as its status says, is lost: it is
    /// not one that was never made.
    fn nothing_seen(&mut self) -> Observation {
        let nothing = Observation::default();
        let open = self.record.as_ref().is_some_and(|record| !record.finished);
        let ran = |parsed: &Arc<Parsed>| has_run(view(parsed, &parsed.status), &nothing);
        if open && matches!(self.plan, Plan::Whole(_)) && self.parsed().as_ref().is_some_and(ran) {
            return observe::lost(0, 0);
        }
        nothing
    }

    /// The provider was given what a container's Secrets hold, for this attempt and later ones; an empty name stands for all
    /// containers of the pod's object.
    pub fn gave_secrets(&mut self, container: &str, attempt: u32) {
        self.given.entry(container.into()).or_insert(attempt);
    }

    /// Whether what the backend says of this attempt of a container can't hold values of Secrets that are not known here.
    pub fn may_repeat(&self, container: &str, attempt: u32) -> bool {
        self.given.get(container).is_some_and(|first| attempt >= *first)
            || self.parsed().is_some_and(|parsed| !withheld::refers_to_secrets(&parsed.spec, container))
    }

    fn withhold(&mut self) {
        if !self.seen.as_ref().is_some_and(|seen| withheld::may_say(seen, &self.given)) {
            return;
        }
        let Some(parsed) = self.parsed() else { return };
        if let Some(seen) = &mut self.seen {
            withheld::withhold(seen, &self.given, &parsed.spec, &parsed.status);
        }
    }

    /// Decides about the pod as a whole.
    fn judge(&mut self, now: Timestamp, todo: &mut Todo) {
        let Some(record) = self.record.as_ref().filter(|record| !record.finished && self.verdict.is_none()) else {
            return;
        };
        let is_first = !std::mem::replace(&mut self.is_judged, true);
        if !is_first && !record.has_deadline {
            return;
        }
        let Some(parsed) = self.parsed() else { return };
        // Once: before the first status.
        if is_first && parsed.status.start_time.is_none() {
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
            // It counts from the first status, which is about to be written.
            None => {
                let seconds = parsed.spec.active_deadline_seconds.and_then(|own| u64::try_from(own).ok());
                seconds.into_iter().for_each(|own| todo.wake(later(now, Duration::from_secs(own))));
            }
        }
    }
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

/// A pod's record, parsed; none: it can't be read.
pub(super) fn parsed(key: &PodKey, record: &Arc<Record>) -> Option<Arc<Parsed>> {
    let told = |error: &_| tracing::error!(pod = %key, uid = %key.uid, %error, "the pod can't be read");
    record.parse().inspect_err(told).ok()
}

pub(super) fn view<'a>(parsed: &'a Parsed, status: &'a PodStatus) -> PodView<'a> {
    PodView { metadata: &parsed.metadata, spec: &parsed.spec, status, probes: &parsed.probes }
}

mod set_clock;
mod unsure;
mod writing;
pub(super) use set_clock::move_by;
use writing::Writing;
pub(super) use writing::{Deletion, Report};
#[cfg(test)]
mod tests;
