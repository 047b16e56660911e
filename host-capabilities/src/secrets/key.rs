//! What is signed with a secret.
//!
//! | algorithm      | the secret                                                | signature                          |
//! |----------------|-----------------------------------------------------------|------------------------------------|
//! | `hmac-sha256`  | the key's bytes                                           | 32 bytes                           |
//! | `rs256`        | an RSA key of at least 2048 bits, PEM, PKCS#8 or PKCS#1   | RFC 7518, section 3.3              |
//! | `es256`        | a P-256 key, PEM, PKCS#8                                  | RFC 7518, section 3.4: R then S    |
//!
//! Cost: a key in PEM is read for each signature, some 0.1 ms; signing with RSA takes about 1 ms more.

use provider::Code;
use ring::hmac;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use zeroize::Zeroizing;

use crate::error::{Error, error};

/// An algorithm of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Algorithm {
    HmacSha256,
    Rs256,
    Es256,
}

impl Algorithm {
    pub(super) fn parse(text: &str) -> Result<Self, Error> {
        match text {
            "hmac-sha256" => Ok(Self::HmacSha256),
            "rs256" => Ok(Self::Rs256),
            "es256" => Ok(Self::Es256),
            other => Err(error(
                Code::Unsupported,
                format!("secrets: the algorithm `{}` is none of hmac-sha256, rs256, es256", other.escape_debug()),
            )),
        }
    }
}

/// `prefix` before the key, and the HMAC of the data with both.
pub(super) fn hmac_sha256(prefix: &[u8], key: &[u8], data: &[u8]) -> hmac::Tag {
    let mut whole = Zeroizing::new(Vec::with_capacity(prefix.len() + key.len()));
    whole.extend_from_slice(prefix);
    whole.extend_from_slice(key);
    hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &whole), data)
}

/// A signature over `data`. `name` is the secret's.
pub(super) fn sign(algorithm: Algorithm, name: &str, key: &[u8], data: &[u8]) -> Result<Vec<u8>, Error> {
    let invalid = |reason: &str| error(Code::Invalid, format!("the secret `{name}`: {reason}"));
    let random = SystemRandom::new();
    match algorithm {
        Algorithm::HmacSha256 => Ok(hmac_sha256(&[], key, data).as_ref().to_vec()),
        Algorithm::Rs256 => {
            let pair = match pem(key).ok_or_else(|| invalid("rs256 needs a private key in PEM"))? {
                PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
                PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
                _ => return Err(invalid("rs256 needs an RSA key, PKCS#8 or PKCS#1")),
            };
            let pair = pair.map_err(|rejected| invalid(&format!("rs256 can't use its key: {rejected}")))?;
            let mut signature = vec![0; pair.public().modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &random, data, &mut signature).map_err(|_| invalid("rs256 failed"))?;
            Ok(signature)
        }
        Algorithm::Es256 => {
            let Some(PrivateKeyDer::Pkcs8(der)) = pem(key) else {
                return Err(invalid(
                    "es256 needs a private key in PEM, PKCS#8 (`openssl pkcs8 -topk8 -nocrypt` makes it)",
                ));
            };
            let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, der.secret_pkcs8_der(), &random);
            let pair = pair.map_err(|rejected| invalid(&format!("es256 can't use its key: {rejected}")))?;
            Ok(pair.sign(&random, data).map_err(|_| invalid("es256 failed"))?.as_ref().to_vec())
        }
    }
}

fn pem(text: &[u8]) -> Option<PrivateKeyDer<'static>> {
    PrivateKeyDer::from_pem_slice(text).ok()
}
