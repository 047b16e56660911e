//! Sigstore's bundle v0.3 (<https://github.com/sigstore/protobuf-specs/blob/main/protos/sigstore_bundle.proto>), as
//! `cosign sign` attaches it to an artifact and `cosign sign-blob` writes it beside a file: either a signature of the bytes
//! themselves, or a DSSE envelope (<https://github.com/secure-systems-lab/dsse/blob/master/protocol.md>) around an in-toto
//! statement that names their digest. A statement about something else than a signature (an SBOM, a provenance) is none.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{PublicKey, SIZE, Seen, signer};
use crate::digest::Digest;
use crate::source::Problem;
use crate::source::oci::Artifacts;

/// The type of bundles, as artifacts and as layers.
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const IN_TOTO: &str = "application/vnd.in-toto+json";
/// What cosign's statement says that it is.
const SIGNED: &str = "https://sigstore.dev/cosign/sign/v1";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    media_type: String,
    message_signature: Option<MessageSignature>,
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
struct MessageSignature {
    signature: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    signatures: Vec<EnvelopeSignature>,
}

#[derive(Deserialize)]
struct EnvelopeSignature {
    sig: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Statement {
    predicate_type: String,
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    digest: std::collections::BTreeMap<String, String>,
}

/// Looks through the bundles that refer to an artifact for one by one of the keys.
pub async fn look(
    registry: &Artifacts,
    digest: &Digest,
    manifest: &[u8],
    keys: &[PublicKey],
    seen: &mut Seen,
) -> Result<Option<String>, Problem> {
    for referrer in registry.referrers(digest, BUNDLE).await? {
        if seen.is_enough() {
            break;
        }
        let body = registry.manifest_of(&referrer).await?;
        let referring = crate::source::oci::Artifact::parse(&body)?;
        let Some(layer) = referring.layers.iter().find(|layer| layer.media_type == BUNDLE) else { continue };
        if layer.size > SIZE {
            seen.note("is too large".to_owned());
            continue;
        }
        let bundle = registry.blob(layer, "the signature's bundle").await?;
        match verify(&bundle, manifest, digest, keys) {
            Ok(signer) => return Ok(Some(signer)),
            Err(reason) => seen.note(reason),
        }
    }
    Ok(None)
}

/// Who signed these bytes with this digest.
pub fn verify(bundle: &[u8], bytes: &[u8], digest: &Digest, keys: &[PublicKey]) -> Result<String, String> {
    let unreadable = || "can't be read: it is no bundle v0.3".to_owned();
    let bundle: Bundle = serde_json::from_slice(bundle).map_err(|_| unreadable())?;
    // Both ways to write it are in use.
    if !matches!(bundle.media_type.as_str(), BUNDLE | "application/vnd.dev.sigstore.bundle+json;version=0.3") {
        return Err(format!("is a bundle of another version, `{}`", bundle.media_type));
    }
    let decode = |text: &str| STANDARD.decode(text).map_err(|_| unreadable());
    if let Some(own) = bundle.message_signature {
        return signer(keys, bytes, &decode(&own.signature)?);
    }
    let envelope = bundle.dsse_envelope.ok_or_else(unreadable)?;
    let payload = decode(&envelope.payload)?;
    let message = authenticated(&envelope.payload_type, &payload);
    let mut found = Err("is missing in its envelope".to_owned());
    for own in envelope.signatures.iter().take(super::SIGNATURES) {
        found = signer(keys, &message, &decode(&own.sig)?);
        if found.is_ok() {
            break;
        }
    }
    let signer = found?;
    if envelope.payload_type != IN_TOTO {
        return Err(format!("is of another kind, `{}`", envelope.payload_type));
    }
    let statement: Statement =
        serde_json::from_slice(&payload).map_err(|_| "is of a statement that can't be read".to_owned())?;
    if statement.predicate_type != SIGNED {
        return Err(format!("is an attestation of another kind, `{}`", statement.predicate_type));
    }
    let is_subject = |subject: &Subject| subject.digest.get("sha256").is_some_and(|own| *own == digest.hex());
    if !statement.subject.iter().any(is_subject) {
        return Err("is of another artifact".to_owned());
    }
    Ok(signer)
}

/// What a DSSE signature is made of.
fn authenticated(kind: &str, payload: &[u8]) -> Vec<u8> {
    let mut message = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    message
}
