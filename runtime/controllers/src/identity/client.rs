//! How a node comes to its client certificate the first time.

use std::path::Path;
use std::time::{Duration, SystemTime};

use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::keeper::backed_off;
use super::{Folder, IdentityError, Pair, Purpose, request, user};
use crate::api::{Api, connect};

/// A node with its client certificate.
#[derive(Clone, Debug)]
pub struct Joined {
    /// How it reaches the API server, as itself.
    pub config: Config,
    pub(super) node: String,
    pub(super) folder: Folder,
    pub(super) pair: Pair,
    /// How it was reached before, for when the certificate has expired.
    pub(super) bootstrap: Config,
}

/// Makes a node of this name of the credentials of a bootstrap kubeconfig: with the certificate that is in the folder, or
/// with a new one. Goes on until somebody approves it; an API server that is away, or refuses, is asked again.
///
/// # Errors
/// What only somebody at the machine can mend: files, and names that no certificate can hold.
pub async fn join(node: &str, folder: Folder, bootstrap: Config) -> Result<Joined, IdentityError> {
    let pair = match stored(node, &folder) {
        Some(pair) => pair,
        None => ask(node, &folder, &bootstrap).await?,
    };
    let config = with_pair(&bootstrap, &pair);
    Ok(Joined { config, node: node.to_owned(), folder, pair, bootstrap })
}

/// The certificate that is there, if it is this node's and good. One that can't be read is replaced.
fn stored(node: &str, folder: &Folder) -> Option<Pair> {
    let pair = folder.pair(&Purpose::Client).unwrap_or_else(|error| {
        tracing::warn!(node, %error, "another client certificate is asked for");
        None
    })?;
    if pair.user() != user(node) {
        tracing::warn!(node, own = pair.user(), "the client certificate on disk is another node's");
        return None;
    }
    if !pair.is_valid(SystemTime::now()) {
        tracing::warn!(node, "the client certificate on disk has expired");
        return None;
    }
    Some(pair)
}

async fn ask(node: &str, folder: &Folder, bootstrap: &Config) -> Result<Pair, IdentityError> {
    let api = Api::new(connect(bootstrap)?);
    let mut failures = 0;
    loop {
        match request::certificate(&api, folder, node, &Purpose::Client, |_| {}).await {
            Ok(pair) => return Ok(pair),
            Err(error @ (IdentityError::Api { .. } | IdentityError::Refused { .. })) => {
                let pause = backed_off(failures, Duration::from_secs(1), Duration::from_secs(60));
                tracing::warn!(node, %error, ?pause, "the node can't join yet");
                failures += 1;
                tokio::time::sleep(pause).await;
            }
            Err(error) => return Err(error),
        }
    }
}

/// The same cluster, as the node itself.
pub(super) fn with_pair(base: &Config, pair: &Pair) -> Config {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;
    let auth = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(pair.chain())),
        client_key_data: Some(STANDARD.encode(pair.key()).into()),
        ..AuthInfo::default()
    };
    let mut own = base.clone();
    own.auth_info = auth;
    own
}

impl Joined {
    /// Writes a kubeconfig that names the certificate by its file, for the next start without bootstrap credentials.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn write_kubeconfig(&self, path: &Path) -> Result<(), IdentityError> {
        use base64::Engine;
        let file = self.folder.client_file().display().to_string();
        let pem = self.config.root_cert.as_ref().map(|all| {
            let encode = |der: &Vec<u8>| {
                let text = base64::engine::general_purpose::STANDARD.encode(der);
                format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
            };
            base64::engine::general_purpose::STANDARD.encode(all.iter().map(encode).collect::<String>())
        });
        let kubeconfig = Kubeconfig {
            api_version: Some("v1".to_owned()),
            kind: Some("Config".to_owned()),
            current_context: Some("default".to_owned()),
            clusters: vec![NamedCluster {
                name: "default".to_owned(),
                cluster: Some(Cluster {
                    server: Some(self.config.cluster_url.to_string()),
                    certificate_authority_data: pem,
                    tls_server_name: self.config.tls_server_name.clone(),
                    ..Cluster::default()
                }),
                ..NamedCluster::default()
            }],
            auth_infos: vec![NamedAuthInfo {
                name: "default".to_owned(),
                auth_info: Some(AuthInfo {
                    client_certificate: Some(file.clone()),
                    client_key: Some(file),
                    ..AuthInfo::default()
                }),
                ..NamedAuthInfo::default()
            }],
            contexts: vec![NamedContext {
                name: "default".to_owned(),
                context: Some(Context {
                    cluster: "default".to_owned(),
                    user: Some("default".to_owned()),
                    ..Context::default()
                }),
                ..NamedContext::default()
            }],
            ..Kubeconfig::default()
        };
        // JSON is YAML.
        let text = serde_json::to_vec_pretty(&kubeconfig).map_err(|error| IdentityError::Unusable {
            what: format!("kubeconfig {}", path.display()),
            reason: error.to_string(),
        })?;
        self.folder.replace(path, &text)
    }
}
