//! What the whole process has: its log, its metrics, its cluster.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of the format.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ApiVersion {
    /// The first one.
    #[default]
    #[serde(rename = "vk-runtime.io/v1alpha1")]
    V1Alpha1,
}

/// What a file is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// The configuration of a process.
    #[default]
    Configuration,
}

/// Log lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Log {
    /// How much is logged.
    pub level: LogLevel,
    /// How a line looks. Takes effect at the next start.
    pub format: LogFormat,
}

/// How much is logged of this program's own parts; libraries speak from `warn` on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    Error,
    #[value(alias = "warning")]
    Warn,
    #[default]
    Info,
    Debug,
    Trace,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

/// The audit log: who used which capability on what, and whether it was let.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Audit {
    /// What is written.
    pub uses: AuditedUses,
    /// A file for it, one JSON object a line, which is opened again when it was renamed. By default the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// Which uses of capabilities are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum AuditedUses {
    /// None.
    #[default]
    Off,
    /// Those that were refused.
    Refusals,
    /// All.
    All,
}

/// Where metrics are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Metrics {
    /// IP:PORT, where GET /metrics answers plain HTTP with the series of all providers.
    #[schemars(with = "String")]
    pub listen: SocketAddr,
}

/// The cluster that the nodes join.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Cluster {
    /// How to reach it: the host identity, and that of nodes that have none of their own. By default $KUBECONFIG,
    /// ~/.kube/config, or the pod's service account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// Tells this cluster from others at the backend: a-z, 0-9 and `-`, at most 63. By default made of the cluster's CA
    /// certificate.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The cluster's domain.
    pub domain: String,
    /// Addresses of the cluster's DNS, for pods that use it; without them these use the backend's.
    #[schemars(with = "Vec<String>")]
    pub dns: Vec<IpAddr>,
}

impl Default for Cluster {
    fn default() -> Self {
        Self { kubeconfig: None, id: None, domain: "cluster.local".to_owned(), dns: Vec::new() }
    }
}
