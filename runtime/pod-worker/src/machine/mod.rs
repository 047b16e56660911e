//! For backends that only run containers: observations and time in, actions out.
//!
//! One [`Machine`] a pod. It decides what a kubelet decides: one sandbox; init containers one after another, sidecars
//! kept running, app containers side by side; restarts with back-off; an end with a grace period. It does nothing by
//! itself: the caller takes a [`step`](Machine::step) whenever something happened or the time asked for has come, does
//! the actions, and reports each with [`finished`](Machine::finished).
//!
//! It remembers only what the backend can't tell: what is under way, what failed and when, what it made since the last
//! observation. A machine that is made anew after a crash of the host goes on from the observation and the pod's
//! status. An idle one takes about 370 bytes for a pod of one container.
//!
//! Not decided here yet: hooks and liveness probes. A postStart hook comes after a start, a preStop hook before a stop,
//! a failed liveness or startup probe stops a container as a changed definition does.

mod action;
mod collect;
mod order;
mod results;
mod round;
mod sandbox;
mod slot;
mod start;
mod stop;
mod trace;

use jiff::{SignedDuration, Timestamp};

use crate::delay::Wait;
use crate::host::{TerminationMessage, Work};
use crate::observation::{Observation, Phase};
use crate::pod::PodView;
use crate::start_error::with_ends;

pub use action::{Action, Event, Failure, Goal, Image, Outcome, Step, TERMINATION_MESSAGE_LIMIT};
use collect::Removals;
use results::Finished;
use round::Round;
use sandbox::SandboxSlot;
use slot::{Slot, Trouble};
use stop::Ending;
use trace::Look;

/// Decides what is to be done about one pod.
#[derive(Debug, Default)]
pub struct Machine {
    /// What is remembered of each container, in the order of [`PodView::containers`].
    slots: Vec<Slot>,
    sandbox: SandboxSlot,
    /// Actions under way, and since when.
    in_flight: Vec<(Action, Timestamp)>,
    /// Results that came since the last step.
    results: Vec<Finished>,
    /// What is being stopped.
    endings: Vec<Ending>,
    removals: Removals,
    /// When the grace period ends, once the pod is being brought to its end.
    until: Option<Wait>,
    /// Somebody asked for that end; otherwise its containers are done.
    asked: bool,
    /// Counts results: an observation of a lower revision is older than the last result.
    revision: u32,
    /// What the pod's status tells of an earlier machine was taken over.
    adopted: bool,
}

impl Machine {
    /// A machine that has seen nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// To be read before the backend is asked, and put into the [`Observation`] that its answer makes. What a backend
    /// pushes by itself gets the present revision too.
    pub const fn revision(&self) -> u32 {
        self.revision
    }

    /// Decides what is to be done now.
    pub fn step(&mut self, now: Timestamp, pod: PodView<'_>, observation: &Observation, goal: Goal) -> Step {
        let mut round = Round::new(now, pod, observation);
        self.adopt(&round);
        self.absorb(&mut round);
        let seen = with_ends(observation, self.slots.iter().flat_map(|slot| &slot.not_started));
        round.seen = &seen;
        self.look(&mut round);
        round.step.work = match goal {
            Goal::Run => self.run(&mut round),
            Goal::Terminate { until } => self.terminate(&mut round, until),
            Goal::Remove { until } => self.remove(&mut round, until),
        };
        self.account(&mut round);
        round.step
    }

    /// An action is done, or has failed; take a step next.
    pub fn finished(&mut self, now: Timestamp, action: &Action, result: Result<Outcome, Failure>) {
        let Some(place) = self.in_flight.iter().position(|(other, _)| other == action) else { return };
        let (action, since) = self.in_flight.swap_remove(place);
        self.revision = self.revision.saturating_add(1);
        self.results.push(Finished { action, since, at: now, revision: self.revision, result });
    }

    /// The clock was set by so much: what is waited for takes as long as it was meant to.
    pub fn clock_set(&mut self, by: SignedDuration) {
        self.until.iter_mut().for_each(|until| until.clock_set(by));
        self.endings.iter_mut().for_each(|ending| ending.clock_set(by));
        for (_, since) in &mut self.in_flight {
            *since = since.saturating_add(by).unwrap_or(*since);
        }
        for finished in &mut self.results {
            finished.since = finished.since.saturating_add(by).unwrap_or(finished.since);
            finished.at = finished.at.saturating_add(by).unwrap_or(finished.at);
        }
        let troubles = self.slots.iter_mut().map(|slot| &mut slot.trouble).chain([&mut self.sandbox.trouble]);
        for trouble in troubles.flatten() {
            trouble.retry.iter_mut().for_each(|retry| retry.clock_set(by));
        }
    }

    /// Something that failed may go well now (a ConfigMap came to be): tries everything again that waits after a
    /// failure. Crash loops wait on.
    pub fn retry_now(&mut self) {
        let troubles = self.slots.iter_mut().map(|slot| &mut slot.trouble).chain([&mut self.sandbox.trouble]);
        for trouble in troubles.flatten() {
            trouble.retry = trouble.retry.map(|_| Wait::OVER);
        }
    }

    /// Takes over what the pod's status tells of failures, so that what is shown does not change only because the host
    /// was restarted.
    fn adopt(&mut self, round: &Round<'_>) {
        let count = round.pod.containers().count();
        self.slots.reserve_exact(count.saturating_sub(self.slots.len()));
        self.slots.resize_with(count.max(self.slots.len()), Slot::default);
        if std::mem::replace(&mut self.adopted, true) {
            return;
        }
        for (place, container) in round.containers() {
            let Some(status) = round.pod.status_of(&container) else { continue };
            let running = slot::running_attempt(status);
            self.slot(place).trace.told(slot::next_attempt(status), running);
            if running.is_some() {
                // It ran in some sandbox.
                self.sandbox.trace.told(1, Some(0));
            }
            if self.adopt_not_started(round, place, &container, status) {
                continue;
            }
            let waiting = status.state.as_ref().and_then(|state| state.waiting.as_ref());
            let Some((reason, waiting)) = waiting.and_then(|waiting| Some((waiting.reason.as_deref()?, waiting)))
            else {
                continue;
            };
            let message = waiting.message.as_deref().unwrap_or_default();
            match Trouble::adopted(&container, reason, message) {
                Some(trouble) if trouble.is_of_sandbox() => self.sandbox.trouble = Some(Box::new(trouble)),
                trouble => self.slot(place).trouble = trouble.map(Box::new),
            }
        }
    }

    /// Compares what is remembered with what is seen.
    fn look(&mut self, round: &mut Round<'_>) {
        let seen = round.seen.revision;
        for (place, container) in round.containers() {
            let (latest, revision, now) = (slot::latest(round, container.name), self.revision, round.now);
            let slot = self.slot(place);
            let mut look = slot.trace.look(latest.map(|start| start.attempt), seen, revision);
            if look == Look::Settled && slot.denies(latest) {
                look = slot.trace.doubt(revision);
            }
            if look == Look::Settled {
                slot.made = None;
            }
            slot.note(latest, now);
            self.revision += u32::from(look == Look::Doubt);
        }
        let highest = round.seen.object().map(|object| object.attempt);
        let look = self.sandbox.trace.look(highest, seen, self.revision);
        if look == Look::Settled {
            self.sandbox.made = None;
        }
        self.revision += u32::from(look == Look::Doubt);
        self.forget_stopped(round.seen);
    }

    /// What is remembered of the container at this place.
    fn slot(&mut self, place: usize) -> &mut Slot {
        if self.slots.len() <= place {
            self.slots.resize_with(place + 1, Slot::default);
        }
        &mut self.slots[place]
    }

    /// Asks for an action, once.
    fn issue(&mut self, round: &mut Round<'_>, action: Action) {
        if self.in_flight.iter().all(|(other, _)| *other != action) {
            self.in_flight.push((action.clone(), round.now));
            round.step.actions.push(action);
        }
    }

    /// Any action like this is under way.
    fn is_under_way(&self, like: impl Fn(&Action) -> bool) -> bool {
        self.in_flight.iter().any(|(action, _)| like(action))
    }

    /// Something came to be, or went, that the observation does not show, and nothing is under way whose result would
    /// come first.
    fn wants_to_see(&self, round: &Round<'_>) -> bool {
        let seen = round.seen.revision;
        let sandbox = self.sandbox.trace.fresh > seen && self.in_flight.is_empty();
        sandbox
            || round.containers().any(|(place, container)| {
                let is_old = self.slots.get(place).is_some_and(|slot| slot.trace.fresh > seen);
                is_old && !self.is_under_way(|action| start::is_start_of(action, container.name))
            })
    }

    /// Tells what is known beside the observation, and lets go of memory that is not needed any more.
    fn account(&mut self, round: &mut Round<'_>) {
        let told_by_sandbox = self.sandbox.trouble.as_ref().filter(|_| !self.sandbox_now(round).is_ready());
        let mut messages = Vec::new();
        for (place, container) in round.containers() {
            let Some(slot) = self.slots.get(place) else { continue };
            if let Some(message) = slot.message.as_deref() {
                messages.push(TerminationMessage {
                    container: container.name.into(),
                    attempt: message.0,
                    message: message.1.clone(),
                    not_started: None,
                });
            }
            messages.extend(slot.not_started.iter().cloned());
            let ended = round.seen.latest_made(container.name).is_some_and(|start| start.phase == Phase::Exited);
            if ended && round.step.work != Work::Running {
                continue;
            }
            let of_sandbox = told_by_sandbox.filter(|_| slot.trace.known.is_none());
            if let Some(trouble) = slot.trouble.as_ref().or(of_sandbox) {
                round.waits(container.name, &trouble.reason, &trouble.message);
                continue;
            }
            if slot.replaces {
                round.waits(container.name, "ContainerCreating", "");
                continue;
            }
            let crash_loop = self.crash_loop(round, place, &container);
            if let Some(message) = self.start_error(round, place, &container, crash_loop.is_some()) {
                round.waits(container.name, "RunContainerError", &message);
            } else if let Some(message) = crash_loop {
                round.waits(container.name, "CrashLoopBackOff", &message);
            }
        }
        round.step.messages = messages;
        round.step.refresh |= self.wants_to_see(round);
        if self.in_flight.is_empty() {
            self.in_flight = Vec::new();
        }
    }
}
