//! How the cluster is reached, and how it is told from others.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use components::Digest;
use kube::Config;
use kube::config::{KubeConfigOptions, Kubeconfig};

/// The configuration of a kubeconfig file, or of the place this runs in.
pub async fn config(kubeconfig: Option<&Path>) -> Result<Config> {
    match kubeconfig {
        Some(path) => {
            let read = Kubeconfig::read_from(path)
                .with_context(|| format!("the kubeconfig {} (--kubeconfig) can't be read", path.display()))?;
            Config::from_custom_kubeconfig(read, &KubeConfigOptions::default())
                .await
                .with_context(|| format!("the kubeconfig {} (--kubeconfig) can't be used", path.display()))
        }
        // It names its causes by itself.
        None => Config::infer().await.map_err(|error| anyhow!("no cluster, and no --kubeconfig: {error}")),
    }
}

/// Tells this cluster from others: the CA's digest, which every identity knows and which lasts as long as the CA.
pub fn id(config: &Config) -> String {
    let digest = match &config.root_cert {
        Some(certificates) => Digest::of(&certificates.concat()),
        None => Digest::of(config.cluster_url.to_string().as_bytes()),
    };
    digest.short()
}

/// The cluster's CA certificates, PEM.
pub fn ca(config: &Config) -> Option<String> {
    use base64::Engine;
    let encode = |der: &Vec<u8>| {
        let text = base64::engine::general_purpose::STANDARD.encode(der);
        let lines: Vec<String> =
            text.as_bytes().chunks(64).map(|line| String::from_utf8_lossy(line).into_owned()).collect();
        format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
    };
    config.root_cert.as_ref().map(|certificates| certificates.iter().map(encode).collect())
}
