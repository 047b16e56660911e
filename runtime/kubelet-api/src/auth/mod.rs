//! Who makes a request, and whether they may.
//!
//! Authentication as the kubelet does it: the client certificate of the connection, then a bearer token; the first that
//! names somebody counts. Credentials that are no good are refused, they never turn into an anonymous request. Requests
//! without any are refused too, unless anonymous access was switched on; then the authorizer decides.

mod access;
mod certificate;
mod expiring;
mod token;
mod user;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use http::request::Parts;
use rustls::pki_types::{CertificateDer, UnixTime};

pub use access::{ALLOWED_TTL, AccessReview, AllowList, Attributes, Authorization, DENIED_TTL};
pub use certificate::ClientCa;
pub use token::{TOKEN_TTL, TokenReview};
pub use user::{ANONYMOUS, AUTHENTICATED, UNAUTHENTICATED, User};

use crate::respond::{self, Response};
use crate::tls::Credentials;

/// A review by the API server takes no longer.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a TokenReview or SubjectAccessReview gave no answer. Shown in the log, never to the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ReviewError(pub String);

async fn in_time<T>(review: impl Future<Output = Result<T, ReviewError>>) -> Result<T, ReviewError> {
    match tokio::time::timeout(REVIEW_TIMEOUT, review).await {
        Ok(answer) => answer,
        Err(_) => Err(ReviewError(format!("no answer from the API server within {} s", REVIEW_TIMEOUT.as_secs()))),
    }
}

/// Lets requests in, or answers them.
pub(crate) struct Gate {
    node: Arc<str>,
    credentials: Credentials,
    tokens: Option<token::Tokens>,
    anonymous: bool,
    access: access::Access,
}

impl Gate {
    pub(crate) fn new(
        node: Arc<str>,
        credentials: Credentials,
        tokens: Option<Arc<dyn TokenReview>>,
        anonymous: bool,
        authorization: Authorization,
    ) -> Result<Self, ring::error::Unspecified> {
        let tokens = tokens.map(token::Tokens::new).transpose()?;
        Ok(Self { node, credentials, tokens, anonymous, access: access::Access::new(authorization) })
    }

    /// The node's name.
    pub(crate) fn node(&self) -> &str {
        &self.node
    }

    /// Whoever makes the request, or the answer if nobody valid does.
    pub(crate) async fn authenticate(
        &self,
        request: &Parts,
        certificates: &[CertificateDer<'static>],
    ) -> Result<Arc<User>, Response> {
        let mut refused = false;
        if !certificates.is_empty()
            && let Some(ca) = self.credentials.client_ca()
        {
            match ca.user(certificates, UnixTime::now()) {
                Ok(Some(user)) => return Ok(Arc::new(user.authenticated())),
                Ok(None) => {}
                Err(error) => {
                    tracing::debug!(%error, "client certificate refused");
                    refused = true;
                }
            }
        }
        if let Some(tokens) = &self.tokens
            && let Some(token) = token::bearer(&request.headers)
        {
            match tokens.user(token).await {
                Ok(Some(user)) => return Ok(user),
                Ok(None) => tracing::debug!("bearer token refused"),
                Err(error) => tracing::warn!(%error, "bearer token could not be reviewed"),
            }
            refused = true;
        }
        if self.anonymous && !refused {
            return Ok(Arc::new(User::anonymous()));
        }
        Err(respond::text(StatusCode::UNAUTHORIZED, "Unauthorized"))
    }

    /// Whether the user may do this to a (decoded) path; if not, the answer.
    pub(crate) async fn authorize(&self, user: &Arc<User>, request: &Parts, path: &str) -> Result<(), Response> {
        let verb = access::verb(&request.method);
        let subresources = access::subresources(path);
        for &subresource in &subresources {
            let wants = Attributes { verb, name: self.node.clone(), subresource };
            match self.access.allows(user, &wants).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) => {
                    tracing::warn!(%error, user = user.name, verb, subresource, "authorization failed");
                    let name = &user.name;
                    return Err(respond::text(
                        StatusCode::INTERNAL_SERVER_ERROR,
                        format!(
                            "Authorization error (user={name}, verb={verb}, resource=nodes, subresource={subresource})"
                        ),
                    ));
                }
            }
        }
        Err(respond::text(
            StatusCode::FORBIDDEN,
            format!(
                "Forbidden (user={}, verb={verb}, resource=nodes, subresource(s)=[{}])\n",
                user.name,
                subresources.join(" ")
            ),
        ))
    }
}
