//! Manifests, as far as components need them (<https://github.com/opencontainers/image-spec/blob/main/manifest.md>).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;
use crate::source::Problem;

/// An image manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// An image index.
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// Docker's own names of the same.
pub const DOCKER: &[&str] = &[
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];
/// The configuration of a component.
pub const CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// A component.
pub const WASM: &str = "application/wasm";
/// What components were called before that.
const OLDER: &[&str] =
    &["application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"];

/// What is somewhere else in the registry.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: String,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    #[serde(default)]
    pub architecture: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Index {
    pub manifests: Vec<Descriptor>,
}

impl Descriptor {
    /// Its digest, of the one kind that registries use.
    pub fn sha256(&self) -> Result<Digest, Problem> {
        self.digest
            .parse()
            .map_err(|_| Problem::Protocol(format!("the manifest's digest `{}` is no SHA-256", self.digest)))
    }

    fn is_component(&self) -> bool {
        let name = self.media_type.strip_suffix("+gzip").unwrap_or(&self.media_type);
        name == WASM || OLDER.contains(&name)
    }
}

impl Manifest {
    /// Reads a manifest.
    pub fn parse(body: &[u8]) -> Result<Self, Problem> {
        let manifest: Self = serde_json::from_slice(body)
            .map_err(|error| Problem::Protocol(format!("its manifest can't be read: {error}")))?;
        if manifest.schema_version != 2 {
            let version = manifest.schema_version;
            return Err(Problem::Protocol(format!(
                "its manifest has the schema version {version}; 2 is the one known"
            )));
        }
        Ok(manifest)
    }

    /// The layer that is the component.
    pub fn component(&self) -> Result<&Descriptor, Problem> {
        let mut found = self.layers.iter().filter(|layer| layer.is_component());
        match (found.next(), found.next()) {
            (Some(layer), None) => Ok(layer),
            (Some(_), Some(_)) => Err(Problem::NoComponent(format!("it has several layers of the type {WASM}"))),
            (None, _) => {
                let types: Vec<_> = self.layers.iter().map(|layer| layer.media_type.as_str()).collect();
                let types = if types.is_empty() { "none".to_owned() } else { types.join(", ") };
                Err(Problem::NoComponent(format!("one layer of the type {WASM} is wanted, its layers are {types}")))
            }
        }
    }
}

impl Index {
    /// Reads an index. None: it is something else.
    pub fn parse(body: &[u8]) -> Result<Option<Self>, Problem> {
        #[derive(Deserialize)]
        struct Kind {
            manifests: Option<serde::de::IgnoredAny>,
        }
        let read = |error| Problem::Protocol(format!("its manifest can't be read: {error}"));
        let kind: Kind = serde_json::from_slice(body).map_err(read)?;
        kind.manifests.map(|_| serde_json::from_slice(body).map_err(read)).transpose()
    }

    /// The one that is for WebAssembly, or the only one.
    pub fn component(&self) -> Result<&Descriptor, Problem> {
        let is_wasm = |own: &&Descriptor| own.platform.as_ref().is_some_and(|platform| platform.architecture == "wasm");
        let found = self.manifests.iter().find(is_wasm);
        let only = || self.manifests.first().filter(|_| self.manifests.len() == 1);
        found.or_else(only).ok_or_else(|| {
            Problem::NoComponent(format!("it is an index of {} manifests, none of them for wasm", self.manifests.len()))
        })
    }
}
