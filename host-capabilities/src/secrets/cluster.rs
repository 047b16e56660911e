//! Secrets of the cluster: keys of Kubernetes Secrets, and tokens of ServiceAccounts.
//!
//! The cluster is behind a trait: this crate knows no client of Kubernetes. Reading a key of a Secret costs no request while
//! a watch on it stands, which whoever implements the trait keeps.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use zeroize::Zeroizing;

use super::renewed::{Issued, Issuer};
use super::source::{MAX_VALUE, SecretSource, SourceError};

/// An hour, as `kubectl create token` asks for.
const TOKEN_LIFE: Duration = Duration::from_secs(3600);

/// What secrets need of a cluster.
#[async_trait]
pub trait Cluster: Send + Sync {
    /// One key of a Secret, as it stands now. [`SourceError::Missing`]: there is no such Secret, or it has no such key.
    async fn secret_key(&self, namespace: &str, name: &str, key: &str) -> Result<Zeroizing<Vec<u8>>, SourceError>;

    /// A new token of a ServiceAccount (namespace and name; none: the host's own), bound to an audience (TokenRequest).
    async fn token(
        &self,
        service_account: Option<(&str, &str)>,
        audience: &str,
        life: Duration,
    ) -> Result<Token, SourceError>;
}

/// A token of a ServiceAccount.
pub struct Token {
    /// The JSON Web Token.
    pub value: Zeroizing<Vec<u8>>,
    /// How long it is good from now on.
    pub life: Duration,
}

fn none(what: &str) -> SourceError {
    SourceError::Unavailable(format!("{what}: this host is in no cluster"))
}

/// A key of a Kubernetes Secret. Its bytes are taken as they are.
pub(super) struct KubernetesKey {
    pub(super) cluster: Option<Arc<dyn Cluster>>,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) key: String,
}

#[async_trait]
impl SecretSource for KubernetesKey {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let Self { cluster, namespace, name, key } = self;
        let cluster = cluster.as_ref().ok_or_else(|| none(&format!("the Secret {namespace}/{name}")))?;
        let value = cluster.secret_key(namespace, name, key).await?;
        if value.len() > MAX_VALUE {
            let message =
                format!("the key {key} of the Secret {namespace}/{name} is over the limit of {MAX_VALUE} bytes");
            return Err(SourceError::Unavailable(message));
        }
        Ok(value)
    }
}

/// A token of a ServiceAccount for an audience.
pub(super) struct ServiceAccountToken {
    pub(super) cluster: Option<Arc<dyn Cluster>>,
    pub(super) audience: String,
    pub(super) service_account: Option<(String, String)>,
    pub(super) life: Option<Duration>,
}

#[async_trait]
impl Issuer for ServiceAccountToken {
    async fn issue(&self) -> Result<Issued, SourceError> {
        let own = || none(&format!("a token for {}", self.audience));
        let cluster = self.cluster.as_ref().ok_or_else(own)?;
        let account = self.service_account.as_ref().map(|(namespace, name)| (namespace.as_str(), name.as_str()));
        let token = cluster.token(account, &self.audience, self.life.unwrap_or(TOKEN_LIFE)).await?;
        Ok(Issued { value: token.value, life: Some(token.life) })
    }
}
