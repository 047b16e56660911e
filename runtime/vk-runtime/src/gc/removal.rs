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

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;
    use provider::{ContainerState, PodConfig, PodKey, Snapshot};

    use super::*;

    /// A backend with one pod, which ends when it is told to end with at most this grace.
    struct Backend {
        ends_at: Duration,
        ended: Mutex<bool>,
        asked: Mutex<Vec<String>>,
    }

    impl Backend {
        fn new(ends_at: Duration) -> Self {
            Self { ends_at, ended: Mutex::default(), asked: Mutex::default() }
        }

        fn state(&self) -> PodState {
            let ended = *self.ended.lock().unwrap();
            let mut state = PodState::new(PodKey::new("u", "default", "web"), 3, ObjectState::Running);
            let phase = if ended { ContainerPhase::Exited } else { ContainerPhase::Running };
            state.containers = vec![ContainerState::new("c", 0, phase)];
            state
        }
    }

    #[async_trait]
    impl Pods for Backend {
        async fn create(&self, _: PodConfig) -> Result<PodState> {
            Err(Error::lacks("create"))
        }

        async fn update(&self, _: PodConfig, _: Vec<String>) -> Result<()> {
            Err(Error::lacks("update"))
        }

        async fn delete(&self, pod: PodRef, grace: Duration) -> Result<()> {
            self.asked.lock().unwrap().push(format!("delete {} {} {}", pod.key.uid, pod.attempt, grace.as_secs()));
            *self.ended.lock().unwrap() |= grace <= self.ends_at;
            Ok(())
        }

        async fn forget(&self, pod: PodRef) -> Result<()> {
            self.asked.lock().unwrap().push(format!("forget {} {}", pod.key.uid, pod.attempt));
            Ok(())
        }

        async fn list(&self, _: Option<String>) -> Result<Snapshot> {
            Err(Error::lacks("list"))
        }

        async fn refresh(&self, _: Vec<PodRef>) -> Result<Vec<PodState>> {
            Ok(vec![self.state()])
        }
    }

    async fn asked(ends_at: u64, ended: bool) -> (Result<()>, Vec<String>) {
        let backend = Backend::new(Duration::from_secs(ends_at));
        *backend.ended.lock().unwrap() = ended;
        let removed = remove(Kind::Pods(&backend), &backend.state(), Duration::from_secs(5)).await;
        (removed, backend.asked.into_inner().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn what_ends_within_its_grace_is_not_killed() {
        let (removed, asked) = asked(5, false).await;
        assert_eq!((removed, asked), (Ok(()), vec!["delete u 3 5".to_owned(), "forget u 3".to_owned()]));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_end_is_killed_after_its_grace() {
        let (removed, asked) = asked(0, false).await;
        let expected = ["delete u 3 5", "delete u 3 0", "forget u 3"].map(str::to_owned);
        assert_eq!((removed, asked), (Ok(()), expected.to_vec()));
    }

    #[tokio::test]
    async fn what_has_ended_is_only_forgotten() {
        assert_eq!(asked(0, true).await, (Ok(()), vec!["forget u 3".to_owned()]));
    }
}
