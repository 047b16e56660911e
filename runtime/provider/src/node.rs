//! The node as a provider describes it.

use std::time::Duration;

/// An amount of a resource of the node: `cpu` in thousandths of a core, `memory` and `ephemeral-storage` in bytes,
/// others in pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quantity {
    /// The resource's name.
    pub name: String,
    /// How much there is.
    pub capacity: u64,
    /// How much of it pods may use.
    pub allocatable: u64,
}

/// An address of the Node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `InternalIP`, `ExternalIP`, `Hostname`, …
    pub kind: String,
    /// The address.
    pub address: String,
}

/// A condition of the Node beside those the host computes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `type`.
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// CamelCase.
    pub reason: String,
    /// A sentence.
    pub message: String,
}

/// A taint that the node gets beside the configured one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taint {
    /// Key.
    pub key: String,
    /// Value; may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

/// An image that the backend has at hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeImage {
    /// Its names.
    pub names: Vec<String>,
    /// Bytes.
    pub size: u64,
}

/// Who restarts containers of a backend that runs whole pods.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restarts {
    /// The backend, by itself.
    Backend,
    /// The host, where the provider lets it.
    #[default]
    Host,
}

/// What one watch of a provider covers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watches {
    /// Everything of the node.
    #[default]
    Node,
    /// One pod.
    Pods,
    /// Nothing: this backend tells nothing by itself.
    Nothing,
}

/// What the Node shows, and how the host works with this provider.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Description {
    /// False makes the node NotReady.
    pub ready: bool,
    /// CamelCase; empty: the host's.
    pub reason: String,
    /// A sentence; empty: the host's.
    pub message: String,
    /// Capacity and allocatable.
    pub resources: Vec<Quantity>,
    /// Addresses beside the kubelet's own.
    pub addresses: Vec<Address>,
    /// Further conditions.
    pub conditions: Vec<Condition>,
    /// Further labels.
    pub labels: Vec<(String, String)>,
    /// Further taints.
    pub taints: Vec<Taint>,
    /// `spec.providerID`; empty: none.
    pub provider_id: String,
    /// `linux` or `windows`.
    pub operating_system: String,
    /// `amd64`, `arm64`, …; empty: the host's.
    pub architecture: String,
    /// `nodeInfo.osImage`.
    pub os_image: String,
    /// `nodeInfo.kernelVersion`.
    pub kernel_version: String,
    /// `nodeInfo.containerRuntimeVersion`.
    pub runtime_version: String,
    /// Images at hand; empty: not known.
    pub images: Vec<NodeImage>,
    /// Volume kinds that it can mount beside files and empty folders.
    pub volume_kinds: Vec<String>,
    /// What else it can do with a pod.
    pub features: Vec<String>,
    /// Who restarts containers.
    pub restarts: Restarts,
    /// How often to list.
    pub list_interval: Option<Duration>,
    /// How often to look at pods that change.
    pub busy_list_interval: Option<Duration>,
    /// How many pods one refresh may name; 0: any number.
    pub refresh_max: u32,
    /// What a watch watches.
    pub watches: Watches,
    /// How long ServiceAccount tokens should be valid; none: as the pod says.
    pub token_lifetime: Option<Duration>,
}

impl Description {
    /// Whether it can do this with a pod.
    pub fn has_feature(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }
}
