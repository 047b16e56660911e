//! Runs what flags or a file say, until it is asked to end.
//!
//! What is wrong with it is found before anything is registered in the cluster.

use std::path::Path;

use anyhow::{Result, anyhow, bail};
use components::source::Address;
use tokio::signal::unix::{SignalKind, signal};

use crate::allocator;
use crate::arguments::RunArguments;
use crate::configuration::plan::Plan;
use crate::configuration::{self, Configuration, Source, flags};
use crate::logging;
use crate::process::Process;

pub fn run(arguments: &RunArguments, file: Option<&Path>) -> Result<()> {
    let (configuration, source) = configuration(arguments, file)?;
    let mut plan = Plan::new(&configuration, &source).map_err(|problems| anyhow!("{problems}"))?;
    plan.watch = arguments.watch;
    if arguments.watch && !plan.providers.values().any(|own| matches!(own.component, Address::File(_))) {
        bail!("--watch is for components in files, and there is none");
    }
    let traces = arguments.traces.start()?;
    let level = logging::start(plan.log, traces.as_ref());
    if configuration.providers.iter().any(|own| !own.allow.pod_cidrs.is_empty()) {
        tracing::warn!("--allow-pod-cidr (`allow.podCIDRs`) has no effect: this version connects to no pod");
    }
    if arguments.namespace.is_some() {
        tracing::warn!("--namespace has no meaning: a node takes the pods of every namespace");
    }
    allocator::give_back()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut process = Process::start(plan, &source, level).await?;
        process.run_until(wait_for_the_end()?).await;
        process.stop().await;
        Ok(())
    })
}

/// What the file says; without one, what the flags say.
pub fn configuration(arguments: &RunArguments, file: Option<&Path>) -> Result<(Configuration, Source)> {
    match file {
        Some(path) => configuration::read(path).map_err(|problems| anyhow!("{problems}")),
        None => Ok((flags::configuration(arguments, |variable| std::env::var(variable).ok())?, Source::Flags)),
    }
}

/// Ends when the process is asked to end.
fn wait_for_the_end() -> Result<impl Future<Output = ()>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
