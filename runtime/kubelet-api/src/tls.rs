//! The certificate that a node serves with, the authority of its clients, and both changeable while it runs.
//!
//! A change counts for handshakes from then on; open connections keep the certificate they began with. TLS 1.2 and 1.3,
//! HTTP/2 and HTTP/1.1.

use std::fmt;
use std::net::IpAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{NoClientAuth, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};

use crate::auth::ClientCa;

/// How long a self-signed certificate is valid; the kubelet's own lasts as long.
pub const SELF_SIGNED_LIFETIME: Duration = Duration::from_hours(365 * 24);
/// How far clocks of clients may be behind ours.
const CLOCK_SKEW: Duration = Duration::from_hours(1);
/// The longest common name that X.509 allows.
const MAX_COMMON_NAME: usize = 64;

/// Why a certificate or key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum CredentialError {
    /// Not PEM.
    #[error("the {what} is not valid PEM: {error}")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        error: pem::Error,
    },
    /// No certificate in it.
    #[error("the {what} holds no certificate")]
    Empty {
        /// Which of them.
        what: &'static str,
    },
    /// PEM, but not what TLS can use; a key that belongs to another certificate.
    #[error("the {what} can't be used: {error}")]
    Tls {
        /// Which of them.
        what: &'static str,
        /// What is wrong.
        error: rustls::Error,
    },
    /// No self-signed certificate could be made.
    #[error("no self-signed certificate could be made for node {node:?}: {error}")]
    SelfSigned {
        /// For which node.
        node: String,
        /// What is wrong.
        error: rcgen::Error,
    },
}

/// A serving certificate with its chain and key.
#[derive(Clone)]
pub struct Identity {
    certified: Arc<CertifiedKey>,
}

impl Identity {
    /// Reads a chain, leaf first, and the leaf's key (PKCS #8, PKCS #1 or SEC1), all in PEM. The key is checked against
    /// the leaf.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, CredentialError> {
        let what = "serving certificate";
        let chain: Vec<_> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| CredentialError::Pem { what, error })?;
        if chain.is_empty() {
            return Err(CredentialError::Empty { what });
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| CredentialError::Pem { what: "key of the serving certificate", error })?;
        Self::new(chain, key)
    }

    /// Makes a key and a certificate signed by itself, for the node's name, these addresses and these further names,
    /// valid for [`SELF_SIGNED_LIFETIME`].
    pub fn self_signed(node: &str, addresses: &[IpAddr], names: &[String]) -> Result<Self, CredentialError> {
        let failed = |error| CredentialError::SelfSigned { node: node.to_owned(), error };
        let key = KeyPair::generate().map_err(failed)?;
        let mut dns_names: Vec<_> = std::iter::once(node).chain(names.iter().map(String::as_str)).collect();
        dns_names.dedup();
        let mut parameters = CertificateParams::default();
        for name in dns_names {
            parameters.subject_alt_names.push(SanType::DnsName(name.try_into().map_err(failed)?));
        }
        parameters.subject_alt_names.extend(addresses.iter().copied().map(SanType::IpAddress));
        parameters.distinguished_name = DistinguishedName::new();
        if node.len() <= MAX_COMMON_NAME {
            parameters.distinguished_name.push(DnType::CommonName, node);
        }
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let now = SystemTime::now();
        parameters.not_before = (now - CLOCK_SKEW).into();
        parameters.not_after = (now + SELF_SIGNED_LIFETIME).into();
        let certificate = parameters.self_signed(&key).map_err(failed)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Self::new(vec![certificate.der().clone()], key.into())
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>) -> Result<Self, CredentialError> {
        let certified = CertifiedKey::from_der(chain, key, &provider())
            .map_err(|error| CredentialError::Tls { what: "serving certificate with its key", error })?;
        Ok(Self { certified: Arc::new(certified) })
    }
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identity").field("certificates", &self.certified.cert.len()).finish_non_exhaustive()
    }
}

/// What a running server shows and checks, to be changed under it. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Credentials {
    current: Arc<RwLock<Current>>,
}

struct Current {
    identity: Identity,
    client_ca: Option<ClientCa>,
    tls: Arc<ServerConfig>,
}

impl Credentials {
    pub(crate) fn new(identity: Identity, client_ca: Option<ClientCa>) -> Result<Self, CredentialError> {
        let tls = configure(&identity, client_ca.as_ref())?;
        Ok(Self { current: Arc::new(RwLock::new(Current { identity, client_ca, tls })) })
    }

    /// Serves with another certificate from the next handshake on.
    pub fn set_identity(&self, identity: Identity) -> Result<(), CredentialError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.tls = configure(&identity, current.client_ca.as_ref())?;
        current.identity = identity;
        Ok(())
    }

    /// Checks client certificates against another authority, from the next request on. None: client certificates are
    /// not looked at.
    pub fn set_client_ca(&self, client_ca: Option<ClientCa>) -> Result<(), CredentialError> {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        current.tls = configure(&current.identity, client_ca.as_ref())?;
        current.client_ca = client_ca;
        Ok(())
    }

    pub(crate) fn client_ca(&self) -> Option<ClientCa> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).client_ca.clone()
    }

    pub(crate) fn tls(&self) -> Arc<ServerConfig> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }
}

fn provider() -> CryptoProvider {
    rustls::crypto::ring::default_provider()
}

/// A configuration of its own for each certificate: tickets of sessions that began with another one don't count.
fn configure(identity: &Identity, client_ca: Option<&ClientCa>) -> Result<Arc<ServerConfig>, CredentialError> {
    let provider = Arc::new(provider());
    let verifier = match client_ca {
        Some(ca) => ca.handshake_verifier(provider.clone()),
        None => Arc::new(NoClientAuth),
    };
    let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from((*identity.certified).clone()));
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| CredentialError::Tls { what: "TLS provider", error })?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(resolver);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_self_signed_certificate_is_made_for_the_longest_node_name() {
        let label = "a".repeat(62);
        let node = [label.as_str(); 4].join(".");
        Identity::self_signed(&node, &["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()], &[]).unwrap();
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let key = || KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key()).unwrap().pem();
        let error = Identity::from_pem(certificate.as_bytes(), key().serialize_pem().as_bytes()).unwrap_err();
        assert!(error.to_string().contains("serving certificate with its key"), "{error}");
    }

    #[test]
    fn what_is_no_pem_is_refused_by_name() {
        for (chain, key) in [("", ""), ("junk", "junk")] {
            let error = Identity::from_pem(chain.as_bytes(), key.as_bytes()).unwrap_err();
            assert!(error.to_string().contains("serving certificate"), "{error}");
        }
        let error = ClientCa::from_pem(b"junk").unwrap_err();
        assert_eq!(error.to_string(), "the client CA holds no certificate");
    }

    #[test]
    fn a_key_is_never_shown() {
        let key = KeyPair::generate().unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap().pem();
        let identity = Identity::from_pem(certificate.as_bytes(), key.serialize_pem().as_bytes()).unwrap();
        assert_eq!(format!("{identity:?}"), "Identity { certificates: 1, .. }");
    }
}
