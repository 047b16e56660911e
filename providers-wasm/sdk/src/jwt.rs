//! JSON Web Tokens signed with a secret that stays in the host (RFC 7519, in the compact form of RFC 7515), and the assertions
//! by which a client identifies itself with them (RFC 7523: OAuth 2.0 of Azure, Google and others).
//!
//! ```no_run
//! # async fn demo() -> vk_provider_sdk::Result<()> {
//! use vk_provider_sdk::host::{clock, secrets};
//! use vk_provider_sdk::jwt::{Algorithm, Assertion};
//! let key = secrets::open(vec!["client-key".into()]).await?.remove(0);
//! let assertion = Assertion { issuer: "my-client", subject: "my-client", audience: "https://login.example.com/token", life: 300 };
//! let token = assertion.sign(&key, Algorithm::Rs256, serde_json::json!({ "kid": "1" }), "random id", clock::now())?;
//! # Ok(()) }
//! ```

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};

use crate::host::secrets::Secret;
use crate::{Error, Result, time};

/// `client_assertion_type` beside an assertion as `client_assertion`.
pub const CLIENT_ASSERTION_TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";
/// `grant_type` beside an assertion as `assertion`.
pub const GRANT_TYPE: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// HMAC-SHA256 with a shared key.
    Hs256,
    /// RSA with a private key of at least 2048 bits.
    Rs256,
    /// ECDSA with a private key on P-256.
    Es256,
}

impl Algorithm {
    /// As the header says it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
        }
    }

    /// As the host names it.
    const fn of_host(self) -> &'static str {
        match self {
            Self::Hs256 => "hmac-sha256",
            Self::Rs256 => "rs256",
            Self::Es256 => "es256",
        }
    }
}

/// What signs; the secret's mode is `sign`.
pub trait Key {
    /// The signature as JWS wants it.
    fn sign(&self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>>;
}

impl Key for Secret {
    fn sign(&self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>> {
        Self::sign(self, algorithm.of_host(), data)
    }
}

/// A signed token. `header` holds what stands there beside `alg` and `typ` (`kid`, `x5t`), `claims` what is said; both objects.
pub fn sign(key: &impl Key, algorithm: Algorithm, header: Value, claims: &Value) -> Result<String> {
    let Value::Object(more) = header else { return Err(Error::internal("jwt: a header is an object")) };
    if !claims.is_object() {
        return Err(Error::internal("jwt: claims are an object"));
    }
    let mut header = Map::new();
    header.insert("typ".to_owned(), json!("JWT"));
    header.extend(more);
    // Last: nothing may say otherwise.
    header.insert("alg".to_owned(), json!(algorithm.name()));
    let mut token = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&header)?);
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(serde_json::to_vec(claims)?, &mut token);
    let signature = key.sign(algorithm, token.as_bytes())?;
    token.push('.');
    URL_SAFE_NO_PAD.encode_string(signature, &mut token);
    Ok(token)
}

/// Who asks, for whom, whom.
#[derive(Clone, Copy, Debug)]
pub struct Assertion<'a> {
    /// The client.
    pub issuer: &'a str,
    /// The client again, or the user whom it acts for.
    pub subject: &'a str,
    /// The token service.
    pub audience: &'a str,
    /// Seconds that it is good.
    pub life: u64,
}

impl Assertion<'_> {
    /// A signed token of it, at this time (nanoseconds since 1970). `id` is never used again.
    pub fn sign(&self, key: &impl Key, algorithm: Algorithm, header: Value, id: &str, now: u64) -> Result<String> {
        let now = now / time::SECOND;
        let claims = json!({
            "iss": self.issuer,
            "sub": self.subject,
            "aud": self.audience,
            "jti": id,
            "iat": now,
            "nbf": now,
            "exp": now + self.life,
        });
        sign(key, algorithm, header, &claims)
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use sha2::Sha256;

    use super::*;

    struct Local(Vec<u8>);

    impl Key for Local {
        fn sign(&self, algorithm: Algorithm, data: &[u8]) -> Result<Vec<u8>> {
            assert_eq!(algorithm, Algorithm::Hs256);
            let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).unwrap();
            mac.update(data);
            Ok(mac.finalize().into_bytes().to_vec())
        }
    }

    fn decode(part: &str) -> Value {
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
    }

    #[test]
    fn an_assertion_says_who_asks_and_is_signed_over_all_of_it() {
        let key = Local(b"your-256-bit-secret".to_vec());
        let assertion = Assertion { issuer: "me", subject: "you", audience: "https://token.test", life: 300 };
        let header = json!({ "kid": "1", "alg": "none" });
        let token = assertion.sign(&key, Algorithm::Hs256, header, "id", 1_516_239_022 * time::SECOND + 5).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        assert_eq!(decode(parts[0]), json!({ "alg": "HS256", "typ": "JWT", "kid": "1" }));
        let claims = json!({
            "iss": "me", "sub": "you", "aud": "https://token.test", "jti": "id",
            "iat": 1_516_239_022, "nbf": 1_516_239_022, "exp": 1_516_239_322,
        });
        assert_eq!(decode(parts[1]), claims);
        let signed = key.sign(Algorithm::Hs256, format!("{}.{}", parts[0], parts[1]).as_bytes()).unwrap();
        assert_eq!(URL_SAFE_NO_PAD.decode(parts[2]).unwrap(), signed);
        assert_eq!(parts.len(), 3);
    }

    #[test]
    fn what_is_no_object_is_no_token() {
        let key = Local(Vec::new());
        assert!(sign(&key, Algorithm::Hs256, json!({}), &json!([])).is_err());
        assert!(sign(&key, Algorithm::Hs256, json!(1), &json!({})).is_err());
    }
}
