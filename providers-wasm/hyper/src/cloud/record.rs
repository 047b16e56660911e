//! What is remembered of a pod's sandbox, since Hyper.sh has no object for it: one entry in the host's store. Lost with the
//! store, it is made anew: containers, floating IPs and volumes tell by labels and names whose they are.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::Result;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::host::types::PodKey;

const PREFIX: &str = "sandbox/";
/// Entries that are read at once.
const PAGE: u32 = 500;

/// How far a sandbox is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stage {
    /// Its address and volumes are being made.
    Starting,
    /// Containers can be put into it.
    Running,
    /// It was stopped.
    Stopped,
}

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    pub(super) uid: String,
    pub(super) namespace: String,
    pub(super) name: String,
    /// Which.
    pub attempt: u32,
    /// How far it is.
    pub stage: Stage,
    /// The pod's floating IP; empty: none.
    pub address: String,
}

impl Record {
    /// One that is being made.
    pub fn new(pod: &PodKey, attempt: u32) -> Self {
        let PodKey { uid, namespace, name } = pod.clone();
        Self { uid, namespace, name, attempt, stage: Stage::Starting, address: String::new() }
    }

    /// Whose it is.
    pub fn pod(&self) -> PodKey {
        PodKey { uid: self.uid.clone(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Remembers it.
    pub async fn put(&self) -> Result<()> {
        let value = serde_json::to_vec(self)?;
        store::put(key(&self.uid), value, Condition::Always, None).await?;
        Ok(())
    }
}

fn key(uid: &str) -> String {
    format!("{PREFIX}{uid}")
}

/// That of a pod.
pub async fn get(pod: &PodKey) -> Result<Option<Record>> {
    let entry = store::get(key(&pod.uid)).await?;
    Ok(entry.map(|entry| serde_json::from_slice(&entry.value)).transpose()?)
}

/// Forgets that of a pod.
pub async fn delete(pod: &PodKey) -> Result<()> {
    store::delete(key(&pod.uid), Condition::Always).await
}

/// All.
pub async fn all() -> Result<Vec<Record>> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let entries = store::scan(PREFIX.to_owned(), after, PAGE).await?;
        for entry in &entries {
            all.push(serde_json::from_slice(&entry.value)?);
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE as usize => after = last.key.clone(),
            _ => return Ok(all),
        }
    }
}
