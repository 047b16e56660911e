//! What the host offers to a provider through `vk:host`: nothing unless it was granted.
//!
//! One module an interface, each of the same shape: a header with defaults and bounds, `policy` (may it?) where there is
//! something to decide, the implementation of the generated trait, tests of what it refuses. [`Capabilities`] is what one
//! provider was granted for one node; it outlasts calls and versions. [`Call`] is what one call has of it.
//!
//! Not in this version: [`MISSING`]; a component that imports one of these is refused before it runs.

pub mod audit;
pub mod bindings;
pub mod blobs;
pub mod config;
pub mod dial;
pub mod egress;
pub mod error;
pub mod events;
pub mod http;
pub mod log;
pub mod mask;
pub mod metrics;
pub mod quota;
pub mod schedule;
pub mod secrets;
pub mod store;
pub mod stream;
pub mod tls;

mod call;
#[cfg(test)]
mod canary;
mod clock;
#[cfg(test)]
mod escape;
mod forms;
mod grants;
#[cfg(test)]
mod testing;

use std::sync::Arc;

use tokio::runtime::Handle;
use wasmtime::component::Linker;

pub use call::{Call, CallData, Subject};
pub use grants::{Grants, PodSecrets};

use crate::audit::Audit;
use crate::bindings::vk::host;
use crate::config::{Config, NodeIdentity};
use crate::egress::Egress;
use crate::events::EventSink;
use crate::quota::{Quotas, Usage};

/// Interfaces of the contract that no code serves yet.
pub const MISSING: &[&str] = &["process", "files", "images", "certificates"];

/// What one provider may do for one node.
pub struct Capabilities {
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) namespace: String,
    pub(crate) node: NodeIdentity,
    pub(crate) config: Config,
    pub(crate) http: http::Http,
    pub(crate) dial: Arc<Egress>,
    pub(crate) secrets: Arc<secrets::Secrets>,
    pub(crate) tls: Arc<tls::Profiles>,
    pub(crate) pod_secrets: PodSecrets,
    pub(crate) store: Arc<dyn store::Store>,
    pub(crate) audit: Audit,
    pub(crate) cache: Arc<store::Cache>,
    pub(crate) events: Arc<events::Events>,
    /// The provider's own series, to be registered.
    pub metrics: Arc<metrics::Metrics>,
    /// When its background work is wanted.
    pub schedule: Arc<schedule::Schedule>,
}

/// What capabilities stand on: the parts of the host that providers share.
pub struct Host {
    /// Runs sockets and their tasks.
    pub io: Handle,
    /// Keeps what providers remember.
    pub store: Arc<dyn store::Store>,
    /// Hears of every use.
    pub audit: Audit,
}

impl Capabilities {
    /// What `grants` allows the provider of these quotas to do for this node.
    pub fn new(quotas: Arc<Quotas>, node: NodeIdentity, grants: Grants, host: &Host, events: EventSink) -> Self {
        let Grants { http, dial, addresses, secrets, tls, pod_secrets, config } = grants;
        let http_rules = Arc::new(Egress::new(http, addresses.clone(), host.io.clone(), quotas.clone()));
        let dial_rules = Arc::new(Egress::new(dial, addresses, host.io.clone(), quotas.clone()));
        let name = quotas.provider().clone();
        Self {
            namespace: store::namespace(&name, &node.cluster, &node.name),
            node,
            config,
            http: http::Http::new(http_rules, dial_rules.clone(), tls.clone()),
            dial: dial_rules,
            secrets,
            tls,
            pod_secrets,
            store: host.store.clone(),
            audit: host.audit.clone(),
            cache: Arc::new(store::Cache::new(quotas.cache_bytes.clone())),
            events: Arc::new(events::Events::new(events)),
            metrics: Arc::new(metrics::Metrics::new(name)),
            schedule: Arc::default(),
            quotas,
        }
    }

    /// The same provider for the same node with other grants; what it keeps in memory, counts and has asked for stays.
    pub fn regranted(&self, grants: Grants, host: &Host) -> Self {
        let Grants { http, dial, addresses, secrets, tls, pod_secrets, config } = grants;
        let quotas = self.quotas.clone();
        let http_rules = Arc::new(Egress::new(http, addresses.clone(), host.io.clone(), quotas.clone()));
        let dial_rules = Arc::new(Egress::new(dial, addresses, host.io.clone(), quotas.clone()));
        Self {
            namespace: self.namespace.clone(),
            node: self.node.clone(),
            config,
            http: http::Http::new(http_rules, dial_rules.clone(), tls.clone()),
            dial: dial_rules,
            secrets,
            tls,
            pod_secrets,
            store: self.store.clone(),
            cache: self.cache.clone(),
            events: self.events.clone(),
            metrics: self.metrics.clone(),
            schedule: self.schedule.clone(),
            audit: host.audit.clone(),
            quotas,
        }
    }

    /// The same with names resolved by another.
    #[cfg(test)]
    pub(crate) fn resolved_by(mut self, resolver: &Arc<dyn egress::Resolve>) -> Self {
        let resolved = |rules: &Egress| Arc::new(rules.resolved_by(resolver.clone()));
        self.dial = resolved(&self.dial);
        self.http = http::Http::new(resolved(&self.http.rules), self.dial.clone(), self.tls.clone());
        self
    }

    /// What its store is kept under: the provider's name, the cluster and the node.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        self.quotas.provider()
    }

    /// The limits of the provider, over all of its nodes.
    pub const fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// What is used of each limit: the provider's, and the store's of this node.
    pub async fn usage(&self) -> Vec<Usage> {
        self.measure_store().await;
        self.quotas.usage()
    }

    /// Replaces the values of this provider's own secrets that it was shown by stars.
    pub fn mask(&self, text: String) -> String {
        self.secrets.mask(text)
    }

    /// Whether it may reach anything over the network, or a socket.
    pub fn grants_network(&self) -> bool {
        !self.http.rules.is_empty() || !self.dial.is_empty()
    }

    /// How a pod's own secret values reach the provider.
    pub const fn pod_secrets(&self) -> PodSecrets {
        self.pod_secrets
    }
}

/// Makes the capabilities importable. `call` finds a call's part in a store's data.
pub fn add_to_linker<T: Send + 'static>(linker: &mut Linker<T>, call: fn(&mut T) -> &mut Call) -> wasmtime::Result<()> {
    host::types::add_to_linker::<T, CallData>(linker, call)?;
    host::http::add_to_linker::<T, CallData>(linker, call)?;
    host::dial::add_to_linker::<T, CallData>(linker, call)?;
    host::secrets::add_to_linker::<T, CallData>(linker, call)?;
    host::store::add_to_linker::<T, CallData>(linker, call)?;
    host::cache::add_to_linker::<T, CallData>(linker, call)?;
    host::log::add_to_linker::<T, CallData>(linker, call)?;
    host::events::add_to_linker::<T, CallData>(linker, call)?;
    host::metrics::add_to_linker::<T, CallData>(linker, call)?;
    host::config::add_to_linker::<T, CallData>(linker, call)?;
    host::blobs::add_to_linker::<T, CallData>(linker, call)?;
    host::clock::add_to_linker::<T, CallData>(linker, call)?;
    host::random::add_to_linker::<T, CallData>(linker, call)?;
    host::schedule::add_to_linker::<T, CallData>(linker, call)?;
    Ok(())
}

impl host::types::Host for Call {}
