//! What runs when: init containers one after another, sidecars from their turn on, app containers after them, ephemeral
//! containers once; and when a pod is done.

use super::Machine;
use super::round::Round;
use super::sandbox::Sandbox;
use super::slot::Present;
use super::start::ended_before;
use crate::delay::Wait;
use crate::host::Work;
use crate::image::spec_hash;
use crate::observation::{Phase, Start, UNKNOWN_EXIT_CODE};
use crate::over::{has_run, has_run_before};
use crate::pod::{ContainerView, Role, after, is_terminal};
use crate::restart::should_restart;

impl Machine {
    /// Makes the pod run, until its containers are done.
    pub(super) fn run(&mut self, round: &mut Round<'_>) -> Work {
        if let Some(until) = self.until.as_mut().filter(|_| self.asked) {
            let until = until.end(round.now);
            return self.end(round, until);
        }
        let sandbox = self.sandbox_now(round);
        if self.is_finished(round, sandbox) {
            let until = self.until.get_or_insert(Wait::new(round.now, round.pod.grace_period())).end(round.now);
            return self.end(round, until);
        }
        self.until = None;
        match sandbox {
            Sandbox::Ready(attempt) => self.start_all(round, attempt),
            Sandbox::Absent => self.renew(round, None),
            Sandbox::Unfinished(attempt) => self.run_sandbox(round, attempt, None),
            Sandbox::Dead(attempt) => self.renew(round, Some(attempt)),
            Sandbox::Unsure => {}
        }
        self.collect(round);
        Work::Running
    }

    fn start_all(&mut self, round: &mut Round<'_>, sandbox: u32) {
        for (place, container) in round.containers() {
            self.read_message(round, place, &container);
            if container.role == Role::Ephemeral {
                self.start_ephemeral(round, place, &container);
            }
        }
        if self.initialize(round, sandbox) {
            for (place, container) in round.containers().filter(|(_, container)| container.role == Role::App) {
                self.keep(round, place, &container);
            }
        }
    }

    /// Started once, whether or not the pod is initialized.
    fn start_ephemeral(&mut self, round: &mut Round<'_>, place: usize, container: &ContainerView<'_>) {
        match self.present(round, place, container) {
            Present::Absent if !has_run_before(round.pod, container) => self.advance(round, place, container),
            Present::Created(attempt, _) if self.slot(place).dead != Some(attempt) => {
                self.advance(round, place, container);
            }
            _ => {}
        }
    }

    /// Does what is next of the init containers, and keeps the sidecars running whose turn has come. Returns whether the
    /// app containers may run.
    ///
    /// Init containers run again in each new sandbox. The last one that was made in this one tells how far it has come:
    /// those before it are done, also where the backend has removed them.
    fn initialize(&mut self, round: &mut Round<'_>, sandbox: u32) -> bool {
        let made_here = |start: &&Start| start.object == sandbox && start.phase != Phase::Waiting;
        let is_here = |machine: &Self, place: usize, container: &ContainerView<'_>| {
            round.seen.starts_of(container.name).any(|start| made_here(&start))
                || machine.slots.get(place).is_some_and(|slot| slot.made.is_some())
        };
        let here: Vec<bool> = round.containers().map(|(place, container)| is_here(self, place, &container)).collect();
        let inits: Vec<(usize, ContainerView<'_>)> =
            round.containers().take(round.pod.init_containers().count()).collect();
        let apps_made = round.containers().any(|(place, container)| container.role == Role::App && here[place]);
        let last = inits.iter().rposition(|(place, _)| here[*place]);

        let mut initialized = apps_made || inits.is_empty();
        let mut turn = last.unwrap_or(0);
        for (place, container) in inits {
            let passed = apps_made || place < turn;
            match container.role {
                Role::Sidecar if passed => {
                    self.keep(round, place, &container);
                }
                _ if passed => {}
                _ if place > turn => break,
                Role::Sidecar => {
                    if self.keep(round, place, &container) && self.has_started(round, place, &container) {
                        turn += 1;
                    }
                }
                _ if !here[place] => self.advance(round, place, &container),
                _ => match self.present(round, place, &container) {
                    Present::Exited(ended) if !ended.failed() => turn += 1,
                    Present::Exited(ended) => {
                        self.restart(round, place, &container, ended);
                    }
                    Present::Unknown(start) => {
                        self.restart_unknown(round, place, &container, start);
                    }
                    Present::Absent | Present::Created(..) => self.advance(round, place, &container),
                    Present::Running(..) | Present::Unsure => {}
                },
            }
            initialized |= turn > place && place + 1 == round.pod.init_containers().count();
        }
        initialized
    }

    /// Keeps a container running as its policy says. Returns whether it runs.
    fn keep(&mut self, round: &mut Round<'_>, place: usize, container: &ContainerView<'_>) -> bool {
        match self.present(round, place, container) {
            Present::Running(_, Some(start)) if self.sandbox_now(round) != Sandbox::Ready(start.object) => {
                // It runs in a sandbox that was replaced.
                let until = after(round.now, round.pod.grace_period());
                self.stop(round, start, until, None);
            }
            Present::Running(of, start) => {
                if let Some(start) =
                    start.filter(|_| of.is_some_and(|of| of != spec_hash(container.name, container.image)))
                {
                    self.replace(round, place, container, start);
                    return false;
                }
                return true;
            }
            Present::Exited(ended) => {
                self.restart(round, place, container, ended);
            }
            Present::Unknown(start) => {
                self.restart_unknown(round, place, container, start);
            }
            Present::Absent if self.is_done(round, place, container) => {}
            Present::Absent | Present::Created(..) => self.advance(round, place, container),
            Present::Unsure => {}
        }
        false
    }

    /// Stops a container whose definition changed; it is started again whatever its policy says.
    fn replace(&mut self, round: &mut Round<'_>, place: usize, container: &ContainerView<'_>, start: &Start) {
        self.slot(place).replaces = true;
        let until = after(round.now, round.pod.grace_period());
        let kind = if container.role == Role::Sidecar { "Init container" } else { "Container" };
        let message = format!("{kind} {} definition changed, will be restarted", container.name);
        self.stop(round, start, until, Some(message));
    }

    /// A sidecar that runs has started, so that the next container may.
    fn has_started(&self, round: &Round<'_>, place: usize, container: &ContainerView<'_>) -> bool {
        let Present::Running(_, start) = self.present(round, place, container) else { return false };
        let probe = round.pod.probe(container.name).and_then(|probe| probe.started);
        probe.or_else(|| start.and_then(|start| start.started)).unwrap_or(!container.startup_probe)
    }

    /// All containers of the pod are done for good.
    fn is_finished(&self, round: &Round<'_>, sandbox: Sandbox) -> bool {
        if is_terminal(round.pod.status.phase.as_deref()) {
            return true;
        }
        let failed_for_good = |(place, container): (usize, ContainerView<'_>)| {
            container.role == Role::Init
                && match self.present(round, place, &container) {
                    Present::Exited(end) => end.failed() && !should_restart(&round.pod, &container, end.code()),
                    _ => false,
                }
        };
        if round.containers().any(failed_for_good) {
            return true;
        }
        let mut apps = round.containers().filter(|(_, container)| container.role == Role::App);
        match sandbox {
            Sandbox::Unsure | Sandbox::Unfinished(_) => false,
            Sandbox::Ready(_) => apps.all(|(place, container)| self.is_done(round, place, &container)),
            Sandbox::Absent | Sandbox::Dead(_) => {
                has_run(round.pod, round.seen)
                    && !apps.any(|(place, container)| self.comes_again(round, place, &container))
            }
        }
    }

    /// Whether an app container is started again in a new sandbox.
    fn comes_again(&self, round: &Round<'_>, place: usize, container: &ContainerView<'_>) -> bool {
        let again = |code| should_restart(&round.pod, container, code);
        match self.present(round, place, container) {
            Present::Exited(_) => !self.is_done(round, place, container),
            Present::Absent => again(ended_before(round, container).unwrap_or(UNKNOWN_EXIT_CODE)),
            Present::Created(..) | Present::Running(..) | Present::Unknown(_) => again(UNKNOWN_EXIT_CODE),
            Present::Unsure => true,
        }
    }
}
