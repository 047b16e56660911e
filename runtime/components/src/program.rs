//! A provider as it is configured once: the version that is loaded, its limits, its threads and lanes. Any number of nodes
//! of this process share it; what differs from node to node is in [`ComponentProvider`](crate::ComponentProvider).
//!
//! Each call takes version and limits as they are at its beginning and keeps them to its end. [`Program::swap`] replaces the
//! version, and [`Program::reconfigure`] the limits, while calls run.
//!
//! Cost: the compiled code, and threads that sleep when nobody calls; a node more costs neither.

use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use host_capabilities::{Call, Capabilities, Subject};
use jiff::Timestamp;
use provider::{Code, Error};
use serde::Serialize;
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;
use wasmtime::Store;
use wasmtime::component::{Instance, InstancePre};

use crate::accounting::{Accounts, ExportStatus};
use crate::call::{About, Begun, Caller, store};
use crate::cause::Cause;
use crate::component::{Compiled, LoadError};
use crate::cpu::Meter;
use crate::digest::Digest;
use crate::engine::{Engine, INSTANCES};
use crate::export::{DESCRIBE, LOAD};
use crate::health::{Shares, Tolerance};
use crate::inspect::{Inspection, ProviderKind};
use crate::lanes::Lanes;
use crate::limits::{Limits, Reached};
use crate::pool::Member;
use crate::state::State;
use crate::threads::Threads;
use crate::version::{Stage, Version};

/// How long a new version may take to describe a node, waiting for its turn included.
const DESCRIPTION: Duration = Duration::from_secs(30);

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
    /// Its part of the pool.
    pub(crate) slots: Member,
    pub(crate) accounts: Accounts,
    /// Told when a call went wrong.
    pub(crate) failed: Notify,
    live: RwLock<Arc<Live>>,
    replaced: Mutex<Replaced>,
    nodes: Mutex<Vec<Weak<Caller>>>,
    /// What is tried where there is no node.
    capabilities: Arc<Capabilities>,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
}

/// Versions that were replaced, and what the last of them left.
#[derive(Default)]
struct Replaced {
    versions: Vec<(Weak<Version>, Digest, Timestamp)>,
    shares: Shares,
}

/// A swap that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Swapped {
    /// The version before.
    pub before: Digest,
    /// The version that serves now.
    pub now: Digest,
    /// Optional exports that it has no more.
    pub lost: Vec<String>,
    /// Optional exports that it has in addition.
    pub gained: Vec<String>,
}

/// What can't be changed while a provider runs.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{what} of the provider {provider} can't change while it runs: {why}; it takes effect when vk-runtime is restarted"
)]
pub struct ReconfigureError {
    /// The provider.
    pub provider: String,
    /// What was to change, and to what.
    pub what: String,
    /// Why it can't.
    pub why: String,
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
            slots: engine.pool.join(),
            lanes: Lanes::new(&limits),
            threads,
            accounts: Accounts::default(),
            failed: Notify::new(),
            live: RwLock::new(Arc::new(Live { version, limits })),
            replaced: Mutex::default(),
            nodes: Mutex::default(),
            capabilities: capabilities.clone(),
            changing: tokio::sync::Mutex::default(),
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

    /// The digest of the loaded version.
    pub fn digest(&self) -> Digest {
        self.live().version.digest
    }

    /// Its limits.
    pub fn limits(&self) -> Limits {
        self.live().limits.clone()
    }

    /// Replaces the version, if the new one is a provider of the same kind, imports what is granted to each node and no
    /// more, has the contract's functions, and can describe a node (unless the version before can't either: then the
    /// backend is to blame).
    ///
    /// Calls that began go on with the version before, and so do their streams, for the limit `drain` at most; then its code
    /// is freed.
    pub async fn swap(&self, compiled: Compiled) -> Result<Swapped, LoadError> {
        let _one = self.changing.lock().await;
        let (live, nodes) = (self.live(), self.nodes());
        let name = compiled.name.clone();
        let kind = compiled.check()?;
        if kind != live.version.kind {
            return Err(LoadError::OtherKind { name, before: live.version.kind, kind });
        }
        let granted: Vec<_> = nodes.iter().map(|node| node.capabilities()).collect();
        granted.iter().try_for_each(|granted| compiled.check_grants(granted))?;
        let granted = granted.first().unwrap_or(&self.capabilities);
        let trial = Trial { engine: &self.engine, threads: &self.threads };
        let version = Arc::new(Version::new(trial, compiled, &live.limits, granted).await?);
        if let Some(node) = nodes.first() {
            let tried = Live { version: version.clone(), limits: live.limits.clone() };
            if let Err(error) = describe(node, tried).await
                && (is_own_fault(&error)
                    || describe(node, Live { version: live.version.clone(), limits: live.limits.clone() })
                        .await
                        .is_ok())
            {
                return Err(LoadError::Describe { name, reason: error.message });
            }
        }
        drop(live);
        // What was tried was not served.
        Ok(self.replace(version.renewed()))
    }

    fn replace(&self, version: Version) -> Swapped {
        let version = Arc::new(version);
        let before = {
            let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
            let next = Live { version: version.clone(), limits: live.limits.clone() };
            std::mem::replace(&mut *live, Arc::new(next))
        };
        let (drain, before) = (before.limits.drain, before.version.clone());
        {
            let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
            replaced.versions.retain(|(version, ..)| version.strong_count() > 0);
            replaced.versions.push((Arc::downgrade(&before), before.digest, Timestamp::now()));
            replaced.shares = before.health.shares();
        }
        before.set_stage(Stage::Draining);
        let draining = Arc::downgrade(&before);
        tokio::spawn(async move {
            tokio::time::sleep(drain).await;
            if let Some(version) = draining.upgrade() {
                version.set_stage(Stage::Over);
            }
        });
        let without = |all: &Version, own: &Version| {
            let own = |export: &&String| !own.inspection.exports(export);
            all.inspection.optional_exports.iter().filter(own).cloned().collect()
        };
        Swapped {
            now: version.digest,
            lost: without(&before, &version),
            gained: without(&version, &before),
            before: before.digest,
        }
    }

    /// Changes the limits: for calls that begin from now on, and for how many there may be at once. Those that hold a slot
    /// keep it, also where there are fewer now.
    pub async fn reconfigure(&self, limits: Limits) -> Result<(), ReconfigureError> {
        if limits.calls > INSTANCES as usize {
            return Err(ReconfigureError {
                provider: self.name.to_string(),
                what: format!("the limit calls={}", limits.calls),
                why: format!("the pool that all providers share has {INSTANCES} slots and is made at the start"),
            });
        }
        let _one = self.changing.lock().await;
        let mut live = self.live.write().unwrap_or_else(PoisonError::into_inner);
        self.lanes.resize(&live.limits, &limits);
        self.nodes().iter().for_each(|node| node.capabilities().quotas().adjust(&limits.quotas));
        *live = Arc::new(Live { version: live.version.clone(), limits });
        Ok(())
    }

    /// Why the version that serves can't be borne any longer, if that is so.
    pub(crate) fn verdict(&self, tolerance: &Tolerance) -> Option<String> {
        let shares = self.replaced.lock().unwrap_or_else(PoisonError::into_inner).shares.clone();
        self.live().version.health.verdict(tolerance, &shares)
    }

    /// Versions that were replaced and that something still holds: their digest, and since when they are replaced.
    pub fn draining(&self) -> Vec<(Digest, Timestamp)> {
        let mut replaced = self.replaced.lock().unwrap_or_else(PoisonError::into_inner);
        replaced.versions.retain(|(version, ..)| version.strong_count() > 0);
        replaced.versions.iter().map(|(_, digest, since)| (*digest, *since)).collect()
    }

    /// Limits of which a part can be in use, with that part.
    pub fn limits_in_use(&self) -> Vec<LimitUse> {
        let live = self.live();
        let limits = &live.limits;
        let [calls, streams, sessions] = self.lanes.used(limits);
        let memory = self.accounts.called().map(|(_, account)| account.peak_memory()).max().unwrap_or_default();
        [
            ("calls", limits.calls as u64, calls as u64),
            ("streams", limits.streams as u64, streams as u64),
            ("sessions", limits.sessions as u64, sessions as u64),
            ("memory", limits.memory, memory),
        ]
        .map(|(limit, at_most, used)| LimitUse { limit, at_most, used })
        .into()
    }

    /// All that there is to say of it.
    pub fn status(&self) -> ProgramStatus {
        let live = self.live();
        let (calls, failures) = live.version.health.total();
        let last = Some(live.version.health.last()).filter(|last| !last.is_empty());
        ProgramStatus {
            provider: self.name.to_string(),
            kind: live.version.kind,
            current: VersionStatus {
                digest: live.version.digest.to_string(),
                since: live.version.since.to_string(),
                calls,
                failures,
                last_failure: last,
                inspection: live.version.inspection.clone(),
            },
            draining: self
                .draining()
                .into_iter()
                .map(|(digest, since)| DrainingStatus { digest: digest.to_string(), since: since.to_string() })
                .collect(),
            nodes: self.nodes().len(),
            limits: self.limits_in_use(),
            exports: self.accounts.status(),
        }
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

    fn nodes(&self) -> Vec<Arc<Caller>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade).collect()
    }
}

/// Whether an error says that the guest, and not its backend, is to blame. A limit on time may be reached for a backend that
/// hangs.
fn is_own_fault(error: &Error) -> bool {
    matches!(error.code, Code::Internal | Code::Denied | Code::Invalid | Code::Unsupported)
}

/// Describes a node with a version that need not be the one that serves.
async fn describe(node: &Arc<Caller>, live: Live) -> Result<(), Error> {
    let function = live.version.functions.node.describe;
    let begun = Begun { live: Arc::new(live), capabilities: node.capabilities() };
    let described = node.call(&begun, About::node(DESCRIBE), move |accessor, guest| {
        Box::pin(async move { Ok(guest.call(accessor, function, ()).await?.map(drop)) })
    });
    match tokio::time::timeout(DESCRIPTION, described).await {
        Ok(described) => described,
        Err(_) => {
            let message = format!("{} did not end within {DESCRIPTION:?}", DESCRIBE.name);
            Err(Error::new(Code::Timeout, message))
        }
    }
}

/// A limit, and what is in use of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LimitUse {
    /// The limit's name.
    pub limit: &'static str,
    /// The limit.
    pub at_most: u64,
    /// What is in use; of `memory`, the most that a call ever had.
    pub used: u64,
}

/// A program, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ProgramStatus {
    /// Its name.
    pub provider: String,
    /// Whether it runs pods or containers.
    pub kind: ProviderKind,
    /// The version that serves.
    pub current: VersionStatus,
    /// Versions that were replaced, and that calls or streams still hold.
    pub draining: Vec<DrainingStatus>,
    /// Nodes that it serves.
    pub nodes: usize,
    /// Limits, with their use; those on what it uses of the host are the quotas'.
    pub limits: Vec<LimitUse>,
    /// Its calls, by export, over all versions.
    pub exports: Vec<ExportStatus>,
}

/// A version that serves, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct VersionStatus {
    /// Its digest.
    pub digest: String,
    /// Since when it serves, RFC 3339.
    pub since: String,
    /// Calls that ended.
    pub calls: u64,
    /// Those of them that a trap or a limit ended, or that were denied what they asked for.
    pub failures: u64,
    /// What went wrong last.
    pub last_failure: Option<String>,
    /// What it exports and imports.
    pub inspection: Inspection,
}

/// A version that was replaced, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct DrainingStatus {
    /// Its digest.
    pub digest: String,
    /// Since when it is replaced, RFC 3339.
    pub since: String,
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
        let slot = self.engine.pool.join().enter().await;
        let subject = Subject { export: LOAD.name, pod: None, id: 0, version: digest.short().into() };
        let call = Call::new(capabilities.clone(), subject, Arc::default());
        let meter = Meter::new(limits.cpu(LOAD), self.engine.clock());
        let mut store = store(self.engine, limits, call, &meter);
        let (limits, wall) = (limits.clone(), limits.wall(LOAD));
        let tried = self.threads.spawn(meter, async move {
            let made = match tokio::time::timeout(wall.limit, pre.instantiate_async(&mut store)).await {
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
