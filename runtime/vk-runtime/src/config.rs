//! `vk-runtime config`: a configuration file, looked at without a cluster.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow};
use clap::{Args, Subcommand};
use components::source::Address;

use crate::configuration::plan::{Plan, ProviderPlan};
use crate::configuration::{self, Place, schema_text};
use crate::fetching;

#[derive(Debug, Args)]
pub struct ConfigArguments {
    #[command(subcommand)]
    pub command: ConfigCommand,
}

#[derive(Debug, Subcommand)]
pub enum ConfigCommand {
    /// Say what is wrong with a configuration file; exit status 2: something is
    Check {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Show what a configuration file comes to, every default filled in; secrets by name and source
    Print {
        /// The file
        #[arg(value_name = "FILE")]
        file: PathBuf,
    },
    /// Print the JSON Schema of configuration files
    Schema,
}

pub fn config(arguments: &ConfigArguments) -> Result<()> {
    let text = match &arguments.command {
        ConfigCommand::Check { file } => check(file)?,
        ConfigCommand::Print { file } => print(file)?,
        ConfigCommand::Schema => schema_text(),
    };
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{text}");
    }
    Ok(())
}

fn check(file: &Path) -> Result<String> {
    let (configuration, source) = configuration::read(file).map_err(|problems| anyhow!("{problems}"))?;
    let plan = Plan::new(&configuration, &source).map_err(|problems| anyhow!("{problems}"))?;
    fetching::run(async {
        let mut problems = source.problems();
        let providers = Place::default().key("providers");
        for (index, provider) in configuration.providers.iter().enumerate() {
            if let Some(plan) = plan.providers.get(&provider.name)
                && let Err(error) = component(plan).await
            {
                problems.add(&providers.item(index).key("component"), format!("{error:#}"));
            }
        }
        problems.into_result().map_err(|problems| anyhow!("{problems}"))
    })?;
    let count = |number: usize, what: &str| format!("{number} {what}{}", if number == 1 { "" } else { "s" });
    let (providers, nodes) = (count(plan.providers.len(), "provider"), count(plan.nodes.len(), "node"));
    Ok(format!("{}: {providers}, {nodes}: nothing is wrong\n", file.display()))
}

/// Looks at a component that is in a file: digest, signature, contract. What is elsewhere is looked at when it is run.
async fn component(plan: &ProviderPlan) -> Result<()> {
    let Address::File(path) = &plan.component else { return Ok(()) };
    let source = plan.source.open(&plan.component, &plan.limits, Vec::new(), None)?;
    let fetched = source.fetch(None).await?.context("there is nothing")?;
    fetching::compiled(&path.display().to_string(), &fetched).await?.check()?;
    Ok(())
}

fn print(file: &Path) -> Result<String> {
    let (configuration, source) = configuration::read(file).map_err(|problems| anyhow!("{problems}"))?;
    let plan = Plan::new(&configuration, &source).map_err(|problems| anyhow!("{problems}"))?;
    let filled = plan.fill_in(configuration);
    Ok(serde_saphyr::to_string(&filled)?)
}
