//! Ends what is left of a pod that is gone, and removes it: graceful first, by force after the grace period.

use std::time::Duration;

use provider::{Code, ContainerPhase, Containers, Error, Kind, ObjectState, PodRef, PodState, Pods, Result};
use tokio::time::Instant;

/// How often the backend is asked whether it has ended.
const STEP: Duration = Duration::from_millis(200);
/// What the backend is given beyond the grace period.
const AFTER_FORCE: Duration = Duration::from_secs(30);

/// Removes one attempt at a pod.
pub async fn remove(kind: Kind<'_>, seen: &PodState, grace: Duration) -> Result<()> {
    match kind {
        Kind::Pods(pods) => whole(pods, seen, grace).await,
        Kind::Containers(containers) => in_parts(containers, seen, grace).await,
    }
}

async fn whole(pods: &dyn Pods, seen: &PodState, grace: Duration) -> Result<()> {
    let own = seen.to_ref();
    if !has_ended(seen) {
        pods.delete(own.clone(), grace).await?;
        let ended = async || is_over(pods.refresh(vec![own.clone()]).await?, &own);
        if !within(grace, &ended).await? {
            pods.delete(own.clone(), Duration::ZERO).await?;
            must_end(&ended).await?;
        }
    }
    pods.forget(own).await
}

async fn in_parts(containers: &dyn Containers, seen: &PodState, grace: Duration) -> Result<()> {
    let own = seen.to_ref();
    let stop = async |grace| -> Result<()> {
        for container in seen.containers.iter().filter(|container| runs(container.phase)) {
            containers.stop_container(own.key.clone(), container.id.clone(), grace).await?;
        }
        Ok(())
    };
    if seen.containers.iter().any(|container| runs(container.phase)) {
        stop(grace).await?;
        let ended = async || are_over(containers.refresh(vec![own.clone()]).await?, &own);
        if !within(grace, &ended).await? {
            stop(Duration::ZERO).await?;
            must_end(&ended).await?;
        }
    }
    for container in seen.containers.iter().filter(|container| !container.id.is_empty()) {
        containers.remove_container(own.key.clone(), container.id.clone()).await?;
    }
    if !own.id.is_empty() {
        containers.stop_sandbox(own.key.clone(), own.id.clone()).await?;
    }
    containers.remove_sandbox(own.key.clone(), own.id.clone(), true).await
}

const fn runs(phase: ContainerPhase) -> bool {
    matches!(phase, ContainerPhase::Running | ContainerPhase::Unknown)
}

fn has_ended(state: &PodState) -> bool {
    matches!(state.state, ObjectState::Ended | ObjectState::Failed | ObjectState::Lost)
        || !state.partial
            && !state.containers.is_empty()
            && state.containers.iter().all(|container| container.phase == ContainerPhase::Exited)
}

/// Whether the answer says that it is over; one that could not be read is not.
fn is_over(answer: Vec<PodState>, own: &PodRef) -> Result<bool> {
    match this(answer, own) {
        Some(state) => Ok(state.error.is_none() && has_ended(&state)),
        None => Ok(true),
    }
}

fn are_over(answer: Vec<PodState>, own: &PodRef) -> Result<bool> {
    match this(answer, own) {
        Some(state) => Ok(state.error.is_none() && !state.containers.iter().any(|container| runs(container.phase))),
        None => Ok(true),
    }
}

fn this(answer: Vec<PodState>, own: &PodRef) -> Option<PodState> {
    answer.into_iter().find(|state| state.key.uid == own.key.uid && state.attempt == own.attempt)
}

async fn within(time: Duration, ended: &impl AsyncFn() -> Result<bool>) -> Result<bool> {
    let until = Instant::now() + time;
    loop {
        if ended().await? {
            return Ok(true);
        }
        if Instant::now() >= until {
            return Ok(false);
        }
        tokio::time::sleep(STEP).await;
    }
}

async fn must_end(ended: &impl AsyncFn() -> Result<bool>) -> Result<()> {
    if within(AFTER_FORCE, ended).await? {
        return Ok(());
    }
    let message = format!("it still runs {} s after it was killed", AFTER_FORCE.as_secs());
    Err(Error::new(Code::Timeout, message))
}
