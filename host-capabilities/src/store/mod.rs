//! `store` and `cache`: what a provider must remember, apart for each provider and node. Always granted.
//!
//! `store` is durable: a write returns when it is on the disk ([`Embedded`]). `cache` is memory alone ([`Cache`]).
//!
//! Bounds of a namespace: the limits `store-bytes`, `store-keys` and `cache-bytes`; a key has 1 to 512 bytes, a value at
//! most 1 MiB. A write over a bound is the error `limit` and changes nothing. What is used is counted anew from what is
//! there when the file is opened.

mod cache;
mod embedded;
mod host;
#[cfg(test)]
mod tests;
mod turns;

use std::time::{Duration, SystemTime};

use async_trait::async_trait;

pub use cache::Cache;
pub use embedded::{Embedded, OpenError};
use provider::Code;

use crate::error::{Error, error};
use crate::quota::{Limit, Reached};

/// Longest key, bytes.
pub const MAX_KEY: usize = 512;
/// Longest value, bytes.
pub const MAX_VALUE: usize = 1 << 20;

/// How much a namespace holds, or may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Bytes of keys and values, and of what is kept beside them.
    pub bytes: u64,
    /// Keys.
    pub keys: u64,
}

/// One pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
    /// Changes with every write of this key, and never comes back.
    pub version: u64,
}

/// What must hold for a write to happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Condition {
    /// Nothing.
    Always,
    /// The key does not exist.
    Absent,
    /// The key has this version.
    Version(u64),
}

impl Condition {
    fn holds(self, version: Option<u64>) -> bool {
        match self {
            Self::Always => true,
            Self::Absent => version.is_none(),
            Self::Version(wanted) => version == Some(wanted),
        }
    }
}

/// Keeps pairs of many namespaces.
#[async_trait]
pub trait Store: Send + Sync {
    /// The entry.
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Writes a value that is gone at `expires`, or never, into a namespace that then holds no more than `most`; returns
    /// its version.
    async fn put(
        &self,
        namespace: &str,
        key: String,
        value: Vec<u8>,
        condition: Condition,
        expires: Option<SystemTime>,
        most: Extent,
    ) -> Result<u64, StoreError>;

    /// Deletes.
    async fn delete(&self, namespace: &str, key: String, condition: Condition) -> Result<(), StoreError>;

    /// What a namespace holds.
    async fn extent(&self, namespace: &str) -> Result<Extent, StoreError>;

    /// Entries with this prefix after a key, in byte order, at most `max`.
    async fn scan(&self, namespace: &str, prefix: &str, after: &str, max: usize) -> Result<Vec<Entry>, StoreError>;
}

/// Why nothing was written or read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// The condition does not hold.
    #[error("store: the key `{0}` is not as the condition says")]
    Conflict(String),
    /// The namespace is full.
    #[error("store: {}", Reached::new(*limit, *most))]
    Limit {
        /// Which limit.
        limit: Limit,
        /// Its value.
        most: u64,
    },
    /// The key or value can't be kept.
    #[error("store: {0}")]
    Invalid(String),
    /// The disk failed.
    #[error("store: {0}")]
    Failed(String),
}

impl From<StoreError> for Error {
    fn from(failure: StoreError) -> Self {
        let code = match &failure {
            StoreError::Conflict(_) => Code::Conflict,
            StoreError::Limit { .. } => Code::Limit,
            StoreError::Invalid(_) => Code::Invalid,
            StoreError::Failed(_) => Code::Unavailable,
        };
        error(code, failure.to_string())
    }
}

/// What the pairs of a provider for a node of a cluster are kept under. No two of them share one, whatever they are called.
pub(crate) fn namespace(provider: &str, cluster: &str, node: &str) -> String {
    let part = |name: &str| name.replace('%', "%25").replace('/', "%2f").replace('\0', "%00");
    [provider, cluster, node].map(part).join("/")
}

fn check(key: &str, value: &[u8]) -> Result<(), StoreError> {
    if key.is_empty() || key.len() > MAX_KEY {
        return Err(StoreError::Invalid(format!("a key has 1 to {MAX_KEY} bytes, this one {}", key.len())));
    }
    if value.len() > MAX_VALUE {
        let length = value.len();
        return Err(StoreError::Invalid(format!(
            "the value of `{key}` has {length} bytes, at most {MAX_VALUE} are kept"
        )));
    }
    Ok(())
}

fn expiry(time_to_live: Option<u64>) -> Option<SystemTime> {
    time_to_live.and_then(|nanos| SystemTime::now().checked_add(Duration::from_nanos(nanos)))
}
