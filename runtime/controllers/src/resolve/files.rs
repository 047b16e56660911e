//! Contents of a pod's files, held until a provider reads them. Reading copies nothing.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use provider::{Content, Result};

use crate::references;

/// Text that the host made. It is never secret.
pub(super) struct Known {
    bytes: Bytes,
    version: String,
}

impl Known {
    /// Its version follows from it.
    pub fn text(text: String) -> Arc<dyn Content> {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Arc::new(Self { bytes: text.into(), version: format!("{hash:016x}") })
    }
}

#[async_trait]
impl Content for Known {
    fn size(&self) -> Option<u64> {
        Some(self.bytes.len() as u64)
    }

    fn version(&self) -> String {
        self.version.clone()
    }

    async fn read(&self) -> Result<Bytes> {
        Ok(self.bytes.clone())
    }
}

/// A key of a ConfigMap or Secret, whose bytes stay where they are.
#[derive(Clone)]
pub(super) struct Key {
    pub object: Arc<references::Content>,
    pub key: String,
}

impl AsRef<[u8]> for Key {
    fn as_ref(&self) -> &[u8] {
        let text = self.object.data.get(&self.key).map(|value| value.as_slice());
        text.or_else(|| self.object.binary.get(&self.key).map(Vec::as_slice)).unwrap_or_default()
    }
}

#[async_trait]
impl Content for Key {
    fn size(&self) -> Option<u64> {
        Some(self.as_ref().len() as u64)
    }

    /// The object's version: it changes with the content, and tells nothing of it.
    fn version(&self) -> String {
        self.object.version.clone()
    }

    async fn read(&self) -> Result<Bytes> {
        Ok(Bytes::from_owner(self.clone()))
    }
}
