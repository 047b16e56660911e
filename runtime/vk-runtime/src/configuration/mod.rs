//! The configuration: of one process, its providers and its nodes.
//!
//! The types here are the one description of it. The flags of the command line build the same types ([`flags`]); the
//! JSON Schema is made from them ([`schema`]); a file is checked against that schema, so that every wrong key is found at
//! once, with its place. What the schema can't say (names that must differ, files that must be there) is checked by
//! [`plan`], which turns the types into what runs.
//!
//! A file is YAML (or JSON), at most 4 MiB. It holds no secret, only where secrets are.

mod check;
pub mod flags;
mod located;
mod node;
pub mod plan;
mod problem;
mod process;
mod provider;
mod read;
mod schema;

pub use node::{Kubelet, Node, OperatingSystem, Shutdown};
pub use problem::Place;
pub use process::{ApiVersion, Audit, AuditedUses, Cluster, Kind, Log, LogFormat, LogLevel, Metrics};
pub use provider::{Allow, PodSecretsUse, Provider, Registry, Secret, Signatures, Tls};
pub use read::{Source, read};
pub use schema::schema_text;

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The configuration of one process of vk-runtime.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Configuration {
    /// The version of this format.
    pub api_version: ApiVersion,
    /// What this file is.
    pub kind: Kind,
    /// The folder for what must last: what providers remember, compiled code, the socket of `vk-runtime status`. By
    /// default /var/lib/vk-runtime/NAME for root, where NAME is the file's name without its ending, else the same below
    /// ~/.local/state. Takes effect at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state_dir: Option<PathBuf>,
    /// Log lines, on standard error.
    #[serde(default)]
    pub log: Log,
    /// The audit log. Takes effect at the next start.
    #[serde(default)]
    pub audit: Audit,
    /// Where metrics are served beside each node's kubelet API. Takes effect at the next start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metrics: Option<Metrics>,
    /// The cluster that the nodes join.
    #[serde(default)]
    pub cluster: Cluster,
    /// The providers, each a WebAssembly component with what it may do.
    pub providers: Vec<Provider>,
    /// The nodes, each with one of the providers.
    pub nodes: Vec<Node>,
}

/// Whether a value is the default one: then it need not be written.
fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

#[cfg(test)]
mod tests;
