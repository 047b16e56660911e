//! Resolves a pod: what a provider gets has no references left, only values.
//!
//! Environment, command and volumes come out as the kubelet makes them; each value remembers where it came from. What
//! can't be resolved now says which object is missing, under the reason that the kubelet shows, and the pod is tried
//! again when that object comes to be, or after a while.
//!
//! Reads only what the pod refers to. Cost: nothing that is known already is asked for again (see `references`).

mod amounts;
mod bundles;
mod dns;
mod environment;
mod expansion;
mod fields;
mod files;
mod pod;
mod registry;
mod security;
mod services;
mod tokens;
mod volumes;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use provider::{ContainerConfig, Credential, PodConfig, SandboxConfig, Watches};

use crate::events::PodEvent;
use crate::references::References;

pub(crate) use amounts::of_pod;
pub(crate) use bundles::TrustBundles;
pub use dns::ClusterDns;
pub(crate) use registry::fitting;
pub(crate) use services::Services;
pub(crate) use tokens::Tokens;

/// Why a pod can't be resolved now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unresolved {
    /// What the container waits for, in the kubelet's words: `CreateContainerConfigError`, `FailedMount`, …
    pub reason: &'static str,
    /// One sentence.
    pub message: String,
    /// Only a change of the pod can help: it asks for what the provider does not do.
    pub is_final: bool,
}

impl Unresolved {
    fn config(message: impl Into<String>) -> Self {
        Self { reason: "CreateContainerConfigError", message: message.into(), is_final: false }
    }

    fn mount(message: impl Into<String>) -> Self {
        Self { reason: "FailedMount", message: message.into(), is_final: false }
    }

    fn unsupported(field: &str, what: &str) -> Self {
        let message = format!("{field}: {what} is not supported by this node's provider");
        Self { reason: "CreateContainerConfigError", message, is_final: true }
    }
}

/// What is known of the node that pods are resolved for.
#[derive(Clone, Debug, Default)]
pub(crate) struct NodeFacts {
    pub name: Arc<str>,
    pub addresses: Vec<IpAddr>,
    /// `linux` or `windows`.
    pub operating_system: Arc<str>,
    /// Allocatable of the node: `cpu` in thousandths, others in base units.
    pub allocatable: Vec<(String, u64)>,
    /// Volume kinds and features of the provider.
    pub volume_kinds: Vec<String>,
    pub features: Vec<String>,
    /// The host runs the containers: it knows the pod's addresses before they start.
    pub runs_containers: bool,
    /// How long tokens should be valid, if the backend says.
    pub token_lifetime: Option<Duration>,
    /// How often to list, if the provider says.
    pub list_interval: Option<Duration>,
    pub busy_list_interval: Option<Duration>,
    pub refresh_max: u32,
    pub watches: Watches,
}

impl NodeFacts {
    fn has(&self, feature: &str) -> bool {
        self.features.iter().any(|own| own == feature)
    }
}

/// Resolves pods.
pub(crate) struct Resolver {
    pub references: Arc<References>,
    pub services: Arc<Services>,
    pub tokens: Arc<Tokens>,
    pub bundles: Arc<TrustBundles>,
    pub dns: ClusterDns,
}

impl Resolver {
    /// The pod is gone: what only it referred to is dropped.
    pub fn release(&self, uid: &Arc<str>) {
        self.references.release(uid);
        self.tokens.release(uid);
        self.bundles.release(uid);
    }
}

/// What came of resolving: the value, and Events that belong on the pod whatever came of it.
pub(crate) struct Resolution<T> {
    pub result: Result<T, Unresolved>,
    pub events: Vec<PodEvent>,
}

/// Where a pod already is, when one of its containers is resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Started {
    /// Its addresses, the primary one first.
    pub ips: Vec<IpAddr>,
}

pub(crate) type ResolvedSandbox = Resolution<SandboxConfig>;
pub(crate) type ResolvedContainer = Resolution<ContainerConfig>;
pub(crate) type ResolvedPod = Resolution<PodConfig>;
pub(crate) type ResolvedCredentials = Resolution<Vec<Credential>>;

#[cfg(test)]
mod tests;
