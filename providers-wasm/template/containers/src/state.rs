//! What the engine's objects mean to Kubernetes. Only what the engine knows is reported; phase, conditions and restart
//! counts are the host's to compute. Pure: tested without a host.

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerState, PodState};

use crate::engine::{Container, Sandbox};

/// The state of the pod of a sandbox with these containers.
pub fn of(sandbox: &Sandbox, containers: &[Container]) -> PodState {
    PodState {
        key: PodKey { uid: sandbox.uid.clone(), namespace: sandbox.namespace.clone(), name: sandbox.name.clone() },
        attempt: sandbox.attempt,
        id: format!("sandbox/{}", sandbox.uid),
        state: if sandbox.stopped { "ended" } else { "running" }.to_owned(),
        created_at: Some(sandbox.created),
        containers: containers.iter().map(container).collect(),
        ..PodState::default()
    }
}

fn container(own: &Container) -> ContainerState {
    let state = match (own.started, own.ended) {
        (_, Some(_)) => "exited",
        (Some(_), None) => "running",
        (None, None) => "created",
    };
    ContainerState {
        name: own.name.clone(),
        attempt: own.attempt,
        id: own.id.clone(),
        state: state.to_owned(),
        created_at: Some(own.created),
        started_at: own.started,
        finished_at: own.ended.map(|(at, _)| at),
        exit_code: own.ended.map(|(_, code)| code),
        image: own.image.clone(),
        image_id: own.image.clone(),
        ..ContainerState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sandbox() -> Sandbox {
        Sandbox {
            uid: "4f6a".into(),
            namespace: "default".into(),
            name: "web".into(),
            attempt: 0,
            created: 1_000,
            stopped: false,
        }
    }

    fn made(started: Option<u64>, ended: Option<(u64, i32)>) -> Container {
        Container {
            id: "container/4f6a/server/0".into(),
            name: "server".into(),
            attempt: 0,
            image: "nginx".into(),
            role: "app".into(),
            created: 1_000,
            started,
            ended,
        }
    }

    #[test]
    fn a_container_is_created_then_runs_then_has_ended_with_its_code() {
        for (container, expected) in [
            (made(None, None), ("created", None)),
            (made(Some(2_000), None), ("running", None)),
            (made(Some(2_000), Some((3_000, 7))), ("exited", Some(7))),
        ] {
            let state = of(&sandbox(), &[container]);
            let own = &state.containers[0];
            assert_eq!((own.state.as_str(), own.exit_code), expected);
        }
    }

    #[test]
    fn a_stopped_sandbox_has_ended() {
        assert_eq!(of(&sandbox(), &[]).state, "running");
        assert_eq!(of(&Sandbox { stopped: true, ..sandbox() }, &[]).state, "ended");
    }

    #[test]
    fn what_the_engine_keeps_reads_back() {
        let container = made(Some(2_000), Some((3_000, 7)));
        let kept = serde_json::to_vec(&container).unwrap();
        assert_eq!(serde_json::from_slice::<Container>(&kept).unwrap(), container);
    }
}
