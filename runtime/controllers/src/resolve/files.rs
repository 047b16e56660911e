//! Contents of a pod's files, held until a provider reads them.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use provider::{Content, Result};
use zeroize::Zeroizing;

use crate::references;

/// Bytes that are known.
pub(super) struct Known {
    bytes: Zeroizing<Vec<u8>>,
    version: String,
}

impl Known {
    /// Text that the host made; its version follows from it.
    pub fn text(text: String) -> Arc<dyn Content> {
        let hash = text
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Arc::new(Self { bytes: Zeroizing::new(text.into_bytes()), version: format!("{hash:016x}") })
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
        Ok(Bytes::copy_from_slice(&self.bytes))
    }
}

/// A key of a ConfigMap or Secret, whose bytes stay where they are.
pub(super) struct Key {
    pub object: Arc<references::Content>,
    pub key: String,
}

impl Key {
    fn bytes(&self) -> &[u8] {
        let text = self.object.data.get(&self.key).map(|value| value.as_slice());
        text.or_else(|| self.object.binary.get(&self.key).map(Vec::as_slice)).unwrap_or_default()
    }
}

#[async_trait]
impl Content for Key {
    fn size(&self) -> Option<u64> {
        Some(self.bytes().len() as u64)
    }

    /// The object's version: it changes with the content, and tells nothing of it.
    fn version(&self) -> String {
        self.object.version.clone()
    }

    async fn read(&self) -> Result<Bytes> {
        Ok(Bytes::copy_from_slice(self.bytes()))
    }
}
