//! The backend. This one is a stand-in: sandboxes and containers kept in the host's `store`, in which init containers end
//! at once and all others run for ever. With a real one these functions are its API's requests (`vk_provider_sdk::http`),
//! and nothing else changes.
//!
//! What a backend's object must carry is in `vk_provider_sdk::identity`: labels with cluster, node, namespace, name and UID,
//! so that a provider finds its own again and never touches another node's.
//!
//! | key | value |
//! | --- | --- |
//! | `sandbox/UID` | a [`Sandbox`] |
//! | `container/UID/NAME/ATTEMPT` | a [`Container`]; the key is its id too |

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};
use vk_provider_sdk::{Error, Result, code, time};

/// Objects in one answer of the store.
const PAGE: u32 = 500;

/// What a pod's containers share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    pub uid: String,
    pub namespace: String,
    pub name: String,
    /// Which attempt at this pod it is.
    pub attempt: u32,
    /// Nanoseconds since 1970, as all times are.
    pub created: u64,
    pub stopped: bool,
}

/// A container in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    pub id: String,
    pub name: String,
    /// Which start of the container it is: each is a container of its own.
    pub attempt: u32,
    pub image: String,
    /// `app`, `init`, `sidecar` or `ephemeral`.
    pub role: String,
    pub created: u64,
    pub started: Option<u64>,
    /// When it ended, and with which code.
    pub ended: Option<(u64, i32)>,
}

/// Makes the sandbox of a pod; one of the same attempt is success.
pub async fn run_sandbox(config: &SandboxConfig) -> Result<()> {
    let key = format!("sandbox/{}", config.key.uid);
    let condition = match read::<Sandbox>(&key).await? {
        Some((known, _)) if known.attempt == config.attempt => return Ok(()),
        Some((known, _)) if known.attempt > config.attempt => {
            return Err(Error::conflict(format!("attempt {} of pod {} is over", config.attempt, config.key.uid)));
        }
        Some((_, version)) => Condition::Version(version),
        None => Condition::Absent,
    };
    let sandbox = Sandbox {
        uid: config.key.uid.clone(),
        namespace: config.key.namespace.clone(),
        name: config.key.name.clone(),
        attempt: config.attempt,
        created: clock::now(),
        stopped: false,
    };
    write(&key, &sandbox, condition).await
}

/// The sandbox of a pod.
pub async fn sandbox(uid: &str) -> Result<Option<Sandbox>> {
    Ok(read(&format!("sandbox/{uid}")).await?.map(|(sandbox, _)| sandbox))
}

/// All sandboxes of this node, a page at a time.
pub async fn sandboxes(cursor: Option<String>) -> Result<(Vec<Sandbox>, Option<String>)> {
    page("sandbox/", cursor).await
}

/// The containers of a pod.
pub async fn containers(uid: &str) -> Result<Vec<Container>> {
    let (prefix, mut all, mut cursor) = (format!("container/{uid}/"), Vec::new(), None);
    loop {
        let (some, next) = page(&prefix, cursor).await?;
        all.extend(some);
        match next {
            Some(_) => cursor = next,
            None => return Ok(all),
        }
    }
}

/// Stops what runs in a sandbox, and its network; not there, or stopped, is success.
pub async fn stop_sandbox(uid: &str) -> Result<()> {
    for container in containers(uid).await? {
        stop(&container.id).await?;
    }
    change(&format!("sandbox/{uid}"), |sandbox: &mut Sandbox| sandbox.stopped = true).await
}

/// Removes it with its containers.
pub async fn remove_sandbox(uid: &str) -> Result<()> {
    for container in containers(uid).await? {
        remove(&container.id).await?;
    }
    delete(&format!("sandbox/{uid}")).await
}

/// Makes a container, not started; returns its id. The same again is success.
pub async fn create(uid: &str, config: &ContainerConfig) -> Result<String> {
    let id = format!("container/{uid}/{}/{}", config.name, config.attempt);
    let container = Container {
        id: id.clone(),
        name: config.name.clone(),
        attempt: config.attempt,
        image: config.image.clone(),
        role: config.role.clone(),
        created: clock::now(),
        started: None,
        ended: None,
    };
    match write(&id, &container, Condition::Absent).await {
        Err(error) if !error.is(code::CONFLICT) => Err(error),
        _ => Ok(id),
    }
}

/// Starts a container, once.
pub async fn start(id: &str) -> Result<()> {
    let now = clock::now();
    change(id, |container: &mut Container| {
        if container.started.is_none() {
            container.started = Some(now);
            container.ended = (container.role == "init").then_some((now, 0));
        }
    })
    .await
}

/// Stops a container; not there, or ended, is success.
pub async fn stop(id: &str) -> Result<()> {
    let now = clock::now();
    change(id, |container: &mut Container| {
        container.ended = container.ended.or(Some((now, 0)));
    })
    .await
}

/// Removes a container; not there is success.
pub async fn remove(id: &str) -> Result<()> {
    delete(id).await
}

/// What a container wrote, as lines of the Container Runtime Interface.
pub async fn log(id: &str) -> Result<String> {
    let missing = || Error::not_found(format!("there is no container {id}"));
    let (container, _) = read::<Container>(id).await?.ok_or_else(missing)?;
    let at = time::to_rfc3339(container.started.unwrap_or(container.created));
    Ok(format!("{at} stdout F {} runs nowhere yet: src/engine.rs is a stand-in\n", container.name))
}

async fn read<T: DeserializeOwned>(key: &str) -> Result<Option<(T, u64)>> {
    match store::get(key.to_owned()).await? {
        Some(entry) => Ok(Some((serde_json::from_slice(&entry.value)?, entry.version))),
        None => Ok(None),
    }
}

async fn write(key: &str, value: &impl Serialize, condition: Condition) -> Result<()> {
    store::put(key.to_owned(), serde_json::to_vec(value)?, condition, None).await.map(|_| ())
}

/// Changes an object that is there. Somebody else who changed it meanwhile makes this a `conflict`, and the host calls again.
async fn change<T: DeserializeOwned + Serialize>(key: &str, how: impl FnOnce(&mut T)) -> Result<()> {
    let Some((mut value, version)) = read(key).await? else { return Ok(()) };
    how(&mut value);
    write(key, &value, Condition::Version(version)).await
}

async fn delete(key: &str) -> Result<()> {
    match store::delete(key.to_owned(), Condition::Always).await {
        Err(error) if !error.is(code::NOT_FOUND) => Err(error),
        _ => Ok(()),
    }
}

async fn page<T: DeserializeOwned>(prefix: &str, cursor: Option<String>) -> Result<(Vec<T>, Option<String>)> {
    let entries = store::scan(prefix.to_owned(), cursor.unwrap_or_default(), PAGE).await?;
    let mut all = Vec::with_capacity(entries.len());
    for entry in &entries {
        all.push(serde_json::from_slice(&entry.value)?);
    }
    let next = entries.last().filter(|_| entries.len() == PAGE as usize).map(|last| last.key.clone());
    Ok((all, next))
}
