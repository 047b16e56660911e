//! `secrets`: named secrets of the operator, used as far as their mode allows.
//!
//! Default: none is granted. A secret's bytes are held in memory that is wiped when it is dropped, and never logged.
//! Cost: a file is looked at (not read) each time a handle is opened, and read again when it changed.

mod grant;
mod host;
mod source;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use provider::Code;
use zeroize::Zeroizing;

pub use grant::{Mode, SecretGrant, SecretGrantError};
pub use host::Secret;
pub use source::{SecretSource, SourceError};

use crate::error::{Error, denied, error};
use crate::mask::Mask;

/// One version of a secret's value.
pub(crate) struct Value {
    bytes: Zeroizing<Vec<u8>>,
    version: u64,
}

/// The secrets of one provider.
pub struct Secrets {
    granted: BTreeMap<String, Granted>,
    versions: AtomicU64,
    revealed: Mutex<Mask>,
}

struct Granted {
    mode: Mode,
    source: Box<dyn SecretSource>,
    last: tokio::sync::Mutex<Option<Arc<Value>>>,
}

impl Secrets {
    /// The granted ones, with where they come from.
    pub fn new(grants: impl IntoIterator<Item = (String, Mode, Box<dyn SecretSource>)>) -> Self {
        let granted = grants
            .into_iter()
            .map(|(name, mode, source)| (name, Granted { mode, source, last: tokio::sync::Mutex::new(None) }))
            .collect();
        Self { granted, versions: AtomicU64::new(0), revealed: Mutex::default() }
    }

    /// The text with stars for each value that the provider was shown.
    pub(crate) fn mask(&self, text: String) -> String {
        let revealed = self.revealed.lock().unwrap_or_else(PoisonError::into_inner);
        if revealed.is_empty() { text } else { revealed.apply(text) }
    }

    fn remember_revealed(&self, value: &[u8]) {
        if let Ok(text) = std::str::from_utf8(value) {
            self.revealed.lock().unwrap_or_else(PoisonError::into_inner).add(text.trim());
        }
    }

    /// The present values of some secrets, all read at one moment.
    async fn open(&self, names: &[String]) -> Result<Vec<Secret>, Error> {
        let mut opened = Vec::with_capacity(names.len());
        for name in names {
            let Some(granted) = self.granted.get(name) else {
                return Err(denied(format!("the secret `{name}`"), format!("--secret={name}=SOURCE:MODE")));
            };
            let value = self.read(name, granted).await?;
            opened.push(Secret::new(name.clone(), granted.mode, value));
        }
        Ok(opened)
    }

    /// Drops what is known of a secret that the backend refused.
    async fn forget(&self, name: &str) {
        if let Some(granted) = self.granted.get(name) {
            *granted.last.lock().await = None;
            granted.source.forget();
        }
    }

    async fn read(&self, name: &str, granted: &Granted) -> Result<Arc<Value>, Error> {
        let mut last = granted.last.lock().await;
        let bytes = match granted.source.read().await {
            Ok(bytes) => bytes,
            Err(SourceError::Unchanged) if last.is_some() => Zeroizing::new(Vec::new()),
            Err(SourceError::Missing(reason)) => {
                return Err(error(Code::NotFound, format!("the secret `{name}`: {reason}")));
            }
            Err(other) => return Err(error(Code::Unavailable, format!("the secret `{name}`: {other}"))),
        };
        match &*last {
            Some(known) if bytes.is_empty() || known.bytes == bytes => Ok(known.clone()),
            _ => {
                let version = self.versions.fetch_add(1, Ordering::Relaxed) + 1;
                let value = Arc::new(Value { bytes, version });
                *last = Some(value.clone());
                Ok(value)
            }
        }
    }
}
