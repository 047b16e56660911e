//! A certificate with its chain and key, in PEM.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_cert::Certificate;
use x509_cert::der::Decode;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::{DirectoryString, GeneralName};
use zeroize::Zeroizing;

use super::{IdentityError, ServingNames};

const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate and its key. The key is wiped from memory when this is dropped.
#[derive(Clone)]
pub struct Pair {
    chain: String,
    key: Zeroizing<String>,
    user: String,
    names: BTreeSet<String>,
    addresses: BTreeSet<IpAddr>,
    not_before: SystemTime,
    not_after: SystemTime,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pair").field("user", &self.user).field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl Pair {
    /// Reads a chain, leaf first, and the leaf's key; checked to belong together.
    pub fn new(chain: &str, key: Zeroizing<String>) -> Result<Self, IdentityError> {
        let unusable = |what: &str, reason: String| IdentityError::Unusable { what: what.to_owned(), reason };
        let certificate = |reason: String| unusable("certificate", reason);
        let mut all = CertificateDer::pem_slice_iter(chain.as_bytes());
        let leaf = all.next().ok_or_else(|| certificate("there is none".to_owned()))?;
        let leaf = leaf.map_err(|error| certificate(error.to_string()))?;
        let leaf = Certificate::from_der(&leaf).map_err(|error| certificate(error.to_string()))?;
        let own = KeyPair::from_pem(&key).map_err(|error| unusable("key of a certificate", error.to_string()))?;
        let tbs = leaf.tbs_certificate();
        if tbs.subject_public_key_info().subject_public_key.raw_bytes() != own.public_key_raw() {
            return Err(certificate("it belongs to another key".to_owned()));
        }
        let common_name = tbs.subject().iter().find(|attribute| attribute.oid == COMMON_NAME);
        let common_name = common_name.and_then(|attribute| DirectoryString::try_from(&attribute.value).ok());
        let mut names = BTreeSet::new();
        let mut addresses = BTreeSet::new();
        let alternatives = tbs.get_extension::<SubjectAltName>().map_err(|error| certificate(error.to_string()))?;
        for name in alternatives.into_iter().flat_map(|(_, all)| all.0) {
            match name {
                GeneralName::DnsName(name) => {
                    names.insert(name.to_string());
                }
                GeneralName::IpAddress(bytes) => {
                    let v4 = <[u8; 4]>::try_from(bytes.as_bytes()).map(IpAddr::from);
                    let v6 = <[u8; 16]>::try_from(bytes.as_bytes()).map(IpAddr::from);
                    addresses.extend(v4.or(v6).ok());
                }
                _ => {}
            }
        }
        Ok(Self {
            chain: chain.to_owned(),
            user: common_name.map(|name| name.value().into_owned()).unwrap_or_default(),
            names,
            addresses,
            not_before: tbs.validity().not_before.to_system_time(),
            not_after: tbs.validity().not_after.to_system_time(),
            key,
        })
    }

    /// The chain, leaf first.
    pub fn chain(&self) -> &str {
        &self.chain
    }

    /// The leaf's key.
    pub fn key(&self) -> &str {
        &self.key
    }

    /// Until when it is good.
    pub const fn not_after(&self) -> SystemTime {
        self.not_after
    }

    pub(super) fn user(&self) -> &str {
        &self.user
    }

    /// Whether it is good at a time.
    pub(super) fn is_valid(&self, now: SystemTime) -> bool {
        self.not_before <= now && now < self.not_after
    }

    /// Whether it names all of these.
    pub(super) fn covers(&self, own: &ServingNames) -> bool {
        own.names.iter().all(|name| self.names.contains(name))
            && own.addresses.iter().all(|address| self.addresses.contains(address))
    }

    /// When to renew it: after this share of its life. `chance` is between 0 and 1.
    pub(super) fn renewal(&self, chance: f64) -> SystemTime {
        let life = self.not_after.duration_since(self.not_before).unwrap_or(Duration::ZERO);
        self.not_before + life.mul_f64(0.2_f64.mul_add(chance.clamp(0.0, 1.0), 0.7))
    }
}
