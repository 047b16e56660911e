//! The pod's conditions: the kubelet's own are made anew, all others stay as they are.

use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition};

use super::{Containers, Input, generation, words};
use crate::observation::ObjectState;
use crate::pod::{ContainerView, Role};

/// Made here and nowhere else.
const OWN: [&str; 7] = [
    "PodReadyToStartContainers",
    "Initialized",
    "Ready",
    "ContainersReady",
    "PodScheduled",
    "PodResizePending",
    "PodResizeInProgress",
];
/// Made here and by others; never taken back.
pub(super) const DISRUPTION_TARGET: &str = "DisruptionTarget";

/// Whether a condition is taken away when it is no longer computed.
pub(super) fn is_own(kind: &str) -> bool {
    OWN.contains(&kind)
}

/// A condition's value.
struct Value {
    holds: bool,
    reason: String,
    message: String,
}

impl Value {
    const TRUE: Self = Self { holds: true, reason: String::new(), message: String::new() };

    fn no(reason: impl Into<String>, message: impl Into<String>) -> Self {
        Self { holds: false, reason: reason.into(), message: message.into() }
    }
}

/// All conditions: others', then the kubelet's in its order.
pub(super) fn conditions(input: &Input<'_>, containers: &Containers, phase: &str, over: bool) -> Vec<PodCondition> {
    let present = input.pod.status.conditions.as_deref().unwrap_or_default();
    let mut conditions: Vec<PodCondition> = Vec::with_capacity(present.len() + 5);
    conditions.extend(present.iter().filter(|condition| !is_own(&condition.type_)).cloned());
    conditions.extend(input.resize.iter().map(|resize| since(input, resize.clone())));
    if let Some((reason, message)) = disruption(input, over) {
        disrupt(input, &mut conditions, reason, message);
    }
    let containers_ready = containers_ready(input, containers, phase);
    let ready = ready(input, &containers_ready, &conditions);
    let sandbox = ready_to_start_containers(input, over);
    let initialized = initialized(input, containers, phase);
    for (kind, value) in [
        ("PodReadyToStartContainers", sandbox),
        ("Initialized", initialized),
        ("Ready", ready),
        ("ContainersReady", containers_ready),
        ("PodScheduled", Value::TRUE),
    ] {
        conditions.push(condition(input, kind, value));
    }
    conditions
}

fn condition(input: &Input<'_>, kind: &str, value: Value) -> PodCondition {
    since(
        input,
        PodCondition {
            type_: kind.into(),
            status: if value.holds { "True" } else { "False" }.into(),
            reason: words(&value.reason),
            message: words(&value.message),
            observed_generation: generation(input),
            last_probe_time: None,
            last_transition_time: None,
        },
    )
}

fn present<'a>(input: &Input<'a>, kind: &str) -> Option<&'a PodCondition> {
    input.pod.status.conditions.as_deref().unwrap_or_default().iter().find(|condition| condition.type_ == kind)
}

/// The same, with the time since which its status holds.
fn since(input: &Input<'_>, mut condition: PodCondition) -> PodCondition {
    let before = present(input, &condition.type_).filter(|before| before.status == condition.status);
    condition.last_transition_time = match before {
        Some(before) => before.last_transition_time.clone(),
        None => Some(input.now()),
    };
    condition
}

/// Why the pod is taken away. What the host decided is told when nothing runs any more, what the backend warns of at
/// once.
fn disruption<'a>(input: &Input<'a>, over: bool) -> Option<(&'a str, &'a str)> {
    if let Some((reason, message)) = input.verdict.filter(|_| over).and_then(|verdict| verdict.disruption.as_ref()) {
        return Some((reason, message));
    }
    let object = input.observation.object().filter(|object| !object.disruption.is_empty())?;
    Some((&object.disruption, &object.message))
}

/// Whoever said it first keeps the word.
fn disrupt(input: &Input<'_>, conditions: &mut Vec<PodCondition>, reason: &str, message: &str) {
    if conditions.iter().any(|condition| condition.type_ == DISRUPTION_TARGET && condition.status == "True") {
        return;
    }
    conditions.retain(|condition| condition.type_ != DISRUPTION_TARGET);
    let value = Value { holds: true, reason: reason.into(), message: message.into() };
    conditions.push(condition(input, DISRUPTION_TARGET, value));
}

fn ready_to_start_containers(input: &Input<'_>, over: bool) -> Value {
    let holds = match input.object().map(|object| object.state) {
        Some(ObjectState::Running | ObjectState::Suspended) => !over || input.work.is_none(),
        Some(ObjectState::Unknown | ObjectState::Deleting) if !over => {
            present(input, "PodReadyToStartContainers").is_some_and(|before| before.status == "True")
        }
        _ => false,
    };
    Value { holds, ..Value::TRUE }
}

/// `PodCompleted` and `PodFailed`, where the phase says it all.
fn by_phase(phase: &str) -> Option<Value> {
    match phase {
        "Succeeded" => Some(Value::no("PodCompleted", "")),
        "Failed" => Some(Value::no("PodFailed", "")),
        _ => None,
    }
}

fn containers_ready(input: &Input<'_>, containers: &Containers, phase: &str) -> Value {
    if let Some(value) = by_phase(phase) {
        return value;
    }
    let sidecars =
        input.pod.init_containers().zip(&containers.init).filter(|(container, _)| container.role == Role::Sidecar);
    let all = sidecars.chain(input.pod.app_containers().zip(&containers.app));
    let unready = names(all.filter(|(_, status)| !status.ready));
    if unready.is_empty() {
        return Value::TRUE;
    }
    let mut value = Value::no("ContainersNotReady", format!("containers with unready status: [{unready}]"));
    if let Some(object) = input.object().filter(|object| object.state == ObjectState::Suspended) {
        value.reason = words(&object.reason).unwrap_or_else(|| "Suspended".into());
        value.message = words(&object.message).unwrap_or(value.message);
    }
    value
}

fn ready(input: &Input<'_>, containers_ready: &Value, conditions: &[PodCondition]) -> Value {
    if !containers_ready.holds {
        return Value::no(containers_ready.reason.clone(), containers_ready.message.clone());
    }
    let gates = input.pod.spec.readiness_gates.as_deref().unwrap_or_default();
    let closed = gates.iter().filter_map(|gate| {
        let gate = &gate.condition_type;
        match conditions.iter().find(|condition| condition.type_ == *gate) {
            None => Some(format!("corresponding condition of pod readiness gate \"{gate}\" does not exist.")),
            Some(condition) if condition.status != "True" => {
                Some(format!("the status of pod readiness gate \"{gate}\" is not \"True\", but {}", condition.status))
            }
            Some(_) => None,
        }
    });
    let closed: Vec<String> = closed.collect();
    if closed.is_empty() { Value::TRUE } else { Value::no("ReadinessGatesNotReady", closed.join(", ")) }
}

fn initialized(input: &Input<'_>, containers: &Containers, phase: &str) -> Value {
    if phase == "Succeeded" {
        return Value { reason: "PodCompleted".into(), ..Value::TRUE };
    }
    let started = |status: &ContainerStatus| {
        status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    // Once initialized a pod stays so, also while its init containers run again in a new sandbox.
    let before = present(input, "Initialized").is_some_and(|before| before.status == "True");
    if before || containers.app.iter().any(started) {
        return Value::TRUE;
    }
    let incomplete =
        names(input.pod.init_containers().zip(&containers.init).filter(|(container, status)| match container.role {
            Role::Sidecar => status.started != Some(true),
            _ => !status.ready,
        }));
    if incomplete.is_empty() {
        return Value::TRUE;
    }
    Value::no("ContainersNotInitialized", format!("containers with incomplete status: [{incomplete}]"))
}

fn names<'a>(containers: impl Iterator<Item = (ContainerView<'a>, &'a ContainerStatus)>) -> String {
    let names: Vec<&str> = containers.map(|(container, _)| container.name).collect();
    names.join(" ")
}
