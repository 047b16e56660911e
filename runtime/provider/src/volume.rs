//! Volumes of a pod, and the files that the host computed for them.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Origin, Result, Text};

/// The bytes of a file. They need not be in memory, nor exist: a token is asked for when it is first read.
#[async_trait]
pub trait Content: Send + Sync {
    /// Bytes, where that is known without reading.
    fn size(&self) -> Option<u64>;

    /// Changes when the content does, and tells nothing of it: a keyed hash of the content, or of what determines it.
    fn version(&self) -> String;

    /// All of it.
    async fn read(&self) -> Result<Bytes>;
}

/// A file of a volume.
#[derive(Clone)]
pub struct File {
    /// Relative to the volume, parts separated by `/`, without `..`.
    pub path: String,
    /// Permission bits.
    pub mode: u32,
    /// Owner; none: root.
    pub user: Option<u32>,
    /// Group; none: the pod's `fsGroup`, else root.
    pub group: Option<u32>,
    /// The content.
    pub content: Arc<dyn Content>,
    /// Where it came from.
    pub origin: Arc<Origin>,
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("File").field("path", &self.path).field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// A volume of a pod.
#[derive(Clone, Debug)]
pub enum Volume {
    /// Files computed by the host from ConfigMaps, Secrets, the downward API and tokens.
    Files {
        /// `spec.volumes[].name`.
        name: String,
        /// All of them.
        files: Vec<File>,
    },
    /// Empty at first; lives as long as the pod.
    EmptyDir {
        /// `spec.volumes[].name`.
        name: String,
        /// `medium`: empty, `Memory`, …
        medium: String,
        /// `sizeLimit`, bytes.
        size_limit: Option<u64>,
    },
    /// One that the backend itself provides.
    Backend {
        /// `spec.volumes[].name`.
        name: String,
        /// The source's field name in kebab case (`host-path`, `nfs`, `persistent-volume-claim`).
        kind: String,
        /// JSON of the source.
        source: String,
        /// Keys and values of the Secret that the source refers to.
        files: Vec<File>,
    },
}

impl Volume {
    /// `spec.volumes[].name`.
    pub fn name(&self) -> &str {
        match self {
            Self::Files { name, .. } | Self::EmptyDir { name, .. } | Self::Backend { name, .. } => name,
        }
    }
}

/// A volume in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mount {
    /// The volume's name.
    pub volume: String,
    /// `mountPath`.
    pub path: String,
    /// `subPath`, or `subPathExpr` expanded; empty: all of the volume.
    pub sub_path: Text,
    /// `readOnly`.
    pub read_only: bool,
    /// `mountPropagation`; empty: `None`.
    pub propagation: String,
}
