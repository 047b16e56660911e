//! `secrets`: named secrets of the operator, used as far as their mode allows.
//!
//! Default: none is granted. A secret's bytes are held in memory that is wiped when it is dropped, and never logged.
//! Cost: a file is looked at (not read) twice each time a handle is opened, and read again when it changed. An empty source
//! holds no secret.

mod grant;
mod host;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use provider::Code;
use ring::{digest, hmac, rand};
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

/// How often several secrets are read again when they change while they are read.
const MAX_READINGS: usize = 5;

/// The secrets of one provider.
pub struct Secrets {
    granted: BTreeMap<String, Granted>,
    /// Made anew by each process: versions tell nothing of values.
    versions: hmac::Key,
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
        #[expect(clippy::expect_used, reason = "a system without random numbers can't do TLS either")]
        let versions = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .expect("the operating system has random numbers");
        Self { granted, versions, revealed: Mutex::default() }
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

    /// The present values of some secrets, as they stood at one moment: none changed from the first reading to the last.
    async fn open(&self, names: &[String]) -> Result<Vec<Secret>, Error> {
        let wanted = names.iter().map(|name| {
            let how = || denied(format!("the secret `{name}`"), format!("--secret={name}=SOURCE:MODE"));
            self.granted.get(name).map(|granted| (name, granted)).ok_or_else(how)
        });
        let wanted: Vec<(&String, &Granted)> = wanted.collect::<Result<_, _>>()?;
        let mut known: Option<Vec<Arc<Value>>> = None;
        for _ in 0..MAX_READINGS {
            let mut values = Vec::with_capacity(wanted.len());
            for (name, granted) in &wanted {
                values.push(self.read(name, granted).await?);
            }
            let versions = |values: &[Arc<Value>]| values.iter().map(|value| value.version).collect::<Vec<_>>();
            if wanted.len() < 2 || known.is_some_and(|known| versions(&known) == versions(&values)) {
                let opened = wanted.into_iter().zip(values);
                return Ok(opened.map(|((name, own), value)| Secret::new(name.clone(), own.mode, value)).collect());
            }
            known = Some(values);
        }
        let names = names.join(", ");
        Err(error(Code::Unavailable, format!("the secrets {names}: they change faster than they can be read")))
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
        match (granted.source.read().await, &*last) {
            (Ok(bytes), _) if bytes.is_empty() => {
                // It is not what was read last: that must not come back.
                *last = None;
                granted.source.forget();
                Err(error(Code::NotFound, format!("the secret `{name}`: its source is empty")))
            }
            (Ok(bytes), _) => {
                let value = Arc::new(Value { version: self.version(name, &bytes), bytes });
                *last = Some(value.clone());
                Ok(value)
            }
            (Err(SourceError::Unchanged), Some(known)) => Ok(known.clone()),
            (Err(SourceError::Missing(reason)), _) => {
                Err(error(Code::NotFound, format!("the secret `{name}`: {reason}")))
            }
            (Err(other), _) => Err(error(Code::Unavailable, format!("the secret `{name}`: {other}"))),
        }
    }

    /// Equal for equal values of one secret while the process runs.
    fn version(&self, name: &str, value: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.versions);
        context.update(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
        context.update(value);
        let tag = context.sign();
        tag.as_ref().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}
