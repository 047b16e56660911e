//! Use of resources, as a provider reports it.

use jiff::Timestamp;

use crate::PodKey;

/// Counters of a network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkUsage {
    /// `eth0`, …
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Errors at receiving.
    pub rx_errors: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Errors at sending.
    pub tx_errors: u64,
}

/// Use by a container, a pod or the node. None: not known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Usage {
    /// When it was read.
    pub at: Timestamp,
    /// Since when it counts.
    pub since: Option<Timestamp>,
    /// CPU time since the start, nanoseconds.
    pub cpu_nanos: Option<u64>,
    /// CPU in use now, billionths of a core.
    pub cpu_nanocores: Option<u64>,
    /// Bytes in use, page cache included.
    pub memory_usage: Option<u64>,
    /// Bytes that can't be given back.
    pub memory_working_set: Option<u64>,
    /// Anonymous memory, bytes.
    pub memory_rss: Option<u64>,
    /// Bytes on the writable layer.
    pub storage_used: Option<u64>,
    /// Others, named as in the kubelet's Summary (`memory.pageFaults`).
    pub others: Vec<(String, u64)>,
}

/// Use by a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodUsage {
    /// Which.
    pub key: PodKey,
    /// All of it.
    pub total: Usage,
    /// By container.
    pub containers: Vec<(String, Usage)>,
    /// Interfaces, the primary one first.
    pub networks: Vec<NetworkUsage>,
}

/// Use by the node and all its pods.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// The node, where that means something.
    pub node: Option<Usage>,
    /// All pods.
    pub pods: Vec<PodUsage>,
}
