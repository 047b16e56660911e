//! The containers of a pod that is over: whatever is not known to have ended is told as an end that nobody saw, so that
//! no pod is taken for successful that wasn't.

use k8s_openapi::api::core::v1::{ContainerState, ContainerStateTerminated, ContainerStatus};

use super::Containers;
use crate::observation::UNKNOWN_EXIT_CODE;
use crate::pod::{PodView, Role};

/// `reason` of an end that nobody saw.
pub(super) const STATUS_UNKNOWN: &str = "ContainerStatusUnknown";

/// An end that nobody saw.
pub(super) fn unknown(message: &str) -> ContainerStateTerminated {
    ContainerStateTerminated {
        reason: Some(STATUS_UNKNOWN.into()),
        message: Some(message.into()),
        exit_code: UNKNOWN_EXIT_CODE,
        ..ContainerStateTerminated::default()
    }
}

/// Gives every container that had its turn an end. Containers whose turn never came stay as they wait: the init
/// container that failed says enough.
pub(super) fn settle(pod: &PodView<'_>, containers: &mut Containers) {
    if initialized(pod, containers) {
        containers.app.iter_mut().for_each(end);
    }
    let had_turn = containers.init.iter().rposition(began).map_or(1, |last| last + 1);
    containers.init.iter_mut().take(had_turn).for_each(end);
    containers
        .ephemeral
        .iter_mut()
        .filter(|status| state(status).is_some_and(|state| state.running.is_some()))
        .for_each(end);
}

fn state(status: &ContainerStatus) -> Option<&ContainerState> {
    status.state.as_ref()
}

fn end(status: &mut ContainerStatus) {
    if state(status).is_none_or(|state| state.terminated.is_none()) {
        let terminated = unknown("The container could not be located when the pod was terminated");
        status.state = Some(ContainerState { terminated: Some(terminated), ..ContainerState::default() });
    }
    status.started = status.started.map(|_| false);
    status.ready &= state(status).and_then(|state| state.terminated.as_ref()).is_some_and(|end| end.exit_code == 0);
}

/// It has run, now or before.
fn began(status: &ContainerStatus) -> bool {
    state(status).is_some_and(|state| state.waiting.is_none())
        || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
}

/// The app containers had their turn.
fn initialized(pod: &PodView<'_>, containers: &Containers) -> bool {
    let Some(last) = pod.init_containers().last() else { return true };
    let succeeded = |state: Option<&ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).is_some_and(|end| end.exit_code == 0)
    };
    containers.app.iter().any(began)
        || containers.init.last().is_some_and(|status| match last.role {
            Role::Sidecar => status.started == Some(true) && state(status).is_some_and(|state| state.running.is_some()),
            _ => succeeded(state(status)) || succeeded(status.last_state.as_ref()),
        })
}
