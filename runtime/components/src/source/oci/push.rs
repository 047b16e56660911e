//! Writes a component into a registry, in the layout that [`OciSource`](super::OciSource) reads and `wkg` and `oras` do.
//!
//! The same component makes the same manifest, and so the same digest: nothing in it says when or by whom it was written.

use bytes::Bytes;
use serde_json::json;

use super::manifest::{CONFIG, Descriptor, MANIFEST, Manifest, WASM};
use super::registry::Registry;
use super::transport::Registries;
use crate::digest::Digest;
use crate::source::{Address, OciAddress, Problem, SourceError};

/// What was written.
#[derive(Clone, Debug)]
pub struct Pushed {
    /// The manifest's digest, which is what is signed and pinned.
    pub manifest: Digest,
    /// The component's own.
    pub component: Digest,
    /// Bytes of the component.
    pub size: u64,
}

/// Writes a component that has these exports and imports.
pub async fn push(
    address: &OciAddress,
    registries: &Registries,
    component: Bytes,
    (exports, imports): (Vec<String>, Vec<String>),
) -> Result<Pushed, SourceError> {
    let fail = |problem| SourceError::new(&Address::Oci(address.clone()), problem);
    if let Some(digest) = &address.digest {
        return Err(fail(Problem::Refused(format!("it can't be written to {digest}: a tag is wanted"))));
    }
    let registry = Registry::new(address, registries);
    let digest = Digest::of(&component);
    // <https://tag-runtime.cncf.io/wgs/wasm/deliverables/wasm-oci-artifact/#format-specification>
    let config = json!({
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [digest.to_string()],
        "component": { "exports": exports, "imports": imports },
    });
    let config = Bytes::from(config.to_string());
    let config_digest = Digest::of(&config);
    let described = |media_type: &str, bytes: &Bytes, digest: &Digest| Descriptor {
        media_type: media_type.to_owned(),
        digest: digest.to_string(),
        size: bytes.len() as u64,
        ..Descriptor::default()
    };
    let manifest = Manifest {
        schema_version: 2,
        media_type: MANIFEST.to_owned(),
        config: described(CONFIG, &config, &config_digest),
        layers: vec![described(WASM, &component, &digest)],
        ..Manifest::default()
    };
    let manifest = serde_json::to_vec(&manifest).map_err(|error| fail(Problem::Protocol(error.to_string())))?;
    let (manifest, size) = (Bytes::from(manifest), component.len() as u64);
    let written = async {
        registry.put_blob(&component, &digest).await?;
        registry.put_blob(&config, &config_digest).await?;
        registry.put_manifest(manifest.clone()).await
    };
    written.await.map_err(fail)?;
    Ok(Pushed { manifest: Digest::of(&manifest), component: digest, size })
}
