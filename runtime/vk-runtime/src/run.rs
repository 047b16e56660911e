//! Runs a node: component, cluster, controllers, kubelet API.
//!
//! What is wrong with the command line or the component is found before anything is registered in the cluster.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use components::{Bytes, CodeCache, Compiled, ComponentProvider, Engine, Limits, Program};
use controllers::{Api, ClusterDns, NodeController, NodeSettings, PodController, PodSettings, connect, recorder};
use host_capabilities::config::{Config as ProviderConfig, NodeIdentity};
use host_capabilities::{Capabilities, Grants, Host};
use kubelet_api::{Authorization, ClientCa, Config as ServerConfig, Identity, Node, Server};
use provider::Provider;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::RunArguments;
use crate::node_pods::Pods;
use crate::reviews::Reviews;
use crate::{addresses, cluster, logging, metrics, provider_config, provider_events, state, taints};

// Is not there, and nothing is built, when the types become those of another version.
k8s_openapi::k8s_if_1_36! {
/// The Kubernetes version whose kubelet this behaves as.
const KUBERNETES: &str = "v1.36.0";
}

pub fn run(arguments: RunArguments) -> Result<()> {
    logging::start(arguments.log_format, arguments.log_level);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(node(arguments))
}

async fn node(arguments: RunArguments) -> Result<()> {
    let path = arguments.component.as_deref().context("--component is missing")?;
    if !arguments.allow_pod_cidr.is_empty() {
        tracing::warn!("--allow-pod-cidr has no effect: this version connects to no pod");
    }
    if arguments.namespace.is_some() {
        tracing::warn!("--namespace has no meaning: a node takes the pods of every namespace");
    }
    let limits = limits(&arguments.limit)?;
    let name = provider_name(path);
    let taints = taints::of_node(&arguments, &name, |variable| std::env::var(variable).ok())?;
    let grants = grants(&arguments)?;
    let engine = Engine::new()?;
    let compiled = compile(&engine, path, &limits, &arguments).await?;
    compiled.check()?;

    let config = cluster::config(arguments.kubeconfig.as_deref()).await?;
    let addresses = match arguments.node_ip.as_slice() {
        [] => vec![addresses::towards(&config.cluster_url)?],
        given => given.to_vec(),
    };
    let api = Api::new(connect(&config)?);
    let (recorder, events) = recorder(api.clone(), &arguments.nodename);

    let folder = state::folder(arguments.state_dir.as_deref(), &arguments.nodename)?;
    let host = Host { io: tokio::runtime::Handle::current(), store: Arc::new(state::store(&folder).await?) };
    let identity = NodeIdentity {
        cluster: arguments.cluster_id.clone().unwrap_or_else(|| cluster::id(&config)),
        name: arguments.nodename.clone(),
        address: addresses.first().map(ToString::to_string).unwrap_or_default(),
        operating_system: arguments.os.label().to_owned(),
        cluster_domain: arguments.cluster_domain.clone(),
    };
    let own_pods = provider_events::Pods::default();
    let sink = provider_events::sink(recorder.clone(), arguments.nodename.clone(), own_pods.clone());
    let capabilities = Arc::new(Capabilities::new(&name, identity, grants, &host, sink));
    let program = Program::load(&engine, compiled, limits, &capabilities).await?;
    let provider = Arc::new(ComponentProvider::new(&program, capabilities));
    tracing::info!(
        component = name,
        digest = program.inspection().digest,
        "the component {} is loaded",
        path.display()
    );

    let server = server(&arguments, &config, &addresses, &api)?;
    tokio::spawn(events);
    let first = provider.describe().await;
    let own = arguments.os.label();
    match &first {
        Err(error) => tracing::warn!(component = name, %error, "the provider can't describe the node"),
        Ok(node) if !node.operating_system.is_empty() && node.operating_system != own => {
            tracing::warn!(component = name, "its pods run on {}; --os says {own}", node.operating_system);
        }
        Ok(_) => {}
    }
    let pods = Arc::new(PodController::start(
        PodSettings {
            node: arguments.nodename.clone(),
            addresses: addresses.clone(),
            dns: ClusterDns {
                servers: arguments.cluster_dns.iter().map(ToString::to_string).collect(),
                domain: arguments.cluster_domain.clone(),
            },
        },
        provider.clone(),
        api.clone(),
        recorder.clone(),
        first.as_ref().unwrap_or(&provider::Description::default()),
    ));
    // Set once, here.
    let _ = own_pods.set(pods.index());
    let page = metrics::Page::of(provider.capabilities().metrics.clone());
    let parts = Node {
        provider: provider.clone(),
        pods: Arc::new(Pods(pods.index())),
        metrics: Some(Arc::new(page)),
        health: Vec::new(),
    };
    let server = Server::bind(server, parts).await?;
    let kubelet_port = server.address().port();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let serving = tokio::spawn(server.run(async {
        // The other end goes when the node is to end.
        let _ = stopped.await;
    }));
    let described = pods.clone();
    let _node = NodeController::start(
        NodeSettings {
            name: arguments.nodename.clone(),
            addresses,
            kubelet_port,
            labels: arguments.label.clone(),
            taints,
            version: format!("{KUBERNETES}-vk-{}", env!("CARGO_PKG_VERSION")),
        },
        provider,
        api,
        recorder,
        first,
        move |description| described.described(description),
    );
    wait_for_the_end().await?;
    tracing::info!("the node's pods go on without it");
    drop(stop);
    serving.await.context("the kubelet API ended")?;
    Ok(())
}

async fn wait_for_the_end() -> Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}

async fn compile(engine: &Engine, path: &Path, limits: &Limits, arguments: &RunArguments) -> Result<Compiled> {
    let source = Bytes::read(path, limits.component_size)?;
    let folder = state::folder(arguments.state_dir.as_deref(), &arguments.nodename)?.join("code");
    let cache = CodeCache::open(&folder).with_context(|| format!("the folder {} can't be used", folder.display()))?;
    let (engine, limits) = (engine.clone(), limits.clone());
    let compiled = tokio::task::spawn_blocking(move || Compiled::new(&engine, &source, &limits, Some(&cache))).await?;
    Ok(compiled?)
}

fn limits(set: &[String]) -> Result<Limits> {
    let mut limits = Limits::default();
    set.iter().try_for_each(|one| limits.set(one))?;
    Ok(limits)
}

/// A provider is called as its file is.
fn provider_name(path: &Path) -> String {
    path.file_stem().map_or_else(|| "provider".to_owned(), |stem| stem.to_string_lossy().into_owned())
}

fn grants(arguments: &RunArguments) -> Result<Grants> {
    Ok(Grants {
        http: arguments.allow_http.clone(),
        dial: arguments.allow_dial.clone(),
        addresses: arguments.allow_address.clone(),
        secrets: arguments.secret.clone(),
        pod_secrets: arguments.pod_secrets,
        config: ProviderConfig { values: provider_config::settings(arguments)? },
    })
}

fn server(arguments: &RunArguments, config: &kube::Config, addresses: &[IpAddr], api: &Api) -> Result<ServerConfig> {
    let read = |path: &Path, flag: &str| {
        std::fs::read(path).with_context(|| format!("the file {} ({flag}) can't be read", path.display()))
    };
    let identity = match (&arguments.kubelet_cert, &arguments.kubelet_key) {
        (Some(certificate), Some(key)) => {
            Identity::from_pem(&read(certificate, "--kubelet-cert")?, &read(key, "--kubelet-key")?)?
        }
        _ => Identity::self_signed(&arguments.nodename, addresses, &[])?,
    };
    let client_ca = match &arguments.kubelet_client_ca {
        Some(path) => Some(ClientCa::from_pem(&read(path, "--kubelet-client-ca")?)?),
        None => cluster::ca(config).map(|pem| ClientCa::from_pem(pem.as_bytes())).transpose()?,
    };
    let any = match addresses.first() {
        Some(IpAddr::V6(_)) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        _ => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
    };
    let reviews = Arc::new(Reviews(api.clone()));
    let mut server = ServerConfig::new(&arguments.nodename, SocketAddr::new(any, arguments.kubelet_port), identity);
    server.client_ca = client_ca;
    server.tokens = Some(reviews.clone());
    server.anonymous = arguments.anonymous_auth;
    server.authorization = Authorization::Review(reviews);
    Ok(server)
}
