//! A pod, a machine, a clock that is set by hand, and an engine that does what it is told at once.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use pod_worker::machine::{Action, Event, Failure, Goal, Image, Machine, Outcome, Step};
use pod_worker::observation::{Object, ObjectState, Observation, Phase, Start};
use pod_worker::{PodView, Probe, Work, status};
use serde_json::{Value, json};

pub const UID: &str = "5a8f2f0e-8a51-4b37-a0f4-5f2a3a9c0e11";
/// As messages name the pod.
pub const POD: &str = "web_default(5a8f2f0e-8a51-4b37-a0f4-5f2a3a9c0e11)";

pub fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_700_000_000 + seconds).unwrap()
}

pub fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// A pod of this spec; restart policy and pull policies are filled in as the API server does.
pub fn pod(mut spec: Value) -> Pod {
    let fields = spec.as_object_mut().unwrap();
    fields.entry("restartPolicy").or_insert(json!("Always"));
    fields.entry("terminationGracePeriodSeconds").or_insert(json!(30));
    for list in ["initContainers", "containers", "ephemeralContainers"] {
        for container in fields.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            let container = container.as_object_mut().unwrap();
            let image = format!("registry.example.com/{}:v1", container["name"].as_str().unwrap());
            container.entry("image").or_insert(json!(image));
            container.entry("imagePullPolicy").or_insert(json!("IfNotPresent"));
        }
    }
    serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "default", "uid": UID, "generation": 1 },
        "spec": spec,
        "status": { "phase": "Pending", "qosClass": "BestEffort" },
    }))
    .unwrap()
}

/// A pod of app containers with these names.
pub fn apps(names: &[&str]) -> Pod {
    pod(json!({ "containers": names.iter().map(|name| json!({ "name": name })).collect::<Vec<_>>() }))
}

pub fn view<'a>(pod: &'a Pod, probes: &'a [Probe]) -> PodView<'a> {
    PodView { metadata: &pod.metadata, spec: pod.spec.as_ref().unwrap(), status: pod.status.as_ref().unwrap(), probes }
}

pub fn id(name: &str, attempt: u32) -> Box<str> {
    format!("lab://{name}-{attempt}").into()
}

/// A start that began at 0 s.
pub fn running(name: &str, attempt: u32) -> Start {
    Start { id: id(name, attempt), started_at: Some(at(0)), ..Start::new(name, attempt, Phase::Running) }
}

/// A start that ended with this code at 1 s.
pub fn exited(name: &str, attempt: u32, code: i32) -> Start {
    Start { phase: Phase::Exited, exit_code: Some(code), finished_at: Some(at(1)), ..running(name, attempt) }
}

/// A sandbox or object in this state.
pub fn object(attempt: u32, state: ObjectState) -> Object {
    Object::new(attempt, format!("sandbox-{attempt}"), state)
}

/// What kind of action it is, of which container, which attempt.
pub fn name(action: &Action) -> String {
    match action {
        Action::RunSandbox { attempt } => format!("run sandbox {attempt}"),
        Action::StopSandbox { attempt, .. } => format!("stop sandbox {attempt}"),
        Action::RemoveSandbox { attempt, last, .. } => {
            format!("remove sandbox {attempt}{}", if *last { " at last" } else { "" })
        }
        Action::CheckImage { container } => format!("check {container}"),
        Action::PullImage { container } => format!("pull {container}"),
        Action::CreateContainer { container, attempt, .. } => format!("create {container} {attempt}"),
        Action::StartContainer { container, attempt, .. } => format!("start {container} {attempt}"),
        Action::StopContainer { container, attempt, grace, .. } => {
            format!("stop {container} {attempt} in {}s", grace.as_secs())
        }
        Action::RemoveContainer { container, attempt, .. } => format!("remove {container} {attempt}"),
        Action::ReadTerminationMessage { container, attempt, .. } => format!("read {container} {attempt}"),
    }
}

pub fn names(actions: &[Action]) -> Vec<String> {
    actions.iter().map(name).collect()
}

/// Reason and message.
pub fn told(events: &[Event]) -> Vec<(&str, &str)> {
    events.iter().map(|event| (&*event.reason, &*event.message)).collect()
}

/// Container, reason and message.
pub fn waits(step: &Step) -> Vec<(&str, &str, &str)> {
    step.waiting.iter().map(|waiting| (&*waiting.container, &*waiting.reason, &*waiting.message)).collect()
}

pub struct Lab {
    pub pod: Pod,
    pub machine: Machine,
    pub seen: Observation,
    pub now: Timestamp,
    pub goal: Goal,
    pub probes: Vec<Probe>,
    /// Images that the engine has.
    pub images: Vec<String>,
    /// Actions that were done since this was last looked at.
    pub done: Vec<String>,
    pub events: Vec<Event>,
}

impl Lab {
    pub fn new(pod: Pod) -> Self {
        let spec = pod.spec.as_ref().unwrap();
        let all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let mut images: Vec<String> = all.filter_map(|container| container.image.clone()).collect();
        let ephemeral = spec.ephemeral_containers.iter().flatten();
        images.extend(ephemeral.filter_map(|container| container.image.clone()));
        Self {
            images,
            pod,
            machine: Machine::new(),
            seen: Observation::default(),
            now: at(0),
            goal: Goal::Run,
            probes: vec![],
            done: vec![],
            events: vec![],
        }
    }

    /// A pod whose containers run.
    pub fn running(pod: Pod) -> Self {
        let mut lab = Self::new(pod);
        lab.settle();
        lab.done.clear();
        lab.events.clear();
        lab
    }

    /// One step with a new observation.
    pub fn step(&mut self) -> Step {
        self.seen.revision = self.machine.revision();
        self.step_with_old_eyes()
    }

    /// One step with the observation as it was when it was last new.
    pub fn step_with_old_eyes(&mut self) -> Step {
        let step = self.machine.step(self.now, view(&self.pod, &self.probes), &self.seen, self.goal);
        self.events.extend(step.events.iter().cloned());
        step
    }

    /// One step, `later` seconds from now.
    pub fn step_after(&mut self, later: u64) -> Step {
        self.now += seconds(later);
        self.step()
    }

    /// Steps until there is nothing more to do; all goes well.
    pub fn settle(&mut self) -> Step {
        for _ in 0..100 {
            let step = self.step();
            if step.actions.is_empty() && !step.refresh {
                return step;
            }
            for action in &step.actions {
                self.carry_out(action);
            }
        }
        panic!("there is no end to it: {:?}", self.done);
    }

    /// Does an action, and reports it.
    pub fn carry_out(&mut self, action: &Action) {
        let outcome = self.act(action);
        self.done.push(name(action));
        self.machine.finished(self.now, action, Ok(outcome));
    }

    pub fn fail(&mut self, action: &Action, reason: &str, message: &str) {
        let failure = Failure { reason: reason.into(), message: message.into(), retry_after: None };
        self.machine.finished(self.now, action, Err(failure));
    }

    /// Everything that was done since the last look.
    pub fn take_done(&mut self) -> Vec<String> {
        std::mem::take(&mut self.done)
    }

    pub fn take_events(&mut self) -> Vec<Event> {
        std::mem::take(&mut self.events)
    }

    /// What the engine does about an action.
    pub fn act(&mut self, action: &Action) -> Outcome {
        let now = self.now;
        match action {
            Action::RunSandbox { attempt } => {
                self.seen.objects.push(object(*attempt, ObjectState::Running));
                Outcome::Id(format!("sandbox-{attempt}").into())
            }
            Action::StopSandbox { attempt, .. } => {
                self.sandbox(*attempt).state = ObjectState::Ended;
                Outcome::Done
            }
            Action::RemoveSandbox { attempt, .. } => {
                self.seen.objects.retain(|object| object.attempt != *attempt);
                self.seen.starts.retain(|start| start.object != *attempt);
                Outcome::Done
            }
            Action::CheckImage { container } => {
                let there = self.images.contains(&self.image_of(container));
                Outcome::Image(there.then(Image::default))
            }
            Action::PullImage { container } => {
                let image = self.image_of(container);
                self.images.push(image);
                Outcome::Image(Some(Image { size: 7, ..Image::default() }))
            }
            Action::CreateContainer { container, attempt, sandbox, spec_hash } => {
                self.seen.starts.push(Start {
                    object: sandbox.trim_start_matches("sandbox-").parse().unwrap(),
                    id: id(container, *attempt),
                    created_at: Some(now),
                    spec_hash: Some(*spec_hash),
                    ..Start::new(&**container, *attempt, Phase::Created)
                });
                Outcome::Id(id(container, *attempt))
            }
            Action::StartContainer { container, attempt, .. } => {
                let start = self.find(container, *attempt);
                start.phase = Phase::Running;
                start.started_at = Some(now);
                Outcome::Done
            }
            Action::StopContainer { container, attempt, .. } => {
                let (container, attempt) = (container.clone(), *attempt);
                self.exit(&container, attempt, 143);
                Outcome::Done
            }
            Action::RemoveContainer { container, attempt, .. } => {
                self.seen.starts.retain(|start| *start.name != **container || start.attempt != *attempt);
                Outcome::Done
            }
            Action::ReadTerminationMessage { container, .. } => {
                Outcome::Message(format!("bye from {container}").into())
            }
        }
    }

    pub fn image_of(&self, name: &str) -> String {
        let spec = self.pod.spec.as_ref().unwrap();
        let mut all = spec.containers.iter().chain(spec.init_containers.iter().flatten());
        let image = all.find(|container| container.name == name).and_then(|container| container.image.clone());
        let mut ephemeral = spec.ephemeral_containers.iter().flatten();
        image.or_else(|| ephemeral.find(|container| container.name == name)?.image.clone()).unwrap()
    }

    pub fn find(&mut self, name: &str, attempt: u32) -> &mut Start {
        self.seen.starts.iter_mut().find(|start| &*start.name == name && start.attempt == attempt).unwrap()
    }

    pub fn sandbox(&mut self, attempt: u32) -> &mut Object {
        self.seen.objects.iter_mut().find(|object| object.attempt == attempt).unwrap()
    }

    /// A container ends now.
    pub fn exit(&mut self, name: &str, attempt: u32, code: i32) {
        let now = self.now;
        let start = self.find(name, attempt);
        start.phase = Phase::Exited;
        start.exit_code = Some(code);
        start.finished_at = Some(now);
    }

    /// The sandbox ends now, and all in it.
    pub fn lose_sandbox(&mut self, attempt: u32) {
        self.sandbox(attempt).state = ObjectState::Ended;
        let running: Vec<(String, u32)> = self
            .seen
            .starts
            .iter()
            .filter(|start| start.object == attempt && start.phase == Phase::Running)
            .map(|start| (start.name.to_string(), start.attempt))
            .collect();
        for (name, start) in running {
            self.exit(&name, start, 137);
        }
    }

    /// Somebody deletes the pod.
    pub fn delete(&mut self, grace: u64) {
        let until = self.now + seconds(grace);
        self.pod.metadata.deletion_timestamp = Some(Time(until));
        self.goal = Goal::Terminate { until };
    }

    /// The host is restarted.
    pub fn restart_host(&mut self) {
        self.machine = Machine::new();
    }

    /// The status that follows from a step.
    pub fn status_after(&self, step: &Step) -> PodStatus {
        status::compute(&status::Input {
            pod: view(&self.pod, &self.probes),
            observation: &self.seen,
            work: Some(step.work),
            waiting: &step.waiting,
            messages: &step.messages,
            verdict: None,
            resize: &[],
            host_ips: &[],
            now: self.now,
        })
    }

    /// The API server takes the status that follows from a step.
    pub fn write_status(&mut self, step: &Step) {
        self.pod.status = Some(self.status_after(step));
    }
}

/// The status of a pod that a machine works on.
pub fn status_of(pod: &Pod, seen: &Observation, work: Work) -> PodStatus {
    status::compute(&input(pod, seen, Some(work)))
}

/// The status of a pod that its backend runs as a whole.
pub fn whole_status(pod: &Pod, seen: &Observation) -> PodStatus {
    status::compute(&input(pod, seen, None))
}

pub fn input<'a>(pod: &'a Pod, seen: &'a Observation, work: Option<Work>) -> status::Input<'a> {
    status::Input {
        pod: view(pod, &[]),
        observation: seen,
        work,
        waiting: &[],
        messages: &[],
        verdict: None,
        resize: &[],
        host_ips: &[],
        now: at(100),
    }
}

/// What a backend has.
pub fn seen(objects: Vec<Object>, starts: Vec<Start>) -> Observation {
    Observation { revision: 0, objects, starts }
}
