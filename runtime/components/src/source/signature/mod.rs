//! Who must have signed a component, checked before it is downloaded, and long before it is compiled.
//!
//! Signatures are cosign's, made with a key. For an artifact in a registry both forms count: the tag `sha256-….sig` (a
//! payload that names the digest) and the bundle v0.3 as a referrer, told by the registry or by the tag `sha256-…` that
//! stands in for that. For a file or a ConfigMap it is a bundle beside it, made by `cosign sign-blob --bundle`, with the
//! name and `.sigstore.json` after it. One good signature by one of the keys is enough; at most [`SIGNATURES`] are looked
//! at. Of Ed25519 keys those of files and ConfigMaps count alone: for an artifact cosign makes Ed25519ph, which no library of
//! ours verifies. A signature says who made a digest, not when: there is no transparency log in this.
//!
//! Verified with rustls' webpki, which is in every build anyway. The crate `sigstore` would do it too, and more, with a
//! hundred crates besides: two HTTP clients, TUF, OpenID Connect, every curve in pure Rust.

mod bundle;
mod simple;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer};
use webpki::RawPublicKeyEntity;

use super::oci::Artifacts;
use super::{Problem, Revision};
use crate::digest::Digest;

/// Signatures of one artifact that are looked at.
const SIGNATURES: usize = 16;
/// Bytes of a payload or bundle.
const SIZE: u64 = 1 << 20;
/// What a bundle beside a component is called, after the component's own name.
pub(super) const BESIDE: &str = ".sigstore.json";

/// Who must have signed a component.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub enum Signatures {
    /// Nobody.
    #[default]
    NotRequired,
    /// The holder of one of these keys.
    Keys(Vec<PublicKey>),
    // Keyless signatures (an identity and its issuer, vouched for by Fulcio's certificate and Rekor's log) will be one more.
}

/// A public key, and what to call it.
#[derive(Clone, Debug)]
pub struct PublicKey {
    name: String,
    key: SubjectPublicKeyInfoDer<'static>,
}

/// A public key that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name} is no public key: PEM with `BEGIN PUBLIC KEY` is wanted, of ECDSA (P-256 or P-384), Ed25519 or RSA")]
pub struct KeyError {
    /// The key.
    pub name: String,
}

impl PublicKey {
    /// Reads a key, as `cosign public-key` writes it.
    pub fn from_pem(name: &str, pem: &[u8]) -> Result<Self, KeyError> {
        let fail = || KeyError { name: name.to_owned() };
        let key = SubjectPublicKeyInfoDer::from_pem_slice(pem).map_err(|_| fail())?;
        RawPublicKeyEntity::try_from(&key).map_err(|_| fail())?;
        let key = Self { name: name.to_owned(), key };
        if key.algorithms().next().is_none() { Err(fail()) } else { Ok(key) }
    }

    /// Those that go with this kind of key.
    fn algorithms(&self) -> impl Iterator<Item = &'static dyn SignatureVerificationAlgorithm> {
        use webpki::ring;
        let all = [
            ring::ECDSA_P256_SHA256,
            ring::ECDSA_P256_SHA384,
            ring::ECDSA_P384_SHA384,
            ring::ECDSA_P384_SHA256,
            ring::ED25519,
            ring::RSA_PKCS1_2048_8192_SHA256,
        ];
        all.into_iter().filter(|algorithm| {
            let id = algorithm.public_key_alg_id();
            self.key.as_ref().windows(id.as_ref().len()).take(16).any(|window| window == id.as_ref())
        })
    }

    /// Whether it is an Ed25519 key.
    fn is_ed25519(&self) -> bool {
        self.algorithms().any(|algorithm| algorithm.public_key_alg_id() == webpki::ring::ED25519.public_key_alg_id())
    }

    /// Whether this key made the signature of this message.
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(key) = RawPublicKeyEntity::try_from(&self.key) else { return false };
        self.algorithms().any(|algorithm| key.verify_signature(algorithm, message, signature).is_ok())
    }
}

impl Signatures {
    /// Whether anything has to be signed.
    pub const fn are_required(&self) -> bool {
        !matches!(self, Self::NotRequired)
    }

    /// Who signed an artifact, of which this is the manifest.
    pub(super) async fn check(
        &self,
        registry: &Artifacts,
        digest: &Digest,
        manifest: &[u8],
    ) -> Result<Option<String>, Problem> {
        let Self::Keys(keys) = self else { return Ok(None) };
        let mut seen = Seen::default();
        if let Some(signer) = simple::look(registry, digest, keys, &mut seen).await? {
            return Ok(Some(signer));
        }
        if let Some(signer) = bundle::look(registry, digest, manifest, keys, &mut seen).await? {
            return Ok(Some(signer));
        }
        // The likely reason, which nobody would guess.
        if let Some(reason) = seen.last.as_mut().filter(|_| keys.iter().any(PublicKey::is_ed25519)) {
            reason.push_str(
                " (what `cosign sign` makes with Ed25519 is Ed25519ph, which can't be verified: use an ECDSA key)",
            );
        }
        Err(seen.problem(keys))
    }

    /// Who signed these bytes, of which this is the bundle.
    pub(super) fn check_beside(
        &self,
        bytes: &[u8],
        bundle: Option<&[u8]>,
        name: &str,
    ) -> Result<Option<String>, Problem> {
        let Self::Keys(keys) = self else { return Ok(None) };
        let Some(bundle) = bundle else {
            return Err(Problem::Signature(format!(
                "it has to be signed, and there is no {name}: `cosign sign-blob --bundle` makes it"
            )));
        };
        let mut seen = Seen::default();
        match bundle::verify(bundle, bytes, &Digest::of(bytes), keys) {
            Ok(signer) => Ok(Some(signer)),
            Err(reason) => {
                seen.note(reason);
                Err(seen.problem(keys))
            }
        }
    }

    /// What a revision of something that is signed beside it depends on.
    pub(super) fn join(&self, revision: Revision, bundle: Option<&Revision>) -> Revision {
        match bundle {
            Some(bundle) if self.are_required() => Revision(format!("{revision} {bundle}")),
            _ => revision,
        }
    }
}

/// The name of the key that made the signature.
fn signer(keys: &[PublicKey], message: &[u8], signature: &[u8]) -> Result<String, String> {
    let found = keys.iter().find(|key| key.verifies(message, signature));
    found.map(|key| key.name.clone()).ok_or_else(|| "is by none of the keys".to_owned())
}

/// What was looked at in vain.
#[derive(Default)]
struct Seen {
    count: usize,
    last: Option<String>,
}

impl Seen {
    fn note(&mut self, reason: String) {
        self.count += 1;
        self.last = Some(reason);
    }

    const fn is_enough(&self) -> bool {
        self.count >= SIGNATURES
    }

    fn problem(&self, keys: &[PublicKey]) -> Problem {
        let names: Vec<_> = keys.iter().map(|key| key.name.as_str()).collect();
        let names = names.join(" or ");
        Problem::Signature(match &self.last {
            Some(reason) if self.count == 1 => format!("it has to be signed with {names}, and its signature {reason}"),
            Some(reason) => {
                format!(
                    "it has to be signed with {names}; of its {} signatures none is good, the last {reason}",
                    self.count
                )
            }
            None => format!("it has to be signed with {names}, and it has no signature"),
        })
    }
}
