//! Client certificates: the authority that they are checked against, and the user that they name.
//!
//! A certificate is checked with each request and not in the handshake, as the kubelet does it: one that is foreign or
//! has expired is answered with 401 in words, does no harm to a bearer token beside it, and a changed authority counts
//! for connections that are open. The handshake only proves that the client holds the certificate's key.

use std::fmt;
use std::sync::Arc;

use ring::digest;
use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, RootCertStore, SignatureScheme};
use x509_cert::Certificate;
use x509_cert::der::asn1::{Any, Ia5StringRef, ObjectIdentifier};
use x509_cert::der::{Decode, Encode};
use x509_cert::ext::pkix::name::DirectoryString;

use crate::auth::user::{CREDENTIAL_ID, User};
use crate::tls::CredentialError;

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");
const ORGANIZATION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.10");
/// Kubernetes' own attribute for a user's UID.
const USER_UID: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57683.2");

/// The authority that client certificates must be signed by.
#[derive(Clone)]
pub struct ClientCa {
    verifier: Arc<dyn ClientCertVerifier>,
}

impl ClientCa {
    /// Reads one or several certificates in PEM.
    pub fn from_pem(pem: &[u8]) -> Result<Self, CredentialError> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| CredentialError::Pem { what: "client CA", error })?;
            roots.add(certificate).map_err(|error| CredentialError::Tls { what: "client CA", error })?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|_| CredentialError::Empty { what: "client CA" })?;
        Ok(Self { verifier })
    }

    /// The user that a chain of certificates names, leaf first. None: it names none.
    pub(crate) fn user(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<Option<User>, CertificateError> {
        let Some((leaf, intermediates)) = chain.split_first() else { return Ok(None) };
        self.verifier.verify_client_cert(leaf, intermediates, now).map_err(CertificateError::Untrusted)?;
        user_of(leaf)
    }

    pub(crate) fn handshake_verifier(&self, provider: Arc<CryptoProvider>) -> Arc<dyn ClientCertVerifier> {
        Arc::new(ProofOfPossession { hints: self.verifier.root_hint_subjects().to_vec(), provider })
    }
}

impl fmt::Debug for ClientCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientCa").field("subjects", &self.verifier.root_hint_subjects().len()).finish()
    }
}

/// Why a client certificate names nobody.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    #[error("the client certificate can't be trusted: {0}")]
    Untrusted(rustls::Error),
    #[error("the client certificate can't be read: {0}")]
    Unreadable(#[from] x509_cert::der::Error),
    #[error("the client certificate must name one UID, and it can't be empty")]
    Uid,
}

/// Common name as user, organizations as groups.
fn user_of(leaf: &CertificateDer<'_>) -> Result<Option<User>, CertificateError> {
    let certificate = Certificate::from_der(leaf)?;
    let mut user = User::default();
    let mut uids = Vec::new();
    for attribute in certificate.tbs_certificate().subject().iter() {
        if ![COMMON_NAME, ORGANIZATION, USER_UID].contains(&attribute.oid) {
            continue;
        }
        let Some(value) = string_of(&attribute.value) else { continue };
        if attribute.oid == COMMON_NAME {
            user.name = value;
        } else if attribute.oid == ORGANIZATION {
            user.groups.push(value);
        } else {
            uids.push(value);
        }
    }
    if user.name.is_empty() {
        return Ok(None);
    }
    match uids.as_slice() {
        [] => {}
        [uid] if !uid.is_empty() => uid.clone_into(&mut user.uid),
        _ => return Err(CertificateError::Uid),
    }
    let fingerprint = digest::digest(&digest::SHA256, leaf);
    let hex: String = fingerprint.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    user.extra.insert(CREDENTIAL_ID.into(), vec![format!("X509SHA256={hex}")]);
    Ok(Some(user))
}

fn string_of(value: &Any) -> Option<String> {
    if let Ok(directory) = DirectoryString::try_from(value) {
        return Some(directory.value().into_owned());
    }
    let der = value.to_der().ok()?;
    Ia5StringRef::from_der(&der).ok().map(|text| text.to_string())
}

/// Accepts whatever certificate a client holds the key of, or none.
#[derive(Debug)]
struct ProofOfPossession {
    hints: Vec<DistinguishedName>,
    provider: Arc<CryptoProvider>,
}

impl ClientCertVerifier for ProofOfPossession {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, DistinguishedName, DnType, DnValue, KeyPair};

    use super::*;

    fn certificate_of(subject: &[(DnType, DnValue)]) -> CertificateDer<'static> {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        for (kind, value) in subject {
            parameters.distinguished_name.push(kind.clone(), value.clone());
        }
        parameters.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    #[test]
    fn common_name_is_the_user_and_organizations_are_groups() {
        let certificate = certificate_of(&[
            (DnType::OrganizationName, DnValue::Utf8String("system:masters".into())),
            (DnType::CommonName, DnValue::PrintableString("kube-apiserver".try_into().unwrap())),
        ]);
        let user = user_of(&certificate).unwrap().unwrap();
        assert_eq!(user.name, "kube-apiserver");
        assert_eq!(user.groups, ["system:masters"]);
        assert_eq!(user.uid, "");
        let credential = &user.extra[CREDENTIAL_ID][0];
        assert_eq!(credential.len(), "X509SHA256=".len() + 64, "{credential}");
    }

    #[test]
    fn names_in_other_string_types_are_read() {
        for value in [DnValue::Ia5String("a@b".try_into().unwrap()), DnValue::BmpString("a@b".try_into().unwrap())] {
            let user = user_of(&certificate_of(&[(DnType::CommonName, value)])).unwrap().unwrap();
            assert_eq!(user.name, "a@b");
        }
    }

    #[test]
    fn a_certificate_without_common_name_names_nobody() {
        let certificate = certificate_of(&[(DnType::OrganizationName, DnValue::Utf8String("system:masters".into()))]);
        assert_eq!(user_of(&certificate).unwrap(), None);
    }

    #[test]
    fn the_uid_attribute_is_read_and_must_not_be_empty() {
        let uid = DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]);
        let with_uid = |value: &str| {
            certificate_of(&[
                (DnType::CommonName, DnValue::Utf8String("jane".into())),
                (uid.clone(), DnValue::Utf8String(value.into())),
            ])
        };
        assert_eq!(user_of(&with_uid("42")).unwrap().unwrap().uid, "42");
        assert!(matches!(user_of(&with_uid("")), Err(CertificateError::Uid)));
    }
}
