//! The pod's sandbox: whether there is one that containers can be put into, and how another one takes its place.

use std::time::Duration;

use jiff::Timestamp;

use super::Machine;
use super::action::Action;
use super::round::Round;
use super::slot::Trouble;
use super::trace::Trace;
use crate::delay;
use crate::observation::{ObjectState, Phase};
use crate::pod::{after, remaining};

/// What a machine remembers of the sandbox.
#[derive(Debug, Default)]
pub(super) struct SandboxSlot {
    /// Its attempts.
    pub trace: Trace,
    /// One that no observation shows yet: attempt and id.
    pub made: Option<Box<(u32, Box<str>)>>,
    /// The latest one that was made to its end here.
    finished: Option<u32>,
    /// Why it can't be made.
    pub trouble: Option<Box<Trouble>>,
    /// What became of those before.
    deaths: Option<Box<Deaths>>,
}

/// How sandboxes came to be replaced.
#[derive(Debug, Default)]
struct Deaths {
    /// The attempt that was last found dead, and when.
    last: Option<(u32, Timestamp)>,
    /// When one was last replaced, and how many in a row died soon.
    renewed: Option<(Timestamp, u32)>,
}

/// The sandbox, as far as that can be said now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sandbox {
    /// There is none.
    Absent,
    /// Containers can be put into this attempt.
    Ready(u32),
    /// The making of this attempt was interrupted: it goes on where it is asked for again.
    Unfinished(u32),
    /// This attempt is no good any more.
    Dead(u32),
    /// A later observation will tell.
    Unsure,
}

impl Sandbox {
    pub(super) const fn is_ready(self) -> bool {
        matches!(self, Self::Ready(_))
    }
}

impl Machine {
    pub(super) fn sandbox_now(&self, round: &Round<'_>) -> Sandbox {
        if round.seen.revision < self.sandbox.trace.fresh {
            return self.sandbox.made.as_ref().map_or(Sandbox::Unsure, |made| Sandbox::Ready(made.0));
        }
        let Some(object) = round.seen.object() else { return Sandbox::Absent };
        match object.state {
            ObjectState::Ended | ObjectState::Failed | ObjectState::Lost => Sandbox::Dead(object.attempt),
            _ if object.id.is_empty() => Sandbox::Dead(object.attempt),
            ObjectState::Running => Sandbox::Ready(object.attempt),
            ObjectState::Queued | ObjectState::Starting if self.sandbox.finished < Some(object.attempt) => {
                Sandbox::Unfinished(object.attempt)
            }
            _ => Sandbox::Unsure,
        }
    }

    pub(super) fn sandbox_id(&self, round: &Round<'_>, attempt: u32) -> Box<str> {
        let made = self.sandbox.made.as_ref().filter(|made| made.0 == attempt).map(|made| made.1.clone());
        let seen =
            || round.seen.objects.iter().find(|object| object.attempt == attempt).map(|object| object.id.clone());
        made.or_else(seen).unwrap_or_default()
    }

    /// Makes a sandbox: the first one, or one in place of `dead`, of which nothing may run any more.
    pub(super) fn renew(&mut self, round: &mut Round<'_>, dead: Option<u32>) {
        if let Some(before) = dead.or(self.sandbox.trace.next.checked_sub(1)) {
            let deaths = self.sandbox.deaths.get_or_insert_default();
            if deaths.last.is_none_or(|last| last.0 != before) {
                deaths.last = Some((before, round.now));
                round.tell(false, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.".into());
            }
        }
        if !self.stop_what_runs(round) {
            return;
        }
        let object = round.seen.object();
        if let Some(object) = object.filter(|object| object.state != ObjectState::Ended && !object.id.is_empty())
            && !self.stop_sandbox(round, object.attempt, object.id.clone())
        {
            return;
        }
        let mut at = None;
        if let Some(deaths) = self.sandbox.deaths.as_deref_mut()
            && let (Some((renewed, in_a_row)), Some((_, died))) = (deaths.renewed, &mut deaths.last)
        {
            *died = (*died).min(round.now);
            let soon = died.duration_since(renewed).unsigned_abs() < delay::STABLE;
            let due = after(*died, if soon { delay::sandbox(in_a_row) } else { Duration::ZERO });
            at = (due > round.now).then_some(due);
        }
        let attempt = self.sandbox.trace.next;
        self.run_sandbox(round, attempt, at);
    }

    /// Makes this attempt, or makes it to its end: now, or when `at` has come and the pause after a failure is over.
    pub(super) fn run_sandbox(&mut self, round: &mut Round<'_>, attempt: u32, at: Option<Timestamp>) {
        if self.is_under_way(|action| matches!(action, Action::RunSandbox { .. })) {
            return;
        }
        let retry = self.sandbox.trouble.as_mut().and_then(|trouble| trouble.retry.as_mut());
        match at.max(retry.and_then(|retry| retry.rest(round.now))) {
            Some(at) => round.wake(at),
            None => self.issue(round, Action::RunSandbox { attempt }),
        }
    }

    /// A sandbox was made.
    pub(super) fn sandbox_made(&mut self, now: Timestamp, attempt: u32, id: Box<str>) {
        let sandbox = &mut self.sandbox;
        sandbox.trace.made(attempt);
        sandbox.finished = sandbox.finished.max(Some(attempt));
        sandbox.made = Some(Box::new((attempt, id)));
        sandbox.trouble = None;
        if let Some(deaths) = sandbox.deaths.as_deref_mut() {
            let in_a_row = match deaths.renewed {
                Some((at, count)) if remaining(at, now) < delay::STABLE => count.saturating_add(1),
                _ => 1,
            };
            *deaths = Deaths { last: None, renewed: Some((now, in_a_row)) };
        }
    }

    /// A sandbox was removed, and all containers in it.
    pub(super) fn sandbox_removed(&mut self, attempt: u32, last: bool, revision: u32) {
        self.sandbox.trace.removed(attempt, revision);
        for slot in self.slots.iter_mut().filter(|_| last) {
            slot.trace.all_removed(revision);
        }
    }

    /// Stops every container that still runs. Returns whether none does.
    fn stop_what_runs(&mut self, round: &mut Round<'_>) -> bool {
        let until = after(round.now, round.pod.grace_period());
        let running = round.seen.starts.iter().filter(|start| matches!(start.phase, Phase::Running | Phase::Unknown));
        let mut none = true;
        for start in running {
            none &= self.stop(round, start, until, None);
        }
        none
    }
}
