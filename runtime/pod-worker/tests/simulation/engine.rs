//! A small container engine: sandboxes, containers, images, and the rules that no host may break.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use pod_worker::machine::{Action, Failure, Image, Outcome};
use pod_worker::observation::{Object, ObjectState, Observation, Phase, Start};

use crate::pods::{Case, Plan};

pub struct Sandbox {
    pub attempt: u32,
    pub running: bool,
}

pub struct Container {
    pub name: String,
    pub attempt: u32,
    pub sandbox: u32,
    pub phase: Phase,
    pub created_at: Timestamp,
    pub started_at: Option<Timestamp>,
    pub finished_at: Option<Timestamp>,
    pub exit_code: Option<i32>,
    pub spec_hash: u32,
    /// When it ends by itself, or because it was told to, and with which code.
    pub ends: Option<(Timestamp, i32)>,
}

pub struct Engine {
    pub sandboxes: Vec<Sandbox>,
    pub containers: Vec<Container>,
    pub images: BTreeSet<String>,
    /// The volumes of the pod are there.
    pub volumes: bool,
    plans: Vec<(String, Plan)>,
    /// How many of each container were ever made.
    made: BTreeMap<String, u32>,
    /// Which ever ran, in which sandbox.
    ran: BTreeSet<(String, u32)>,
    /// Init containers with whether they are sidecars, in order.
    inits: Vec<(String, bool)>,
}

impl Engine {
    pub fn new(case: &Case) -> Self {
        let inits = case.pod.spec.as_ref().unwrap().init_containers.as_deref().unwrap_or_default();
        let inits = inits.iter().map(|init| (init.name.clone(), init.restart_policy.is_some())).collect();
        Self {
            sandboxes: vec![],
            containers: vec![],
            images: case.images.iter().cloned().collect(),
            volumes: false,
            plans: case.plans.clone(),
            made: BTreeMap::new(),
            ran: BTreeSet::new(),
            inits,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.sandboxes.is_empty() && self.containers.is_empty() && !self.volumes
    }

    pub fn observe(&self, revision: u32) -> Observation {
        let objects = self.sandboxes.iter().map(|sandbox| {
            let state = if sandbox.running { ObjectState::Running } else { ObjectState::Ended };
            let mut object = Object::new(sandbox.attempt, format!("sandbox-{}", sandbox.attempt), state);
            if sandbox.running {
                object.ips = vec!["10.0.0.1".parse().unwrap()];
            }
            object
        });
        let starts = self.containers.iter().map(|container| Start {
            object: container.sandbox,
            id: id(&container.name, container.attempt),
            created_at: Some(container.created_at),
            started_at: container.started_at,
            finished_at: container.finished_at,
            exit_code: container.exit_code,
            spec_hash: Some(container.spec_hash),
            ..Start::new(&*container.name, container.attempt, container.phase)
        });
        Observation { revision, objects: objects.collect(), starts: starts.collect() }
    }

    fn find(&mut self, name: &str, attempt: u32) -> Option<&mut Container> {
        self.containers.iter_mut().find(|container| container.name == name && container.attempt == attempt)
    }

    fn runs_any(&self) -> bool {
        self.sandboxes.iter().any(|sandbox| sandbox.running)
    }

    /// Does an action as an engine does; `now` is when it takes effect. `forgotten`: whoever asked for it has forgotten.
    pub fn apply(
        &mut self,
        now: Timestamp,
        rng: &mut Rng,
        action: &Action,
        image: &str,
        forgotten: bool,
    ) -> Result<Outcome, Failure> {
        match action {
            Action::RunSandbox { attempt } => {
                if let Some(sandbox) = self.sandboxes.iter().find(|sandbox| sandbox.attempt == *attempt) {
                    let id = format!("sandbox-{attempt}").into();
                    return if sandbox.running { Ok(Outcome::Id(id)) } else { Err(Failure::new("it is over")) };
                }
                if self.sandboxes.iter().any(|sandbox| sandbox.attempt > *attempt) || (forgotten && self.runs_any()) {
                    return Err(Failure::new("there is a later one"));
                }
                assert!(!self.runs_any(), "a second sandbox beside one that runs");
                assert!(self.containers.iter().all(|container| container.phase != Phase::Running));
                self.volumes = true;
                self.sandboxes.push(Sandbox { attempt: *attempt, running: true });
                Ok(Outcome::Id(format!("sandbox-{attempt}").into()))
            }
            Action::StopSandbox { attempt, .. } => {
                self.lose_sandbox(now, Some(*attempt));
                Ok(Outcome::Done)
            }
            Action::RemoveSandbox { attempt, last, .. } => {
                self.lose_sandbox(now, Some(*attempt));
                self.sandboxes.retain(|sandbox| sandbox.attempt != *attempt);
                self.containers.retain(|container| container.sandbox != *attempt);
                if *last {
                    self.volumes = false;
                }
                Ok(Outcome::Done)
            }
            Action::CheckImage { .. } => {
                let there = self.images.contains(image);
                Ok(Outcome::Image(there.then(|| Image { user: "1000".into(), size: 1_000 })))
            }
            Action::PullImage { .. } => {
                self.images.insert(image.to_owned());
                Ok(Outcome::Image(Some(Image { user: "1000".into(), size: 1_000 })))
            }
            Action::CreateContainer { container, attempt, sandbox, spec_hash } => {
                if self.find(container, *attempt).is_none() {
                    let place: u32 = sandbox.trim_start_matches("sandbox-").parse().unwrap();
                    if !self.sandboxes.iter().any(|sandbox| sandbox.attempt == place && sandbox.running) {
                        return Err(Failure::new("no such sandbox"));
                    }
                    *self.made.entry(container.to_string()).or_default() += 1;
                    self.containers.push(Container {
                        name: container.to_string(),
                        attempt: *attempt,
                        sandbox: place,
                        phase: Phase::Created,
                        created_at: now,
                        started_at: None,
                        finished_at: None,
                        exit_code: None,
                        spec_hash: *spec_hash,
                        ends: None,
                    });
                }
                Ok(Outcome::Id(id(container, *attempt)))
            }
            Action::StartContainer { container, attempt, .. } => self.start(now, rng, container, *attempt),
            Action::StopContainer { container, attempt, grace, .. } => {
                let ignores = rng.u8(0..3) == 0;
                let takes = Duration::from_millis(rng.u64(0..=grace.as_millis() as u64 * 5 / 4));
                if let Some(container) = self.find(container, *attempt).filter(|it| it.phase == Phase::Running) {
                    let at = now + takes;
                    if grace.is_zero() {
                        end(container, now, 137);
                    } else if !ignores && container.ends.is_none_or(|(ends, _)| at < ends) {
                        container.ends = Some((at, 0));
                    }
                }
                Ok(Outcome::Done)
            }
            Action::RemoveContainer { container, attempt, .. } => {
                if self.find(container, *attempt).is_some_and(|container| container.phase == Phase::Running) {
                    return Err(Failure::new("it runs"));
                }
                self.containers.retain(|other| other.name != **container || other.attempt != *attempt);
                Ok(Outcome::Done)
            }
            Action::ReadTerminationMessage { container, attempt, .. } => {
                Ok(Outcome::Message(format!("last words of {container} {attempt}").into()))
            }
        }
    }

    fn start(&mut self, now: Timestamp, rng: &mut Rng, name: &str, attempt: u32) -> Result<Outcome, Failure> {
        let Some(container) = self.find(name, attempt) else { return Err(Failure::new("no such container")) };
        if container.phase != Phase::Created {
            return Ok(Outcome::Done);
        }
        let sandbox = container.sandbox;
        if !self.sandboxes.iter().any(|it| it.attempt == sandbox && it.running) {
            return Err(Failure::new("its sandbox does not run"));
        }
        match rng.u8(0..30) {
            0 => return Err(Failure::new("the engine is out of breath")),
            1 => {
                let failure = Failure::new("exec: \"no-such-program\": not found");
                return Err(Failure { reason: "StartError".into(), ..failure });
            }
            _ => {}
        }
        assert!(
            self.containers.iter().all(|other| other.name != name || other.phase != Phase::Running),
            "two of {name} run at once"
        );
        self.check_order(name, sandbox);
        let plan = self.plans.iter().find(|(of, _)| of == name).unwrap().1;
        let mut ends = |seconds, code| Some((now + Duration::from_millis(rng.u64(1..=seconds * 1000)), code));
        let ends = match plan {
            Plan::Serve => None,
            Plan::End(seconds, code) => ends(seconds, code),
            Plan::Recover(times, code) if attempt < times => ends(5, code),
            Plan::Recover(..) => None,
        };
        let container = self.find(name, attempt).unwrap();
        container.phase = Phase::Running;
        container.started_at = Some(now);
        container.ends = ends;
        self.ran.insert((name.to_owned(), sandbox));
        Ok(Outcome::Done)
    }

    /// Init containers before it are done, each once in this sandbox; sidecars before it were started.
    fn check_order(&self, name: &str, sandbox: u32) {
        for (init, sidecar) in &self.inits {
            if init == name {
                break;
            }
            let mut here = self.containers.iter().filter(|it| it.name == *init && it.sandbox == sandbox);
            if *sidecar {
                let ran = self.ran.contains(&(init.clone(), sandbox));
                assert!(ran, "{name} was started before the sidecar {init}");
            } else {
                let done = here.any(|it| it.phase == Phase::Exited && it.exit_code == Some(0));
                assert!(done, "{name} was started before {init} was done");
            }
        }
    }

    /// The sandbox stops, and all in it.
    pub fn lose_sandbox(&mut self, now: Timestamp, attempt: Option<u32>) {
        for sandbox in self.sandboxes.iter_mut().filter(|sandbox| attempt.is_none_or(|it| it == sandbox.attempt)) {
            sandbox.running = false;
            for container in self.containers.iter_mut().filter(|it| it.sandbox == sandbox.attempt) {
                if container.phase == Phase::Running {
                    end(container, now, 137);
                }
            }
        }
    }

    /// Something ends a container.
    pub fn kill(&mut self, now: Timestamp, rng: &mut Rng) {
        let mut running: Vec<&mut Container> =
            self.containers.iter_mut().filter(|container| container.phase == Phase::Running).collect();
        if !running.is_empty() {
            let place = rng.usize(0..running.len());
            end(running[place], now, 137);
        }
    }

    /// Somebody removes everything behind the host's back.
    pub fn wipe(&mut self) {
        self.sandboxes.clear();
        self.containers.clear();
    }

    /// When the next container ends.
    pub fn next_end(&self) -> Option<Timestamp> {
        let running = self.containers.iter().filter(|container| container.phase == Phase::Running);
        running.filter_map(|container| container.ends).map(|(at, _)| at).min()
    }

    /// Ends what is due.
    pub fn end_due(&mut self, now: Timestamp) {
        for container in self.containers.iter_mut().filter(|container| container.phase == Phase::Running) {
            if let Some((at, code)) = container.ends.filter(|(at, _)| *at <= now) {
                end(container, at, code);
            }
        }
    }

    pub fn made(&self, name: &str) -> u32 {
        self.made.get(name).copied().unwrap_or(0)
    }

    /// The definition that a running container was made from.
    pub fn running(&self, name: &str) -> Option<u32> {
        let mut all = self.containers.iter();
        all.find(|it| it.name == name && it.phase == Phase::Running).map(|it| it.spec_hash)
    }

    pub fn anything_runs(&self) -> bool {
        self.containers.iter().any(|container| container.phase == Phase::Running)
    }

    pub fn is_sidecar(&self, name: &str) -> bool {
        self.inits.iter().any(|(init, sidecar)| init == name && *sidecar)
    }

    pub fn any_app_runs(&self) -> bool {
        let mut all = self.containers.iter();
        all.any(|it| it.name.starts_with("app") && it.phase == Phase::Running)
    }
}

fn end(container: &mut Container, at: Timestamp, code: i32) {
    container.phase = Phase::Exited;
    container.finished_at = Some(at);
    container.exit_code = Some(code);
}

fn id(name: &str, attempt: u32) -> Box<str> {
    format!("fake://{name}-{attempt}").into()
}
