//! One node: its identity, its controllers, its kubelet API.
//!
//! It is started anew where its part of the configuration changes: its pods don't notice.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use components::ComponentProvider;
use controllers::{
    Api, ClusterDns, NodeController, NodeSettings, NodeState, PodController, PodEvent, PodSettings, Recorder, Shutdown,
    connect, recorder,
};
use host_capabilities::config::NodeIdentity;
use jiff::Timestamp;
use kubelet_api::{Authorization, ClientCa, Config as ServerConfig, Identity, Server};
use provider::Provider as _;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use super::identity;
use super::provider::Provider;
use super::shared::Shared;
use super::versions::Versions;
use crate::configuration::plan::NodePlan;
use crate::node_pods::Pods;
use crate::reviews::Reviews;
use crate::{addresses, cluster, metrics, provider_events};

// Is not there, and nothing is built, when the types become those of another version.
k8s_openapi::k8s_if_1_36! {
/// The Kubernetes version whose kubelet this behaves as.
const KUBERNETES: &str = "v1.36.0";
}

/// What the Events that wait are given to be written, when a node ends.
const LAST_EVENTS: Duration = Duration::from_secs(1);

/// A node that runs.
pub struct Node {
    /// As it is configured.
    pub plan: NodePlan,
    recorder: Recorder,
    /// Where its kubelet API is.
    pub kubelet_port: u16,
    /// Since when it runs.
    pub since: Timestamp,
    provider: Arc<ComponentProvider>,
    versions: Arc<Versions>,
    identity: NodeIdentity,
    own_pods: provider_events::Pods,
    controller: NodeController,
    /// Its certificates are kept good as long as it runs.
    _keeping: JoinSet<()>,
    pods: Arc<PodController>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    events: JoinHandle<()>,
}

impl Node {
    /// Starts it. What is wrong with its settings is found before it is registered.
    pub async fn start(plan: NodePlan, provider: &Provider, shared: &Shared) -> Result<Self> {
        let joined = identity::of_node(&plan, &shared.state_dir).await?;
        let config = match (&joined, &plan.kubeconfig) {
            (Some(joined), _) => joined.config.clone(),
            (None, Some(path)) => cluster::config(Some(path)).await?,
            (None, None) => shared.config.clone(),
        };
        let addresses = match plan.addresses.as_slice() {
            [] => vec![addresses::towards(&config.cluster_url)?],
            given => given.to_vec(),
        };
        // A connection of its own: a server bounds what one may ask at once.
        let api = Api::new(connect(&config)?);
        let server = server(&plan, &config, &addresses, &api)?;
        let (recorder, events) = recorder(api.clone(), &plan.name);

        let own_pods = provider_events::Pods::default();
        let sink = provider_events::sink(recorder.clone(), plan.name.clone(), own_pods.clone());
        let identity = shared.node_identity(Some(&plan), &addresses);
        let capabilities = Arc::new(provider.capabilities(shared, identity.clone(), &plan.settings, sink));
        let component = Arc::new(ComponentProvider::new(provider.program(), capabilities.clone()));

        let first = component.describe().await;
        let (own, name) = (plan.os.label(), &plan.name);
        match &first {
            Err(error) => tracing::warn!(node = name, %error, "the provider can't describe the node"),
            Ok(node) if !node.operating_system.is_empty() && node.operating_system != own => {
                tracing::warn!(node = name, "its pods run on {}; --os says {own}", node.operating_system);
            }
            Ok(_) => {}
        }
        let pods = Arc::new(PodController::start(
            PodSettings {
                node: plan.name.clone(),
                addresses: addresses.clone(),
                dns: ClusterDns {
                    servers: plan.dns.iter().map(ToString::to_string).collect(),
                    domain: shared.cluster_domain.clone(),
                },
            },
            component.clone(),
            api.clone(),
            recorder.clone(),
            first.as_ref().unwrap_or(&provider::Description::default()),
        ));
        // Set once, here.
        let _ = own_pods.set(pods.index());
        let parts = kubelet_api::Node {
            provider: component.clone(),
            pods: Arc::new(Pods(pods.index())),
            metrics: Some(Arc::new(metrics::Page::of_node(
                capabilities.metrics.clone(),
                provider.program(),
                &shared.limit_metrics,
                &shared.audit,
            ))),
            health: Vec::new(),
        };
        let server = Server::bind(server, parts).await?;
        let kubelet_port = server.address().port();
        let credentials = server.credentials();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(server.run(async {
            // The other end goes when the node is to end.
            let _ = stopped.await;
        }));
        let events = tokio::spawn(events);
        let described = pods.clone();
        let controller = NodeController::start(
            NodeSettings {
                name: plan.name.clone(),
                addresses: addresses.clone(),
                kubelet_port,
                labels: plan.labels.clone().into_iter().collect(),
                taints: plan.taints.clone(),
                version: format!("{KUBERNETES}-vk-{}", env!("CARGO_PKG_VERSION")),
                stays_deleted: plan.stays_deleted,
            },
            component.clone(),
            api.clone(),
            recorder.clone(),
            first,
            move |description| described.described(description),
        );
        let conditions = controller.conditions();
        let keeping = identity::keep(&plan, &shared.state_dir, &addresses, joined, &api, &conditions, credentials)?;
        provider.versions.join(&plan.name, recorder.clone(), controller.conditions());
        Ok(Self {
            plan,
            recorder,
            kubelet_port,
            since: Timestamp::now(),
            provider: component,
            versions: provider.versions.clone(),
            identity,
            own_pods,
            controller,
            _keeping: keeping,
            pods,
            stop,
            serving,
            events,
        })
    }

    /// Whether the Node is there.
    pub fn state(&self) -> NodeState {
        self.controller.state().borrow().clone()
    }

    /// How many pods it has.
    pub fn pods(&self) -> usize {
        self.pods.index().references().len()
    }

    /// Calls that begin from now on may do what its provider is granted now, and are told these settings.
    pub fn regrant(&mut self, plan: NodePlan, provider: &Provider, shared: &Shared) -> Result<()> {
        let sink = provider_events::sink(self.recorder.clone(), plan.name.clone(), self.own_pods.clone());
        let mut granted = provider.capabilities(shared, self.identity.clone(), &plan.settings, sink);
        // The series go on.
        granted.metrics = self.provider.capabilities().metrics.clone();
        self.provider.regrant(Arc::new(granted))?;
        self.plan = plan;
        Ok(())
    }

    /// Whether nothing of it is to be another but what its provider is told.
    pub fn is_only_told_anew(&self, next: &NodePlan) -> bool {
        NodePlan { settings: self.plan.settings.clone(), ..next.clone() } == self.plan
    }

    /// Tells an Event on the Node.
    pub fn tell(&self, warning: bool, reason: &str, message: &str) {
        let event =
            PodEvent { warning, reason: reason.to_owned(), message: message.to_owned(), field_path: String::new() };
        self.recorder.node(&self.plan.name, "", event);
    }

    /// Ends it; its pods go on, and nothing is written that says otherwise.
    pub async fn stop(self) {
        self.end(Shutdown::Leave).await;
    }

    /// Ends it with its process, as it is configured: left, cordoned or drained.
    pub async fn shut_down(self) {
        let how = self.plan.shutdown.into();
        self.end(how).await;
    }

    async fn end(self, how: Shutdown) {
        let Self { plan, recorder, provider, versions, controller, pods, stop, serving, events, .. } = self;
        versions.leave(&plan.name);
        if let Err(error) = controller.shutdown(how, plan.drain_timeout, &pods.index()).await {
            tracing::error!(node = plan.name, %error, "the node can't be cordoned");
        }
        drop((pods, stop));
        if let Err(error) = serving.await {
            tracing::error!(node = plan.name, %error, "the kubelet API ended");
        }
        // The last who can tell an Event.
        drop((recorder, provider));
        let abort = events.abort_handle();
        if tokio::time::timeout(LAST_EVENTS, events).await.is_err() {
            abort.abort();
        }
    }
}

fn server(plan: &NodePlan, config: &kube::Config, addresses: &[IpAddr], api: &Api) -> Result<ServerConfig> {
    let read = |path: &Path| std::fs::read(path).with_context(|| format!("the file {} can't be read", path.display()));
    let kubelet = &plan.kubelet;
    let identity = match (&kubelet.certificate, &kubelet.key) {
        (Some(certificate), Some(key)) => Identity::from_pem(&read(certificate)?, &read(key)?)?,
        _ => Identity::self_signed(&plan.name, addresses, &[])?,
    };
    let client_ca = match &kubelet.client_ca {
        Some(path) => Some(ClientCa::from_pem(&read(path)?)?),
        None => cluster::ca(config).map(|pem| ClientCa::from_pem(pem.as_bytes())).transpose()?,
    };
    let any = match addresses.first() {
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let reviews = Arc::new(Reviews(api.clone()));
    let mut server = ServerConfig::new(&plan.name, SocketAddr::new(any, kubelet.port), identity);
    server.client_ca = client_ca;
    server.tokens = Some(reviews.clone());
    server.anonymous = kubelet.anonymous_auth;
    server.authorization = Authorization::Review(reviews);
    Ok(server)
}

#[cfg(test)]
mod tests {
    use super::KUBERNETES;

    #[test]
    fn the_version_that_a_node_tells_is_that_of_the_types_it_is_built_with() {
        let manifest = include_str!("../../../../Cargo.toml");
        let types = manifest.lines().find(|line| line.starts_with("k8s-openapi = ")).unwrap();
        let minor = types.split("\"v1_").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert!(KUBERNETES.starts_with(&format!("v1.{minor}.")), "{KUBERNETES}: {types}");
    }
}
