//! A component in an OCI registry, in the layout of the CNCF for WebAssembly
//! (<https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/>): an image manifest with one layer of the type
//! `application/wasm`. `wkg`, `oras` and `vk-runtime push` write it; what the configuration says isn't looked at.
//!
//! Asked for once a [`Poll::default`] minute, give or take a tenth: a request for the tag's digest alone, and nothing more
//! if it is the same. The order of a fetch: manifest, its digest, the layer's size, the signatures, then the layer, its
//! digest, decompression. So what is too large or not signed is never downloaded. An address with a digest never changes.

mod auth;
mod credentials;
mod manifest;
mod push;
mod registry;
mod transport;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::gzip::plain;
use super::{Address, Fetched, OciAddress, Policy, Problem, Revision, Source, SourceError};
use crate::digest::Digest;
use manifest::{Index, Manifest};
use registry::Registry;

pub use credentials::{Credentials, Login};
pub(super) use manifest::Manifest as Artifact;
pub use push::{Pushed, push};
pub(super) use registry::Registry as Artifacts;
pub use transport::{Registries, RegistriesError};

/// How often a registry is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll(pub Duration);

impl Default for Poll {
    fn default() -> Self {
        Self(Duration::from_secs(60))
    }
}

/// A component in a registry.
pub struct OciSource {
    address: Address,
    policy: Policy,
    poll: Poll,
    registry: Registry,
    is_pinned: bool,
}

impl OciSource {
    /// Asks the registry at this address, as these settings say.
    pub fn new(address: &OciAddress, registries: &Registries, policy: Policy, poll: Poll) -> Self {
        Self {
            policy,
            poll,
            registry: Registry::new(address, registries),
            is_pinned: address.digest.is_some(),
            address: Address::Oci(address.clone()),
        }
    }

    async fn get(&self, known: Option<&Revision>) -> Result<Option<Fetched>, Problem> {
        let known = known.map(|known| known.0.as_str());
        if known.is_some() && (self.is_pinned || self.registry.tag_digest().await?.as_deref() == known) {
            return Ok(None);
        }
        let (body, digest) = self.registry.manifest().await?;
        let revision = Revision(digest.to_string());
        if known == Some(revision.0.as_str()) {
            return Ok(None);
        }
        let manifest = match Index::parse(&body)? {
            Some(index) => Manifest::parse(&self.registry.manifest_of(index.component()?).await?)?,
            None => Manifest::parse(&body)?,
        };
        let layer = manifest.component()?;
        self.policy.check_size(layer.size)?;
        let signer = self.policy.signatures.check(&self.registry, &digest, &body).await?;
        let bytes = self.registry.blob(layer, "the layer").await?;
        let (bytes, digest) = finish(bytes, &self.policy).await?;
        Ok(Some(Fetched { bytes, digest, revision, signer }))
    }
}

/// Decompresses and digests, on a thread for that.
async fn finish(bytes: Bytes, policy: &Policy) -> Result<(Bytes, Digest), Problem> {
    let policy = policy.clone();
    let work = move || {
        let bytes = plain(bytes, &policy)?;
        let digest = policy.check_digest(&bytes)?;
        Ok((bytes, digest))
    };
    tokio::task::spawn_blocking(work).await.map_err(|error| Problem::Read(error.into()))?
}

#[async_trait]
impl Source for OciSource {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn fetch(&self, known: Option<&Revision>) -> Result<Option<Fetched>, SourceError> {
        self.get(known).await.map_err(|problem| SourceError::new(&self.address, problem))
    }

    async fn changed(&self) {
        if self.is_pinned {
            return std::future::pending().await;
        }
        tokio::time::sleep(self.poll.0.mul_f64(0.9 + 0.2 * fastrand::f64())).await;
    }
}
