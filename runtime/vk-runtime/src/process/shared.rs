//! What there is once in a process: the engine, the store, compiled code, the host identity.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use components::compile::{Bounds, Compiler};
use components::source::ConfigMaps;
use components::{CodeCache, Engine};
use controllers::connect;
use host_capabilities::Host;
use host_capabilities::audit::{Audit, Mode};
use host_capabilities::config::NodeIdentity;
use host_capabilities::quota::LimitMetrics;
use host_capabilities::secrets::Sources;

use crate::config_maps::KubeConfigMaps;
use crate::configuration::AuditedUses;
use crate::configuration::plan::{NodePlan, Plan};
use crate::kube_secrets::KubeSecrets;
use crate::{cluster, state};

/// What providers and nodes share.
pub struct Shared {
    /// Runs components.
    pub engine: Engine,
    /// Compiles components, in a process of its own.
    pub compiler: Compiler,
    /// Compiled code.
    pub code: CodeCache,
    /// What capabilities stand on.
    pub host: Host,
    /// The audit log.
    pub audit: Audit,
    /// The folder for what must last.
    pub state_dir: PathBuf,
    /// How the host identity reaches the cluster.
    pub config: kube::Config,
    /// The host identity's view of ConfigMaps.
    pub config_maps: Arc<dyn ConfigMaps>,
    /// The host identity's view of Secrets.
    pub kube_secrets: Arc<KubeSecrets>,
    /// What secrets stand on; the host identity reads those of the cluster, and connects when it first does.
    pub sources: Sources,
    /// The limits of all providers.
    pub limit_metrics: LimitMetrics,
    /// Whether new versions of files serve however badly they do.
    pub watch: bool,
    cluster_id: String,
    /// The cluster's domain.
    pub cluster_domain: String,
}

impl Shared {
    /// Opens what there is; the cluster is not asked anything yet.
    pub async fn new(plan: &Plan) -> Result<Self> {
        let engine = Engine::new()?;
        let config = cluster::config(plan.kubeconfig.as_deref()).await?;
        state::make(&plan.state_dir)?;
        let folder = plan.state_dir.join("code");
        let code =
            CodeCache::open(&folder).with_context(|| format!("the folder {} can't be used", folder.display()))?;
        let store = Arc::new(state::store(&plan.state_dir).await?);
        let mode = match plan.audit.uses {
            AuditedUses::Off => Mode::Off,
            AuditedUses::Refusals => Mode::Refusals,
            AuditedUses::All => Mode::All,
        };
        let audit = match &plan.audit.file {
            Some(path) => Audit::to_file(mode, path)?,
            None => Audit::to_log(mode)?,
        };
        // Connects when it is first used.
        let client = connect(&config)?;
        let kube_secrets = Arc::new(KubeSecrets::new(client.clone()));
        let io = tokio::runtime::Handle::current();
        Ok(Self {
            engine,
            compiler: Compiler::new(Bounds::default()),
            code,
            host: Host { io: io.clone(), store, audit: audit.clone() },
            audit,
            state_dir: plan.state_dir.clone(),
            config_maps: Arc::new(KubeConfigMaps::new(client)),
            sources: Sources { io, cluster: Some(kube_secrets.clone()) },
            kube_secrets,
            limit_metrics: LimitMetrics::default(),
            watch: plan.watch,
            cluster_id: plan.cluster_id.clone().unwrap_or_else(|| cluster::id(&config)),
            cluster_domain: plan.cluster_domain.clone(),
            config,
        })
    }

    /// A node as its provider is told of it.
    pub fn node_identity(&self, node: Option<&NodePlan>, addresses: &[IpAddr]) -> NodeIdentity {
        NodeIdentity {
            cluster: self.cluster_id.clone(),
            name: node.map(|node| node.name.clone()).unwrap_or_default(),
            address: addresses.first().map(ToString::to_string).unwrap_or_default(),
            operating_system: node.map(|node| node.os).unwrap_or_default().label().to_owned(),
            cluster_domain: self.cluster_domain.clone(),
        }
    }
}
