//! A pod on a backend that runs containers: `pod-worker`'s machine decides, this says what its goal is.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use pod_worker::Work;
use pod_worker::machine::Goal;

use super::core::{Core, Deletion, Effect, Plan, Todo, Told, view};
use crate::events::PodEvent;
use crate::record::Parsed;

pub(super) fn plan(core: &mut Core, now: Timestamp, todo: &mut Todo) {
    let goal = goal(core, now);
    let parsed = core.parsed();
    // A pod that the API server does not have any more is known by its identity alone.
    let orphan = Parsed {
        metadata: ObjectMeta {
            name: Some(core.key.name.to_string()),
            namespace: Some(core.key.namespace.to_string()),
            uid: Some(core.key.uid.to_string()),
            ..ObjectMeta::default()
        },
        spec: PodSpec::default(),
        status: Arc::default(),
        probes: Vec::new(),
    };
    let parsed = parsed.as_deref().unwrap_or(&orphan);
    let status = core.base_status(parsed);
    let Core { plan: Plan::Containers(machine), seen: Some(seen), .. } = core else { return };
    let step = machine.step(now, view(parsed, &status), seen, goal);
    todo.effects.extend(step.actions.into_iter().map(Effect::Act));
    todo.effects.extend(step.events.into_iter().map(|event| {
        Effect::Event(PodEvent {
            warning: event.warning,
            reason: event.reason.into_owned(),
            message: event.message,
            field_path: event.field_path,
        })
    }));
    if step.refresh {
        todo.effects.push(Effect::Refresh);
    }
    if let Some(at) = step.wake_at {
        todo.wake(at);
    }
    if step.work == Work::Removed && core.record.is_none() {
        todo.effects.push(Effect::Drop);
    }
    core.told = Told { work: Some(step.work), waiting: step.waiting, messages: step.messages };
}

/// What is to become of the pod.
fn goal(core: &Core, now: Timestamp) -> Goal {
    let Some(record) = &core.record else { return Goal::Remove { until: now } };
    if core.deletion() == Deletion::Done {
        return Goal::Remove { until: now };
    }
    if let Some(until) = core.delete_by {
        return Goal::Terminate { until };
    }
    if record.finished {
        return Goal::Terminate { until: now };
    }
    if core.verdict.is_some() {
        return Goal::Terminate { until: now.saturating_add(record.grace_period()).unwrap_or(now) };
    }
    Goal::Run
}
