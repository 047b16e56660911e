//! What a configuration comes to: every rule read, every default filled in, every name found.
//!
//! All that is wrong is collected, not only the first. Nothing is opened but the files that providers' settings come from;
//! the cluster is not asked.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use components::source::Address;
use components::{Digest, LimitError, Limits};
use host_capabilities::egress::{AddressRange, Rule};
use host_capabilities::secrets::SecretGrant;
use host_capabilities::tls::TlsProfile;
use host_capabilities::{PodSecrets, dial, http};
use provider::Taint;

use super::node::{OperatingSystem, Shutdown};
use super::problem::{Place, Problems};
use super::provider::Amount;
use super::{Audit, Configuration, Log, Metrics, Node, PodSecretsUse, Provider, Source, check, schema};
use crate::hyper_config::{self, HyperConfig};
use crate::sources::{self, SourceArguments};
use crate::{provider_config, state, taints};

/// How long draining a node may take where nothing is said.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(300);

/// What runs.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The folder for what must last.
    pub state_dir: PathBuf,
    /// The log.
    pub log: Log,
    /// The audit log.
    pub audit: Audit,
    /// Where metrics are served beside the kubelet APIs.
    pub metrics: Option<Metrics>,
    /// The host identity.
    pub kubeconfig: Option<PathBuf>,
    /// That kubeconfig is written when the node has joined.
    pub kubeconfig_is_written: bool,
    /// Tells this cluster from others; none: made of its CA.
    pub cluster_id: Option<String>,
    /// The cluster's domain.
    pub cluster_domain: String,
    /// By name.
    pub providers: BTreeMap<String, ProviderPlan>,
    /// By name.
    pub nodes: BTreeMap<String, NodePlan>,
    /// Files with providers' settings that were read for this.
    pub files: Vec<PathBuf>,
    /// Whether new versions of files serve however badly they do.
    pub watch: bool,
}

/// A provider as it runs.
#[derive(Clone, Debug, PartialEq)]
pub struct ProviderPlan {
    /// Its name.
    pub name: String,
    /// Where its component is.
    pub component: Address,
    /// What it must be like, and how registries are asked.
    pub source: SourceArguments,
    /// Kubernetes Secrets with credentials of registries: namespace and name.
    pub pull_secrets: Vec<(String, String)>,
    /// Its limits.
    pub limits: Limits,
    /// What it may do.
    pub http: Vec<Rule>,
    /// Raw connections, and endpoints of requests.
    pub dial: Vec<Rule>,
    /// Special addresses that granted names may resolve to.
    pub addresses: Vec<AddressRange>,
    /// Secrets.
    pub secrets: Vec<SecretGrant>,
    /// TLS profiles.
    pub tls: Vec<TlsProfile>,
    /// Secret values of pods.
    pub pod_secrets: PodSecrets,
}

/// A node as it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodePlan {
    /// `metadata.name`.
    pub name: String,
    /// The name of its provider.
    pub provider: String,
    /// Its identity; none: the host's.
    pub kubeconfig: Option<PathBuf>,
    /// With what it joins, for an identity of its own.
    pub bootstrap_kubeconfig: Option<PathBuf>,
    /// What becomes of it when the process ends.
    pub shutdown: Shutdown,
    /// How long draining it may take.
    pub drain_timeout: Duration,
    /// Whether a Node that somebody deletes stays away.
    pub stays_deleted: bool,
    /// Operating system of its pods.
    pub os: OperatingSystem,
    /// Its addresses; none: the one that reaches the API server.
    pub addresses: Vec<IpAddr>,
    /// Its kubelet API.
    pub kubelet: super::Kubelet,
    /// Labels beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// Taints, to which the provider may add.
    pub taints: Vec<Taint>,
    /// Addresses of its pods' DNS.
    pub dns: Vec<IpAddr>,
    /// What its provider is told.
    pub settings: BTreeMap<String, String>,
}

impl Plan {
    /// What this configuration comes to, or all that is wrong with it.
    pub fn new(own: &Configuration, source: &Source) -> Result<Self, Problems> {
        let mut planner = Planner { source, problems: source.problems() };
        let at = Place::default();
        check::names(own, &mut planner.problems);
        let providers: Vec<ProviderPlan> = (own.providers.iter().enumerate())
            .map(|(index, provider)| planner.provider(provider, &at.key("providers").item(index)))
            .collect();
        let nodes: Vec<NodePlan> = (own.nodes.iter().enumerate())
            .map(|(index, node)| planner.node(own, node, &at.key("nodes").item(index)))
            .collect();
        let cluster = at.key("cluster");
        // That of a node that joins is written then.
        let is_written =
            matches!(source, Source::Flags) && own.nodes.iter().any(|node| node.bootstrap_kubeconfig.is_some());
        if !is_written {
            check::file(source, own.cluster.kubeconfig.as_deref(), &cluster.key("kubeconfig"), &mut planner.problems);
        }
        if let Some(id) = &own.cluster.id
            && let Err(reason) = cluster_id(id)
        {
            planner.problems.add(&cluster.key("id"), format!("`{id}`: {reason}"));
        }
        planner.problems.into_result()?;
        Ok(Self {
            state_dir: own
                .state_dir
                .as_deref()
                .map_or_else(|| state::default(&source.name()), |folder| source.path(folder)),
            log: own.log,
            audit: Audit { uses: own.audit.uses, file: own.audit.file.as_deref().map(|path| source.path(path)) },
            metrics: own.metrics,
            kubeconfig: own.cluster.kubeconfig.as_deref().map(|path| source.path(path)),
            kubeconfig_is_written: is_written,
            cluster_id: own.cluster.id.clone(),
            cluster_domain: own.cluster.domain.clone(),
            providers: providers.into_iter().map(|plan| (plan.name.clone(), plan)).collect(),
            nodes: nodes.into_iter().map(|plan| (plan.name.clone(), plan)).collect(),
            files: own.providers.iter().filter_map(|own| Some(config_file(source, own)?.0)).collect(),
            watch: false,
        })
    }
}

impl Plan {
    /// Becomes another, but for what can't change while the process runs.
    pub fn take_over(&mut self, next: Self) {
        let Self { log, providers, nodes, files, .. } = next;
        self.log.level = log.level;
        (self.providers, self.nodes, self.files) = (providers, nodes, files);
    }

    /// The configuration with what its defaults come to; what only the cluster can say stays out.
    pub fn fill_in(&self, mut own: Configuration) -> Configuration {
        own.state_dir = Some(self.state_dir.clone());
        for provider in &mut own.providers {
            if let Some(plan) = self.providers.get(&provider.name) {
                provider.component = plan.component.to_string();
                let written = plan.limits.written().into_iter();
                provider.limits = written.map(|(name, value)| (name, Amount::Text(value))).collect();
            }
        }
        for node in &mut own.nodes {
            if let Some(plan) = self.nodes.get(&node.name) {
                node.taints = Some(plan.taints.iter().map(taints::text).collect());
                node.dns = Some(plan.dns.clone());
                node.drain_timeout = Some(sources::time_text(plan.drain_timeout));
                node.kubeconfig = plan.kubeconfig.clone().or_else(|| self.kubeconfig.clone());
            }
        }
        own
    }
}

struct Planner<'a> {
    source: &'a Source,
    problems: Problems,
}

impl Planner<'_> {
    fn provider(&mut self, own: &Provider, at: &Place) -> ProviderPlan {
        let allow = at.key("allow");
        let component = own.component.parse::<Address>().unwrap_or_else(|error| {
            self.problems.add(&at.key("component"), error.to_string());
            Address::File(PathBuf::new())
        });
        let component = match component {
            Address::File(path) => Address::File(self.source.path(&path)),
            elsewhere => elsewhere,
        };
        if let Address::File(path) = &component
            && own.component.parse::<Address>().is_ok()
        {
            check::file(self.source, Some(path), &at.key("component"), &mut self.problems);
        }
        let http = |text: &str| Rule::parse(text, http::SCHEMES, false).map_err(|error| error.to_string());
        let dial = |text: &str| Rule::parse(text, dial::SCHEMES, true).map_err(|error| error.to_string());
        let range = |text: &str| text.parse::<AddressRange>();
        self.each(&own.allow.pod_cidrs, &allow.key("podCIDRs"), range);
        ProviderPlan {
            name: own.name.clone(),
            component,
            source: self.source(own, at),
            pull_secrets: self.each(&own.registry.pull_secrets, &at.key("registry").key("pullSecrets"), pull_secret),
            limits: self.limits(own, &at.key("limits")),
            http: self.each(&own.allow.http, &allow.key("http"), http),
            dial: self.each(&own.allow.dial, &allow.key("dial"), dial),
            addresses: self.each(&own.allow.addresses, &allow.key("addresses"), range),
            secrets: self.secrets_with_those_of_its_folder(own, at),
            tls: self.tls(own, &at.key("tls")),
            pod_secrets: match own.pod_secrets {
                PodSecretsUse::Reveal => PodSecrets::Reveal,
                PodSecretsUse::Deny => PodSecrets::Deny,
            },
        }
    }

    fn source(&mut self, own: &Provider, at: &Place) -> SourceArguments {
        let digest = own.digest.as_deref().map(str::parse::<Digest>).transpose();
        let digest = digest.unwrap_or_else(|error| {
            self.problems.add(&at.key("digest"), error.to_string());
            None
        });
        let registry = at.key("registry");
        let poll = own.registry.poll.as_deref().map(sources::time).transpose();
        let poll = poll.unwrap_or_else(|reason| {
            self.problems.add(&registry.key("poll"), reason);
            None
        });
        let user = (&own.registry.user, &own.registry.password_file);
        if matches!(user, (Some(_), None) | (None, Some(_))) {
            self.problems.add(&registry, "`user` and `passwordFile` go together");
        }
        let password = own.registry.password_file.as_slice();
        SourceArguments {
            component_digest: digest,
            component_key: self.files(&own.signatures.keys, &at.key("signatures").key("keys")),
            registry_poll: poll,
            registry_config: self.files(&own.registry.docker_configs, &registry.key("dockerConfigs")),
            registry_user: own.registry.user.clone(),
            registry_password_file: self.files(password, &registry.key("passwordFile")).pop(),
            registry_ca: self.files(&own.registry.cas, &registry.key("cas")),
            registry_plain_http: own.registry.plain_http.clone(),
        }
    }

    /// Files that must be there.
    fn files(&mut self, paths: &[PathBuf], at: &Place) -> Vec<PathBuf> {
        for (index, path) in paths.iter().enumerate() {
            check::file(self.source, Some(path), &at.item(index), &mut self.problems);
        }
        paths.iter().map(|path| self.source.path(path)).collect()
    }

    fn each<T>(&mut self, texts: &[String], at: &Place, read: impl Fn(&str) -> Result<T, String>) -> Vec<T> {
        let mut all = Vec::with_capacity(texts.len());
        for (index, text) in texts.iter().enumerate() {
            match read(text) {
                Ok(one) => all.push(one),
                Err(reason) => self.problems.add(&at.item(index), reason),
            }
        }
        all
    }

    fn limits(&mut self, own: &Provider, at: &Place) -> Limits {
        let mut limits = Limits::default();
        for (name, amount) in &own.limits {
            match limits.set(&format!("{name}={amount}")) {
                Ok(()) => {}
                Err(LimitError::Unknown(_)) => {
                    let known = limits.written();
                    let mut known: Vec<&str> = known.iter().map(|(name, _)| name.as_str()).collect();
                    known.extend(["wall", "cpu.EXPORT", "wall.EXPORT"]);
                    self.problems.add(&at.key(name), schema::unknown("limit", name, &known));
                }
                Err(error) => self.problems.add(&at.key(name), error.to_string()),
            }
        }
        limits
    }

    fn secrets(&mut self, own: &Provider, at: &Place) -> Vec<SecretGrant> {
        let mut all: Vec<SecretGrant> = Vec::with_capacity(own.secrets.len());
        for (index, secret) in own.secrets.iter().enumerate() {
            match secret.grant() {
                Ok(grant) if all.iter().any(|known| known.name == grant.name) => {
                    self.problems.add(&at.item(index).key("name"), format!("there are two secrets `{}`", grant.name));
                }
                Ok(grant) => all.push(grant),
                Err(reason) => self.problems.add(&at.item(index), reason),
            }
        }
        all
    }

    fn tls(&mut self, own: &Provider, at: &Place) -> Vec<TlsProfile> {
        let mut all: Vec<TlsProfile> = Vec::with_capacity(own.tls.len());
        for (index, written) in own.tls.iter().enumerate() {
            match written.profile() {
                Ok(profile) if all.iter().any(|known| known.name == profile.name) => {
                    let message = format!("there are two TLS profiles `{}`", profile.name);
                    self.problems.add(&at.item(index).key("name"), message);
                }
                Ok(profile) => all.push(profile),
                Err(reason) => self.problems.add(&at.item(index), reason),
            }
        }
        all
    }

    fn node(&mut self, whole: &Configuration, own: &Node, at: &Place) -> NodePlan {
        let provider = whole.providers.iter().enumerate().find(|(_, provider)| provider.name == own.provider);
        let settings = match provider {
            Some((index, provider)) => {
                let place = Place::default().key("providers").item(index);
                self.settings(provider, &place, own, at)
            }
            None => BTreeMap::new(),
        };
        for (path, key) in
            [(&own.kubelet.certificate, "certificate"), (&own.kubelet.key, "key"), (&own.kubelet.client_ca, "clientCA")]
        {
            check::file(self.source, path.as_deref(), &at.key("kubelet").key(key), &mut self.problems);
        }
        check::file(self.source, own.kubeconfig.as_deref(), &at.key("kubeconfig"), &mut self.problems);
        let bootstrap = at.key("bootstrapKubeconfig");
        check::file(self.source, own.bootstrap_kubeconfig.as_deref(), &bootstrap, &mut self.problems);
        if own.kubeconfig.is_some() && own.bootstrap_kubeconfig.is_some() {
            self.problems.add(&bootstrap, "it can't stand beside `kubeconfig`".to_owned());
        }
        if own.kubelet.certificate.is_some() && own.kubelet.rotate_server_certificates {
            let place = at.key("kubelet").key("rotateServerCertificates");
            self.problems.add(&place, "it can't stand beside `certificate`".to_owned());
        }
        let absolute = |path: &Option<PathBuf>| path.as_deref().map(|path| self.source.path(path));
        let kubelet = super::Kubelet {
            certificate: absolute(&own.kubelet.certificate),
            key: absolute(&own.kubelet.key),
            client_ca: absolute(&own.kubelet.client_ca),
            ..own.kubelet.clone()
        };
        let kubeconfig = absolute(&own.kubeconfig);
        let taints = match &own.taints {
            None => vec![taints::default(&own.provider)],
            Some(written) => self.each(written, &at.key("taints"), taints::whole),
        };
        let drain_timeout = own.drain_timeout.as_deref().map(sources::time).transpose();
        let drain_timeout = drain_timeout.unwrap_or_else(|reason| {
            self.problems.add(&at.key("drainTimeout"), reason);
            None
        });
        let drain_timeout = drain_timeout.unwrap_or(DRAIN_TIMEOUT);
        NodePlan {
            name: own.name.clone(),
            provider: own.provider.clone(),
            kubeconfig,
            bootstrap_kubeconfig: absolute(&own.bootstrap_kubeconfig),
            shutdown: own.shutdown,
            drain_timeout,
            stays_deleted: own.stays_deleted,
            os: own.os,
            addresses: own.addresses.clone(),
            kubelet,
            labels: own.labels.clone(),
            taints,
            dns: own.dns.clone().unwrap_or_else(|| whole.cluster.dns.clone()),
            settings,
        }
    }

    /// The secrets that are configured, and those of Hyper.sh's own folder that are not.
    fn secrets_with_those_of_its_folder(&mut self, own: &Provider, at: &Place) -> Vec<SecretGrant> {
        let mut secrets = self.secrets(own, &at.key("secrets"));
        if let Some((_, Some(folder))) = config_file(self.source, own) {
            match hyper_config(&folder, own) {
                Ok(config) => {
                    let more = config.secrets.into_iter();
                    let more: Vec<_> = more.filter(|new| secrets.iter().all(|own| own.name != new.name)).collect();
                    secrets.extend(more);
                }
                Err(error) => self.problems.add(&at.key("configFile"), format!("{error:#}")),
            }
        }
        secrets
    }

    /// What the provider is told for this node: of its file, of its `config`, of the node's `config`; what comes later
    /// counts more.
    fn settings(&mut self, provider: &Provider, of: &Place, node: &Node, at: &Place) -> BTreeMap<String, String> {
        let mut settings = BTreeMap::new();
        match config_file(self.source, provider) {
            // What is wrong with it was told with its secrets.
            Some((_, Some(folder))) => {
                settings.extend(hyper_config(&folder, provider).into_iter().flat_map(|own| own.settings));
            }
            Some((path, None)) => match provider_config::read(&path, &node.name) {
                Ok(own) => settings.extend(own),
                Err(error) => self.problems.add(&of.key("configFile"), format!("{error:#}")),
            },
            None => {}
        }
        for (config, place) in [(&provider.config, of.key("config")), (&node.config, at.key("config"))] {
            match provider_config::flat(config) {
                Ok(own) => settings.extend(own),
                Err(error) => self.problems.add(&place, error.to_string()),
            }
        }
        settings
    }
}

/// The file with a provider's settings; where a folder is named, it is Hyper.sh's own.
fn config_file(source: &Source, provider: &Provider) -> Option<(PathBuf, Option<PathBuf>)> {
    let path = source.path(provider.config_file.as_deref()?);
    Some(if path.is_dir() { (hyper_config::file(&path), Some(path)) } else { (path, None) })
}

fn hyper_config(folder: &Path, provider: &Provider) -> anyhow::Result<HyperConfig> {
    let folder = std::path::absolute(folder)?;
    hyper_config::read(&folder, provider.config.get("endpoint").and_then(serde_json::Value::as_str))
}

/// `NAMESPACE/NAME`.
fn pull_secret(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
            Ok((namespace.to_owned(), name.to_owned()))
        }
        _ => Err(format!("`{text}`: a Secret is written NAMESPACE/NAME")),
    }
}

/// A DNS subdomain (RFC 1123), as names of Nodes are.
pub fn node_name(text: &str) -> Result<(), &'static str> {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    };
    if text.len() > 253 || !text.split('.').all(label) {
        return Err("a node's name is made of lower-case letters, digits, `-` and `.`, at most 253");
    }
    Ok(())
}

/// What tells clusters apart at a backend.
pub fn cluster_id(text: &str) -> Result<(), &'static str> {
    let fits = !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    if fits { Ok(()) } else { Err("it is made of a-z, 0-9 and `-`, at most 63") }
}

/// What a provider may be called.
pub fn provider_name(text: &str) -> Result<(), &'static str> {
    let fits =
        !text.is_empty() && text.len() <= 253 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if fits { Ok(()) } else { Err("a provider's name is made of letters, digits, `-`, `_` and `.`, at most 253") }
}

impl Source {
    /// A path as it is meant: in a file from the folder that this is in.
    pub fn path(&self, path: &Path) -> PathBuf {
        match self {
            Self::Flags => path.to_owned(),
            Self::File { path: own, .. } => {
                let found = own.parent().map_or_else(|| path.to_owned(), |folder| folder.join(path));
                std::path::absolute(&found).unwrap_or(found)
            }
        }
    }

    /// What the process is called: the file's name without its ending.
    fn name(&self) -> String {
        let stem = match self {
            Self::Flags => None,
            Self::File { path, .. } => path.file_stem(),
        };
        stem.map_or_else(|| "vk-runtime".to_owned(), |stem| stem.to_string_lossy().into_owned())
    }
}
