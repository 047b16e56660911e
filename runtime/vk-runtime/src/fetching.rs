//! A component for a command that looks at it once: from any source, with the cluster only where the address needs it.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::Args;
use components::compile::{Bounds, Compiler};
use components::source::{Address, ConfigMaps, Fetched};
use components::{Compiled, Engine, Limits};

use crate::cluster;
use crate::config_maps::KubeConfigMaps;
use crate::sources::SourceArguments;

/// How a component is fetched.
#[derive(Clone, Debug, Default, Args)]
pub struct FetchArguments {
    #[command(flatten)]
    pub source: SourceArguments,
    /// How to reach the cluster, for configmap:// [default: $KUBECONFIG, ~/.kube/config, or the pod's service account]
    #[arg(long, value_name = "FILE", help_heading = "Where components come from")]
    pub kubeconfig: Option<PathBuf>,
}

impl FetchArguments {
    /// Fetches and checks a component.
    pub async fn fetch(&self, address: &Address) -> Result<Fetched> {
        let maps: Option<Arc<dyn ConfigMaps>> = match address {
            Address::ConfigMap(_) => Some(Arc::new(KubeConfigMaps::new(self.client().await?))),
            _ => None,
        };
        let source = self.source.open(address, &Limits::default(), Vec::new(), maps)?;
        source.fetch(None).await?.context("nothing was fetched")
    }

    /// A client for the cluster.
    pub async fn client(&self) -> Result<kube::Client> {
        Ok(controllers::connect(&cluster::config(self.kubeconfig.as_deref()).await?)?)
    }
}

/// Compiles it, in a process of its own.
pub async fn compiled(name: &str, fetched: &Fetched) -> Result<Compiled> {
    let compiler = Compiler::new(Bounds::default());
    Ok(compiler.compile(&Engine::new()?, name, fetched.bytes.clone(), &Limits::default(), None).await?)
}

/// A runtime for a command.
pub fn run<T>(command: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(command)
}
