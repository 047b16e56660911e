//! What is removed, and when: dead containers that have had successors, keeping the last one for `kubectl logs
//! --previous`; sandboxes that were replaced and hold nothing that is kept; and in the end all of it.

use std::time::Duration;

use jiff::Timestamp;

use super::Machine;
use super::action::Action;
use super::round::Round;
use crate::delay::{self, Wait};
use crate::host::Work;
use crate::observation::{ObjectState, Phase, Start};
use crate::pod::after;

/// What is remembered of removals.
#[derive(Debug, Default)]
pub(super) struct Removals {
    /// Observations of a lower revision may show what was removed.
    fresh: u32,
    /// Calls in a row that did not remove what they should.
    failures: u32,
    /// No removal before this.
    retry: Option<Box<Wait>>,
    /// All was removed.
    all: bool,
}

impl Removals {
    /// A call has come back.
    pub(super) fn done(&mut self, at: Timestamp, revision: u32, all: bool, ok: bool) {
        self.fresh = revision;
        self.all |= all && ok;
        if ok && !all {
            self.failures = 0;
            self.retry = None;
        } else {
            // Also after the last one went well: should anything be left, it is not removed again at once.
            self.failures = self.failures.saturating_add(1);
            let delay = if ok { AGAIN_AFTER } else { delay::stop(self.failures) };
            self.retry = Some(Box::new(Wait::new(at, delay)));
        }
    }
}

/// How long something may still be seen after all was removed.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

impl Machine {
    /// Whether anything may be removed now.
    pub(super) fn may_remove(&mut self, round: &mut Round<'_>) -> bool {
        let removes = |action: &Action| matches!(action, Action::RemoveContainer { .. } | Action::RemoveSandbox { .. });
        if self.is_under_way(removes) {
            return false;
        }
        if round.seen.revision < self.removals.fresh {
            round.step.refresh = true;
            return false;
        }
        match self.removals.retry.as_mut().and_then(|retry| retry.rest(round.now)) {
            Some(at) => {
                round.wake(at);
                false
            }
            None => true,
        }
    }

    /// Removes what a pod that goes on has left behind, and stops what should not run any more.
    pub(super) fn collect(&mut self, round: &mut Round<'_>) {
        let seen = round.seen;
        let is_kept = |start: &&Start| {
            seen.latest_made(&start.name).is_some_and(|latest| {
                let last_end = seen.end_before(&start.name, latest.attempt);
                start.attempt == latest.attempt || last_end.is_some_and(|end| end.attempt == start.attempt)
            })
        };
        let present = seen.object().map(|object| object.attempt);
        let mut actions = Vec::new();
        for start in seen.starts.iter().filter(|start| !is_kept(start)) {
            match start.phase {
                _ if round.find(&start.name).is_none() => {}
                Phase::Exited | Phase::Created => actions.push(remove(start)),
                Phase::Running | Phase::Unknown => {
                    let until = after(round.now, round.pod.grace_period());
                    self.stop(round, start, until, None);
                }
                Phase::Waiting => {}
            }
        }
        for object in seen.objects.iter().filter(|object| Some(object.attempt) != present) {
            let is_needed = |start: &Start| {
                start.object == object.attempt
                    && (is_kept(&start) || matches!(start.phase, Phase::Running | Phase::Unknown))
            };
            if seen.starts.iter().any(is_needed) || object.id.is_empty() {
                continue;
            }
            if object.state == ObjectState::Ended || self.stop_sandbox(round, object.attempt, object.id.clone()) {
                let (attempt, id) = (object.attempt, object.id.clone());
                actions.push(Action::RemoveSandbox { attempt, id, last: false });
            }
        }
        if !actions.is_empty() && self.may_remove(round) {
            for action in actions {
                self.issue(round, action);
            }
        }
    }

    /// Ends the pod, and then leaves nothing of it.
    pub(super) fn remove(&mut self, round: &mut Round<'_>, until: Timestamp) -> Work {
        let work = self.terminate(round, until);
        let last = round.seen.object();
        let nothing = last.is_none() && round.seen.starts.is_empty();
        if work == Work::Terminated && self.removals.all && nothing && round.seen.revision >= self.removals.fresh {
            return Work::Removed;
        }
        if work != Work::Terminated || !self.may_remove(round) {
            return work;
        }
        let is_last = |attempt| last.is_none_or(|last| last.attempt == attempt);
        let mut actions: Vec<Action> = Vec::new();
        for object in round.seen.objects.iter().filter(|object| !is_last(object.attempt)) {
            actions.push(Action::RemoveSandbox { attempt: object.attempt, id: object.id.clone(), last: false });
        }
        for start in &round.seen.starts {
            let in_sandbox =
                round.seen.objects.iter().any(|object| object.attempt == start.object && !object.id.is_empty());
            if !in_sandbox && start.phase != Phase::Waiting {
                actions.push(remove(start));
            }
        }
        if actions.is_empty() {
            let attempt = last.map_or(self.sandbox.trace.next.saturating_sub(1), |last| last.attempt);
            let id = last.map(|last| last.id.clone()).unwrap_or_default();
            actions.push(Action::RemoveSandbox { attempt, id, last: true });
        }
        for action in actions {
            self.issue(round, action);
        }
        work
    }
}

/// Removes a container.
pub(super) fn remove(start: &Start) -> Action {
    Action::RemoveContainer { container: (&*start.name).into(), attempt: start.attempt, id: start.id.clone() }
}
