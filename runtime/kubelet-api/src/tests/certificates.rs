//! Authorities and certificates made for a test.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::{ClientCa, Identity};

const DAY: Duration = Duration::from_hours(24);

/// A certificate and its key.
pub struct Pair {
    pub certificate: CertificateDer<'static>,
    certificate_pem: String,
    key: KeyPair,
}

impl Pair {
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    pub fn identity(&self) -> Identity {
        Identity::from_pem(self.certificate_pem.as_bytes(), self.key.serialize_pem().as_bytes()).unwrap()
    }
}

/// A certificate authority.
pub struct Ca(CertifiedIssuer<'static, KeyPair>);

impl Ca {
    pub fn new(name: &str) -> Self {
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::CommonName, name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap())
    }

    pub fn client_ca(&self) -> ClientCa {
        ClientCa::from_pem(self.0.pem().as_bytes()).unwrap()
    }

    /// A client certificate for a user in a group.
    pub fn client(&self, user: &str, group: &str) -> Pair {
        self.issue(user, group, ExtendedKeyUsagePurpose::ClientAuth, SystemTime::now() + DAY)
    }

    /// One that was valid until yesterday.
    pub fn expired_client(&self, user: &str, group: &str) -> Pair {
        self.issue(user, group, ExtendedKeyUsagePurpose::ClientAuth, SystemTime::now() - DAY)
    }

    /// A certificate that is no client's.
    pub fn server(&self, name: &str) -> Pair {
        self.issue(name, "servers", ExtendedKeyUsagePurpose::ServerAuth, SystemTime::now() + DAY)
    }

    fn issue(&self, user: &str, group: &str, usage: ExtendedKeyUsagePurpose, until: SystemTime) -> Pair {
        let mut parameters = CertificateParams::new(vec!["node.test".to_owned()]).unwrap();
        parameters.distinguished_name = DistinguishedName::new();
        parameters.distinguished_name.push(DnType::OrganizationName, group);
        parameters.distinguished_name.push(DnType::CommonName, user);
        parameters.extended_key_usages = vec![usage];
        parameters.not_before = (until - 2 * DAY).into();
        parameters.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let certificate = parameters.signed_by(&key, &self.0).unwrap();
        Pair { certificate: certificate.der().clone(), certificate_pem: certificate.pem(), key }
    }
}
