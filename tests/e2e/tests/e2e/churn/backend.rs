//! What the mock provider has in its store, read from the file while nobody else has it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::{Context, Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde_json::Value;

const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// Version and expiry stand before the value.
const HEAD: usize = 16;

/// Pods and addresses.
#[derive(Default)]
pub struct Backend {
    /// By UID, as the provider wrote them.
    pods: BTreeMap<String, Value>,
    /// Whose each address is.
    addresses: BTreeMap<String, String>,
}

/// Reads it.
pub fn pods(state: &Path) -> Result<Backend> {
    let mut backend = Backend::default();
    let path = state.join("store.redb");
    let database = Database::open(&path).with_context(|| path.display().to_string())?;
    let table = database.begin_read()?.open_table(ENTRIES)?;
    for entry in table.iter()? {
        let (key, stored) = entry?;
        let key = String::from_utf8_lossy(key.value()).into_owned();
        let value = stored.value().get(HEAD..).unwrap_or_default().to_vec();
        let key = key.split_once('\0').map_or("", |(_, key)| key);
        if let Some(uid) = key.strip_prefix("pod/") {
            backend.pods.insert(uid.to_owned(), serde_json::from_slice(&value)?);
        } else if let Some(address) = key.strip_prefix("address/") {
            backend.addresses.insert(address.to_owned(), String::from_utf8_lossy(&value).into_owned());
        }
    }
    Ok(backend)
}

impl Backend {
    pub fn uids(&self) -> BTreeSet<String> {
        self.pods.keys().cloned().collect()
    }

    /// It and the API server tell the same of these pods.
    pub fn check(&self, pods: &[Pod]) -> Result<()> {
        for pod in pods {
            let uid = pod.metadata.uid.as_deref().unwrap_or_default();
            let own = self.pods.get(uid).with_context(|| format!("it does not have {uid}"))?;
            let told = pod.status.as_ref().and_then(|status| status.pod_ip.as_deref());
            ensure!(own["ip"].as_str() == told, "{uid} has the address {} there, and {told:?} here", own["ip"]);
            ensure!(own.get("end").is_none(), "{uid} was ended there");
            let image = pod.spec.as_ref().and_then(|spec| spec.containers.first()?.image.as_deref());
            ensure!(
                own["c"][0]["i"].as_str() == image,
                "{uid} runs {} there, and should run {image:?}",
                own["c"][0]["i"]
            );
            let owner = self.addresses.get(told.unwrap_or_default()).map(String::as_str);
            ensure!(owner == Some(uid), "the address of {uid} is {owner:?}'s");
        }
        Ok(())
    }
}
