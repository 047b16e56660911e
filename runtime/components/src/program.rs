//! A provider as it is configured once: the version that is loaded, its limits, its threads and lanes. Any number of nodes
//! of this process share it; what differs from node to node is in [`ComponentProvider`](crate::ComponentProvider).
//!
//! Each call takes version and limits as they are at its beginning and keeps them to its end.
//!
//! Cost: the compiled code, and threads that sleep when nobody calls; a node more costs neither.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};

use host_capabilities::{Call, Capabilities, Subject};
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::call::{Caller, store};
use crate::cause::Cause;
use crate::component::{Compiled, LoadError};
use crate::cpu::Meter;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::export::LOAD;
use crate::inspect::{Inspection, ProviderKind};
use crate::lanes::Lanes;
use crate::limits::{Limits, Reached};
use crate::state::State;
use crate::threads::Threads;
use crate::version::Version;

/// What a call takes at its beginning.
pub(crate) struct Live {
    pub(crate) version: Arc<Version>,
    pub(crate) limits: Limits,
}

/// A provider, shared by its nodes.
pub struct Program {
    name: Arc<str>,
    pub(crate) engine: Engine,
    pub(crate) threads: Threads,
    pub(crate) lanes: Lanes,
    live: RwLock<Arc<Live>>,
    nodes: Mutex<Vec<Weak<Caller>>>,
}

impl Program {
    /// Links a compiled component with what it was granted, and tries an instance. `capabilities` are those of any of its
    /// nodes.
    pub async fn load(
        engine: &Engine,
        compiled: Compiled,
        limits: Limits,
        capabilities: &Arc<Capabilities>,
    ) -> Result<Arc<Self>, LoadError> {
        let name: Arc<str> = capabilities.name().into();
        let threads = Threads::start(&name)
            .map_err(|error| LoadError::Unusable { name: name.to_string(), reason: error.to_string() })?;
        let trial = Trial { engine, threads: &threads };
        let version = Arc::new(Version::new(trial, compiled, &limits, capabilities).await?);
        Ok(Arc::new(Self {
            name,
            engine: engine.clone(),
            lanes: Lanes::new(&limits),
            threads,
            live: RwLock::new(Arc::new(Live { version, limits })),
            nodes: Mutex::default(),
        }))
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it runs whole pods or containers: the same for all its versions.
    pub fn kind(&self) -> ProviderKind {
        self.live().version.kind
    }

    /// What the loaded version exports and imports.
    pub fn inspection(&self) -> Inspection {
        self.live().version.inspection.clone()
    }

    /// The version that calls begin on, and their limits.
    pub(crate) fn live(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A node is served from now on, as long as this part of it lives.
    pub(crate) fn join(&self, node: &Arc<Caller>) {
        let mut nodes = self.nodes.lock().unwrap_or_else(PoisonError::into_inner);
        nodes.retain(|node| node.strong_count() > 0);
        nodes.push(Arc::downgrade(node));
    }
}

/// Where a component is tried before it is trusted with a call.
#[derive(Clone, Copy)]
pub(crate) struct Trial<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) threads: &'a Threads,
}

impl Trial<'_> {
    /// Looks at an instance that nobody calls. What a component does before it is called has the limits of a call.
    pub(crate) async fn instance<R: Send + 'static>(
        self,
        pre: InstancePre<State>,
        digest: &Digest,
        limits: &Limits,
        capabilities: &Arc<Capabilities>,
        look: impl FnOnce(&InstancePre<State>, &mut Store<State>, &Instance) -> wasmtime::Result<R> + Send + 'static,
    ) -> Result<R, String> {
        let slot = self.engine.pool.clone().acquire_owned().await.ok();
        let subject = Subject { export: LOAD.name, pod: None, id: 0, version: digest.short().into() };
        let call = Call::new(capabilities.clone(), subject, Arc::default());
        let meter = Meter::new(limits.cpu, self.engine.clock());
        let mut store = store(self.engine, limits, call, &meter);
        let (limits, wall) = (limits.clone(), limits.wall.unwrap_or(LOAD.wall));
        let tried = self.threads.spawn(meter, async move {
            let made = match tokio::time::timeout(wall, pre.instantiate_async(&mut store)).await {
                Ok(Ok(instance)) => Ok(instance),
                Ok(Err(failure)) => Err(Cause::of(&failure, &store, &limits)),
                Err(_) => Err(Cause::Reached(Reached::Wall(wall))),
            };
            let seen = made
                .map_err(|cause| format!("it {cause}"))
                .and_then(|instance| look(&pre, &mut store, &instance).map_err(|error| format!("{error:#}")));
            drop(store);
            drop(slot);
            seen
        });
        AbortOnDropHandle::new(tried).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}
