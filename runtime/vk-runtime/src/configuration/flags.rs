//! The flags of the command line as a configuration: one provider, one node.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use components::source::Address;
use serde_json::Value;

use super::problem::Place;
use super::{
    Allow, ApiVersion, Audit, Cluster, Configuration, Kind, Kubelet, Log, Node, Provider, Registry, Secret, Signatures,
    Tls,
};
use crate::arguments::RunArguments;
use crate::{sources, state, taints};

/// What these flags say.
pub fn configuration(own: &RunArguments, environment: impl Fn(&str) -> Option<String>) -> Result<Configuration> {
    let component = own.component.clone().context("--component is missing")?;
    let name = component.parse::<Address>()?.name();
    let taints = taints::of_command_line(own, &name, environment)?;
    let provider = Provider {
        name: name.clone(),
        component,
        digest: own.source.component_digest.map(|digest| digest.to_string()),
        signatures: Signatures { keys: own.source.component_key.clone() },
        registry: Registry {
            poll: own.source.registry_poll.map(sources::time_text),
            docker_configs: own.source.registry_config.clone(),
            pull_secrets: Vec::new(),
            user: own.source.registry_user.clone(),
            password_file: own.source.registry_password_file.clone(),
            cas: own.source.registry_ca.clone(),
            plain_http: own.source.registry_plain_http.clone(),
        },
        limits: own.limit.iter().filter_map(|text| text.split_once('=')).map(amount).collect(),
        allow: Allow {
            http: own.allow_http.clone(),
            dial: own.allow_dial.clone(),
            addresses: own.allow_address.clone(),
            pod_cidrs: own.allow_pod_cidr.clone(),
        },
        pod_secrets: own.pod_secrets,
        secrets: own.secret.iter().map(|text| Ok(Secret::written(text)?)).collect::<Result<_>>()?,
        tls: own.tls.iter().map(|text| Ok(Tls::written(text)?)).collect::<Result<_>>()?,
        config: own.config.iter().map(|(key, value)| (key.clone(), Value::from(value.as_str()))).collect(),
        config_file: own.provider_config.clone(),
    };
    let state_dir = own.state_dir.clone().unwrap_or_else(|| state::default(&own.nodename));
    let node = Node {
        name: own.nodename.clone(),
        provider: name,
        kubeconfig: None,
        bootstrap_kubeconfig: own.bootstrap_kubeconfig.clone(),
        os: own.os,
        addresses: own.node_ip.clone(),
        kubelet: Kubelet {
            port: own.kubelet_port,
            certificate: own.kubelet_cert.clone(),
            key: own.kubelet_key.clone(),
            client_ca: own.kubelet_client_ca.clone(),
            rotate_server_certificates: own.rotate_server_certificates,
            anonymous_auth: own.anonymous_auth,
        },
        shutdown: own.shutdown,
        drain_timeout: own.drain_timeout.map(sources::time_text),
        stays_deleted: own.stays_deleted,
        labels: own.label.iter().cloned().collect::<BTreeMap<_, _>>(),
        taints: Some(taints.iter().map(taints::text).collect()),
        dns: None,
        config: serde_json::Map::new(),
    };
    // Of a node that joins it is written where it is not there.
    let joined = || Some(state_dir.join("kubeconfig")).filter(|_| own.bootstrap_kubeconfig.is_some());
    let kubeconfig = own.kubeconfig.clone().or_else(joined);
    Ok(Configuration {
        api_version: ApiVersion::default(),
        kind: Kind::default(),
        state_dir: Some(state_dir.clone()),
        log: Log { level: own.log_level, format: own.log_format },
        audit: Audit { uses: own.audit, file: own.audit_file.clone() },
        metrics: None,
        cluster: Cluster {
            kubeconfig,
            id: own.cluster_id.clone(),
            domain: own.cluster_domain.clone(),
            dns: own.cluster_dns.clone(),
        },
        providers: vec![provider],
        nodes: vec![node],
    })
}

fn amount((name, value): (&str, &str)) -> (String, super::provider::Amount) {
    (name.to_owned(), super::provider::Amount::Text(value.to_owned()))
}

/// The flag that says what stands at this place.
pub fn flag(place: &Place) -> Option<&'static str> {
    let text = place.to_string();
    let key = text.trim_start_matches("providers[0].").trim_start_matches("nodes[0].");
    let key = key.split('[').next().unwrap_or(key);
    let known = [
        ("component", "--component"),
        ("digest", "--component-digest"),
        ("signatures", "--component-key"),
        ("registry.poll", "--registry-poll"),
        ("registry.dockerConfigs", "--registry-config"),
        ("registry.user", "--registry-user"),
        ("registry.passwordFile", "--registry-password-file"),
        ("registry.cas", "--registry-ca"),
        ("limits", "--limit"),
        ("allow.http", "--allow-http"),
        ("allow.dial", "--allow-dial"),
        ("allow.addresses", "--allow-address"),
        ("allow.podCIDRs", "--allow-pod-cidr"),
        ("secrets", "--secret"),
        ("tls", "--tls"),
        ("configFile", "--provider-config"),
        ("config", "--config"),
        ("name", "--nodename"),
        ("bootstrapKubeconfig", "--bootstrap-kubeconfig"),
        ("drainTimeout", "--drain-timeout"),
        ("kubelet.rotateServerCertificates", "--rotate-server-certificates"),
        ("kubelet.certificate", "--kubelet-cert"),
        ("kubelet.key", "--kubelet-key"),
        ("kubelet.clientCA", "--kubelet-client-ca"),
        ("taints", "--taint"),
        ("cluster.kubeconfig", "--kubeconfig"),
        ("cluster.id", "--cluster-id"),
    ];
    known.into_iter().find(|(start, _)| key.starts_with(start)).map(|(_, flag)| flag)
}
