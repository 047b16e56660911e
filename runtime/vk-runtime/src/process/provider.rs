//! A provider of the process: its component, whatever its version, and what it may do, for all of its nodes.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use components::source::{Address, Source};
use components::{Program, Settings, Supervisor, Tolerance};
use host_capabilities::config::{Config, NodeIdentity};
use host_capabilities::events::EventSink;
use host_capabilities::quota::Quotas;
use host_capabilities::secrets::{Cluster as _, Secrets};
use host_capabilities::tls::Profiles;
use host_capabilities::{Capabilities, Grants};

use super::shared::Shared;
use super::status::ProviderStatus;
use super::versions::Versions;
use crate::configuration::plan::ProviderPlan;

/// A provider that runs.
pub struct Provider {
    /// As it is configured.
    pub plan: ProviderPlan,
    /// Its versions, as its nodes tell of them.
    pub versions: Arc<Versions>,
    quotas: Arc<Quotas>,
    secrets: Arc<Secrets>,
    tls: Arc<Profiles>,
    supervisor: Supervisor,
}

/// What a change of the configuration did to a provider.
#[derive(Debug, Default)]
pub struct Applied {
    /// What is different from now on.
    pub changed: Vec<String>,
    /// What takes effect at the next start alone.
    pub needs_restart: Vec<String>,
    /// Its nodes must be granted anew.
    pub regrant: bool,
}

impl Provider {
    /// Fetches, checks, compiles and tries its component. `identity` is of the first of its nodes.
    pub async fn start(shared: &Shared, plan: ProviderPlan, identity: NodeIdentity) -> Result<Self> {
        let quotas = Quotas::new(&plan.name, &plan.limits.quotas);
        let secrets = Arc::new(Secrets::new(plan.secrets.clone(), &shared.sources)?);
        let tls = Arc::new(Profiles::new(plan.tls.clone(), &shared.sources)?);
        let grants = grants(&plan, &secrets, &tls, &BTreeMap::new());
        // Nobody hears a component that is only tried.
        let trial = Capabilities::new(quotas.clone(), identity, grants, &shared.host, Box::new(|_| {}));
        let versions = Arc::new(Versions::new(&plan.name));
        let told = versions.clone();
        let watched = shared.watch && matches!(plan.component, Address::File(_));
        let settings = Settings {
            engine: shared.engine.clone(),
            compiler: Some(shared.compiler.clone()),
            cache: Some(shared.code.clone()),
            folder: folder(&shared.state_dir, &plan.name),
            tolerance: if watched {
                Tolerance { failures: u64::MAX, ..Tolerance::default() }
            } else {
                Tolerance::default()
            },
        };
        let listener = Arc::new(move |change: &components::Change| told.tell(change));
        let (limits, trial) = (plan.limits.clone(), Arc::new(trial));
        let supervisor = Supervisor::start(settings, source(&plan, shared).await?, limits, &trial, listener).await?;
        shared.limit_metrics.add(&quotas);
        if watched {
            // What was taken back when nobody watched.
            supervisor.reconsider();
        }
        Ok(Self { plan, versions, quotas, secrets, tls, supervisor })
    }

    /// Its component, whatever its version.
    pub fn program(&self) -> &Arc<Program> {
        self.supervisor.program()
    }

    /// All that there is to say.
    pub fn status(&self) -> ProviderStatus {
        ProviderStatus { versions: self.supervisor.status(), quotas: self.quotas.usage() }
    }

    /// What it may do for a node that it is told this of.
    pub fn capabilities(
        &self,
        shared: &Shared,
        identity: NodeIdentity,
        settings: &BTreeMap<String, String>,
        events: EventSink,
    ) -> Capabilities {
        let grants = grants(&self.plan, &self.secrets, &self.tls, settings);
        Capabilities::new(self.quotas.clone(), identity, grants, &shared.host, events)
    }

    /// Becomes what the configuration says now, without a call that fails for it.
    pub async fn apply(&mut self, plan: ProviderPlan, shared: &Shared) -> Result<Applied> {
        let mut applied = Applied::default();
        let name = &plan.name;
        // What can be wrong first: then nothing has changed.
        let secrets = (plan.secrets != self.plan.secrets)
            .then(|| Secrets::new(plan.secrets.clone(), &shared.sources).map(Arc::new))
            .transpose()?;
        let tls = (plan.tls != self.plan.tls)
            .then(|| Profiles::new(plan.tls.clone(), &shared.sources).map(Arc::new))
            .transpose()?;
        let from = |plan: &ProviderPlan| {
            let size = plan.limits.component_size;
            (plan.component.clone(), plan.source.clone(), plan.pull_secrets.clone(), size)
        };
        let source = if from(&plan) == from(&self.plan) { None } else { Some(source(&plan, shared).await?) };
        let mut next = plan.clone();
        if plan.limits != self.plan.limits {
            match self.program().reconfigure(plan.limits.clone()).await {
                Ok(()) => applied.changed.push(format!("the limits of the provider {name}")),
                Err(error) => {
                    applied.needs_restart.push(error.to_string());
                    next.limits = self.plan.limits.clone();
                }
            }
        }
        for (changed, what) in [(secrets.is_some(), "secrets"), (tls.is_some(), "TLS profiles")] {
            if changed {
                applied.changed.push(format!("the {what} of the provider {name}"));
            }
        }
        let rules =
            |plan: &ProviderPlan| (plan.http.clone(), plan.dial.clone(), plan.addresses.clone(), plan.pod_secrets);
        if rules(&plan) != rules(&self.plan) {
            applied.changed.push(format!("the grants of the provider {name}"));
            applied.regrant = true;
        }
        applied.regrant |= secrets.is_some() || tls.is_some();
        self.secrets = secrets.unwrap_or_else(|| self.secrets.clone());
        self.tls = tls.unwrap_or_else(|| self.tls.clone());
        if let Some(source) = source {
            applied.changed.push(format!("the component of the provider {name}: {}", plan.component));
            self.supervisor.set_source(source);
        }
        self.plan = next;
        Ok(applied)
    }

    /// Tries anew what was refused: grants or limits are others.
    pub fn reconsider(&self) {
        self.supervisor.reconsider();
    }
}

fn grants(
    plan: &ProviderPlan,
    secrets: &Arc<Secrets>,
    tls: &Arc<Profiles>,
    settings: &BTreeMap<String, String>,
) -> Grants {
    Grants {
        http: plan.http.clone(),
        dial: plan.dial.clone(),
        addresses: plan.addresses.clone(),
        secrets: secrets.clone(),
        tls: tls.clone(),
        pod_secrets: plan.pod_secrets,
        config: Config { values: settings.clone() },
    }
}

/// What its supervisor keeps.
fn folder(state: &Path, name: &str) -> std::path::PathBuf {
    state.join("providers").join(name)
}

async fn source(plan: &ProviderPlan, shared: &Shared) -> Result<Arc<dyn Source>> {
    let mut pull_secrets = Vec::with_capacity(plan.pull_secrets.len());
    for (namespace, name) in &plan.pull_secrets {
        let read = shared.kube_secrets.secret_key(namespace, name, ".dockerconfigjson").await;
        pull_secrets.push(read.with_context(|| format!("the provider {}: registry.pullSecrets", plan.name))?);
    }
    plan.source.open(&plan.component, &plan.limits, pull_secrets, Some(shared.config_maps.clone()))
}
