//! Where a secret's value comes from.

use std::sync::Mutex;
use std::time::SystemTime;

use async_trait::async_trait;
use zeroize::Zeroizing;

/// A place that holds a secret.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Its value now, or [`SourceError::Unchanged`] if it is the one that was read last.
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError>;

    /// Forgets what was read last: the backend refused it.
    fn forget(&self) {}
}

/// Why there is no value.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// As it was at the last reading.
    #[error("unchanged")]
    Unchanged,
    /// There is none; the text names where it was looked for.
    #[error("{0}")]
    Missing(String),
    /// It can't be read now.
    #[error("{0}")]
    Unavailable(String),
}

/// A variable of the host's environment.
pub(super) struct Environment {
    variable: String,
}

impl Environment {
    pub(super) const fn new(variable: String) -> Self {
        Self { variable }
    }
}

#[async_trait]
impl SecretSource for Environment {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        match std::env::var_os(&self.variable) {
            Some(value) => Ok(Zeroizing::new(value.into_encoded_bytes())),
            None => Err(SourceError::Missing(format!("the environment variable {} is not set", self.variable))),
        }
    }
}

/// A file; trailing newlines are not part of the value.
pub(super) struct File {
    path: String,
    seen: Mutex<Option<(SystemTime, u64, u64)>>,
}

impl File {
    pub(super) const fn new(path: String) -> Self {
        Self { path, seen: Mutex::new(None) }
    }
}

/// Larger files are no secrets.
const MAX_FILE: u64 = 1 << 20;

#[async_trait]
impl SecretSource for File {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        use std::os::unix::fs::MetadataExt;
        let fail = |error: std::io::Error| match error.kind() {
            std::io::ErrorKind::NotFound => SourceError::Missing(format!("the file {} does not exist", self.path)),
            _ => SourceError::Unavailable(format!("the file {}: {error}", self.path)),
        };
        let metadata = tokio::fs::metadata(&self.path).await.map_err(fail)?;
        if metadata.len() > MAX_FILE {
            let message = format!("the file {} has {} bytes, the limit is {MAX_FILE}", self.path, metadata.len());
            return Err(SourceError::Unavailable(message));
        }
        let stamp = (metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH), metadata.len(), metadata.ino());
        {
            let seen = self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
            if *seen == Some(stamp) {
                return Err(SourceError::Unchanged);
            }
        }
        let mut bytes = Zeroizing::new(tokio::fs::read(&self.path).await.map_err(fail)?);
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(stamp);
        Ok(bytes)
    }

    fn forget(&self) {
        *self.seen.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
    }
}
