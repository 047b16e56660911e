//! A host, an API server and the engine, in simulated time.

use std::time::Duration;

use fastrand::Rng;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ContainerStatus, Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pod_worker::machine::{Action, Failure, Goal, Machine, Outcome, Step};
use pod_worker::observation::Observation;
use pod_worker::{PodView, Work, spec_hash, status};

use crate::engine::Engine;
use crate::pods::{Case, Plan, case};

/// A call that the host made.
struct Call {
    action: Action,
    /// When it takes effect; none: it has, with this result.
    effect: Option<Timestamp>,
    result: Result<Outcome, Failure>,
    /// When the answer comes; none: the host does not wait for it any more.
    answer: Option<Timestamp>,
}

/// The last call to stop a container.
struct Told {
    container: Box<str>,
    attempt: u32,
    at: Timestamp,
    /// When its time is over.
    until: Timestamp,
    failed: bool,
}

/// An observation on its way.
struct Look {
    seen: Observation,
    taken: u64,
    arrives: Timestamp,
    /// Pushed by the engine: gets the revision of its arrival.
    pushed: bool,
    asked: bool,
}

pub struct World {
    seed: u64,
    rng: Rng,
    loud: bool,
    /// The engine's clock.
    now: Timestamp,
    /// How far the host's clock is off.
    skew: SignedDuration,
    began: Timestamp,
    case: Case,
    /// As the API server has it; none once it is deleted.
    api: Option<Pod>,
    /// What the host still knows of a pod that is gone.
    last: Pod,
    engine: Engine,
    machine: Machine,
    observation: Option<Observation>,
    calls: Vec<Call>,
    told: Vec<Told>,
    looks: Vec<Look>,
    looks_taken: u64,
    /// The last answer that was taken; earlier questions' answers are dropped.
    last_look: u64,
    wake_at: Option<Timestamp>,
    poll_at: Timestamp,
    fault_at: Timestamp,
    grace_until: Option<Timestamp>,
    faults: bool,
    steps: u64,
    minute: (i64, u32),
    removed: bool,
}

const SECOND: Duration = Duration::from_secs(1);

impl World {
    pub fn new(seed: u64, loud: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let case = case(&mut rng);
        let began = Timestamp::from_second(1_700_000_000).unwrap();
        Self {
            seed,
            loud,
            now: began,
            skew: SignedDuration::ZERO,
            began,
            api: Some(case.pod.clone()),
            last: case.pod.clone(),
            engine: Engine::new(&case),
            case,
            machine: Machine::new(),
            observation: None,
            calls: vec![],
            told: vec![],
            looks: vec![],
            looks_taken: 0,
            last_look: 0,
            wake_at: None,
            poll_at: began,
            fault_at: began + SECOND,
            grace_until: None,
            faults: true,
            steps: 0,
            minute: (0, 0),
            removed: false,
            rng,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.loud {
            let time = self.now.duration_since(self.began);
            println!("{:>9.3} {}", time.as_secs_f64(), what());
        }
    }

    /// Runs the scenario; returns how many steps it took.
    pub fn run(mut self) -> u64 {
        self.say(|| {
            format!(
                "seed {}: {:?} {:?}",
                self.seed,
                self.case.plans,
                self.case.pod.spec.as_ref().unwrap().restart_policy
            )
        });
        let trouble_ends = self.began + Duration::from_secs(self.rng.u64(20..1_500));
        let delete_at = match self.rng.u8(0..3) {
            0 => Some(self.began + Duration::from_millis(self.rng.u64(0..120_000))),
            1 => Some(self.began + Duration::from_secs(self.rng.u64(0..1_500))),
            _ => None,
        };
        self.until(delete_at.map_or(trouble_ends, |at| at.min(trouble_ends)));
        if delete_at.is_some_and(|at| at <= trouble_ends) {
            self.delete();
            let shorten = self.now + Duration::from_secs(self.rng.u64(0..40));
            self.until(shorten);
            if self.rng.bool() {
                self.delete();
            }
            self.until(trouble_ends.max(self.now));
        }
        self.faults = false;
        self.say(|| "all is well from now on".into());
        self.until(self.now + Duration::from_secs(1_300));
        if self.api.as_ref().is_some_and(|pod| pod.metadata.deletion_timestamp.is_none()) {
            self.check_is_well();
            self.delete();
        }
        self.until(self.now + Duration::from_secs(200));
        assert!(self.api.is_none(), "the pod is still at the API server");
        assert!(self.removed, "the host is not done with it");
        assert!(self.engine.is_empty(), "something is left at the engine");
        self.steps
    }

    /// A pod whose containers could run, runs; one whose containers are done, is over.
    fn check_is_well(&self) {
        let pod = self.api.as_ref().unwrap();
        let status = pod.status.as_ref().unwrap();
        let phase = status.phase.as_deref().unwrap_or_default();
        let policy = pod.spec.as_ref().unwrap().restart_policy.as_deref().unwrap();
        let serves = |plan: &Plan| matches!(plan, Plan::Serve | Plan::Recover(..));
        let init_fails = self
            .case
            .plans
            .iter()
            .any(|(name, plan)| name.starts_with("init") && matches!(plan, Plan::End(_, code) if *code != 0));
        let apps: Vec<&Plan> =
            self.case.plans.iter().filter(|(name, _)| name.starts_with("app")).map(|(_, plan)| plan).collect();
        if policy == "Always" && !init_fails && apps.iter().all(|plan| serves(plan)) {
            assert_eq!(phase, "Running", "{status:#?}");
            let ready =
                status.conditions.as_ref().unwrap().iter().find(|condition| condition.type_ == "Ready").unwrap();
            let sidecars_serve = self.case.plans.iter().all(|(name, plan)| {
                let sidecar = pod.spec.as_ref().unwrap().init_containers.iter().flatten();
                let mut sidecar = sidecar.filter(|init| init.restart_policy.is_some());
                !sidecar.any(|init| init.name == *name) || serves(plan)
            });
            assert!(ready.status == "True" || !sidecars_serve, "{status:#?}");
        }
        if policy == "Never"
            && !init_fails
            && apps.iter().all(|plan| matches!(plan, Plan::End(seconds, _) if *seconds < 100))
        {
            assert!(matches!(phase, "Succeeded" | "Failed"), "{phase}");
        }
        for container in &pod.spec.as_ref().unwrap().containers {
            let wanted = spec_hash(&container.name, container.image.as_deref().unwrap_or_default());
            let running = self.engine.running(&container.name);
            assert!(running.is_none_or(|running| running == wanted), "{} runs an old image", container.name);
        }
        if matches!(phase, "Succeeded" | "Failed") {
            assert!(self.engine.next_end().is_none() && self.engine.sandboxes.iter().all(|sandbox| !sandbox.running));
        }
    }

    /// Lets the time pass until then.
    fn until(&mut self, end: Timestamp) {
        loop {
            let calls = self.calls.iter().flat_map(|call| [call.effect, call.answer]).flatten();
            let next = calls
                .chain(self.looks.iter().map(|look| look.arrives))
                .chain(self.wake_at)
                .chain(self.engine.next_end())
                .chain((!self.removed).then_some(self.poll_at))
                .chain(self.faults.then_some(self.fault_at))
                .min();
            let Some(next) = next.filter(|next| *next <= end) else { break };
            self.now = self.now.max(next);
            self.happen();
        }
        self.now = end;
    }

    /// All that is due happens.
    fn happen(&mut self) {
        let now = self.now;
        self.engine.end_due(now);
        let mut step = false;
        if self.faults && self.fault_at <= now {
            self.fault();
        }
        if !self.removed && self.poll_at <= now {
            self.poll_at = now + Duration::from_secs(if self.faults { 5 } else { 30 });
            self.look(false, false);
        }
        for place in 0..self.calls.len() {
            if self.calls[place].effect.is_some_and(|at| at <= now) {
                self.take_effect(place);
            }
        }
        let mut place = 0;
        while place < self.calls.len() {
            let call = &self.calls[place];
            if call.effect.is_none() && call.answer.is_none() {
                self.calls.swap_remove(place);
            } else if call.effect.is_none() && call.answer.is_some_and(|at| at <= now) {
                let call = self.calls.swap_remove(place);
                self.say(|| format!("  answer {:?}: {:?}", call.action, call.result));
                if let Action::StopContainer { container, attempt, .. } = &call.action {
                    for told in self.told.iter_mut().filter(|it| it.container == *container && it.attempt == *attempt) {
                        told.failed |= call.result.is_err();
                    }
                }
                self.machine.finished(now + self.skew, &call.action, call.result);
                step = true;
            } else {
                place += 1;
            }
        }
        while let Some(place) = self.looks.iter().position(|look| look.arrives <= now) {
            let mut look = self.looks.remove(place);
            if look.pushed {
                look.seen.revision = self.machine.revision();
            } else if look.taken < self.last_look {
                continue;
            } else {
                self.last_look = look.taken;
            }
            self.observation = Some(look.seen);
            step = true;
        }
        if self.wake_at.is_some_and(|at| at <= now) {
            self.wake_at = None;
            step = true;
        }
        if step {
            self.step();
        }
    }

    fn image_of(&self, name: &str) -> String {
        let spec = self.api.as_ref().unwrap_or(&self.last).spec.as_ref().unwrap();
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        all.find(|container| container.name == name).and_then(|container| container.image.clone()).unwrap_or_default()
    }

    fn take_effect(&mut self, place: usize) {
        let action = self.calls[place].action.clone();
        let image = match &action {
            Action::CheckImage { container } | Action::PullImage { container } => self.image_of(container),
            _ => String::new(),
        };
        let fails = self.faults && self.rng.u8(0..12) == 0;
        let lost = self.faults && self.rng.u8(0..15) == 0;
        let failure = Err(Failure::new("something went wrong"));
        let call = &mut self.calls[place];
        call.effect = None;
        if fails {
            call.result = failure;
            return;
        }
        let forgotten = self.calls[place].answer.is_none();
        let result = self.engine.apply(self.now, &mut self.rng, &action, &image, forgotten);
        let call = &mut self.calls[place];
        call.result = if lost { failure } else { result };
        if let Some(answer) = &mut call.answer {
            *answer = (*answer).max(self.now);
        }
    }

    /// Something goes wrong.
    fn fault(&mut self) {
        self.fault_at = self.now + Duration::from_millis(self.rng.u64(1..120_000));
        match self.rng.u8(0..12) {
            0 => {
                self.say(|| "! sandbox lost".into());
                self.engine.lose_sandbox(self.now, None);
            }
            1..4 => {
                self.say(|| "! container killed".into());
                let now = self.now;
                self.engine.kill(now, &mut self.rng);
            }
            4 => {
                self.say(|| "! all wiped".into());
                self.engine.wipe();
            }
            5 => {
                self.skew = SignedDuration::from_secs(self.rng.i64(-3_600..3_600));
                self.told.clear();
                self.say(|| format!("! the host's clock is off by {:?}", self.skew));
            }
            6 => self.change_image(),
            _ => {
                self.say(|| "! host restarted".into());
                self.machine = Machine::new();
                self.told.clear();
                self.observation = None;
                self.wake_at = None;
                self.looks.clear();
                self.poll_at = self.now;
                // What was asked for may still be done.
                for call in &mut self.calls {
                    call.answer = None;
                }
                let mut rng = self.rng.fork();
                self.calls.retain(|_| rng.bool());
            }
        }
        if self.rng.bool() {
            self.look(true, false);
        }
    }

    /// Somebody gives a container another image.
    fn change_image(&mut self) {
        let Some(pod) = &mut self.api else { return };
        let spec = pod.spec.as_mut().unwrap();
        // The API server lets no container come back that ended in such a pod.
        if spec.restart_policy.as_deref() == Some("Never") {
            return;
        }
        let place = self.rng.usize(0..spec.containers.len());
        let container = &mut spec.containers[place];
        container.image = Some(format!("registry.example.com/app:v{}", self.rng.u8(1..9)));
        let name = container.name.clone();
        pod.metadata.generation = pod.metadata.generation.map(|generation| generation + 1);
        self.say(|| format!("! another image for {name}"));
    }

    /// Asks the engine, or lets it push.
    fn look(&mut self, pushed: bool, asked: bool) {
        let seen = self.engine.observe(self.machine.revision());
        let arrives = self.now + Duration::from_millis(self.rng.u64(1..if self.faults { 400 } else { 50 }));
        self.looks_taken += 1;
        self.looks.push(Look { seen, taken: self.looks_taken, arrives, pushed, asked });
    }

    fn delete(&mut self) {
        let grace = *self.rng.choice(&[0, 1, 5, 30, 30]).unwrap();
        let until = self.now + self.skew + Duration::from_secs(grace);
        self.grace_until = Some(self.grace_until.map_or(until, |earlier| earlier.min(until)));
        self.say(|| format!("deleted with {grace} s"));
        if let Some(pod) = &mut self.api {
            pod.metadata.deletion_timestamp = Some(Time(until));
            pod.metadata.deletion_grace_period_seconds = Some(i64::try_from(grace).unwrap());
        }
        if self.observation.is_some() {
            self.step();
        }
    }

    fn step(&mut self) {
        let Some(observation) = self.observation.clone() else { return };
        if self.removed {
            return;
        }
        self.steps += 1;
        let minute = self.now.as_second() / 60;
        self.minute = if self.minute.0 == minute { (minute, self.minute.1 + 1) } else { (minute, 1) };
        assert!(self.minute.1 < 400, "{} steps within a minute", self.minute.1);

        let now = self.now + self.skew;
        let pod = self.api.as_ref().unwrap_or(&self.last);
        let goal = match (&self.api, self.grace_until) {
            (None, until) => Goal::Remove { until: until.unwrap_or(now) },
            (Some(_), Some(until)) => Goal::Terminate { until },
            (Some(_), None) => Goal::Run,
        };
        let view = PodView {
            metadata: &pod.metadata,
            spec: pod.spec.as_ref().unwrap(),
            status: pod.status.as_ref().unwrap(),
            probes: &[],
        };
        let step = self.machine.step(now, view, &observation, goal);
        assert!(step.wake_at.is_none_or(|at| at > now), "asks to be woken at once: {step:?}");
        if self.loud && (!step.actions.is_empty() || !step.events.is_empty()) {
            for action in &step.actions {
                self.say(|| format!("{action:?}"));
            }
        }
        let work = step.work;
        let forgotten = self.calls.iter().any(|call| call.answer.is_none());
        assert!(!work.is_over() || forgotten || !self.engine.anything_runs(), "called over while something runs");
        if !step.refresh {
            self.write_status(&observation, &step);
        }
        for action in &step.actions {
            self.call(action.clone());
        }
        self.wake_at = step.wake_at.map(|at| self.now + at.duration_since(now));
        if step.refresh && !self.looks.iter().any(|look| look.asked && look.seen.revision >= self.machine.revision()) {
            self.look(false, true);
        }
        if work == Work::Removed {
            assert!(self.api.is_none());
            self.removed = true;
        }
    }

    /// A container gets its signal, and its kill when its time is over; another call only after one that failed, or when
    /// its time became shorter. Sidecars come after the others, unless the time is over.
    fn check_stop(&mut self, container: &str, attempt: u32, grace: Duration) {
        let at = self.now + self.skew;
        let until = at + grace;
        let place = self.told.iter().position(|it| *it.container == *container && it.attempt == attempt);
        if let Some(before) = place.map(|place| self.told.swap_remove(place)) {
            let killed = before.until == before.at;
            let due = at >= if killed { before.at + SECOND } else { before.until };
            let shorter = until + SECOND <= before.until;
            assert!(before.failed || due || shorter, "{container} {attempt} is told again {grace:?} too early");
        }
        let in_time = self.grace_until.is_some_and(|end| at < end);
        if !self.faults && in_time && self.engine.is_sidecar(container) {
            assert!(!self.engine.any_app_runs(), "the sidecar {container} is stopped before the others");
        }
        self.told.push(Told { container: container.into(), attempt, at, until, failed: false });
    }

    fn call(&mut self, action: Action) {
        if let Action::StopContainer { container, attempt, grace, .. } = &action {
            self.check_stop(container, *attempt, *grace);
        }
        let name = |action: &Action| match action {
            Action::CheckImage { container }
            | Action::PullImage { container }
            | Action::CreateContainer { container, .. }
            | Action::StartContainer { container, .. } => Some(container.clone()),
            _ => None,
        };
        if let Some(this) = name(&action) {
            let mut others = self.calls.iter().filter(|call| call.answer.is_some());
            assert!(others.all(|call| name(&call.action).as_ref() != Some(&this)), "two calls at once for {this}");
        }
        let slow = if matches!(action, Action::PullImage { .. }) { 20_000 } else { 300 };
        let effect = self.now + Duration::from_millis(self.rng.u64(1..slow));
        let answer = effect + Duration::from_millis(self.rng.u64(1..100));
        self.calls.push(Call { action, effect: Some(effect), result: Ok(Outcome::Done), answer: Some(answer) });
    }

    /// Computes the status and gives it to the API server, which may not take it.
    fn write_status(&mut self, observation: &Observation, step: &Step) {
        let Some(pod) = &self.api else { return };
        let present = pod.status.as_ref().unwrap();
        let view = |status| PodView { metadata: &pod.metadata, spec: pod.spec.as_ref().unwrap(), status, probes: &[] };
        let input = |status| status::Input {
            pod: view(status),
            observation,
            work: Some(step.work),
            waiting: &step.waiting,
            messages: &step.messages,
            verdict: None,
            resize: &[],
            host_ips: &[],
            now: self.now + self.skew,
        };
        let computed = status::compute(&input(present));
        let patch = status::patch("", present, &computed);
        if patch.is_some() {
            let again = status::patch("", &computed, &status::compute(&input(&computed)));
            assert_eq!(again, None, "computing it again changes it");
        }
        check_transition(pod, &self.engine, present, &computed);
        if self.faults && self.rng.u8(0..8) == 0 {
            return;
        }
        let over = step.work.is_over();
        if self.loud && patch.is_some() {
            self.say(|| format!("  status {}", summary(&computed)));
        }
        let pod = self.api.as_mut().unwrap();
        pod.status = Some(computed);
        if over && pod.metadata.deletion_timestamp.is_some() {
            self.last = self.api.take().unwrap();
            self.wake_at = Some(self.now + Duration::from_millis(1));
            self.say(|| "gone from the API server".into());
        }
    }
}

fn summary(status: &PodStatus) -> String {
    let containers = status.init_container_statuses.iter().chain(&status.container_statuses).flatten();
    let containers: Vec<String> = containers
        .map(|status| {
            let state = status.state.as_ref().unwrap();
            let what = match (&state.waiting, &state.running, &state.terminated) {
                (Some(waiting), ..) => waiting.reason.clone().unwrap_or_default(),
                (_, Some(_), _) => format!("running{}", if status.ready { "" } else { "?" }),
                (.., Some(end)) => format!("ended {}", end.exit_code),
                _ => "?".into(),
            };
            format!("{}#{} {what}", status.name, status.restart_count)
        })
        .collect();
    format!("{} {}", status.phase.as_deref().unwrap_or_default(), containers.join(", "))
}

/// What the API server refuses, and what nobody should see.
fn check_transition(pod: &Pod, engine: &Engine, before: &PodStatus, after: &PodStatus) {
    let terminal = |phase: Option<&str>| matches!(phase, Some("Succeeded" | "Failed"));
    if terminal(before.phase.as_deref()) {
        assert_eq!(before.phase, after.phase, "left a terminal phase");
    }
    if before.start_time.is_some() {
        assert_eq!(before.start_time, after.start_time);
    }
    let never = pod.spec.as_ref().unwrap().restart_policy.as_deref() == Some("Never");
    let pairs = |before: &Option<Vec<ContainerStatus>>, after: &Option<Vec<ContainerStatus>>| {
        let (before, after) = (before.clone().unwrap_or_default(), after.clone().unwrap_or_default());
        before.into_iter().zip(after)
    };
    let apps = pairs(&before.container_statuses, &after.container_statuses);
    let inits = pairs(&before.init_container_statuses, &after.init_container_statuses);
    for (before, after) in apps.clone().chain(inits) {
        assert_eq!(before.name, after.name);
        assert!(before.restart_count <= after.restart_count, "the restart count went down: {before:#?} {after:#?}");
        let made = i32::try_from(engine.made(&after.name)).unwrap();
        assert!(after.restart_count <= made, "counts more restarts than there were starts ({made}): {after:#?}");
    }
    for (before, after) in apps {
        let ended = |status: &ContainerStatus| status.state.as_ref().is_some_and(|state| state.terminated.is_some());
        assert!(!(never && ended(&before) && !ended(&after)), "came back to life: {before:#?} {after:#?}");
    }
}
