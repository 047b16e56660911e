//! The process: its providers and its nodes, started together, each failing for itself.
//!
//! | room | has |
//! | --- | --- |
//! | [`shared`] | what there is once: engine, store, host identity |
//! | [`provider`] | a component that runs, whatever its version, and what it may do |
//! | [`versions`] | what is told of a provider's versions on its nodes |
//! | [`node`] | a node: controllers, kubelet API |
//! | [`identity`] | a node's certificates |
//! | [`reload`] | the configuration's changes |
//! | [`status`], [`local`] | what there is to say, and the doors where it is asked |
//!
//! A provider that can't be loaded at the start ends the process, and so does a start at which no node succeeds; later, and
//! when others run, what can't be started is tried again every [`AGAIN`], and the others don't notice.

mod identity;
mod local;
mod node;
mod provider;
mod reload;
mod shared;
mod status;
mod versions;

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};
use futures::StreamExt;
use jiff::Timestamp;
use kubelet_api::Metrics as _;
use tokio::sync::mpsc;

use crate::configuration::Source;
use crate::configuration::plan::{NodePlan, Plan};
use crate::logging::Level;
use crate::metrics::Page;
use local::{Local, Question};
use node::Node;
use reload::Loaded;

pub use local::SOCKET;
pub use provider::Provider;
pub use shared::Shared;
pub use status::Status;

/// How often what can't be started is tried again.
const AGAIN: Duration = Duration::from_secs(5);
/// Nodes that are started at once.
const STARTING: usize = 32;
/// What all nodes together are given to end, when none of them is drained.
const LONGEST_END: Duration = Duration::from_secs(10);

/// A process that runs.
pub struct Process {
    since: Timestamp,
    shared: Shared,
    configuration: Loaded,
    providers: BTreeMap<String, Provider>,
    nodes: BTreeMap<String, Owned>,
    questions: mpsc::Receiver<Question>,
    _local: Local,
}

/// A node of this process's: the one place that says whose it is.
enum Owned {
    Running(Box<Node>),
    /// It could not be started.
    Failing {
        plan: Box<NodePlan>,
        why: String,
    },
}

impl Process {
    /// Starts providers and nodes.
    pub async fn start(plan: Plan, source: &Source, level: Level) -> Result<Self> {
        identity::of_host(&plan).await?;
        let shared = Shared::new(&plan).await?;
        let mut providers = BTreeMap::new();
        for (name, own) in &plan.providers {
            let provider = start_provider(&shared, &plan, own.clone()).await;
            providers.insert(name.clone(), provider?);
        }
        let metrics = plan.metrics.map(|own| own.listen);
        let (local, questions) = Local::open(&shared.state_dir, metrics).await?;
        let nodes = plan.nodes.values().cloned().collect();
        let configuration = Loaded::new(plan, source, level);
        let nodes_none = BTreeMap::new();
        let mut process = Self {
            since: Timestamp::now(),
            shared,
            configuration,
            providers,
            nodes: nodes_none,
            questions,
            _local: local,
        };
        let failures = process.start_nodes(nodes).await;
        if process.running().next().is_none()
            && let Some(first) = failures.into_iter().next()
        {
            return Err(first);
        }
        Ok(process)
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.values().filter_map(|owned| match owned {
            Owned::Running(node) => Some(&**node),
            Owned::Failing { .. } => None,
        })
    }

    /// Starts nodes; returns why some could not be.
    async fn start_nodes(&mut self, plans: Vec<NodePlan>) -> Vec<anyhow::Error> {
        let (shared, providers) = (&self.shared, &self.providers);
        let starting = plans.into_iter().map(|plan| async move {
            let provider = providers.get(&plan.provider);
            let started = match provider.with_context(|| format!("the provider {} does not run", plan.provider)) {
                Ok(provider) => Node::start(plan.clone(), provider, shared).await,
                Err(error) => Err(error),
            };
            (plan, started)
        });
        let started: Vec<_> = futures::stream::iter(starting).buffer_unordered(STARTING).collect().await;
        let mut failures = Vec::new();
        for (plan, result) in started {
            let name = plan.name.clone();
            let owned = match result {
                Ok(node) => Owned::Running(Box::new(node)),
                Err(error) => {
                    let why = format!("{error:#}");
                    tracing::error!(node = name, why, "the node can't be started");
                    failures.push(error);
                    Owned::Failing { plan: Box::new(plan), why }
                }
            };
            self.nodes.insert(name, owned);
        }
        failures
    }

    /// Runs until this ends.
    pub async fn run_until(&mut self, end: impl Future<Output = ()>) {
        tokio::pin!(end);
        let mut again = tokio::time::interval_at(tokio::time::Instant::now() + AGAIN, AGAIN);
        again.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = &mut end => return,
                // One end of it is held here.
                Some(question) = self.questions.recv() => self.answer(question),
                () = self.configuration.changed() => tokio::select! {
                    () = &mut end => return,
                    () = self.reload() => {}
                },
                _ = again.tick() => tokio::select! {
                    () = &mut end => return,
                    () = self.try_again() => {}
                },
            }
        }
    }

    fn answer(&self, question: Question) {
        // Who asked may have gone.
        match question {
            Question::Status(answer) => drop(answer.send(Box::new(self.status()))),
            Question::Metrics(answer) => {
                let programs: Vec<_> = self.providers.values().map(|own| own.program().clone()).collect();
                let page = Page::of_process(move || programs.clone(), &self.shared.limit_metrics, &self.shared.audit);
                drop(answer.send(page.text()));
            }
        }
    }

    async fn try_again(&mut self) {
        self.start_missing_providers().await;
        let failing = self.nodes.values().filter_map(|owned| match owned {
            Owned::Failing { plan, .. } => Some((**plan).clone()),
            Owned::Running(_) => None,
        });
        let failing: Vec<NodePlan> = failing.collect();
        if !failing.is_empty() {
            self.start_nodes(failing).await;
        }
    }

    /// Ends all nodes; their pods go on.
    pub async fn stop(self) {
        let draining = self.running().filter(|node| node.plan.shutdown == crate::configuration::Shutdown::Drain);
        let drain = draining.map(|node| node.plan.drain_timeout).max();
        tracing::info!("{}", if drain.is_some() { "nodes are drained" } else { "the nodes' pods go on without them" });
        let ending = self.nodes.into_values().filter_map(|owned| match owned {
            Owned::Running(node) => Some(node.shut_down()),
            Owned::Failing { .. } => None,
        });
        let longest = drain.unwrap_or_default().saturating_add(LONGEST_END);
        if tokio::time::timeout(longest, futures::future::join_all(ending)).await.is_err() {
            tracing::warn!("the nodes did not end within {} s", longest.as_secs());
        }
        let audit = self.shared.audit.clone();
        // Only fails when the runtime ends.
        let _ = tokio::time::timeout(LONGEST_END, tokio::task::spawn_blocking(move || audit.flush())).await;
    }
}

async fn start_provider(
    shared: &Shared,
    plan: &Plan,
    own: crate::configuration::plan::ProviderPlan,
) -> Result<Provider> {
    let node = plan.nodes.values().find(|node| node.provider == own.name);
    Provider::start(shared, own, shared.node_identity(node, &[])).await
}
