//! What there is to say of the process, as data: what `vk-runtime status --output json` shows.

use std::path::PathBuf;

use components::Status as VersionsStatus;
use controllers::NodeState;
use host_capabilities::quota::Usage;
use jiff::Timestamp;
use serde::Serialize;

use super::provider::Provider;
use super::{Owned, Process};

/// The process.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// Of vk-runtime.
    pub version: &'static str,
    /// Process id.
    pub pid: u32,
    /// Since when it runs.
    pub since: Timestamp,
    /// Where things last.
    pub state_dir: PathBuf,
    /// What it runs.
    pub configuration: ConfigurationStatus,
    /// By name.
    pub providers: Vec<ProviderStatus>,
    /// By name.
    pub nodes: Vec<NodeStatus>,
}

/// The configuration that is in effect.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConfigurationStatus {
    /// The file; none: flags.
    pub file: Option<PathBuf>,
    /// Since when.
    pub since: Option<Timestamp>,
    /// What is wrong with the file as it is now: then what it said before is in effect.
    pub problems: Vec<String>,
    /// What it says that takes effect at the next start.
    pub needs_restart: Vec<String>,
}

/// A provider.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProviderStatus {
    /// Its versions, where they come from, and their calls.
    #[serde(flatten)]
    pub versions: VersionsStatus,
    /// What it uses of the host, and how much it may.
    pub quotas: Vec<Usage>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// `metadata.name`.
    pub name: String,
    /// Its provider's name.
    pub provider: String,
    /// `Ready`, `NotReady`, `Unregistered`; `Failing`: it can't be started.
    pub state: &'static str,
    /// Why.
    pub message: String,
    /// Where its kubelet API is.
    pub kubelet_port: Option<u16>,
    /// Since when it runs here.
    pub since: Option<Timestamp>,
    /// Its pods.
    pub pods: usize,
}

impl Process {
    /// All that there is to say.
    pub fn status(&self) -> Status {
        Status {
            version: env!("CARGO_PKG_VERSION"),
            pid: std::process::id(),
            since: self.since,
            state_dir: self.shared.state_dir.clone(),
            configuration: self.configuration.status(),
            providers: self.providers.values().map(Provider::status).collect(),
            nodes: self.nodes.iter().map(|(name, owned)| owned.status(name)).collect(),
        }
    }
}

impl Owned {
    fn status(&self, name: &str) -> NodeStatus {
        let name = name.to_owned();
        match self {
            Self::Running(node) => {
                let (state, message) = match node.state() {
                    NodeState::Ready => ("Ready", String::new()),
                    NodeState::NotReady(message) => ("NotReady", message),
                    NodeState::Unregistered => ("Unregistered", String::new()),
                };
                NodeStatus {
                    name,
                    provider: node.plan.provider.clone(),
                    state,
                    message,
                    kubelet_port: Some(node.kubelet_port),
                    since: Some(node.since),
                    pods: node.pods(),
                }
            }
            Self::Failing { plan, why } => NodeStatus {
                name,
                provider: plan.provider.clone(),
                state: "Failing",
                message: why.clone(),
                kubelet_port: None,
                since: None,
                pods: 0,
            },
        }
    }
}
