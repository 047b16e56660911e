//! `secrets`: named secrets of the operator, used as far as their mode allows.
//!
//! Default: none is granted. A secret's bytes are held in memory that is wiped when it is dropped, and never logged. They are
//! read again when they change: each opening looks at the source ([`Origin`] says what that costs). An empty source holds no
//! secret. A source that can't be reached keeps its last value, and the log says so once; one that says that there is no
//! value, one whose value has expired, and one whose value the backend refused do not.
//!
//! One [`Secrets`] is one provider's, shared by its nodes: another provider's is another value, with other sources, versions
//! and placeholders.

mod binding;
mod cluster;
mod exec;
mod fill;
mod grant;
mod host;
mod key;
mod local;
mod origin;
mod placeholder;
mod renewed;
mod search;
mod shown;
mod source;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use provider::Code;
use ring::{digest, hmac, rand};
use zeroize::Zeroizing;

pub use binding::Binding;
pub(crate) use binding::Destination;
pub use cluster::{Cluster, Token};
pub(crate) use fill::Filling;
pub use grant::{Mode, SecretGrant, SecretGrantError};
pub use host::Secret;
pub use origin::{Exec, Origin, Sources};
pub(crate) use placeholder::Placeholders;
pub(crate) use search::{Search, masked};
pub use source::{SecretSource, SourceError};

use crate::error::{Error, denied, error};
use shown::Shown;

/// One version of a secret's value.
pub(crate) struct Value {
    bytes: Zeroizing<Vec<u8>>,
    version: u64,
}

/// How often several secrets are read again when they change while they are read.
const MAX_READINGS: usize = 5;

/// The secrets of one provider.
#[derive(Default)]
pub struct Secrets {
    granted: BTreeMap<String, Granted>,
    versions: Versions,
    shown: Shown,
}

/// Made anew by each process: versions tell nothing of values.
struct Versions(hmac::Key);

impl Default for Versions {
    fn default() -> Self {
        #[expect(clippy::expect_used, reason = "a system without random numbers can't do TLS either")]
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &rand::SystemRandom::new())
            .expect("the operating system has random numbers");
        Self(key)
    }
}

struct Granted {
    mode: Mode,
    hosts: Option<Arc<[Binding]>>,
    value: Reader,
}

/// What was read of a source last.
pub(crate) struct Reader {
    source: Box<dyn SecretSource>,
    last: tokio::sync::Mutex<Option<Arc<Zeroizing<Vec<u8>>>>>,
    failing: AtomicBool,
}

impl Secrets {
    /// The granted ones. Errors: a grant that can't be, or two of one name.
    pub fn new(grants: impl IntoIterator<Item = SecretGrant>, sources: &Sources) -> Result<Self, SecretGrantError> {
        let mut secrets = Self::default();
        for grant in grants {
            let fail = |reason| SecretGrantError { grant: grant.name.clone(), reason };
            grant.check().map_err(fail)?;
            if secrets.granted.contains_key(&grant.name) {
                return Err(fail("the secret is granted twice".to_owned()));
            }
            secrets.add(grant.name, grant.mode, grant.hosts, grant.origin.open(sources));
        }
        Ok(secrets)
    }

    fn add(&mut self, name: String, mode: Mode, hosts: Vec<Binding>, source: Box<dyn SecretSource>) {
        let hosts = (mode == Mode::Inject).then(|| hosts.into());
        self.granted.insert(name, Granted { mode, hosts, value: Reader::new(source) });
    }

    /// The names of the granted ones, and what the provider may do with each.
    pub fn names(&self) -> impl Iterator<Item = (&str, Mode)> {
        self.granted.iter().map(|(name, granted)| (name.as_str(), granted.mode))
    }

    /// The text with stars for each value that the provider was shown, or had filled in.
    pub(crate) fn mask(&self, text: String) -> String {
        self.shown.mask(text)
    }

    /// What to look for in what backends answer.
    pub(crate) fn search(&self) -> Option<Arc<Search>> {
        self.shown.search()
    }

    fn remember_shown(&self, secret: &Secret) {
        self.shown.remember(secret.name(), secret.bytes(), false);
    }

    fn remember_filled(&self, secret: &Secret) {
        self.shown.remember(secret.name(), secret.bytes(), true);
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
                return Ok(opened
                    .map(|((name, own), value)| Secret::new(name.clone(), own.mode, own.hosts.clone(), value))
                    .collect());
            }
            known = Some(values);
        }
        let names = names.join(", ");
        Err(error(Code::Unavailable, format!("the secrets {names}: they change faster than they can be read")))
    }

    /// Drops what is known of a secret that the backend refused.
    async fn forget(&self, name: &str) {
        if let Some(granted) = self.granted.get(name) {
            granted.value.forget().await;
        }
    }

    async fn read(&self, name: &str, granted: &Granted) -> Result<Arc<Value>, Error> {
        let bytes = granted.value.read(&format!("the secret `{name}`")).await?;
        Ok(Arc::new(Value { version: self.version(name, &bytes), bytes: (*bytes).clone() }))
    }

    /// Equal for equal values of one secret while the process runs.
    fn version(&self, name: &str, value: &[u8]) -> u64 {
        let mut context = hmac::Context::with_key(&self.versions.0);
        context.update(digest::digest(&digest::SHA256, name.as_bytes()).as_ref());
        context.update(value);
        let tag = context.sign();
        tag.as_ref().first_chunk().map_or(0, |head| u64::from_be_bytes(*head))
    }
}

/// Names alone.
impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.names().map(|(name, mode)| (name, mode.as_str()))).finish()
    }
}

impl Reader {
    pub(crate) fn new(source: Box<dyn SecretSource>) -> Self {
        Self { source, last: tokio::sync::Mutex::default(), failing: AtomicBool::new(false) }
    }

    /// The present value. `what` names it in errors and in the log.
    pub(crate) async fn read(&self, what: &str) -> Result<Arc<Zeroizing<Vec<u8>>>, Error> {
        let mut last = self.last.lock().await;
        let mut now = self.source.read().await;
        if last.is_none() && matches!(now, Err(SourceError::Unchanged)) {
            // What it read last got lost on the way, with the call that asked.
            self.source.forget();
            now = self.source.read().await;
        }
        match now {
            Ok(bytes) if bytes.is_empty() => {
                // It is not what was read last: that must not come back.
                *last = None;
                self.source.forget();
                Err(error(Code::NotFound, format!("{what}: its source is empty")))
            }
            Ok(bytes) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!("{what} can be read again");
                }
                let value = Arc::new(bytes);
                *last = Some(value.clone());
                Ok(value)
            }
            Err(failure) => match (failure, last.as_ref()) {
                (SourceError::Unchanged, Some(known)) => Ok(known.clone()),
                (SourceError::Unavailable(reason), Some(known)) => {
                    if !self.failing.swap(true, Ordering::Relaxed) {
                        tracing::warn!("{what} can't be read again, its last value is kept: {reason}");
                    }
                    Ok(known.clone())
                }
                (SourceError::Missing(reason), _) => {
                    *last = None;
                    self.source.forget();
                    Err(error(Code::NotFound, format!("{what}: {reason}")))
                }
                (other, _) => {
                    *last = None;
                    Err(error(Code::Unavailable, format!("{what}: {other}")))
                }
            },
        }
    }

    /// It was refused: the last value is not given out again, unless it is newer than any that there can be.
    pub(crate) async fn forget(&self) {
        let mut last = self.last.lock().await;
        if self.source.forget() {
            *last = None;
        }
    }
}
