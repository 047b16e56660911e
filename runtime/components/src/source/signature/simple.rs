//! cosign's first form: a manifest with the tag `sha256-….sig`, of which each layer is a payload, with its signature in an
//! annotation (<https://github.com/sigstore/cosign/blob/main/specs/SIGNATURE_SPEC.md>).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::{PublicKey, SIZE, Seen, signer};
use crate::digest::Digest;
use crate::source::Problem;
use crate::source::oci::Artifacts;

const PAYLOAD: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
    r#type: String,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

/// Looks through the signatures of an artifact for one by one of the keys.
pub async fn look(
    registry: &Artifacts,
    digest: &Digest,
    keys: &[PublicKey],
    seen: &mut Seen,
) -> Result<Option<String>, Problem> {
    let Some(manifest) = registry.tagged(&format!("sha256-{}.sig", digest.hex())).await? else { return Ok(None) };
    for layer in manifest.layers.iter().filter(|layer| layer.media_type == PAYLOAD) {
        let Some(signature) = layer.annotations.get(SIGNATURE) else { continue };
        if seen.is_enough() {
            break;
        }
        if layer.size > SIZE {
            seen.note("is too large".to_owned());
            continue;
        }
        let payload = registry.blob(layer, "the signature's payload").await?;
        match verify(&payload, signature, digest, keys) {
            Ok(signer) => return Ok(Some(signer)),
            Err(reason) => seen.note(reason),
        }
    }
    Ok(None)
}

fn verify(payload: &[u8], signature: &str, digest: &Digest, keys: &[PublicKey]) -> Result<String, String> {
    let signature = STANDARD.decode(signature).map_err(|_| "can't be read".to_owned())?;
    let signer = signer(keys, payload, &signature)?;
    // Only now is it worth reading.
    let payload: Payload =
        serde_json::from_slice(payload).map_err(|_| "is of something that can't be read".to_owned())?;
    if payload.critical.r#type != "cosign container image signature" {
        return Err(format!("is of another kind, `{}`", payload.critical.r#type));
    }
    if payload.critical.image.digest != digest.to_string() {
        return Err(format!("is of another artifact, {}", payload.critical.image.digest));
    }
    Ok(signer)
}
