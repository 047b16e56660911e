//! A backend that runs whole pods at once, and remembers what it was asked to do.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use futures::{Stream, StreamExt};
use provider::{
    Change, Code, ContainerPhase, ContainerState, Description, Error, Kind, ObjectState, PodConfig, PodKey, PodRef,
    PodState, Pods, Provider, Result, Snapshot, Watch,
};
use tokio::sync::broadcast;

use crate::testing::ready;

/// What it was asked to do, with the UID.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Create(String, u32),
    Update(String),
    Delete(String),
    Forget(String),
}

pub struct State {
    /// By UID.
    pub pods: BTreeMap<String, PodState>,
    pub asked: Vec<Asked>,
    /// Objects of earlier attempts that it still has.
    pub replaced: Vec<PodState>,
    /// What it was to make.
    pub given: Vec<PodConfig>,
    /// `list` fails so long.
    pub is_deaf: bool,
    /// Numbers of `list`s that were answered.
    pub lists: usize,
    /// UIDs of pods that were asked for by `refresh`.
    pub looks: Vec<String>,
    /// What `create` makes only begins to start.
    pub is_slow: bool,
    /// What `create` answers instead of making the pod.
    pub refusal: Option<Error>,
    /// With which code containers end that are told to.
    pub exit_code: i32,
}

pub struct Backend {
    state: Mutex<State>,
    changes: broadcast::Sender<PodState>,
}

pub fn description() -> Description {
    Description {
        list_interval: Some(Duration::from_millis(20)),
        busy_list_interval: Some(Duration::from_millis(20)),
        ..ready(&[("pods", 100), ("cpu", 4_000)])
    }
}

/// A pod that runs there.
pub fn object(name: &str, uid: &str, containers: &[&str]) -> PodState {
    started(name, uid, containers, 0)
}

/// The same; ids of its containers end in this number.
fn started(name: &str, uid: &str, containers: &[&str], number: usize) -> PodState {
    // Each a second after the one before it.
    let now = jiff::Timestamp::now() - Duration::from_secs(60_u64.saturating_sub(number as u64));
    let container = |name: &&str| ContainerState {
        id: format!("lab://{name}-{number}"),
        created_at: Some(now),
        started_at: Some(now),
        image: format!("registry.example.com/{name}:v1"),
        ..ContainerState::new(*name, 0, ContainerPhase::Running)
    };
    PodState {
        id: format!("lab://{uid}"),
        ips: vec!["10.1.0.1".to_owned()],
        containers: containers.iter().map(container).collect(),
        ..PodState::new(PodKey::new(uid, "default", name), 0, ObjectState::Running)
    }
}

impl Backend {
    pub fn new() -> Arc<Self> {
        let state = State {
            pods: BTreeMap::new(),
            asked: Vec::new(),
            replaced: Vec::new(),
            given: Vec::new(),
            is_deaf: false,
            lists: 0,
            looks: Vec::new(),
            is_slow: false,
            refusal: None,
            exit_code: 0,
        };
        Arc::new(Self { state: Mutex::new(state), changes: broadcast::channel(16).0 })
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// It runs this, which nobody asked it for.
    pub fn has(&self, pod: PodState) {
        self.state().pods.insert(pod.key.uid.to_string(), pod);
    }

    /// What it was asked to do of the pod with this UID.
    pub fn asked(&self, uid: &str) -> Vec<Asked> {
        let of = |asked: &Asked| match asked {
            Asked::Create(own, _) | Asked::Update(own) | Asked::Delete(own) | Asked::Forget(own) => own.clone(),
        };
        self.state().asked.iter().filter(|asked| of(asked) == uid).cloned().collect()
    }

    /// Tells by itself what became of a pod.
    pub fn tell(&self, pod: PodState) {
        self.has(pod.clone());
        // Without a watch nobody hears of it.
        let _ = self.changes.send(pod);
    }

    pub fn is_watched(&self) -> bool {
        self.changes.receiver_count() > 0
    }
}

#[async_trait]
impl Provider for Backend {
    async fn describe(&self) -> Result<Description> {
        Ok(description())
    }

    fn kind(&self) -> Kind<'_> {
        Kind::Pods(self)
    }

    fn watch(&self) -> Option<&dyn Watch> {
        Some(self)
    }
}

#[async_trait]
impl Watch for Backend {
    async fn open(&self, _: Option<PodRef>) -> Result<Pin<Box<dyn Stream<Item = Change> + Send>>> {
        let changes = futures::stream::unfold(self.changes.subscribe(), async |mut changes| {
            let pod = changes.recv().await.ok()?;
            Some((Change::State(Box::new(pod)), changes))
        });
        Ok(changes.boxed())
    }
}

#[async_trait]
impl Pods for Backend {
    async fn create(&self, pod: PodConfig) -> Result<PodState> {
        let (key, attempt) = (pod.sandbox.key.clone(), pod.sandbox.attempt);
        let mut state = self.state();
        state.given.push(pod.clone());
        state.asked.push(Asked::Create(key.uid.to_string(), attempt));
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        let names: Vec<&str> = pod.containers.iter().map(|container| container.name.as_str()).collect();
        let number = state.asked.len();
        let mut made = PodState { attempt, ..started(&key.name, &key.uid, &names, number) };
        if state.is_slow {
            made.state = ObjectState::Starting;
            made.containers.clear();
        }
        Ok(state.pods.entry(key.uid.to_string()).or_insert(made).clone())
    }

    async fn update(&self, pod: PodConfig, _: Vec<String>) -> Result<()> {
        self.state().asked.push(Asked::Update(pod.sandbox.key.uid.to_string()));
        Ok(())
    }

    async fn delete(&self, pod: PodRef, _: Duration) -> Result<()> {
        let mut state = self.state();
        state.asked.push(Asked::Delete(pod.key.uid.to_string()));
        if state.replaced.iter().any(|old| old.to_ref() == pod) {
            return Ok(());
        }
        let exit_code = state.exit_code;
        let own = state.pods.get_mut(&*pod.key.uid).ok_or_else(|| Error::new(Code::NotFound, "no such pod"))?;
        own.state = ObjectState::Ended;
        for container in &mut own.containers {
            container.phase = ContainerPhase::Exited;
            container.finished_at = Some(jiff::Timestamp::now());
            container.exit_code = Some(exit_code);
        }
        Ok(())
    }

    async fn forget(&self, pod: PodRef) -> Result<()> {
        let mut state = self.state();
        state.asked.push(Asked::Forget(pod.key.uid.to_string()));
        if state.replaced.iter().any(|old| old.to_ref() == pod) {
            state.replaced.retain(|old| old.to_ref() != pod);
            return Ok(());
        }
        state.pods.remove(&*pod.key.uid);
        Ok(())
    }

    async fn list(&self, _: Option<String>) -> Result<Snapshot> {
        let mut state = self.state();
        if state.is_deaf {
            let retry_after = Some(Duration::from_millis(20));
            return Err(Error { retry_after, ..Error::new(Code::Unavailable, "no answer") });
        }
        state.lists += 1;
        Ok(Snapshot { pods: state.pods.values().chain(&state.replaced).cloned().collect(), next: None, complete: true })
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let mut state = self.state();
        state.looks.extend(pods.iter().map(|pod| pod.key.uid.to_string()));
        Ok(pods.iter().filter_map(|pod| state.pods.get(&*pod.key.uid)).cloned().collect())
    }
}
