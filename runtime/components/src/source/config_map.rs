//! A component in ConfigMaps, for clusters without a registry.
//!
//! `configmap://NAMESPACE/NAME/KEY`: the key's value (`binaryData` or `data`), which may be gzip. Without `/KEY` it is the only
//! one that the ConfigMap has. A ConfigMap holds 1 MiB; what is larger stands in parts:
//!
//! | object             | keys                                                                       |
//! |--------------------|----------------------------------------------------------------------------|
//! | ConfigMap `NAME`   | `KEY.sha256`: SHA-256 of all parts together, hexadecimal, as `sha256sum` prints it |
//! | there, or in `NAME-00`, `NAME-01`, … | `KEY.00`, `KEY.01`, …: the parts, at most a hundred           |
//!
//! Parts are put together until they have that digest. What is left of a version with more parts does no harm, and parts of
//! two versions never load: the digest decides. Only `NAME` is watched, so it is what is written last; as long as the parts
//! don't fit they are looked at every [`RETRY`] besides. Where signatures are wanted, `NAME` has one in `KEY.sigstore.json`.
//!
//! ```sh
//! kubectl create configmap hyper -n NAMESPACE --from-file=hyper.wasm --dry-run=client -o yaml | kubectl apply --server-side -f -
//! ```
//!
//! or for more than 1 MiB (`vk-runtime push FILE configmap://…` does the same):
//!
//! ```sh
//! split --bytes=900K --numeric-suffixes --suffix-length=2 hyper.wasm hyper.wasm.
//! for part in hyper.wasm.[0-9][0-9]; do
//!   kubectl create configmap hyper-${part##*.} -n NAMESPACE --from-file=$part --dry-run=client -o yaml | kubectl apply --server-side -f -
//! done
//! sha256sum hyper.wasm >hyper.wasm.sha256
//! kubectl create configmap hyper -n NAMESPACE --from-file=hyper.wasm.sha256 --dry-run=client -o yaml | kubectl apply --server-side -f -
//! ```
//!
//! It needs `get` and `watch` on these objects by name.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use tokio::sync::Mutex;

use super::gzip::plain;
use super::signature::BESIDE;
use super::{Address, ConfigMapAddress, Fetched, Policy, Problem, Revision, Size, Source, SourceError};
use crate::digest::Digest;

/// How often parts that don't fit are looked at again.
const RETRY: Duration = Duration::from_secs(5);
/// Parts of a component.
const PARTS: usize = 100;
/// What the digest's key ends with.
const SHA256: &str = ".sha256";

/// What a ConfigMap holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConfigMap {
    /// Its `metadata.resourceVersion`.
    pub resource_version: String,
    /// `data` and `binaryData` together.
    pub data: BTreeMap<String, Bytes>,
}

/// A ConfigMap can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigMapError {
    /// The API server can't be reached, or is busy.
    #[error("{0}")]
    Unreachable(String),
    /// It refuses.
    #[error("{0}")]
    Refused(String),
}

/// Reads ConfigMaps.
#[async_trait]
pub trait ConfigMaps: Send + Sync {
    /// One ConfigMap. None: there is none of that name.
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ConfigMapError>;

    /// An item at first, and one whenever this one object may have changed. It doesn't end: what breaks is mended.
    fn watch(&self, namespace: &str, name: &str) -> BoxStream<'static, ()>;
}

/// A component in ConfigMaps.
pub struct ConfigMapSource {
    address: Address,
    at: ConfigMapAddress,
    policy: Policy,
    maps: Arc<dyn ConfigMaps>,
    changes: Mutex<BoxStream<'static, ()>>,
    is_incomplete: AtomicBool,
    retry: Duration,
}

impl ConfigMapSource {
    /// Reads the component at this address, and watches its ConfigMap.
    pub fn new(address: &ConfigMapAddress, maps: Arc<dyn ConfigMaps>, policy: Policy) -> Self {
        Self {
            address: Address::ConfigMap(address.clone()),
            changes: Mutex::new(maps.watch(&address.namespace, &address.name)),
            at: address.clone(),
            policy,
            maps,
            is_incomplete: AtomicBool::new(false),
            retry: RETRY,
        }
    }

    async fn get(&self, known: Option<&Revision>) -> Result<Option<Fetched>, Problem> {
        let head = self.map(&self.at.name).await?.ok_or(Problem::NotFound("ConfigMap"))?;
        let revision = Revision(head.resource_version.clone());
        if known == Some(&revision) {
            return Ok(None);
        }
        let key = match &self.at.key {
            Some(key) => key.clone(),
            None => only_key(&head)?,
        };
        let declared = declared(&head, &key)?;
        let stored = match (head.data.get(&key), declared) {
            (Some(bytes), None) => bytes.clone(),
            (Some(bytes), Some(expected)) => {
                let actual = Digest::of(bytes);
                if actual != expected {
                    let (expected, actual) = (expected.to_string(), actual.to_string());
                    return Err(Problem::WrongDigest { what: "its value", expected, actual });
                }
                bytes.clone()
            }
            (None, Some(digest)) => self.parts(&head, &key, digest).await?,
            (None, None) if head.data.contains_key(&part(&key, 0)) => {
                return Err(Problem::Refused(format!(
                    "it has parts of {key}, and no {key}{SHA256} that says their digest"
                )));
            }
            (None, None) => return Err(Problem::NotFound("key in the ConfigMap")),
        };
        let beside = format!("{key}{BESIDE}");
        let (policy, bundle) = (self.policy.clone(), head.data.get(&beside).cloned());
        let work = move || {
            let bytes = plain(stored, &policy)?;
            let digest = policy.check_digest(&bytes)?;
            let signer = policy.signatures.check_beside(&bytes, bundle.as_deref(), &beside)?;
            Ok(Fetched { bytes, digest, revision, signer })
        };
        tokio::task::spawn_blocking(work).await.map_err(|error| Problem::Read(error.into()))?.map(Some)
    }

    /// Puts parts together until they have the digest.
    async fn parts(&self, head: &ConfigMap, key: &str, digest: Digest) -> Result<Bytes, Problem> {
        let mut all = BytesMut::new();
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for at in 0..PARTS {
            let part = part(key, at);
            let own = match head.data.get(&part) {
                Some(bytes) => Some(bytes.clone()),
                None => {
                    let map = self.map(&format!("{}-{at:02}", self.at.name)).await?;
                    map.and_then(|mut map| map.data.remove(&part))
                }
            };
            let Some(own) = own else {
                let missing = format!("{part} (in {} or {}-{at:02})", self.at.name, self.at.name);
                return Err(Problem::Incomplete { found: at, missing, digest: digest.to_string() });
            };
            if (all.len() + own.len()) as u64 > self.policy.size {
                return Err(Problem::TooLarge { size: Size::More, limit: self.policy.size });
            }
            context.update(&own);
            all.extend_from_slice(&own);
            if digest.is(&context.clone().finish()) {
                return Ok(all.freeze());
            }
        }
        let missing = format!("a part that would complete them within {PARTS}");
        Err(Problem::Incomplete { found: PARTS, missing, digest: digest.to_string() })
    }

    async fn map(&self, name: &str) -> Result<Option<ConfigMap>, Problem> {
        self.maps.get(&self.at.namespace, name).await.map_err(|error| match error {
            ConfigMapError::Unreachable(reason) => Problem::Unreachable(reason),
            ConfigMapError::Refused(reason) => Problem::Refused(reason),
        })
    }
}

#[async_trait]
impl Source for ConfigMapSource {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn fetch(&self, known: Option<&Revision>) -> Result<Option<Fetched>, SourceError> {
        let fetched = self.get(known).await;
        self.is_incomplete.store(matches!(fetched, Err(Problem::Incomplete { .. })), Ordering::Relaxed);
        fetched.map_err(|problem| SourceError::new(&self.address, problem))
    }

    async fn changed(&self) {
        let again = async {
            if self.is_incomplete.load(Ordering::Relaxed) {
                tokio::time::sleep(self.retry).await;
            } else {
                std::future::pending::<()>().await;
            }
        };
        let mut changes = self.changes.lock().await;
        let next = async {
            if changes.next().await.is_none() {
                // Against its promise: no reason to spin.
                tokio::time::sleep(self.retry).await;
            }
        };
        tokio::select! {
            () = next => {}
            () = again => {}
        }
    }
}

fn part(key: &str, at: usize) -> String {
    format!("{key}.{at:02}")
}

/// The digest that is declared for a key.
fn declared(map: &ConfigMap, key: &str) -> Result<Option<Digest>, Problem> {
    let Some(text) = map.data.get(&format!("{key}{SHA256}")) else { return Ok(None) };
    let text = String::from_utf8_lossy(text);
    // `sha256sum` prints the file's name behind it.
    let first = text.split_whitespace().next().unwrap_or_default();
    let hex = first.strip_prefix("sha256:").unwrap_or(first);
    let wrong = |_| Problem::Refused(format!("its {key}{SHA256} is no SHA-256: 64 hexadecimal digits are wanted"));
    format!("sha256:{hex}").parse().map(Some).map_err(wrong)
}

/// The one component that a ConfigMap has, where the address names none.
fn only_key(map: &ConfigMap) -> Result<String, Problem> {
    let names: BTreeSet<&str> = map.data.keys().map(|key| component_of(key)).collect();
    match names.iter().copied().collect::<Vec<_>>().as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Problem::NotFound("key in the ConfigMap")),
        several => Err(Problem::Refused(format!(
            "it has several keys ({}): the address has to name one, configmap://NAMESPACE/NAME/KEY",
            several.join(", ")
        ))),
    }
}

/// The component that a key belongs to.
fn component_of(key: &str) -> &str {
    let number = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
    key.strip_suffix(SHA256)
        .or_else(|| key.strip_suffix(BESIDE))
        .or_else(|| key.rsplit_once('.').filter(|(_, end)| number(end)).map(|(name, _)| name))
        .unwrap_or(key)
}

#[cfg(test)]
mod tests;
