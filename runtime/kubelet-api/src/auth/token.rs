//! Bearer tokens: the seam to TokenReview, and its cache.
//!
//! An answer counts for two minutes, a refusal too, as in the kubelet. Tokens are kept as keyed hashes only.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::HeaderMap;
use http::header::AUTHORIZATION;
use ring::hmac;
use ring::rand::SystemRandom;

use crate::auth::expiring::Expiring;
use crate::auth::{ReviewError, User, in_time};

/// How long an answer to a TokenReview counts; the kubelet's `authentication.webhook.cacheTTL`.
pub const TOKEN_TTL: Duration = Duration::from_mins(2);
/// Tokens remembered at once.
const CAPACITY: usize = 4096;

/// Tells whom a bearer token belongs to, by a TokenReview.
#[async_trait]
pub trait TokenReview: Send + Sync {
    /// The user; none: the token is not valid. Not asked again for [`TOKEN_TTL`] in either case.
    async fn review(&self, token: &str) -> Result<Option<User>, ReviewError>;
}

type Digest = [u8; 32];

pub(crate) struct Tokens {
    review: Arc<dyn TokenReview>,
    answers: Expiring<Digest, Option<Arc<User>>>,
    key: hmac::Key,
}

impl Tokens {
    pub(crate) fn new(review: Arc<dyn TokenReview>) -> Result<Self, ring::error::Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { review, answers: Expiring::new(CAPACITY), key })
    }

    pub(crate) async fn user(&self, token: &str) -> Result<Option<Arc<User>>, ReviewError> {
        let mut digest = Digest::default();
        digest.copy_from_slice(hmac::sign(&self.key, token.as_bytes()).as_ref());
        let ask = async || {
            let user = in_time(self.review.review(token)).await?;
            Ok((user.map(|user| Arc::new(user.authenticated())), TOKEN_TTL))
        };
        self.answers.get(&digest, ask).await
    }
}

/// The token of an `Authorization: Bearer` header. An empty one is none.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(AUTHORIZATION)?.to_str().ok()?.trim().split_once(' ')?;
    let token = token.split(' ').next().unwrap_or_default();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bearer_token_is_found_as_kubernetes_finds_it() {
        let token = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().unwrap());
            bearer(&headers).map(str::to_owned)
        };
        assert_eq!(token("Bearer abc").as_deref(), Some("abc"));
        assert_eq!(token("  bearer abc  ").as_deref(), Some("abc"));
        assert_eq!(token("Bearer abc def").as_deref(), Some("abc"));
        for none in ["Bearer", "Bearer ", "Bearer  abc", "Basic abc", "abc"] {
            assert_eq!(token(none), None, "{none}");
        }
    }
}
