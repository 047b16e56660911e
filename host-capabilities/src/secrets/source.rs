//! What reads a secret's value.

use async_trait::async_trait;
use zeroize::Zeroizing;

/// Larger contents are no secrets.
pub(super) const MAX_VALUE: usize = 1 << 20;

/// A place that holds a secret.
#[async_trait]
pub trait SecretSource: Send + Sync {
    /// Its value now, or [`SourceError::Unchanged`] if it is the one that was read last.
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError>;

    /// Forgets what was read last: the backend refused it. False if it was read so shortly before that this would change
    /// nothing.
    fn forget(&self) -> bool {
        true
    }
}

/// Why there is no value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// As it was at the last reading.
    #[error("unchanged")]
    Unchanged,
    /// There is none, or none any more; the text names where it was looked for.
    #[error("{0}")]
    Missing(String),
    /// It can't be read now. What was read last still holds.
    #[error("{0}")]
    Unavailable(String),
    /// What was read last is over, and there is no next.
    #[error("{0}")]
    Expired(String),
}

/// Takes the newlines off the end of what was written by an editor or `echo`.
pub(super) fn trim_end(bytes: &mut Vec<u8>) {
    while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
        bytes.pop();
    }
}
