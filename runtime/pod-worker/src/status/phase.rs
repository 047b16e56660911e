//! The pod's phase, from its containers' statuses.

use k8s_openapi::api::core::v1::ContainerStatus;

use super::{Containers, Input};
use crate::observation::{ObjectState, Phase};
use crate::pod::{ContainerView, PodView, Role};
use crate::restart::should_restart;

/// Any app container was made in the object that counts, so that all init containers had their turn.
pub(super) fn has_started(input: &Input<'_>) -> bool {
    let Some(object) = input.object() else { return false };
    input.pod.app_containers().any(|container| {
        input
            .observation
            .starts_of(container.name)
            .any(|start| start.object == object.attempt && start.phase != Phase::Waiting)
    }) || (input.object_is(ObjectState::Suspended) && input.pod.status.phase.as_deref() == Some("Running"))
}

/// How a container stands.
enum Standing {
    Waiting,
    Running,
    /// Ended with this code; if it waits, it waits for its next start.
    Ended(i32),
}

fn standing(status: &ContainerStatus) -> Standing {
    let ended = |state: Option<&k8s_openapi::api::core::v1::ContainerState>| {
        state.and_then(|state| state.terminated.as_ref()).map(|end| end.exit_code)
    };
    let state = status.state.as_ref();
    if state.is_some_and(|state| state.running.is_some()) {
        return Standing::Running;
    }
    match ended(state).or_else(|| ended(status.last_state.as_ref())) {
        Some(code) => Standing::Ended(code),
        None => Standing::Waiting,
    }
}

/// The phase. `over`: nothing will be started again. `started`: see [`has_started`].
pub(super) fn phase(pod: &PodView<'_>, containers: &Containers, over: bool, started: bool) -> &'static str {
    let restarts = |container: &ContainerView<'_>, code| should_restart(pod, container, code);
    let (mut initializing, mut waiting, mut running) = (false, false, false);
    for (container, status) in pod.init_containers().zip(&containers.init) {
        match (container.role, standing(status)) {
            (Role::Sidecar, Standing::Running) => {
                running = true;
                initializing |= status.started != Some(true) && !started;
            }
            (Role::Sidecar, Standing::Waiting) => waiting = true,
            (Role::Sidecar, Standing::Ended(_)) => {}
            (_, Standing::Ended(code)) if code != 0 && !restarts(&container, code) => return "Failed",
            (_, Standing::Ended(_)) => {}
            (_, Standing::Running | Standing::Waiting) => initializing = true,
        }
    }
    let (mut restarting, mut failed) = (false, false);
    for (container, status) in pod.app_containers().zip(&containers.app) {
        match standing(status) {
            Standing::Waiting => waiting = true,
            Standing::Running => running = true,
            Standing::Ended(code) => {
                failed |= code != 0;
                restarting |= !over && restarts(&container, code);
            }
        }
    }
    match () {
        () if initializing || waiting => "Pending",
        () if running || restarting => "Running",
        () if failed => "Failed",
        () => "Succeeded",
    }
}
