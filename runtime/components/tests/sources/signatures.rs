//! cosign's own signatures (see `fixtures/cosign/README.md`), in a real registry and beside files.

use components::Digest;
use components::source::{FileSource, Policy, PublicKey, Signatures, Source};

use crate::docker_registry::{DockerRegistry, fixture};
use crate::fake_registry::{FakeRegistry, Reply};
use crate::{COMPONENT, source};

const KEYS: &[&str] = &["p256", "p384", "rsa"];

fn signed_with(keys: &[&str]) -> Policy {
    let keys = keys.iter().map(|key| PublicKey::from_pem(key, &fixture(&format!("cosign/{key}.pub"))).unwrap());
    Policy { signatures: Signatures::Keys(keys.collect()), ..Policy::default() }
}

fn artifact() -> (Vec<u8>, Digest) {
    let manifest = fixture("cosign/artifact/manifest.json");
    let digest = Digest::of(&manifest);
    (manifest, digest)
}

/// The artifact, and the signature of this fixture, in a repository.
fn put(registry: &DockerRegistry, repository: &str, signature: Option<&str>) {
    let (manifest, digest) = artifact();
    registry.put_blob(repository, COMPONENT);
    registry.put_blob(repository, &fixture("cosign/artifact/config.json"));
    registry.put_manifest(repository, "1", &manifest);
    let Some(signature) = signature else { return };
    let read = |name: &str| fixture(&format!("cosign/{signature}/{name}.json"));
    registry.put_blob(repository, &read("config"));
    let own = read("manifest");
    if signature.starts_with("simple") {
        registry.put_blob(repository, &read("payload"));
        registry.put_manifest(repository, &format!("sha256-{}.sig", digest.hex()), &own);
    } else {
        registry.put_blob(repository, &read("bundle"));
        registry.put_manifest(repository, &Digest::of(&own).to_string(), &own);
        registry.put_manifest(repository, &format!("sha256-{}", digest.hex()), &read("index"));
    }
}

#[tokio::test]
async fn both_forms_of_signatures_are_verified_with_each_kind_of_key() {
    let registry = DockerRegistry::start();
    for form in ["simple", "bundle"] {
        for key in KEYS {
            let repository = format!("{form}/{key}");
            put(&registry, &repository, Some(&format!("{form}-{key}")));
            let source = source(&registry.host, &format!("{repository}:1"), signed_with(&["other", key]));
            let fetched = source.fetch(None).await.unwrap_or_else(|error| panic!("{form} {key}: {error}")).unwrap();
            assert_eq!(fetched.bytes.as_ref(), COMPONENT);
            assert_eq!(fetched.signer.as_deref(), Some(*key));
        }
    }
}

#[tokio::test]
async fn an_artifact_that_is_signed_with_ed25519_is_refused_with_the_reason() {
    let registry = DockerRegistry::start();
    for form in ["simple-ed25519", "bundle-ed25519"] {
        put(&registry, form, Some(form));
        let source = source(&registry.host, &format!("{form}:1"), signed_with(&["ed25519"]));
        let error = source.fetch(None).await.unwrap_err().to_string();
        assert!(
            error.contains("its signature is by none of the keys (what `cosign sign` makes with Ed25519"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_signature_with_another_key_or_none_is_refused_before_the_download() {
    let registry = DockerRegistry::start();
    for (signature, says) in [
        (None, "it has to be signed with other, and it has no signature"),
        (Some("simple-p256"), "it has to be signed with other, and its signature is by none of the keys"),
        (Some("bundle-p256"), "it has to be signed with other, and its signature is by none of the keys"),
    ] {
        let repository = signature.unwrap_or("none");
        put(&registry, repository, signature);
        let source = source(&registry.host, &format!("{repository}:1"), signed_with(&["other"]));
        let error = source.fetch(None).await.unwrap_err().to_string();
        assert_eq!(error, format!("oci://{}/{repository}:1: {says}", registry.host));
    }
}

#[tokio::test]
async fn a_signed_statement_about_something_else_is_no_signature() {
    let registry = DockerRegistry::start();
    put(&registry, "hyper", Some("attestation-p256"));
    let error = source(&registry.host, "hyper:1", signed_with(&["p256"])).fetch(None).await.unwrap_err().to_string();
    assert!(error.ends_with("is an attestation of another kind, `https://spdx.dev/Document`"), "{error}");
}

#[tokio::test]
async fn the_signature_of_another_artifact_is_refused() {
    let registry = DockerRegistry::start();
    for form in ["simple-p256", "bundle-p256"] {
        put(&registry, form, Some(form));
        // Another manifest of the same repository, to which the signatures are moved.
        let (manifest, _) = artifact();
        let other = String::from_utf8(manifest).unwrap().replace("\"schemaVersion\":2,", "\"schemaVersion\":2, ");
        let digest = Digest::of(other.as_bytes());
        registry.put_manifest(form, "2", other.as_bytes());
        let (tag, name) = if form.starts_with("simple") {
            (format!("sha256-{}.sig", digest.hex()), "manifest")
        } else {
            (format!("sha256-{}", digest.hex()), "index")
        };
        registry.put_manifest(form, &tag, &fixture(&format!("cosign/{form}/{name}.json")));
        let source = source(&registry.host, &format!("{form}:2"), signed_with(&["p256"]));
        let error = source.fetch(None).await.unwrap_err().to_string();
        assert!(error.contains("its signature is of another artifact"), "{error}");
    }
}

#[tokio::test]
async fn a_registry_that_knows_referrers_is_asked_for_them() {
    let registry = FakeRegistry::start().await;
    let (manifest, digest) = artifact();
    let bundle = |name: &str| fixture(&format!("cosign/bundle-p256/{name}.json"));
    registry.on("GET /v2/hyper/manifests/1", Reply::ok(manifest));
    registry.on(&format!("GET /v2/hyper/blobs/{}", Digest::of(COMPONENT)), Reply::ok(COMPONENT));
    let kind = "application%2Fvnd.dev.sigstore.bundle.v0.3%2Bjson";
    registry.on(&format!("GET /v2/hyper/referrers/{digest}?artifactType={kind}"), Reply::ok(bundle("index")));
    let own = bundle("manifest");
    registry.on(&format!("GET /v2/hyper/manifests/{}", Digest::of(&own)), Reply::ok(own));
    registry.on(&format!("GET /v2/hyper/blobs/{}", Digest::of(&bundle("bundle"))), Reply::ok(bundle("bundle")));
    let fetch = async |key: &str| source(&registry.host, "hyper:1", signed_with(&[key])).fetch(None).await;
    assert!(fetch("other").await.unwrap_err().to_string().ends_with("is by none of the keys"));
    assert_eq!(registry.count(&Digest::of(COMPONENT).to_string()), 0, "not downloaded");
    assert_eq!(fetch("p256").await.unwrap().unwrap().signer.as_deref(), Some("p256"));
    assert_eq!(registry.count(&format!("manifests/sha256-{} ", digest.hex())), 0, "no fallback");
}

#[tokio::test]
async fn a_file_is_signed_by_the_bundle_beside_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    let beside = folder.path().join("hyper.wasm.sigstore.json");
    std::fs::write(&path, COMPONENT).unwrap();
    for key in ["p256", "ed25519"] {
        let source = FileSource::new(&path, signed_with(&[key])).unwrap();
        let error = source.fetch(None).await.unwrap_err().to_string();
        assert!(error.contains("and there is no ") && error.contains("cosign sign-blob"), "{error}");
        std::fs::write(&beside, fixture(&format!("cosign/blob-{key}.sigstore.json"))).unwrap();
        source.changed().await;
        let fetched = source.fetch(None).await.unwrap().unwrap();
        assert_eq!(fetched.signer.as_deref(), Some(key));
        assert!(source.fetch(Some(&fetched.revision)).await.unwrap().is_none());
        std::fs::write(&path, b"\0asm another").unwrap();
        let error = source.fetch(Some(&fetched.revision)).await.unwrap_err().to_string();
        assert!(error.ends_with("its signature is by none of the keys"), "{error}");
        std::fs::write(&path, COMPONENT).unwrap();
        std::fs::remove_file(&beside).unwrap();
    }
}

#[test]
fn what_is_no_public_key_is_refused_by_name() {
    for pem in [&b"no PEM"[..], b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        let error = PublicKey::from_pem("key.pub", pem).unwrap_err().to_string();
        assert!(error.starts_with("key.pub is no public key"), "{error}");
    }
}
