//! How a pod comes to its end: containers are stopped, sidecars after the others and in reverse order, then the sandbox;
//! and, when nobody needs it any more, all of it is removed.
//!
//! What will not stop is tried again for ever.

use std::time::Duration;

use jiff::Timestamp;

use super::Machine;
use super::action::Action;
use super::results::Finished;
use super::round::Round;
use crate::delay::{self, Wait};
use crate::host::Work;
use crate::observation::{ObjectState, Observation, Phase, Start};
use crate::pod::{Role, remaining};

/// What a sidecar is left with at least to end by itself, if the others take up all the time.
const MINIMUM_GRACE: Duration = Duration::from_secs(2);
/// A grace period that is shorter by less is not worth another call.
const SHORTER_BY: Duration = Duration::from_secs(1);

/// Something that is being stopped.
#[derive(Debug)]
pub(super) struct Ending {
    /// None: the sandbox.
    container: Option<Box<str>>,
    attempt: u32,
    /// When its grace period ends.
    until: Timestamp,
    /// Calls that did not stop it.
    failures: u32,
    /// When to try again; none as long as a call is under way.
    retry: Option<Wait>,
    /// The last call's revision, and whether it went well. Observations of a lower revision don't know of it.
    answered: Option<(u32, bool)>,
}

impl Ending {
    fn new(container: Option<&str>, attempt: u32, until: Timestamp) -> Self {
        Self { container: container.map(Into::into), attempt, until, failures: 0, retry: None, answered: None }
    }

    fn is(&self, container: Option<&str>, attempt: u32) -> bool {
        self.container.as_deref() == container && self.attempt == attempt
    }

    /// It is still there to be stopped, or the observation is too old to say.
    fn still_counts(&self, seen: &Observation) -> bool {
        if self.retry.is_none() || self.answered.is_some_and(|(revision, _)| seen.revision < revision) {
            return true;
        }
        match &self.container {
            None => {
                seen.objects.iter().any(|object| object.attempt == self.attempt && object.state != ObjectState::Ended)
            }
            Some(name) => seen
                .starts_of(name)
                .any(|start| start.attempt == self.attempt && matches!(start.phase, Phase::Running | Phase::Unknown)),
        }
    }
}

impl Machine {
    /// Forgets what has stopped.
    pub(super) fn forget_stopped(&mut self, seen: &Observation) {
        self.endings.retain(|ending| ending.still_counts(seen));
        if self.endings.is_empty() {
            self.endings = Vec::new();
        }
    }

    /// Stops a container that runs. Returns whether it is stopped.
    pub(super) fn stop(
        &mut self,
        round: &mut Round<'_>,
        start: &Start,
        until: Timestamp,
        message: Option<String>,
    ) -> bool {
        let name = &*start.name;
        let is_being_made = |action: &Action| match action {
            Action::StartContainer { container, attempt, .. } | Action::CreateContainer { container, attempt, .. } => {
                **container == *name && *attempt == start.attempt
            }
            _ => false,
        };
        if self.is_under_way(is_being_made) {
            return false;
        }
        let Some(ending) = self.endings.iter_mut().find(|ending| ending.is(Some(name), start.attempt)) else {
            let message = message.unwrap_or_else(|| format!("Stopping container {name}"));
            match round.find(name) {
                Some((_, container)) => round.tell_of(&container, false, "Killing", message),
                None => round.tell(false, "Killing", message),
            }
            self.endings.push(Ending::new(Some(name), start.attempt, until));
            self.issue_stop(round, start, until);
            return false;
        };
        if until < ending.until && remaining(until, ending.until) >= SHORTER_BY {
            ending.until = until;
            ending.retry = None;
            self.issue_stop(round, start, until);
            return false;
        }
        if let Some((revision, ok)) = ending.answered {
            if round.seen.revision < revision {
                round.step.refresh = true;
                return false;
            }
            if ok && start.phase == Phase::Unknown {
                return true;
            }
        }
        match ending.retry.as_mut().map(|retry| retry.rest(round.now)) {
            None => {}
            Some(Some(at)) => round.wake(at),
            Some(None) => {
                ending.retry = None;
                let until = ending.until;
                self.issue_stop(round, start, until);
            }
        }
        false
    }

    fn issue_stop(&mut self, round: &mut Round<'_>, start: &Start, until: Timestamp) {
        let action = Action::StopContainer {
            container: (&*start.name).into(),
            attempt: start.attempt,
            id: start.id.clone(),
            grace: remaining(round.now, until),
        };
        self.issue(round, action);
    }

    /// Stops a sandbox. Returns whether it is stopped.
    pub(super) fn stop_sandbox(&mut self, round: &mut Round<'_>, attempt: u32, id: Box<str>) -> bool {
        let action = Action::StopSandbox { attempt, id };
        let Some(ending) = self.endings.iter_mut().find(|ending| ending.is(None, attempt)) else {
            self.endings.push(Ending::new(None, attempt, round.now));
            self.issue(round, action);
            return false;
        };
        if let Some((revision, ok)) = ending.answered {
            if round.seen.revision < revision {
                round.step.refresh = true;
                return false;
            }
            let mut running = round.seen.objects.iter().filter(|object| object.state == ObjectState::Running);
            if ok && running.all(|object| object.attempt != attempt) {
                return true;
            }
        }
        match ending.retry.as_mut().map(|retry| retry.rest(round.now)) {
            None => {}
            Some(Some(at)) => round.wake(at),
            Some(None) => {
                ending.retry = None;
                self.issue(round, action);
            }
        }
        false
    }

    /// A call to stop something has come back.
    pub(super) fn stopped(
        &mut self,
        round: &mut Round<'_>,
        container: Option<&str>,
        attempt: u32,
        finished: &Finished,
    ) {
        let still = self.is_under_way(|action| match action {
            Action::StopContainer { container: name, attempt: of, .. } => Some(&**name) == container && *of == attempt,
            _ => false,
        });
        let Some(ending) = self.endings.iter_mut().find(|ending| ending.is(container, attempt)) else { return };
        if let Err(failure) = &finished.result {
            let (what, name, error) = match container {
                Some(name) => ("KillContainer", name, "KillContainerError"),
                None => {
                    ("KillPodSandbox", round.pod.metadata.uid.as_deref().unwrap_or_default(), "KillPodSandboxError")
                }
            };
            let message =
                format!("error killing pod: failed to \"{what}\" for \"{name}\" with {error}: \"{}\"", failure.message);
            round.tell(true, "FailedKillPod", message);
        }
        ending.failures = ending.failures.saturating_add(1);
        ending.answered = Some((finished.revision, finished.result.is_ok()));
        // One with a shorter grace period may still be under way.
        if !still {
            ending.retry = Some(Wait::new(finished.at, delay::stop(ending.failures)));
        }
    }

    /// Brings the pod to an end by `until`, or earlier if that was said before.
    pub(super) fn terminate(&mut self, round: &mut Round<'_>, until: Timestamp) -> Work {
        self.asked = true;
        let meant = Wait::new(round.now, remaining(round.now, until));
        let earlier = self.until.get_or_insert(meant);
        if until < earlier.end(round.now) {
            *earlier = meant;
        }
        let until = earlier.end(round.now);
        self.end(round, until)
    }

    /// Stops everything, then the sandbox.
    pub(super) fn end(&mut self, round: &mut Round<'_>, until: Timestamp) -> Work {
        let stopped = self.stop_containers(round, until);
        for (place, container) in round.containers() {
            self.read_message(round, place, &container);
        }
        let reads = self.is_under_way(|action| matches!(action, Action::ReadTerminationMessage { .. }));
        if !stopped || reads {
            return Work::Terminating;
        }
        let mut all = true;
        for object in &round.seen.objects {
            let ended = object.state == ObjectState::Ended || object.id.is_empty();
            all &= ended || self.stop_sandbox(round, object.attempt, object.id.clone());
        }
        if all { Work::Terminated } else { Work::Terminating }
    }

    /// Stops all containers. Returns whether none runs any more, and none can begin to.
    fn stop_containers(&mut self, round: &mut Round<'_>, until: Timestamp) -> bool {
        let may_begin = self.is_under_way(|action| {
            let begins = matches!(action, Action::CreateContainer { .. } | Action::StartContainer { .. });
            begins || matches!(action, Action::RunSandbox { .. })
        });
        // What is remembered and not seen yet may run, or may have failed to be made and be there all the same.
        let unsure = self.sandbox.trace.fresh > round.seen.revision
            || self.slots.iter().any(|slot| slot.trace.fresh > round.seen.revision);

        let unseen = self.unseen(round);
        let seen = round.seen.starts.iter().filter(|start| matches!(start.phase, Phase::Running | Phase::Unknown));
        let running: Vec<(Option<usize>, &Start)> =
            seen.chain(&unseen).map(|start| (sidecar(round, &start.name), start)).collect();
        let last_sidecar = running.iter().filter_map(|(place, _)| *place).max();
        let others_run = running.iter().any(|(place, _)| place.is_none());
        let turn = until.saturating_sub(MINIMUM_GRACE).unwrap_or(until);

        let mut all = true;
        for (place, start) in running {
            let told = self.endings.iter().any(|ending| ending.is(Some(&start.name), start.attempt));
            let its_turn = place.is_none() || (!others_run && place == last_sidecar);
            if told || its_turn || turn <= round.now {
                all &= self.stop(round, start, until, None);
            } else {
                round.wake(turn);
                all = false;
            }
        }
        all && !may_begin && !unsure
    }

    /// Containers that were started and that no observation shows yet.
    fn unseen(&self, round: &Round<'_>) -> Vec<Start> {
        let made = round.containers().filter_map(|(place, container)| {
            let made = self.slots.get(place)?.made.as_ref().filter(|made| made.running)?;
            let seen = round.seen.starts_of(container.name).any(|start| {
                start.attempt == made.attempt && matches!(start.phase, Phase::Running | Phase::Unknown | Phase::Exited)
            });
            let start = Start { id: made.id.clone(), ..Start::new(container.name, made.attempt, Phase::Running) };
            (!seen).then_some(start)
        });
        made.collect()
    }
}

/// The place of a container that is a sidecar.
fn sidecar(round: &Round<'_>, name: &str) -> Option<usize> {
    round.find(name).filter(|(_, container)| container.role == Role::Sidecar).map(|(place, _)| place)
}
