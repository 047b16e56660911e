//! The pods bound to one node: from the API server to the backend, and their states back.
//!
//! | part | does |
//! | --- | --- |
//! | `admission` | whether the node takes a pod at all |
//! | `core` | what is known of one pod, and what follows (`whole`, `containers`: for the two kinds of backend) |
//! | `index` | all of them, by UID and by name; who is to be looked at next |
//! | `work` | does at the backend what a pod's core asks for |
//! | `report` | writes states, and deletes what is over |
//! | `observer` | asks the backend: lists, watches, refreshes |
//! | `delivery` | gives the backend new contents for files of pods that run |
//!
//! Work is keyed by UID; one pod never waits for another. Nothing is asked of the backend before it was listed once, so
//! that nothing is made twice after a restart; and nothing is taken for an orphan before the API server listed the node's
//! pods once, however long it is away. A pod that nothing happens to costs no task and no timer.

mod admission;
mod changes;
mod containers;
mod core;
mod delivery;
mod gate;
mod index;
mod observe;
mod observer;
mod probes;
mod report;
mod timer;
mod trace;
mod whole;
mod withheld;
mod work;

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};

use provider::{Description, Kind, Provider};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

pub use index::{ContainerView, Index as PodIndex, PodView};
pub(crate) use probes::assumed;
pub(crate) use whole::CallFailed;

use self::admission::Desk;
use self::core::Context;
use self::delivery::Deliveries;
use self::index::Index;
use crate::api::{Api, Event, Watch};
use crate::clock;
use crate::events::Recorder;
use crate::record::Record;
use crate::references::References;
use crate::resolve::{ClusterDns, NodeFacts, Resolver, Services, Tokens, TrustBundles};

/// The feature of a provider that changes the resources of pods that run.
const RESIZE: &str = "resize";
/// Pods that are looked at, at once.
const PLANNERS: usize = 2;
/// Pods that are resolved for the backend and being given to it, at once, however many calls the provider takes: each of
/// them holds all that it refers to.
const MAKERS: usize = 256;
/// Writes to the API server, at once.
const WRITERS: usize = 32;

/// What pods of a node need to know of it.
#[derive(Clone, Debug)]
pub struct PodSettings {
    /// `metadata.name` of the Node.
    pub node: String,
    /// Its addresses, the primary one first.
    pub addresses: Vec<IpAddr>,
    /// The cluster's DNS.
    pub dns: ClusterDns,
}

/// What the parts share.
pub(crate) struct Shared {
    pub settings: PodSettings,
    pub provider: Arc<dyn Provider>,
    pub api: Api,
    pub recorder: Recorder,
    pub index: Arc<Index>,
    pub resolver: Resolver,
    pub facts: RwLock<Arc<NodeFacts>>,
    pub context: RwLock<Arc<Context>>,
    pub observer: observer::Wishes,
    pub gate: gate::Gate,
    pub makers: Semaphore,
    pub desk: Desk,
    pub deliveries: Arc<Deliveries>,
}

impl Shared {
    pub fn facts(&self) -> Arc<NodeFacts> {
        self.facts.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn context(&self) -> Arc<Context> {
        self.context.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// There is nothing of the pod anywhere.
    pub fn forget(&self, uid: &Arc<str>) {
        self.index.drop_pod(uid);
        self.resolver.release(uid);
        self.deliveries.forget(uid);
    }

    /// All pods have something new in common.
    pub fn learn(&self, change: impl FnOnce(&mut Context)) {
        let mut context = self.context.write().unwrap_or_else(PoisonError::into_inner);
        let mut next = (**context).clone();
        change(&mut next);
        *context = Arc::new(next);
    }
}

/// Runs the pods of one node until it is dropped.
pub struct PodController {
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

impl PodController {
    /// Begins with what the provider says of itself.
    pub fn start(
        settings: PodSettings,
        provider: Arc<dyn Provider>,
        api: Api,
        recorder: Recorder,
        description: &Description,
    ) -> Self {
        let (index, work) = Index::new();
        let (deliveries, asks) = Deliveries::new();
        let tell = || {
            let (index, deliveries) = (index.clone(), deliveries.clone());
            Box::new(move |pods: Vec<Arc<str>>| {
                index.retry(&pods);
                deliveries.changed(&pods);
            })
        };
        let references = Arc::new(References::new(api.clone(), tell()));
        let bundles = Arc::new(TrustBundles::new(api.clone(), tell()));
        let due = deliveries.clone();
        let resolver = Resolver {
            references,
            services: Arc::new(Services::new(api.clone())),
            tokens: Arc::new(Tokens::new(api.clone(), Box::new(move |uid, at| due.look_at(uid, at)))),
            bundles,
            dns: settings.dns.clone(),
        };
        let is_whole = matches!(provider.kind(), Kind::Pods(_));
        let host_ips = settings.addresses.clone();
        let context = Context { is_whole, resizes: description.has_feature(RESIZE), host_ips, ..Context::default() };
        let desk = Desk::new(&settings.node, description);
        let shared = Arc::new(Shared {
            facts: RwLock::new(Arc::new(facts(&settings, !is_whole, description))),
            context: RwLock::new(Arc::new(context)),
            settings,
            provider,
            api,
            recorder,
            index,
            resolver,
            observer: observer::Wishes::default(),
            gate: gate::Gate::default(),
            makers: Semaphore::new(MAKERS),
            desk,
            deliveries,
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(watch(shared.clone()));
        tasks.spawn(shared.index.clone().run_timer());
        tasks.spawn(observer::list(shared.clone()));
        tasks.spawn(observer::watch(shared.clone()));
        tasks.spawn(observer::refresh(shared.clone()));
        tasks.spawn(admission::read_labels(shared.clone()));
        tasks.spawn(delivery::run(shared.clone(), asks));
        for _ in 0..PLANNERS {
            tasks.spawn(work::plan(shared.clone(), work.plans.clone()));
        }
        for _ in 0..WRITERS {
            tasks.spawn(report::write(shared.clone(), work.reports.clone()));
        }
        Self { shared, _tasks: tasks }
    }

    /// The provider describes itself anew.
    pub fn described(&self, description: &Description) {
        let is_whole = matches!(self.shared.provider.kind(), Kind::Pods(_));
        let facts = facts(&self.shared.settings, !is_whole, description);
        *self.shared.facts.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(facts);
        self.shared.learn(|context| context.resizes = description.has_feature(RESIZE));
        self.shared.desk.described(&self.shared, description);
    }

    /// Looks at pods from outside.
    pub fn index(&self) -> Arc<Index> {
        self.shared.index.clone()
    }
}

fn facts(settings: &PodSettings, runs_containers: bool, description: &Description) -> NodeFacts {
    let system = if description.operating_system.is_empty() { "linux" } else { &description.operating_system };
    NodeFacts {
        name: settings.node.as_str().into(),
        addresses: settings.addresses.clone(),
        operating_system: system.into(),
        allocatable: description.resources.iter().map(|own| (own.name.clone(), own.allocatable)).collect(),
        volume_kinds: description.volume_kinds.clone(),
        features: description.features.clone(),
        runs_containers,
        token_lifetime: description.token_lifetime,
        list_interval: description.list_interval,
        busy_list_interval: description.busy_list_interval,
        refresh_max: description.refresh_max,
        watches: description.watches,
    }
}

/// Follows the node's pods at the API server.
async fn watch(shared: Arc<Shared>) {
    let node = &shared.settings.node;
    let watch =
        Watch { path: "/api/v1/pods".to_owned(), field_selector: format!("spec.nodeName={node}"), is_busy: true };
    let mut listed = None;
    let api = shared.api.clone();
    watch
        .run::<Record>(api, |event| match event {
            Event::Listing => listed = Some(HashSet::new()),
            // It only mirrors what somebody else runs.
            Event::Applied(record) if record.mirror => {}
            Event::Applied(record) => {
                if let Some(listed) = &mut listed {
                    listed.insert(record.key.uid.clone());
                }
                let uid = record.key.uid.clone();
                delivery::applied(&shared, &record);
                shared.index.applied(clock::now(), record, &shared.context());
                shared.desk.applied(&shared, &uid);
            }
            Event::Deleted(record) => {
                shared.desk.gone(&record.key.uid);
                shared.index.deleted(clock::now(), &record.key.uid);
            }
            Event::Listed => {
                if let Some(listed) = listed.take() {
                    shared.learn(|context| context.is_listed = true);
                    shared.desk.keep_only(&listed);
                    shared.index.keep_only(clock::now(), &listed);
                    shared.desk.settle(&shared, &HashSet::new());
                }
            }
            Event::Failed(error) => tracing::warn!(node, %error, "the node's pods can't be watched"),
        })
        .await;
}

#[cfg(test)]
mod tests;
