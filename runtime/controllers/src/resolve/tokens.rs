//! ServiceAccount tokens, bound to their pods (TokenRequest).
//!
//! A token is asked for when a provider first reads it, and kept until 80 % of its life have passed; then the next reading
//! asks for another. Cost: one request a token; a provider that never looks costs none.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::authentication::v1::TokenRequest;
use provider::{Code, Content, Error, PodKey, Result};
use serde_json::json;
use zeroize::Zeroizing;

use crate::api::Api;

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Wanted {
    pub pod: PodKey,
    pub service_account: String,
    /// Empty: the API server's own.
    pub audience: String,
    pub lifetime: Duration,
}

struct Held {
    token: Arc<Zeroizing<String>>,
    issued: Instant,
    refresh_at: Instant,
    number: u64,
}

/// The tokens of this node's pods.
pub(crate) struct Tokens {
    api: Api,
    held: Mutex<HashMap<Wanted, Held>>,
}

impl Tokens {
    /// None yet.
    pub fn new(api: Api) -> Self {
        Self { api, held: Mutex::default() }
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).retain(|wanted, _| &*wanted.pod.uid != uid);
    }

    fn fresh(&self, wanted: &Wanted) -> Option<(Arc<Zeroizing<String>>, u64)> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let own = held.get(wanted).filter(|own| Instant::now() < own.refresh_at)?;
        Some((own.token.clone(), own.number))
    }

    async fn token(&self, wanted: &Wanted) -> std::result::Result<Arc<Zeroizing<String>>, crate::ApiError> {
        if let Some((token, _)) = self.fresh(wanted) {
            return Ok(token);
        }
        let Wanted { pod, service_account, audience, lifetime } = wanted;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{service_account}/token", pod.namespace);
        let audiences: Vec<&str> =
            Some(audience.as_str()).filter(|audience| !audience.is_empty()).into_iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime.as_secs(),
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": &*pod.name, "uid": &*pod.uid },
            },
        });
        let issued = Instant::now();
        let answer: TokenRequest = self.api.create(&path, &request).await?;
        let status = answer.status.unwrap_or_default();
        let left = |at: jiff::Timestamp| Duration::try_from(at.duration_since(jiff::Timestamp::now())).ok();
        let life = status.expiration_timestamp.and_then(|at| left(at.0)).unwrap_or(*lifetime);
        let Some(token) = status.token.filter(|token| !token.is_empty()) else {
            return Err(crate::ApiError::Unreachable("the answer holds no token".to_owned()));
        };
        let token = Arc::new(Zeroizing::new(token));
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let number = held.get(wanted).map_or(0, |old| old.number) + 1;
        let refresh_at = issued + life.mul_f64(0.8);
        held.insert(wanted.clone(), Held { token: token.clone(), issued, refresh_at, number });
        Ok(token)
    }
}

/// The content of a token's file.
pub(super) struct TokenFile {
    pub tokens: Arc<Tokens>,
    pub wanted: Wanted,
}

#[async_trait]
impl Content for TokenFile {
    fn size(&self) -> Option<u64> {
        None
    }

    /// Changes when the token that is held wants to be replaced.
    fn version(&self) -> String {
        let held = self.tokens.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get(&self.wanted) {
            Some(own) if Instant::now() < own.refresh_at => format!("token-{}", own.number),
            Some(own) => format!("token-{}", own.number + 1),
            None => "token-1".to_owned(),
        }
    }

    async fn read(&self) -> Result<Bytes> {
        match self.tokens.token(&self.wanted).await {
            Ok(token) => Ok(Bytes::copy_from_slice(token.as_bytes())),
            Err(error) => Err(Error::new(
                Code::Unavailable,
                format!("a token of the service account {:?} can't be had: {error}", self.wanted.service_account),
            )),
        }
    }
}

impl std::fmt::Debug for Held {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Held").field("issued", &self.issued).finish_non_exhaustive()
    }
}
