//! A provider that drives the backend for one process of the host, with calls that go wrong.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use provider::{
    Code, ContainerConfig, Containers, Credential, Description, Error, Files, Image, Kind, PodConfig, PodKey, PodRef,
    PodState, Pods, Provider, Resources, Result, SandboxConfig, Scope, Snapshot, Watch,
};

use super::backend::{Backend, Recipe};
use super::faults::{Fate, Faults, Life, Notes};
use super::files;
use crate::testing::ready;

/// How long a call hangs before the host gives it up.
const HANGS: Duration = Duration::from_secs(60);

/// Pods of a page: few, so that lists have several.
const PAGE: usize = 3;

/// What processes of the host share.
pub struct Shared {
    pub backend: Mutex<Backend>,
    pub faults: Mutex<Faults>,
    pub calls: Mutex<u64>,
    pub notes: Notes,
    /// The provider tells by itself what becomes of pods.
    pub watches: bool,
}

impl Shared {
    pub fn backend(&self) -> MutexGuard<'_, Backend> {
        let mut backend = self.backend.lock().unwrap();
        backend.advance();
        backend
    }
}

/// One process's way to it.
pub struct Driver {
    pub shared: Arc<Shared>,
    pub life: Life,
}

pub fn description() -> Description {
    Description {
        operating_system: "linux".to_owned(),
        features: vec!["multiple-containers".to_owned()],
        ..ready(&[("pods", 100), ("cpu", 64_000), ("memory", 1 << 40)])
    }
}

impl Driver {
    pub(super) async fn call<R: Send>(
        &self,
        what: impl FnOnce() -> String + Send,
        effect: impl FnOnce(&mut Backend) -> Result<R> + Send,
    ) -> Result<R> {
        self.life.goes_on().await;
        let (fate, takes, scope, coin) = {
            let mut backend = self.shared.backend();
            *self.shared.calls.lock().unwrap() += 1;
            let (fate, takes) = self.shared.faults.lock().unwrap().fate(&mut backend.rng);
            let scope =
                *backend.rng.choice(&[Scope::Pod, Scope::Pod, Scope::Pod, Scope::Export, Scope::Provider]).unwrap();
            (fate, takes, scope, backend.rng.bool())
        };
        tokio::time::sleep(takes).await;
        if self.life.is_over() && coin {
            self.life.goes_on().await;
        }
        self.shared.notes.say(|| format!("    {} {fate:?}", what()));
        if fate == Fate::Fails {
            let code = if coin { Code::Unavailable } else { Code::Internal };
            return Err(Error { scope, ..Error::new(code, "something went wrong") });
        }
        let done = if fate == Fate::Hangs && coin { None } else { Some(effect(&mut self.shared.backend())) };
        if fate == Fate::Hangs {
            tokio::time::sleep(HANGS).await;
        } else {
            tokio::time::sleep(takes / 2).await;
        }
        self.life.goes_on().await;
        match done {
            Some(result) if fate == Fate::Done => result,
            _ => Err(Error::new(Code::Timeout, "no answer in time")),
        }
    }

    /// The pods after this UID.
    async fn page(&self, cursor: Option<String>) -> Result<Snapshot> {
        let mut states = self.call(|| format!("list from {cursor:?}"), |backend| Ok(backend.states())).await?;
        let after = cursor.unwrap_or_default();
        states.retain(|own| *own.key.uid > *after);
        states.sort_by(|one, other| one.key.uid.cmp(&other.key.uid));
        let uids: BTreeSet<String> = states.iter().map(|own| own.key.uid.to_string()).collect();
        let last = uids.iter().nth(PAGE - 1).filter(|_| uids.len() > PAGE).cloned();
        if let Some(last) = &last {
            states.retain(|own| *own.key.uid <= **last);
        }
        Ok(Snapshot { pods: states, next: last, complete: true })
    }

    async fn some(&self, pods: &[PodRef]) -> Result<Vec<PodState>> {
        let mut states = self.call(|| "refresh".to_owned(), |backend| Ok(backend.states())).await?;
        states.retain(|own| pods.iter().any(|pod| pod.key.uid == own.key.uid));
        Ok(states)
    }
}

#[async_trait]
impl Provider for Driver {
    async fn describe(&self) -> Result<Description> {
        Ok(description())
    }

    fn kind(&self) -> Kind<'_> {
        let is_whole = self.shared.backend.lock().unwrap().is_whole;
        if is_whole { Kind::Pods(self) } else { Kind::Containers(self) }
    }

    fn files(&self) -> Option<&dyn Files> {
        Some(self)
    }

    fn watch(&self) -> Option<&dyn Watch> {
        if self.shared.watches { Some(self) } else { None }
    }
}

fn recipe(config: &ContainerConfig) -> Recipe {
    Recipe {
        name: config.name.clone(),
        attempt: config.attempt,
        image: config.image.clone(),
        restarts: config.restart_policy == "Always",
    }
}

fn recipes(pod: &PodConfig) -> Vec<Recipe> {
    pod.containers.iter().map(recipe).collect()
}

#[async_trait]
impl Pods for Driver {
    async fn create(&self, pod: PodConfig) -> Result<PodState> {
        let (key, attempt) = (&pod.sandbox.key, pod.sandbox.attempt);
        let files = files::contents(&pod.sandbox.volumes).await?;
        let what = || format!("create {key} {attempt} {files:?}");
        self.call(what, |backend| backend.create(key, attempt, &recipes(&pod), &files)).await
    }

    async fn update(&self, pod: PodConfig, changed: Vec<String>) -> Result<()> {
        let (key, attempt) = (&pod.sandbox.key, pod.sandbox.attempt);
        self.call(|| format!("update {key} {changed:?}"), |backend| backend.update(key, attempt, &recipes(&pod))).await
    }

    async fn delete(&self, pod: PodRef, grace: Duration) -> Result<()> {
        let what = || format!("delete {} {} {grace:?}", pod.key, pod.attempt);
        self.call(what, |backend| backend.delete(&pod, grace)).await
    }

    async fn forget(&self, pod: PodRef) -> Result<()> {
        self.call(|| format!("forget {} {}", pod.key, pod.attempt), |backend| backend.forget(&pod)).await
    }

    async fn list(&self, cursor: Option<String>) -> Result<Snapshot> {
        self.page(cursor).await
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        self.some(&pods).await
    }
}

#[async_trait]
impl Containers for Driver {
    async fn run_sandbox(&self, sandbox: SandboxConfig) -> Result<PodState> {
        let (key, attempt) = (&sandbox.key, sandbox.attempt);
        let files = files::contents(&sandbox.volumes).await?;
        let what = || format!("run-sandbox {key} {attempt} {files:?}");
        self.call(what, |backend| backend.run_sandbox(key, attempt, &files)).await
    }

    async fn stop_sandbox(&self, pod: PodKey, id: String) -> Result<()> {
        let done = |backend: &mut Backend| {
            backend.stop_sandbox(&pod, &id);
            Ok(())
        };
        self.call(|| format!("stop-sandbox {pod} {id}"), done).await
    }

    async fn remove_sandbox(&self, pod: PodKey, id: String, _last: bool) -> Result<()> {
        let done = |backend: &mut Backend| {
            backend.remove_sandbox(&pod, &id);
            Ok(())
        };
        self.call(|| format!("remove-sandbox {pod} {id}"), done).await
    }

    async fn image_status(&self, image: String) -> Result<Option<Image>> {
        let found = |backend: &mut Backend| {
            let found = backend.images.contains(&image);
            Ok(found.then(|| Image { id: image.clone(), ..Image::default() }))
        };
        self.call(|| format!("image-status {image}"), found).await
    }

    async fn pull_image(&self, _pod: PodKey, image: String, _credentials: Vec<Credential>) -> Result<Image> {
        let pulled = |backend: &mut Backend| {
            backend.images.push(image.clone());
            Ok(Image { id: image.clone(), ..Image::default() })
        };
        self.call(|| format!("pull-image {image}"), pulled).await
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        Ok(Vec::new())
    }

    async fn remove_image(&self, _id: String) -> Result<()> {
        Ok(())
    }

    async fn create_container(
        &self,
        pod: SandboxConfig,
        sandbox: String,
        container: ContainerConfig,
    ) -> Result<String> {
        let what = || format!("create-container {} {} {}", pod.key, container.name, container.attempt);
        self.call(what, |backend| backend.create_container(&pod.key, &sandbox, &recipe(&container))).await
    }

    async fn start_container(&self, pod: PodKey, id: String) -> Result<()> {
        self.call(|| format!("start-container {id}"), |backend| backend.start_container(&pod, &id)).await
    }

    async fn stop_container(&self, pod: PodKey, id: String, grace: Duration) -> Result<()> {
        let done = |backend: &mut Backend| {
            backend.stop_container(&pod, &id, grace);
            Ok(())
        };
        self.call(|| format!("stop-container {id} {grace:?}"), done).await
    }

    async fn remove_container(&self, pod: PodKey, id: String) -> Result<()> {
        self.call(|| format!("remove-container {id}"), |backend| backend.remove_container(&pod, &id)).await
    }

    async fn update_container(&self, _pod: PodKey, _id: String, _resources: Resources) -> Result<()> {
        Ok(())
    }

    async fn termination_message(&self, _: PodKey, id: String, _: String, _: u32) -> Result<Option<Bytes>> {
        self.call(|| format!("termination-message {id}"), |_| Ok(Some(Bytes::from("last words")))).await
    }

    async fn list(&self, cursor: Option<String>) -> Result<Snapshot> {
        self.page(cursor).await
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        self.some(&pods).await
    }
}
