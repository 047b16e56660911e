//! `blobs`: contents that the host holds: a pod's files, documents of the configuration, spooled bytes.
//!
//! Bounds: one read returns at most 4 MiB, the contents that one call spools have at most 16 MiB together,
//! and those of all calls count to the limit `held-bytes`. A pod's Secret
//! is read only under `--pod-secrets=reveal`, and is masked from then on in what this call says.

use std::sync::Arc;

use bytes::Bytes;
use provider::{Code, Content};
use wasmtime::component::{Access, Accessor, Resource};

use crate::audit::Used;
use crate::bindings::vk::host::blobs;
use crate::bindings::vk::host::types::Source;
use crate::call::task;
use crate::error::{Error, denied, error, from_provider};
use crate::log::Logger;
use crate::quota::Held;
use crate::stream::HostStream;
use crate::{Call, CallData};

const MAX_READ: u32 = 4 << 20;
const MAX_SPOOL: usize = 16 << 20;
/// What the audit log calls a pod's Secret.
const SECRET: &str = "a file of the pod's Secrets";

/// A content, and whether the guest may see it.
pub struct Blob {
    /// Where the bytes come from.
    pub content: Arc<dyn Content>,
    /// It is a pod's Secret or token.
    pub sensitive: bool,
}

impl Call {
    /// Gives the guest a handle on a content.
    pub fn push_blob(&mut self, blob: Blob) -> wasmtime::Result<Resource<Blob>> {
        Ok(self.table.push(blob)?)
    }

    fn readable_blob(&self, blob: &Resource<Blob>) -> wasmtime::Result<Result<Readable, Error>> {
        let blob = self.table.get(blob)?;
        if blob.sensitive && !self.capabilities.pod_secrets.may_reveal() {
            let denied = denied("reading a pod's Secret", "--pod-secrets=reveal");
            self.logger.used(Some(&denied), || Used::new("blobs", "read", SECRET));
            return Ok(Err(denied));
        }
        let shown_to = blob.sensitive.then(|| self.logger.clone());
        Ok(Ok(Readable { content: blob.content.clone(), shown_to }))
    }
}

/// A content that the guest may see.
struct Readable {
    content: Arc<dyn Content>,
    /// Who must not say it.
    shown_to: Option<Logger>,
}

impl Readable {
    async fn read(self) -> Result<Bytes, provider::Error> {
        let bytes = self.content.read().await?;
        if let Some(logger) = self.shown_to {
            logger.remember_shown(&bytes);
            logger.used(None, || Used { bytes_in: Some(bytes.len() as u64), ..Used::new("blobs", "read", SECRET) });
        }
        Ok(bytes)
    }
}

/// Bytes of a guest's that count as held until the last of their readers has gone.
struct Spooled {
    bytes: Vec<u8>,
    _held: Held,
}

impl AsRef<[u8]> for Spooled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl blobs::Host for Call {}

impl<T: Send + 'static> blobs::HostWithStore<T> for CallData {
    fn spool(mut host: Access<'_, T, Self>, bytes: Vec<u8>) -> wasmtime::Result<Result<Source, Error>> {
        let call = host.get();
        let spooled = call.spooled + bytes.len();
        if spooled > MAX_SPOOL {
            let message = format!("blobs.spool: {spooled} bytes in this call, the limit is {MAX_SPOOL}");
            return Ok(Err(error(Code::Limit, message)));
        }
        let held = match call.capabilities.quotas.held_bytes.take(bytes.len() as u64) {
            Ok(held) => held,
            Err(reached) => return Ok(Err(reached.of("blobs.spool"))),
        };
        call.spooled = spooled;
        let once = futures::stream::iter([Ok(Bytes::from_owner(Spooled { bytes, _held: held }))]);
        HostStream::new(Box::pin(once)).into_source(&mut host).map(Ok)
    }
}

impl blobs::HostBlob for Call {
    fn size(&mut self, blob: Resource<Blob>) -> wasmtime::Result<Option<u64>> {
        Ok(self.table.get(&blob)?.content.size())
    }

    fn version(&mut self, blob: Resource<Blob>) -> wasmtime::Result<String> {
        Ok(self.table.get(&blob)?.content.version())
    }

    fn placeholder(&mut self, blob: Resource<Blob>, _encoding: String) -> wasmtime::Result<Result<String, Error>> {
        self.table.get(&blob)?;
        Ok(Err(error(Code::Unsupported, "blob.placeholder: placeholders are not in this version")))
    }

    fn drop(&mut self, blob: Resource<Blob>) -> wasmtime::Result<()> {
        self.table.delete(blob)?;
        Ok(())
    }
}

impl<T: Send + 'static> blobs::HostBlobWithStore<T> for CallData {
    async fn read(
        accessor: &Accessor<T, Self>,
        blob: Resource<Blob>,
        offset: u64,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<u8>, Error>> {
        let _task = task(accessor)?;
        let content = match accessor.with(|mut access| access.get().readable_blob(&blob))? {
            Ok(content) => content,
            Err(denied) => return Ok(Err(denied)),
        };
        Ok(content.read().await.map_err(from_provider).map(|bytes| {
            let from = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
            let to = from.saturating_add(max.min(MAX_READ) as usize).min(bytes.len());
            bytes.slice(from..to).to_vec()
        }))
    }

    fn chunks(mut host: Access<'_, T, Self>, blob: Resource<Blob>) -> wasmtime::Result<Result<Source, Error>> {
        let content = match host.get().readable_blob(&blob)? {
            Ok(content) => content,
            Err(denied) => return Ok(Err(denied)),
        };
        let once = futures::stream::once(async move { content.read().await });
        HostStream::new(Box::pin(once)).into_source(&mut host).map(Ok)
    }
}

#[cfg(test)]
mod tests;
