//! The Kubernetes side of a node: its Node object and its pods, over a [`provider::Provider`].
//!
//! Knows no wasm. [`NodeController`] keeps the Node; [`PodController`] runs its pods. Both write only what changed, go on
//! through every failure of API server and provider, and never give up.

mod api;
mod clock;
mod events;
pub mod identity;
mod node;
mod pods;
mod record;
mod references;
mod resolve;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod testing;

pub use api::{Api, ApiError, ClientError, Patch, connect};
pub use events::{PodEvent, Recorder};
pub use node::{NodeConditions, NodeController, NodeSettings, NodeState, Shutdown};
pub use pods::{ContainerView, PodController, PodIndex, PodSettings, PodView};
pub use resolve::ClusterDns;

/// Tells Events under one node's name; the second part writes them and is to be run.
pub fn recorder(api: Api, node: &str) -> (Recorder, impl Future<Output = ()> + Send + 'static) {
    Recorder::new(api, node)
}
