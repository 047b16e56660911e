//! How a pod comes to its end: containers are stopped, sidecars after the others and in reverse order, then the sandbox;
//! and, when nobody needs it any more, all of it is removed.
//!
//! A container gets two calls: its stop signal, and when its grace period is over and it still runs, its kill. One more
//! comes in between only if the grace period became shorter. What fails, or outlives its kill, is tried again for ever,
//! with back-off.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Machine;
use super::action::Action;
use super::results::Finished;
use super::round::Round;
use crate::delay::{self, Wait};
use crate::host::Work;
use crate::observation::{ObjectState, Observation, Phase, Start};
use crate::pod::{Role, after, remaining};

/// What a sidecar has at least to end by itself, beyond the grace period if the others take up all of it.
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
    /// No time was left when the last call was made.
    kills: bool,
    /// Calls in a row that failed, or left it no time and did not end it.
    failures: u32,
    /// When to call again, should it still be there; none as long as the call that counts is under way.
    next: Option<Wait>,
    /// The last call's revision, and whether it left no time and went well. Observations of a lower revision don't know
    /// of it.
    answered: Option<(u32, bool)>,
}

impl Ending {
    fn new(container: Option<&str>, attempt: u32, until: Timestamp) -> Self {
        let kills = container.is_none();
        Self { container: container.map(Into::into), attempt, until, kills, failures: 0, next: None, answered: None }
    }

    /// The clock was set by so much.
    pub(super) fn clock_set(&mut self, by: SignedDuration) {
        self.until = self.until.saturating_add(by).unwrap_or(self.until);
        self.next.iter_mut().for_each(|next| next.clock_set(by));
    }

    fn is(&self, container: Option<&str>, attempt: u32) -> bool {
        self.container.as_deref() == container && self.attempt == attempt
    }

    /// It is still there, or the observation is too old to say. A container that has ended counts as long as it is kept:
    /// an observation from before its end does not make it one that nobody has stopped.
    fn still_counts(&self, seen: &Observation) -> bool {
        if self.next.is_none() || self.answered.is_some_and(|(revision, _)| seen.revision < revision) {
            return true;
        }
        match &self.container {
            None => {
                seen.objects.iter().any(|object| object.attempt == self.attempt && object.state != ObjectState::Ended)
            }
            Some(name) => seen.starts_of(name).any(|start| start.attempt == self.attempt),
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
            self.issue_stop(round, start, until);
            return false;
        }
        if let Some((revision, killed)) = ending.answered {
            if round.seen.revision < revision {
                round.step.refresh = true;
                return false;
            }
            if killed && start.phase == Phase::Unknown {
                return true;
            }
        }
        let rest = match &mut ending.next {
            Some(next) => next.rest(round.now),
            // The call that gives it time is still under way: that does not hold up the next one.
            None if !ending.kills => Some(ending.until).filter(|until| *until > round.now),
            None => return false,
        };
        match rest {
            Some(at) => round.wake(at),
            None => {
                let until = ending.until;
                self.issue_stop(round, start, until);
            }
        }
        false
    }

    fn issue_stop(&mut self, round: &mut Round<'_>, start: &Start, until: Timestamp) {
        let grace = remaining(round.now, until);
        if let Some(ending) = self.endings.iter_mut().find(|ending| ending.is(Some(&start.name), start.attempt)) {
            ending.kills = grace.is_zero();
            ending.next = None;
        }
        let action = Action::StopContainer {
            container: (&*start.name).into(),
            attempt: start.attempt,
            id: start.id.clone(),
            grace,
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
        match ending.next.as_mut().map(|next| next.rest(round.now)) {
            None => {}
            Some(Some(at)) => round.wake(at),
            Some(None) => {
                ending.next = None;
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
        let gave_time = matches!(&finished.action, Action::StopContainer { grace, .. } if !grace.is_zero());
        ending.answered = Some((finished.revision, finished.result.is_ok() && !gave_time));
        let left = remaining(finished.at, ending.until);
        let pause = match &finished.result {
            Ok(_) if gave_time => {
                ending.failures = 0;
                left
            }
            result => {
                ending.failures = ending.failures.saturating_add(1);
                let pause = delay::stop(ending.failures);
                // Its kill does not wait for the call before it to go well.
                let pause = if gave_time { pause.min(left) } else { pause };
                pause.max(result.as_ref().err().and_then(|failure| failure.retry_after).unwrap_or_default())
            }
        };
        // One with less time may still be under way.
        if !still {
            ending.next = Some(Wait::new(finished.at, pause));
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
        // Without a grace period nobody waits for anybody.
        let is_graceful = self.until.is_some_and(Wait::is_any);

        let mut all = true;
        for (place, start) in running {
            let told = self.endings.iter().any(|ending| ending.is(Some(&start.name), start.attempt));
            let its_turn = place.is_none() || (!others_run && place == last_sidecar);
            if told || its_turn || until <= round.now {
                let least = Some(after(round.now, MINIMUM_GRACE)).filter(|_| place.is_some() && is_graceful);
                all &= self.stop(round, start, least.map_or(until, |least| least.max(until)), None);
            } else {
                round.wake(until);
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
