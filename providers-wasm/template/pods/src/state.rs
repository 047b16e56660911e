//! What a job of the backend means to Kubernetes. Only what the backend knows is reported; phase, conditions and restart
//! counts are the host's to compute. Pure: tested without a host.

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerState, PodState};

use crate::backend::{Job, Task};

/// The state of the pod of a job.
pub fn of(job: &Job) -> PodState {
    PodState {
        key: PodKey { uid: job.uid.clone(), namespace: job.namespace.clone(), name: job.name.clone() },
        attempt: job.attempt,
        id: job.id(),
        state: if job.stopped.is_some() { "ended" } else { "running" }.to_owned(),
        created_at: Some(job.started),
        containers: job.tasks.iter().map(|task| container(job, task)).collect(),
        ..PodState::default()
    }
}

fn container(job: &Job, task: &Task) -> ContainerState {
    // Init containers run to their end before the others start: here in no time.
    let ended = if task.role == "init" { Some(job.started) } else { job.stopped };
    ContainerState {
        name: task.name.clone(),
        id: format!("{}/{}", job.id(), task.name),
        state: if ended.is_some() { "exited" } else { "running" }.to_owned(),
        created_at: Some(job.started),
        started_at: Some(job.started),
        finished_at: ended,
        exit_code: ended.map(|_| 0),
        image: task.image.clone(),
        image_id: task.image.clone(),
        ..ContainerState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job() -> Job {
        let task = |name: &str, role: &str| Task { name: name.into(), image: "nginx".into(), role: role.into() };
        Job {
            uid: "4f6a".into(),
            namespace: "default".into(),
            name: "web".into(),
            attempt: 0,
            started: 1_000,
            stopped: None,
            tasks: vec![task("setup", "init"), task("server", "app")],
        }
    }

    #[test]
    fn a_job_runs_its_containers_after_the_init_containers_ended() {
        let state = of(&job());
        assert_eq!((state.state.as_str(), state.key.name.as_str()), ("running", "web"));
        let seen: Vec<_> = state.containers.iter().map(|own| (own.state.as_str(), own.exit_code)).collect();
        assert_eq!(seen, [("exited", Some(0)), ("running", None)]);
    }

    #[test]
    fn a_stopped_job_has_ended_with_all_its_containers() {
        let state = of(&Job { stopped: Some(2_000), ..job() });
        assert_eq!(state.state, "ended");
        let ends: Vec<_> = state.containers.iter().map(|own| (own.finished_at, own.exit_code)).collect();
        assert_eq!(ends, [(Some(1_000), Some(0)), (Some(2_000), Some(0))]);
    }

    #[test]
    fn what_the_backend_keeps_reads_back() {
        let kept = serde_json::to_vec(&job()).unwrap();
        assert_eq!(serde_json::from_slice::<Job>(&kept).unwrap(), job());
    }
}
