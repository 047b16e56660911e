//! One node: a name in the cluster, and the provider behind it.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::ValueEnum;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::is_default;

/// One node.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Node {
    /// `metadata.name` of the Node: lower-case letters, digits, `-` and `.`.
    pub name: String,
    /// The name of its provider.
    pub provider: String,
    /// The node's own identity (`system:node:NAME`). By default that of `cluster.kubeconfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kubeconfig: Option<PathBuf>,
    /// A kubeconfig with credentials to join with: the node asks for a client certificate of its own, and renews it.
    /// Instead of `kubeconfig`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// Operating system of its pods, where the provider can have either.
    #[serde(default)]
    pub os: OperatingSystem,
    /// Addresses of the Node, the primary one first, where the API server reaches the kubelet API. By default the one that
    /// reaches the API server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub addresses: Vec<IpAddr>,
    /// Its kubelet API.
    #[serde(default)]
    pub kubelet: Kubelet,
    /// What becomes of it when the process ends.
    #[serde(default, skip_serializing_if = "is_default")]
    pub shutdown: Shutdown,
    /// How long draining may take, as `90s` or `10m`; the pods that are left then stay. By default `5m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drain_timeout: Option<String>,
    /// Whether a Node that somebody deletes stays away until the next start. By default it is registered again, with its
    /// pods untouched.
    #[serde(default, skip_serializing_if = "is_default")]
    pub stays_deleted: bool,
    /// Labels, beside those that every node has.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Taints: `KEY[=VALUE]:EFFECT`. By default `virtual-kubelet.io/provider=PROVIDER:NoSchedule`; an empty list is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taints: Option<Vec<String>>,
    /// Addresses of the DNS of its pods, instead of those of `cluster.dns`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Vec<String>>")]
    pub dns: Option<Vec<IpAddr>>,
    /// What its provider is told for this node alone, over the provider's own `config`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
}

/// Operating system of pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OperatingSystem {
    #[default]
    Linux,
    Windows,
}

impl OperatingSystem {
    /// As in the label `kubernetes.io/os`.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Linux => "linux",
            Self::Windows => "windows",
        }
    }
}

/// What becomes of a node when its process ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Shutdown {
    /// Nothing is written: its pods go on.
    #[default]
    Leave,
    /// Nothing new is scheduled to it; its pods go on.
    Cordon,
    /// It is cordoned, and its pods are evicted, but those of DaemonSets.
    Drain,
}

impl From<Shutdown> for controllers::Shutdown {
    fn from(own: Shutdown) -> Self {
        match own {
            Shutdown::Leave => Self::Leave,
            Shutdown::Cordon => Self::Cordon,
            Shutdown::Drain => Self::Drain,
        }
    }
}

/// The kubelet API of a node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Kubelet {
    /// Its port; 0 takes any that is free, and the Node says which. Nodes of one process have each their own.
    pub port: u16,
    /// Its certificate, a file in PEM; goes with `key`. By default self-signed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate: Option<PathBuf>,
    /// The certificate's key, a file in PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<PathBuf>,
    /// CA of the client certificates that it takes, a file in PEM. By default the cluster's CA.
    #[serde(rename = "clientCA", skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
    /// Whether its certificate is asked for with a CertificateSigningRequest, and renewed; self-signed until somebody
    /// approves it. For nodes with an identity of their own.
    #[serde(skip_serializing_if = "is_default")]
    pub rotate_server_certificates: bool,
    /// Whether requests without credentials get as far as the authorizer, as `system:anonymous`.
    #[serde(skip_serializing_if = "is_default")]
    pub anonymous_auth: bool,
}

impl Default for Kubelet {
    fn default() -> Self {
        Self {
            port: 10_250,
            certificate: None,
            key: None,
            client_ca: None,
            rotate_server_certificates: false,
            anonymous_auth: false,
        }
    }
}
