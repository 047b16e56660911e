//! How a container comes to run: its image, the container, its start. One call at a time for each container, whatever
//! the others do.

use std::time::Duration;

use k8s_openapi::api::core::v1::ContainerStatus;

use super::Machine;
use super::action::Action;
use super::collect::remove;
use super::round::Round;
use super::sandbox::Sandbox;
use super::slot::{ImageState, Present, Trouble, latest};
use crate::delay;
use crate::host::TerminationMessage;
use crate::image::{PullPolicy, spec_hash, with_default_tag};
use crate::observation::{Phase, Start, UNKNOWN_EXIT_CODE};
use crate::pod::{ContainerView, Role, after};
use crate::restart::should_restart;
use crate::start_error::{EXIT_CODE, START_ERROR};

impl Machine {
    /// Takes the next step towards a container that runs.
    pub(super) fn advance(&mut self, round: &mut Round<'_>, place: usize, container: &ContainerView<'_>) {
        let name = container.name;
        if self.is_under_way(|action| is_start_of(action, name)) || runs(round, name) {
            return;
        }
        let hash = spec_hash(name, container.image);
        if !self.may_try(round, place, container, hash) {
            return;
        }
        let present = self.present(round, place, container);
        let dead = self.slot(place).dead;
        match present {
            Present::Unsure => return,
            Present::Created(attempt, of) if dead != Some(attempt) && of.is_none_or(|of| of == hash) => {
                let id = self.id_of(round, place, name, attempt);
                self.issue(round, Action::StartContainer { container: name.into(), attempt, id });
                return;
            }
            _ => {}
        }
        match self.slot(place).image {
            // One that would not start may still do so late: it goes before another one comes.
            ImageState::Ready(of) if of == hash && matches!(present, Present::Created(..)) => {
                if let Some(start) = latest(round, name).filter(|_| self.may_remove(round)) {
                    self.issue(round, remove(start));
                }
            }
            ImageState::Ready(of) if of == hash => self.create(round, place, name, hash),
            ImageState::Missing(of) if of == hash => self.pull(round, container),
            _ => match with_default_tag(container.image) {
                Err(error) => {
                    let message = error.to_string();
                    round.tell_of(container, true, "InspectFailed", message.clone());
                    round.tell_of(container, true, "Failed", "Error: InvalidImageName".into());
                    let trouble = Trouble::for_good(hash, "InvalidImageName", message);
                    self.slot(place).trouble = Some(Box::new(trouble));
                }
                Ok(_) if PullPolicy::of(container) == PullPolicy::Always => self.pull(round, container),
                Ok(_) => self.issue(round, Action::CheckImage { container: name.into() }),
            },
        }
    }

    fn create(&mut self, round: &mut Round<'_>, place: usize, name: &str, spec_hash: u32) {
        let Sandbox::Ready(sandbox) = self.sandbox_now(round) else { return };
        let sandbox = self.sandbox_id(round, sandbox);
        let attempt = self.slot(place).trace.next;
        self.issue(round, Action::CreateContainer { container: name.into(), attempt, sandbox, spec_hash });
    }

    fn pull(&mut self, round: &mut Round<'_>, container: &ContainerView<'_>) {
        round.tell_of(container, false, "Pulling", format!("Pulling image \"{}\"", container.image));
        self.issue(round, Action::PullImage { container: container.name.into() });
    }

    /// Starts a container again after its end, when its time has come. Returns false if it is done for good.
    pub(super) fn restart(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        ended: &Start,
    ) -> bool {
        if self.slot(place).replaces {
            self.advance(round, place, container);
            return true;
        }
        if !should_restart(&round.pod, container, ended.code()) {
            return false;
        }
        let delay = self.restart_delay(round, container, ended);
        let newly = self.slot(place).noticed.as_ref().is_none_or(|noticed| noticed.at == round.now);
        let until = after(self.slot(place).ended_at(ended, round.now), delay);
        let waits = until > round.now;
        if newly && waits {
            let message =
                format!("Back-off restarting failed container {} in pod {}", container.name, round.pod.full_name());
            round.tell_of(container, true, "BackOff", message);
        }
        if waits {
            round.wake(until);
        } else {
            self.advance(round, place, container);
        }
        true
    }

    /// How long a container stays down. One that went down with its sandbox is not to blame, nor is one of another
    /// definition.
    fn restart_delay(&self, round: &Round<'_>, container: &ContainerView<'_>, ended: &Start) -> Duration {
        if ended.spec_hash.is_some_and(|of| of != spec_hash(container.name, container.image)) {
            return Duration::ZERO;
        }
        match self.sandbox_now(round) {
            Sandbox::Ready(attempt) if attempt == ended.object => {
                delay::restart(ended, round.seen.end_before(&ended.name, ended.attempt))
            }
            _ => Duration::ZERO,
        }
    }

    /// Why a container is down that is being started again; none: for no time worth telling.
    pub(super) fn crash_loop(&self, round: &Round<'_>, place: usize, container: &ContainerView<'_>) -> Option<String> {
        let ended = match latest(round, container.name)? {
            start if start.phase == Phase::Exited => start,
            start if start.phase == Phase::Created => round.seen.end_before(container.name, start.attempt)?,
            _ => return None,
        };
        let fails = container.role != Role::Init || ended.failed();
        let again = fails && should_restart(&round.pod, container, ended.code());
        let replaced = self.slots.get(place).is_some_and(|slot| slot.replaces);
        let delay = self.restart_delay(round, container, ended);
        (again && !replaced && !delay.is_zero()).then(|| {
            let (delay, pod) = (delay::in_words(delay), round.pod.full_name());
            format!("back-off {delay} restarting failed container={} pod={pod}", container.name)
        })
    }

    /// Why a container is down whose command could not be run: told until its next try runs, but where that one is held
    /// back (`waits`) only for a while.
    pub(super) fn start_error(
        &self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        waits: bool,
    ) -> Option<Box<str>> {
        let told = self.slots.get(place)?.not_started.last()?;
        let latest = latest(round, container.name)?;
        let is_latest = latest.attempt == told.attempt || latest.phase == Phase::Created;
        if !is_latest || !should_restart(&round.pod, container, EXIT_CODE) {
            return None;
        }
        if waits {
            let at = told.not_started?;
            let until = after(at, START_ERROR_SHOWN);
            if at > round.now || until <= round.now {
                return None;
            }
            round.wake(until);
        }
        Some(told.message.clone())
    }

    /// Takes over what the pod's status tells of starts that could not be. Returns whether the container's last one is.
    pub(super) fn adopt_not_started(
        &mut self,
        round: &Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        status: &ContainerStatus,
    ) -> bool {
        let states = [status.last_state.as_ref(), status.state.as_ref()];
        let ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
        let mut last = None;
        for end in ends.filter(|end| end.reason.as_deref() == Some(START_ERROR)) {
            let mut starts = round.seen.starts_of(container.name);
            let Some(start) = starts.find(|start| end.container_id.as_deref() == Some(&*start.id)) else { continue };
            self.slot(place).not_started(TerminationMessage {
                container: container.name.into(),
                attempt: start.attempt,
                message: end.message.as_deref().unwrap_or_default().into(),
                not_started: Some(end.finished_at.as_ref().map_or(round.now, |finished| finished.0)),
            });
            last = Some(start.attempt);
        }
        last.is_some() && latest(round, container.name).map(|start| start.attempt) == last
    }

    /// Deals with a container of which the backend does not say whether it runs: waits a while, then stops it, so that
    /// no two of it run, and goes on as after an end that nobody saw. Returns false if it is done for good.
    pub(super) fn restart_unknown(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        start: &Start,
    ) -> bool {
        let due = after(self.slot(place).since(round.now), UNKNOWN_FOR);
        if due > round.now {
            round.wake(due);
            return true;
        }
        let until = after(round.now, round.pod.grace_period());
        let message = format!("Container is in \"{:?}\" state, try killing it before restart", start.phase);
        if !self.stop(round, start, until, Some(message)) {
            return true;
        }
        let again = should_restart(&round.pod, container, start.code());
        if again {
            self.advance(round, place, container);
        }
        again
    }

    /// Asks for the termination message of a container that ended, if nobody has told it yet.
    pub(super) fn read_message(&mut self, round: &mut Round<'_>, place: usize, container: &ContainerView<'_>) {
        let Some(ended) = latest(round, container.name).filter(|start| start.phase == Phase::Exited) else {
            return;
        };
        let status = round.pod.status_of(container);
        let states = status.into_iter().flat_map(|status| [status.state.as_ref(), status.last_state.as_ref()]);
        let mut ends = states.flatten().filter_map(|state| state.terminated.as_ref());
        // A status that tells of this end has its message, or there was none.
        let told = ends.find(|end| end.container_id.as_deref() == Some(&*ended.id));
        let slot = self.slot(place);
        if told.is_some_and(|told| told.message.is_some()) {
            slot.message = None;
        }
        let known = told.is_some() || slot.read == Some(ended.attempt) || !ended.message.is_empty();
        if known || container.message_path.is_empty() {
            return;
        }
        slot.read = Some(ended.attempt);
        slot.message = None;
        let action = Action::ReadTerminationMessage {
            container: container.name.into(),
            attempt: ended.attempt,
            id: ended.id.clone(),
            path: container.message_path.into(),
            or_log: container.message_from_logs && ended.code() != 0,
        };
        self.issue(round, action);
    }

    /// The container has run to its end, and is not started again.
    pub(super) fn is_done(&self, round: &Round<'_>, place: usize, container: &ContainerView<'_>) -> bool {
        let again = |code| should_restart(&round.pod, container, code);
        match self.present(round, place, container) {
            Present::Exited(ended) => !again(ended.code()) && !self.slots.get(place).is_some_and(|slot| slot.replaces),
            Present::Absent => ended_before(round, container).is_some_and(|code| !again(code)),
            _ => false,
        }
    }
}

/// How long `RunContainerError` is shown before it becomes `CrashLoopBackOff`.
const START_ERROR_SHOWN: Duration = Duration::from_secs(5);
/// How long a container may be in an unknown state before it is stopped.
const UNKNOWN_FOR: Duration = Duration::from_secs(60);

/// The exit code of a container that is no longer there and was when the pod's status was written.
pub(super) fn ended_before(round: &Round<'_>, container: &ContainerView<'_>) -> Option<i32> {
    let state = round.pod.status_of(container)?.state.as_ref()?;
    match (&state.terminated, &state.running) {
        (Some(end), _) => Some(end.exit_code),
        (None, Some(_)) => Some(UNKNOWN_EXIT_CODE),
        (None, None) => None,
    }
}

/// An action on the way to a container that runs.
pub(super) fn is_start_of(action: &Action, name: &str) -> bool {
    match action {
        Action::CheckImage { container }
        | Action::PullImage { container }
        | Action::CreateContainer { container, .. }
        | Action::StartContainer { container, .. } => **container == *name,
        _ => false,
    }
}

/// Any start of the container runs, as far as is seen.
fn runs(round: &Round<'_>, name: &str) -> bool {
    round.seen.starts_of(name).any(|start| start.phase == Phase::Running)
}
