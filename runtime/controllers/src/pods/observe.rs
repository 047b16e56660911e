//! What a provider reports, as `pod-worker` reads it.

use std::net::IpAddr;
use std::sync::Arc;

use pod_worker::observation::{Object, ObjectState, Observation, Phase, Resources, Start};
use provider::{ContainerPhase, ContainerState, PodState};

/// What the backend has of a pod: all its objects, of which `before` fills up what they don't tell.
///
/// `states` are those of one answer; an object of which the answer tells nothing but that it exists keeps the containers
/// that it had.
pub(super) fn observation(states: &[PodState], before: Option<&Observation>, revision: u32) -> Observation {
    let mut out = Observation { revision, ..Observation::default() };
    for state in states {
        let kept = before.map_or_else(Vec::new, |before| {
            before.starts.iter().filter(|start| start.object == state.attempt).cloned().collect()
        });
        let known = before.and_then(|before| before.objects.iter().find(|object| object.attempt == state.attempt));
        let unread = state.error.is_some() && object_state(state) != ObjectState::Lost;
        match known {
            // It could not be read: what is known stays, and that it is old is known too.
            Some(known) if unread => out.objects.push(Object { state: ObjectState::Unknown, ..known.clone() }),
            _ => out.objects.push(object(state, known)),
        }
        if unread || state.partial {
            out.starts.extend(kept);
        } else {
            out.starts.extend(state.containers.iter().map(|container| start(container, state.attempt)));
        }
    }
    out
}

/// What is known with one object's state anew.
pub(super) fn merge(before: Option<&Observation>, state: &PodState, revision: u32) -> Observation {
    let mut out = observation(std::slice::from_ref(state), before, revision);
    if let Some(before) = before {
        // A synthetic object of an attempt that is replaced goes with it.
        let others = before.objects.iter().filter(|object| object.attempt != state.attempt && !object.id.is_empty());
        out.objects.extend(others.cloned());
        let of_others = |start: &&Start| out.objects.iter().skip(1).any(|object| object.attempt == start.object);
        let starts: Vec<Start> = before.starts.iter().filter(of_others).cloned().collect();
        out.starts.extend(starts);
    }
    out
}

/// The same for a pod of which the backend has nothing any more.
pub(super) fn gone(before: Option<&Observation>, revision: u32, is_whole: bool) -> Observation {
    match before.and_then(Observation::object) {
        // What the backend ran as a whole and lost is not over for that: it may be made again.
        Some(object) if is_whole => lost(object.attempt, revision),
        _ => Observation { revision, ..Observation::default() },
    }
}

/// The same for one of which the backend has lost this attempt.
pub(super) fn lost(attempt: u32, revision: u32) -> Observation {
    Observation { revision, objects: vec![Object::new(attempt, "", ObjectState::Lost)], starts: Vec::new() }
}

fn object_state(state: &PodState) -> ObjectState {
    match state.state {
        provider::ObjectState::Queued => ObjectState::Queued,
        provider::ObjectState::Starting => ObjectState::Starting,
        provider::ObjectState::Running => ObjectState::Running,
        provider::ObjectState::Suspended => ObjectState::Suspended,
        provider::ObjectState::Ended => ObjectState::Ended,
        provider::ObjectState::Failed => ObjectState::Failed,
        provider::ObjectState::Lost => ObjectState::Lost,
        provider::ObjectState::Deleting => ObjectState::Deleting,
        provider::ObjectState::Unknown => ObjectState::Unknown,
    }
}

/// Addresses that are none are left out: a status with one is refused as a whole.
fn addresses(texts: &[String]) -> Vec<IpAddr> {
    texts.iter().filter_map(|text| text.parse().ok()).collect()
}

fn object(state: &PodState, known: Option<&Object>) -> Object {
    let ips = addresses(&state.ips);
    let message = match &state.error {
        Some(error) if state.message.is_empty() => error.message.as_str(),
        _ => state.message.as_str(),
    };
    let reason = match &state.error {
        Some(error) if state.reason.is_empty() => error.reason.as_str(),
        _ => state.reason.as_str(),
    };
    Object {
        attempt: state.attempt,
        id: state.id.as_str().into(),
        state: object_state(state),
        reason: reason.into(),
        message: message.into(),
        disruption: state.disruption.as_str().into(),
        // A partial answer may not know them, and many backends forget those of what has stopped: the pod may have begun and
        // ended within one write of its status.
        ips: if ips.is_empty() && (state.partial || object_state(state).has_stopped()) {
            known.map(|known| known.ips.clone()).unwrap_or_default()
        } else {
            ips
        },
        host_ips: addresses(&state.host_ips),
        created_at: state.created_at,
    }
}

fn start(container: &ContainerState, object: u32) -> Start {
    let spec_hash = (!container.image.is_empty()).then(|| pod_worker::spec_hash(&container.name, &container.image));
    Start {
        name: Arc::from(container.name.as_str()),
        attempt: container.attempt,
        object,
        id: container.id.as_str().into(),
        phase: match container.phase {
            ContainerPhase::Waiting => Phase::Waiting,
            ContainerPhase::Created => Phase::Created,
            ContainerPhase::Running => Phase::Running,
            ContainerPhase::Exited => Phase::Exited,
            ContainerPhase::Unknown => Phase::Unknown,
        },
        reason: container.reason.as_str().into(),
        message: container.message.as_str().into(),
        created_at: container.created_at,
        started_at: container.started_at,
        finished_at: container.finished_at,
        exit_code: container.exit_code,
        signal: container.signal,
        image: Arc::from(container.image.as_str()),
        image_id: Arc::from(container.image_id.as_str()),
        ready: container.ready,
        started: container.started,
        resources: container.resources.as_ref().map(|own| {
            Box::new(Resources {
                cpu_request: own.cpu_request,
                cpu_limit: own.cpu_limit,
                memory_request: own.memory_request,
                memory_limit: own.memory_limit,
            })
        }),
        spec_hash,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_that_has_stopped_keeps_the_addresses_that_it_had() {
        let state = |state, ips: &[&str]| PodState {
            id: "s".into(),
            ips: ips.iter().map(ToString::to_string).collect(),
            ..PodState::new(provider::PodKey::new("u", "default", "web"), 0, state)
        };
        let running = observation(&[state(provider::ObjectState::Running, &["10.0.0.1"])], None, 1);
        for (now, expected) in [(provider::ObjectState::Ended, 1), (provider::ObjectState::Running, 0)] {
            let later = observation(&[state(now, &[])], Some(&running), 2);
            assert_eq!(later.objects[0].ips.len(), expected, "{now:?}");
        }
    }
}
