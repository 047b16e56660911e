//! Requests to registries, each within its bounds.
//!
//! HTTPS always, but for registries that plain HTTP is allowed for by name. A redirect is followed up to [`REDIRECTS`]
//! times, never from HTTPS to HTTP, and credentials don't go along to another host. An answer has to begin within
//! [`Registries::timeout`] (30 s), to go on at least that often, and to end within twenty times that; it is read up to a
//! size that is known before.
//!
//! This is done here rather than with `oci-client`, which reads manifests and tokens of any size, goes wherever a redirect
//! or a token's realm says, and panics at a token that is no header. It also is the only one to need `reqwest`.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, CONTENT_LENGTH, LOCATION, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use super::credentials::Credentials;
use crate::source::{Problem, Size};

/// Redirects that one request may lead through.
const REDIRECTS: usize = 5;
/// An answer ends within so many timeouts.
const WHOLE: u32 = 20;

type Pool = Client<HttpsConnector<HttpConnector>, Full<Bytes>>;

/// How registries are reached. Clones share connections.
#[derive(Clone)]
pub struct Registries {
    pool: Pool,
    pub(super) plain_http: Arc<BTreeSet<String>>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) timeout: Duration,
}

impl fmt::Debug for Registries {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registries").field("plain_http", &self.plain_http).finish_non_exhaustive()
    }
}

/// Settings that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum RegistriesError {
    /// A CA certificate can't be read.
    #[error("the CA certificates of registries can't be read: {0}")]
    Ca(String),
    /// TLS can't be set up.
    #[error("TLS can't be set up: {0}")]
    Tls(#[from] rustls::Error),
}

impl Registries {
    /// Trusts the system's CAs and those in `ca` (PEM), takes plain HTTP only to the registries (`HOST[:PORT]`) named.
    pub fn new(
        credentials: Credentials,
        plain_http: impl IntoIterator<Item = String>,
        ca: &[Vec<u8>],
    ) -> Result<Self, RegistriesError> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        for pem in ca {
            let mut count = 0;
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|error| RegistriesError::Ca(error.to_string()))?;
                roots.add(certificate).map_err(|error| RegistriesError::Ca(error.to_string()))?;
                count += 1;
            }
            if count == 0 {
                return Err(RegistriesError::Ca("there is no certificate in them".to_owned()));
            }
        }
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        let pool = Client::builder(TokioExecutor::new()).pool_idle_timeout(Duration::from_secs(10)).build(connector);
        Ok(Self {
            pool,
            plain_http: Arc::new(plain_http.into_iter().collect()),
            credentials: Arc::new(credentials),
            timeout: Duration::from_secs(30),
        })
    }

    /// How long an answer may make no progress.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Sends a request; follows redirects.
    pub(super) async fn send(&self, asked: Asked<'_>) -> Result<Response<Incoming>, Problem> {
        let mut uri = asked.uri.clone();
        let mut headers = asked.headers;
        headers.insert(USER_AGENT, HeaderValue::from_static(concat!("vk-runtime/", env!("CARGO_PKG_VERSION"))));
        for _ in 0..=REDIRECTS {
            self.check(&uri)?;
            let mut request = Request::new(Full::new(asked.body.clone()));
            *request.method_mut() = asked.method.clone();
            *request.uri_mut() = uri.clone();
            *request.headers_mut() = headers.clone();
            let response = self.within(asked.what, self.pool.request(request)).await?.map_err(|error| {
                Problem::Unreachable(format!("{} can't be reached: {}", host(&uri), causes(&error)))
            })?;
            let is_redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let reads = matches!(asked.method, Method::GET | Method::HEAD);
            let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect && reads) else {
                return Ok(response);
            };
            let next = resolve(&uri, location)?;
            if uri.scheme_str() == Some("https") && next.scheme_str() != Some("https") {
                return Err(Problem::Refused(format!("{} redirects from HTTPS to plain HTTP", host(&uri))));
            }
            if next.authority() != uri.authority() {
                headers.remove(AUTHORIZATION);
            }
            uri = next;
        }
        Err(Problem::Protocol(format!("{} redirects more than {REDIRECTS} times", host(asked.uri))))
    }

    /// Whether this may be sent to at all.
    pub(super) fn check(&self, uri: &Uri) -> Result<(), Problem> {
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        match uri.scheme_str() {
            Some("https") => Ok(()),
            Some("http") if self.plain_http.contains(authority) => Ok(()),
            _ => Err(Problem::Refused(format!("plain HTTP is not allowed for {authority}"))),
        }
    }

    /// Reads an answer of at most `limit` bytes; exactly `expected` of them, if that is known.
    pub(super) async fn read(
        &self,
        response: Response<Incoming>,
        what: &'static str,
        limit: u64,
        expected: Option<u64>,
    ) -> Result<Bytes, Problem> {
        let announced =
            response.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        let expected = expected.or(announced);
        if announced.is_some_and(|size| size > limit) {
            return Err(Problem::TooLarge { size: Size::Bytes(announced.unwrap_or_default()), limit });
        }
        let mut body = response.into_body();
        let mut bytes = BytesMut::new();
        let whole = self.timeout * WHOLE;
        let read = async {
            while let Some(frame) = self.within(what, body.frame()).await? {
                let Ok(data) = frame.map_err(|error| broken(&error, what, bytes.len() as u64, expected))?.into_data()
                else {
                    continue;
                };
                if (bytes.len() + data.len()) as u64 > limit {
                    return Err(Problem::TooLarge { size: Size::More, limit });
                }
                bytes.extend_from_slice(&data);
            }
            Ok(())
        };
        tokio::time::timeout(whole, read).await.map_err(|_| Problem::Hangs { what, seconds: whole.as_secs() })??;
        match expected {
            Some(expected) if (bytes.len() as u64) < expected => {
                Err(Problem::Truncated { what, got: bytes.len() as u64, expected })
            }
            _ => Ok(bytes.freeze()),
        }
    }

    async fn within<T>(&self, what: &'static str, future: impl Future<Output = T>) -> Result<T, Problem> {
        let hangs = |_| Problem::Hangs { what, seconds: self.timeout.as_secs() };
        tokio::time::timeout(self.timeout, future).await.map_err(hangs)
    }
}

/// A request.
pub(super) struct Asked<'a> {
    pub method: Method,
    pub uri: &'a Uri,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// What is waited for, for errors.
    pub what: &'static str,
}

/// Where a `Location` leads.
pub(super) fn resolve(from: &Uri, location: &HeaderValue) -> Result<Uri, Problem> {
    let wrong = || Problem::Protocol(format!("{} answers with a location that can't be read", host(from)));
    let text = location.to_str().map_err(|_| wrong())?;
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    if uri.authority().is_some() && uri.scheme().is_some() {
        return Ok(uri);
    }
    if !text.starts_with('/') {
        return Err(wrong());
    }
    let mut parts = from.clone().into_parts();
    parts.path_and_query = Some(text.parse().map_err(|_| wrong())?);
    Uri::from_parts(parts).map_err(|_| wrong())
}

/// A status that is none of those that are asked for.
pub(super) fn refused(uri: &Uri, status: StatusCode, what: &str) -> Problem {
    let text = format!("{} answers {status} to the request for {what}", host(uri));
    if status.is_server_error() || matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::REQUEST_TIMEOUT) {
        Problem::Unreachable(text)
    } else {
        Problem::Refused(text)
    }
}

pub(super) fn host(uri: &Uri) -> &str {
    uri.authority().map_or("the registry", http::uri::Authority::as_str)
}

fn broken(error: &hyper::Error, what: &'static str, got: u64, expected: Option<u64>) -> Problem {
    match expected {
        Some(expected) if got < expected => Problem::Truncated { what, got, expected },
        _ => Problem::Unreachable(format!("{what} broke off: {}", causes(error))),
    }
}

/// An error with its causes: those of connections say nothing alone.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(error) = next {
        text = format!("{text}: {error}");
        next = error.source();
    }
    text
}
