//! What the host offers to a provider through `vk:host`: nothing unless it was granted.
//!
//! One module an interface, each of the same shape: a header with defaults and bounds, `policy` (may it?) where there is
//! something to decide, the implementation of the generated trait, tests of what it refuses. [`Capabilities`] is what one
//! provider was granted for one node; it outlasts calls and versions. [`Call`] is what one call has of it.
//!
//! Not in this version: [`MISSING`]; a component that imports one of these is refused before it runs.

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
pub mod schedule;
pub mod secrets;
pub mod store;
pub mod stream;

mod call;
#[cfg(test)]
mod canary;
mod clock;
mod grants;
mod rate;
#[cfg(test)]
mod testing;
mod tls;

use std::sync::Arc;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use wasmtime::component::Linker;

pub use call::{Call, CallData, Subject};
pub use grants::{Grants, PodSecrets};

use crate::bindings::vk::host;
use crate::config::{Config, NodeIdentity};
use crate::egress::Egress;
use crate::events::EventSink;

/// Interfaces of the contract that no code serves yet.
pub const MISSING: &[&str] = &["process", "files", "images", "certificates"];

/// What one provider may do for one node.
pub struct Capabilities {
    pub(crate) name: Arc<str>,
    pub(crate) namespace: String,
    pub(crate) node: NodeIdentity,
    pub(crate) config: Config,
    pub(crate) http: http::Http,
    pub(crate) dial: Arc<Egress>,
    pub(crate) connections: Arc<Semaphore>,
    pub(crate) secrets: secrets::Secrets,
    pub(crate) pod_secrets: PodSecrets,
    pub(crate) store: Arc<dyn store::Store>,
    pub(crate) cache: store::Cache,
    pub(crate) log: log::Log,
    pub(crate) events: events::Events,
    /// The provider's own series, to be registered.
    pub metrics: Arc<metrics::Metrics>,
    /// When its background work is wanted.
    pub schedule: schedule::Schedule,
}

/// What capabilities stand on: the parts of the host that providers share.
pub struct Host {
    /// Runs sockets and their tasks.
    pub io: Handle,
    /// Keeps what providers remember.
    pub store: Arc<dyn store::Store>,
}

impl Capabilities {
    /// What `grants` allows the provider of this name to do for this node.
    pub fn new(name: &str, node: NodeIdentity, grants: Grants, host: &Host, events: EventSink) -> Self {
        let Grants { http, dial, addresses, secrets, pod_secrets, config } = grants;
        let http_rules = Arc::new(Egress::new(http, addresses.clone(), host.io.clone()));
        let dial_rules = Arc::new(Egress::new(dial, addresses, host.io.clone()));
        let secrets = secrets.into_iter().map(|grant| {
            let source = grant.source();
            (grant.name, grant.mode, source)
        });
        let name: Arc<str> = name.into();
        Self {
            namespace: format!("{name}/{}/{}", node.cluster, node.name),
            node,
            config,
            http: http::Http::new(http_rules, dial_rules.clone()),
            dial: dial_rules,
            connections: Arc::new(Semaphore::new(dial::MAX_CONNECTIONS)),
            secrets: secrets::Secrets::new(secrets),
            pod_secrets,
            store: host.store.clone(),
            cache: store::Cache::default(),
            log: log::Log::default(),
            events: events::Events::new(events),
            metrics: Arc::new(metrics::Metrics::new(name.clone())),
            schedule: schedule::Schedule::default(),
            name,
        }
    }

    /// The provider's name.
    pub fn name(&self) -> &str {
        &self.name
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
