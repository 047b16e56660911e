//! Signatures with private keys, verified with the public ones.

use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};
use ring::signature::{ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;

use super::*;

fn sign_with(guest: &mut Guest, secret: &Resource<Secret>, algorithm: &str) -> Result<Vec<u8>, Error> {
    guest.store.data_mut().sign(borrow(secret), algorithm.to_owned(), b"header.claims".to_vec()).unwrap()
}

async fn signed(key: &str, algorithm: &str) -> Result<Vec<u8>, Error> {
    let (_file, granted) = file(key.as_bytes(), "sign");
    let mut guest = Guest::new(granted);
    let secret = open(&mut guest, &["key"]).await.unwrap().remove(0);
    sign_with(&mut guest, &secret, algorithm)
}

/// An RSA key as `openssl` makes it, in both forms.
fn rsa() -> Option<[String; 2]> {
    let run = |arguments: &[&str], input: &str| {
        use std::io::Write;
        use std::process::{Command, Stdio};
        let mut command = Command::new("openssl");
        let mut child =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().ok()?;
        child.stdin.take()?.write_all(input.as_bytes()).ok()?;
        String::from_utf8(child.wait_with_output().ok()?.stdout).ok()
    };
    let pkcs8 = run(&["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"], "")?;
    let pkcs1 = run(&["rsa", "-traditional"], &pkcs8)?;
    Some([pkcs8, pkcs1])
}

#[tokio::test]
async fn rs256_is_what_a_verifier_of_json_web_tokens_takes() {
    let keys = rsa().expect("openssl makes the keys of this test");
    assert!(keys[0].contains("BEGIN PRIVATE KEY") && keys[1].contains("BEGIN RSA PRIVATE KEY"));
    for key in keys {
        let signature = signed(&key, "rs256").await.unwrap();
        let pair = match PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap() {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => unreachable!(),
        };
        let public = pair.unwrap().public().as_ref().to_vec();
        UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, public).verify(b"header.claims", &signature).unwrap();
        assert_eq!(signed(&key, "es256").await.unwrap_err().code, "invalid");
    }
}

#[tokio::test]
async fn es256_is_r_then_s() {
    let pair = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let signature = signed(&pair.serialize_pem(), "es256").await.unwrap();
    assert_eq!(signature.len(), 64);
    UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, pair.public_key_raw())
        .verify(b"header.claims", &signature)
        .unwrap();
}

#[tokio::test]
async fn a_key_that_does_not_fit_is_named_and_not_shown() {
    let other = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap().serialize_pem();
    for key in ["canary-4711", &other, "-----BEGIN PRIVATE KEY-----\ncanary4711\n-----END PRIVATE KEY-----"] {
        for algorithm in ["rs256", "es256"] {
            let error = signed(key, algorithm).await.unwrap_err();
            assert_eq!(error.code, "invalid");
            assert!(error.message.contains("`key`") && error.message.contains(algorithm), "{}", error.message);
            assert!(!error.message.contains("4711"), "{}", error.message);
        }
    }
}
