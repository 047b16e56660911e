//! `vk-runtime gc`: what a node has at its backend, and what of it belongs to no pod any more; removes exactly that.
//!
//! Takes the flags or the file that the node runs with. A node that runs does this all the time; this is for one that does
//! not, or no more: with the same state folder, both at once is refused. The backend is listed first and the API server
//! asked after it: what the backend had then, and no pod of this node owns now, was some pod's that is gone, for UIDs never
//! come back. Where the API server or the backend can't be asked, nothing is removed. What is of other nodes, or of other
//! clusters, no provider lists.

mod removal;
mod survey;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use components::ComponentProvider;
use controllers::connect;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use provider::Provider as _;

use crate::arguments::{Output, RunArguments};
use crate::configuration::plan::{NodePlan, Plan};
use crate::process::{Provider, Shared};
use crate::{addresses, cluster, logging, run};
use survey::Survey;

/// Pods in one answer of the API server.
const PAGE: u32 = 500;

#[derive(Debug, Args)]
pub struct GcCommand {
    /// The configuration file
    #[arg(value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// Only show what there is, and remove nothing
    #[arg(long)]
    dry_run: bool,
    /// How many seconds containers get to end
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    grace_period: u32,
    /// Of a file's nodes, only this one
    #[arg(long, value_name = "NAME")]
    node: Vec<String>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    #[command(flatten)]
    pub flags: RunArguments,
}

/// Looks at each node; an error where something could not be removed.
pub fn gc(command: &GcCommand) -> Result<()> {
    let (configuration, source) = run::configuration(&command.flags, command.file.as_deref())?;
    let plan = Plan::new(&configuration, &source).map_err(|problems| anyhow::anyhow!("{problems}"))?;
    let known: BTreeSet<&String> = plan.nodes.keys().collect();
    if let Some(unknown) = command.node.iter().find(|name| !known.contains(name)) {
        bail!("--node {unknown}: the configuration has no such node");
    }
    let _level = logging::start(plan.log, None);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (surveys, unasked) = runtime.block_on(all_nodes(command, plan))?;
    let shown = match command.output {
        // Of nothing there is nothing to say beside the error.
        _ if surveys.is_empty() => String::new(),
        Output::Json => serde_json::to_string_pretty(&surveys)? + "\n",
        Output::Text => survey::text(&surveys, command.dry_run),
    };
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{shown}");
    }
    let failed = surveys.iter().flat_map(Survey::failures).count();
    let mut failures: Vec<String> = unasked.iter().map(|error| format!("{error:#}")).collect();
    failures.extend((failed > 0).then(|| format!("{failed} could not be removed")));
    if failures.is_empty() { Ok(()) } else { bail!("{}", failures.join("; ")) }
}

/// What there is of each node; and why of some nothing is known.
async fn all_nodes(command: &GcCommand, plan: Plan) -> Result<(Vec<Survey>, Vec<anyhow::Error>)> {
    let shared = Shared::new(&plan).await?;
    let (mut surveys, mut unasked) = (Vec::new(), Vec::new());
    for (name, own) in &plan.providers {
        let wanted = |node: &&NodePlan| command.node.is_empty() || command.node.contains(&node.name);
        let nodes: Vec<&NodePlan> = plan.nodes.values().filter(|node| node.provider == *name).filter(wanted).collect();
        let Some(first) = nodes.first() else { continue };
        let provider = Provider::start(&shared, own.clone(), shared.node_identity(Some(first), &[])).await?;
        for node in nodes {
            let survey = one_node(command, node, &provider, &shared).await;
            match survey.with_context(|| format!("the node {}: nothing of it was removed", node.name)) {
                Ok(survey) => surveys.push(survey),
                Err(error) => unasked.push(error),
            }
        }
    }
    Ok((surveys, unasked))
}

async fn one_node(command: &GcCommand, plan: &NodePlan, provider: &Provider, shared: &Shared) -> Result<Survey> {
    let config = match &plan.kubeconfig {
        Some(path) => cluster::config(Some(path)).await?,
        None => shared.config.clone(),
    };
    let addresses = match plan.addresses.as_slice() {
        [] => vec![addresses::towards(&config.cluster_url)?],
        given => given.to_vec(),
    };
    let identity = shared.node_identity(Some(plan), &addresses);
    // Nobody is told what the provider says beside its answers.
    let capabilities = provider.capabilities(shared, identity, &plan.settings, Box::new(|_| {}));
    let component = ComponentProvider::new(provider.program(), Arc::new(capabilities));
    let (states, complete) = survey::listed(component.kind()).await.context("its backend can't be listed")?;
    let pods = pods(connect(&config)?, &plan.name).await.context("its pods can't be asked of the API server")?;
    let mut survey = Survey::new(&plan.name, &plan.provider, states, complete, &pods);
    if !command.dry_run {
        let grace = Duration::from_secs(u64::from(command.grace_period));
        survey.remove(component.kind(), grace).await;
    }
    Ok(survey)
}

/// UIDs of the pods that are bound to this node, as the API server has them now.
async fn pods(client: kube::Client, node: &str) -> Result<BTreeSet<String>> {
    let api = kube::Api::<Pod>::all(client);
    // Without a version: what the cluster agrees on, and no cache.
    let mut wanted = ListParams::default().fields(&format!("spec.nodeName={node}")).limit(PAGE);
    let mut uids = BTreeSet::new();
    loop {
        let page = api.list_metadata(&wanted).await?;
        for pod in page.items {
            uids.insert(pod.metadata.uid.context("a pod without UID")?);
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => wanted = wanted.continue_token(&token),
            None => return Ok(uids),
        }
    }
}
