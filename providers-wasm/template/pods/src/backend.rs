//! The backend. This one is a stand-in: a "job" for each pod, kept in the host's `store`, in which everything runs at once
//! and for ever. With a real one these functions are its API's requests (`vk_provider_sdk::http`), and nothing else changes.
//!
//! What a backend's object must carry is in `vk_provider_sdk::identity`: labels with cluster, node, namespace, name and UID,
//! so that a provider finds its own again and never touches another node's.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::store::{self, Condition, Entry};
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::PodConfig;
use vk_provider_sdk::{Error, Result, code, time};

/// Jobs in one answer of [`all`].
const PAGE: u32 = 500;

/// What the backend has for a pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Which attempt at this pod it is.
    pub attempt: u32,
    /// Nanoseconds since 1970, as all times are.
    pub started: u64,
    /// When it was stopped.
    pub stopped: Option<u64>,
    pub tasks: Vec<Task>,
}

/// A container in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Task {
    pub name: String,
    pub image: String,
    /// `app`, `init`, `sidecar` or `ephemeral`.
    pub role: String,
}

impl Job {
    /// What the backend would start for this pod.
    pub fn of(pod: &PodConfig, now: u64) -> Self {
        let PodKey { uid, namespace, name } = pod.sandbox.key.clone();
        let task = |own: &vk_provider_sdk::types::ContainerConfig| Task {
            name: own.name.clone(),
            image: own.image.clone(),
            role: own.role.clone(),
        };
        let tasks = pod.containers.iter().map(task).collect();
        Self { uid, namespace, name, attempt: pod.sandbox.attempt, started: now, stopped: None, tasks }
    }

    /// The backend's own id of it.
    pub fn id(&self) -> String {
        format!("{}://{}", env!("CARGO_PKG_NAME"), self.uid)
    }
}

/// Starts a job for this pod; one that is there already is success.
pub async fn start(pod: &PodConfig) -> Result<Job> {
    let uid = &pod.sandbox.key.uid;
    let condition = match entry(uid).await? {
        Some((job, _)) if job.attempt == pod.sandbox.attempt => return Ok(job),
        Some((job, _)) if job.attempt > pod.sandbox.attempt => {
            return Err(Error::conflict(format!("attempt {} of pod {uid} is over", pod.sandbox.attempt)));
        }
        Some((_, version)) => Condition::Version(version),
        None => Condition::Absent,
    };
    let job = Job::of(pod, clock::now());
    store::put(key(uid), serde_json::to_vec(&job)?, condition, None).await?;
    Ok(job)
}

/// The job of a pod.
pub async fn find(uid: &str) -> Result<Option<Job>> {
    Ok(entry(uid).await?.map(|(job, _)| job))
}

/// All jobs of this node, a page at a time.
pub async fn all(cursor: Option<String>) -> Result<(Vec<Job>, Option<String>)> {
    let entries = store::scan("job/".to_owned(), cursor.unwrap_or_default(), PAGE).await?;
    let jobs = entries.iter().map(parse).collect::<Result<_>>()?;
    let next = entries.last().filter(|_| entries.len() == PAGE as usize).map(|last| last.key.clone());
    Ok((jobs, next))
}

/// Has a job end within `_grace`; one that is gone, or has ended, is success.
pub async fn stop(uid: &str, attempt: u32, _grace: u64) -> Result<()> {
    match entry(uid).await? {
        Some((mut job, version)) if job.attempt == attempt && job.stopped.is_none() => {
            job.stopped = Some(clock::now());
            store::put(key(uid), serde_json::to_vec(&job)?, Condition::Version(version), None).await.map(|_| ())
        }
        _ => Ok(()),
    }
}

/// Removes what is left of a job; one that is gone is success.
pub async fn remove(uid: &str, attempt: u32) -> Result<()> {
    let Some((_, version)) = entry(uid).await?.filter(|(job, _)| job.attempt == attempt) else { return Ok(()) };
    match store::delete(key(uid), Condition::Version(version)).await {
        Err(error) if !error.is(code::NOT_FOUND) => Err(error),
        _ => Ok(()),
    }
}

/// What a task wrote, as lines of the Container Runtime Interface.
pub async fn log(uid: &str, task: &str) -> Result<String> {
    let job = find(uid).await?.ok_or_else(|| Error::not_found(format!("there is no job of pod {uid}")))?;
    if !job.tasks.iter().any(|own| own.name == task) {
        return Err(Error::not_found(format!("there is no container {task} in {}", job.id())));
    }
    Ok(format!(
        "{} stdout F {task} of {} runs nowhere yet: src/backend.rs is a stand-in\n",
        time::to_rfc3339(job.started),
        job.name
    ))
}

fn key(uid: &str) -> String {
    format!("job/{uid}")
}

fn parse(entry: &Entry) -> Result<Job> {
    Ok(serde_json::from_slice(&entry.value)?)
}

async fn entry(uid: &str) -> Result<Option<(Job, u64)>> {
    match store::get(key(uid)).await? {
        Some(entry) => Ok(Some((parse(&entry)?, entry.version))),
        None => Ok(None),
    }
}
