//! When a pod is over that its backend runs as a whole.

use crate::observation::{ObjectState, Observation, Phase, UNKNOWN_EXIT_CODE};
use crate::pod::{ContainerView, PodView, Role};
use crate::restart::should_restart;

/// Whether a pod that its backend runs as a whole is over: nothing of it runs any more, nor ever will. `evicted`: the
/// host ends it, though nobody deleted it.
///
/// An object that is [`ObjectState::Lost`] under a pod that is not over is to be deleted, and made again as the next
/// attempt.
pub fn is_over(pod: PodView<'_>, observation: &Observation, evicted: bool) -> bool {
    let ending = evicted || pod.is_deleting();
    let Some(object) = observation.object() else { return ending };
    match object.state {
        ObjectState::Ended | ObjectState::Failed => true,
        ObjectState::Lost => ending || (has_run(pod, observation) && !any_restarts(pod)),
        _ => ending && all_ended(pod, observation),
    }
}

/// Whether it may be over, which can be said without looking at the pod; `ending`: the host ends it, or somebody deleted it.
pub fn may_be_over(observation: &Observation, ending: bool) -> bool {
    let may_be = |state: ObjectState| state == ObjectState::Lost || state.has_stopped();
    ending || observation.object().is_some_and(|object| may_be(object.state))
}

/// Any container but an ephemeral one has ever run, as far as the backend or the API server know.
pub fn has_run(pod: PodView<'_>, observation: &Observation) -> bool {
    pod.init_containers().chain(pod.app_containers()).any(|container| {
        observation.starts_of(container.name).any(|start| matches!(start.phase, Phase::Running | Phase::Exited))
            || has_run_before(pod, &container)
    })
}

/// The container has ever run, as far as the API server knows.
pub(crate) fn has_run_before(pod: PodView<'_>, container: &ContainerView<'_>) -> bool {
    pod.status_of(container).is_some_and(|status| {
        let state = status.state.as_ref();
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
            || status.last_state.as_ref().is_some_and(|state| state.terminated.is_some())
    })
}

/// Any app container would be started again after an end that nobody saw.
fn any_restarts(pod: PodView<'_>) -> bool {
    pod.app_containers().any(|container| should_restart(&pod, &container, UNKNOWN_EXIT_CODE))
}

/// Every app container and sidecar has ended, and so has every init container that began.
fn all_ended(pod: PodView<'_>, observation: &Observation) -> bool {
    let ended = |container: ContainerView<'_>| match observation.latest(container.name) {
        Some(start) => start.phase == Phase::Exited,
        None => container.role != Role::App,
    };
    pod.init_containers().chain(pod.app_containers()).all(ended)
}
