//! Registries that are broken or mean harm: each is an error that says what it was, and takes neither memory nor time.

use std::io::Write;
use std::time::{Duration, Instant};

use components::Digest;
use components::source::oci::{Credentials, OciSource, Poll, Registries};
use components::source::{Policy, Problem, Source, SourceError};

use crate::fake_registry::{After, FakeRegistry, Reply};
use crate::{COMPONENT, oci, password, plain, source};

const WASM: &str = "application/wasm";

async fn fetch(registry: &FakeRegistry) -> Result<Vec<u8>, SourceError> {
    let fetched = source(&registry.host, "hyper:1", Policy::default()).fetch(None).await?;
    Ok(fetched.unwrap().bytes.to_vec())
}

/// What is said, without the address before it.
async fn said(registry: &FakeRegistry) -> String {
    let text = fetch(registry).await.unwrap_err().to_string();
    text.strip_prefix(&format!("oci://{}/hyper:1: ", registry.host)).unwrap().to_owned()
}

fn blob(bytes: &[u8]) -> String {
    format!("GET /v2/hyper/blobs/{}", Digest::of(bytes))
}

#[tokio::test]
async fn a_layer_with_another_digest_is_refused() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    registry.on(&blob(COMPONENT), Reply::ok(b"\0asm\x0d\0\x01\x01"));
    assert_eq!(
        said(&registry).await,
        format!(
            "the layer has the digest {}, and {} was asked for",
            Digest::of(b"\0asm\x0d\0\x01\x01"),
            Digest::of(COMPONENT)
        )
    );
}

#[tokio::test]
async fn a_manifest_with_another_digest_than_the_address_says_is_refused() {
    let registry = FakeRegistry::start().await;
    let asked = Digest::of(b"another manifest");
    registry.on(&format!("GET /v2/hyper/manifests/{asked}"), Reply::ok(r#"{"schemaVersion":2}"#));
    let error = source(&registry.host, &format!("hyper@{asked}"), Policy::default()).fetch(None).await.unwrap_err();
    assert!(matches!(error.problem, Problem::WrongDigest { what: "the manifest", .. }), "{error}");
}

#[tokio::test]
async fn a_component_that_is_not_the_pinned_one_is_refused() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    let pin = Digest::of(b"the pinned one");
    let policy = Policy { digest: Some(pin), ..Policy::default() };
    let error = source(&registry.host, "hyper:1", policy).fetch(None).await.unwrap_err().to_string();
    assert!(error.ends_with(&format!("its digest is {}, and {pin} is pinned", Digest::of(COMPONENT))), "{error}");
}

#[tokio::test]
async fn a_truncated_layer_is_refused_and_may_be_tried_again() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    // Once the connection breaks, once the registry knows no better itself.
    for length in [Some(COMPONENT.len()), Some(5), None] {
        registry.on(&blob(COMPONENT), Reply { length, ..Reply::ok(&COMPONENT[..5]) });
        let error = fetch(&registry).await.unwrap_err();
        assert!(error.is_passing());
        assert!(error.to_string().ends_with("the layer ends after 5 of 8 bytes"), "{length:?}: {error}");
    }
}

#[tokio::test]
async fn a_gzip_bomb_is_refused() {
    let registry = FakeRegistry::start().await;
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..200 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    let bomb = bomb.finish().unwrap();
    registry.artifact("application/wasm+gzip", &bomb, bomb.len());
    assert_eq!(
        said(&registry).await,
        "it has more bytes when decompressed, and no more than 67108864 bytes are taken: the limit component-size raises that"
    );
}

#[tokio::test]
async fn a_layer_of_200_mb_is_refused_before_it_is_downloaded() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, 200_000_000);
    assert_eq!(
        said(&registry).await,
        "it has 200000000 bytes, and no more than 67108864 bytes are taken: the limit component-size raises that"
    );
    assert_eq!(registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn a_layer_that_is_larger_than_its_manifest_says_is_refused_while_it_comes() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    for length in [Some(200_000_000), None] {
        registry.on(&blob(COMPONENT), Reply { length, after: After::Zeros, ..Reply::ok(COMPONENT) });
        assert_eq!(said(&registry).await, "the layer has more than the 8 bytes that the manifest says");
    }
}

#[tokio::test]
async fn a_manifest_without_end_is_refused() {
    let registry = FakeRegistry::start().await;
    registry.on("GET /v2/hyper/manifests/1", Reply { length: None, after: After::Zeros, ..Reply::ok("{") });
    assert!(matches!(fetch(&registry).await.unwrap_err().problem, Problem::TooLarge { limit: 4_194_304, .. }));
}

#[tokio::test]
async fn an_artifact_that_is_no_component_is_refused_with_what_it_is() {
    let registry = FakeRegistry::start().await;
    registry.artifact("application/vnd.oci.image.layer.v1.tar+gzip", COMPONENT, COMPONENT.len());
    assert_eq!(
        said(&registry).await,
        "it is no component: one layer of the type application/wasm is wanted, its layers are application/vnd.oci.image.layer.v1.tar+gzip"
    );
    registry.on("GET /v2/hyper/manifests/1", Reply::ok("<html>"));
    assert!(said(&registry).await.starts_with("its manifest can't be read: "));
}

#[tokio::test]
async fn a_registry_that_hangs_is_not_waited_for() {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    let registries = plain(&registry.host).timeout(Duration::from_secs(1));
    let source = OciSource::new(
        &oci(&format!("oci://{}/hyper:1", registry.host)),
        &registries,
        Policy::default(),
        Poll::default(),
    );
    let silent = Reply { length: Some(8), after: After::Silence, ..Reply::ok(&COMPONENT[..3]) };
    // In the middle of the layer, and of the manifest.
    for (route, what) in [(blob(COMPONENT), "the layer"), ("GET /v2/hyper/manifests/1".to_owned(), "the manifest")] {
        registry.on(&route, silent.clone());
        let began = Instant::now();
        let error = source.fetch(None).await.unwrap_err();
        assert!(error.is_passing());
        assert!(error.to_string().ends_with(&format!("{what} did not come within 1 s")), "{error}");
        assert!(began.elapsed() < Duration::from_secs(5));
    }
}

#[tokio::test]
async fn a_registry_that_is_not_there_or_busy_may_be_tried_again() {
    let registry = FakeRegistry::start().await;
    for status in [429, 500, 503] {
        registry.on("GET /v2/hyper/manifests/1", Reply::status(status));
        let error = fetch(&registry).await.unwrap_err();
        assert!(error.is_passing(), "{error}");
        assert!(error.to_string().contains(&format!("{} answers {status}", registry.host)), "{error}");
    }
    let host = registry.host.clone();
    drop(registry);
    let error = source(&host, "hyper:1", Policy::default()).fetch(None).await.unwrap_err();
    assert!(error.is_passing() && error.to_string().contains("can't be reached"), "{error}");
}

#[tokio::test]
async fn plain_http_is_for_registries_that_are_named() {
    let (registry, other) = (FakeRegistry::start().await, FakeRegistry::start().await);
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    other.on("GET /layer", Reply::ok(COMPONENT));
    // A redirect leads nowhere that the registry itself may not be.
    let elsewhere = format!("http://{}/layer", other.host);
    registry.on(&blob(COMPONENT), Reply::status(307).header("Location", &elsewhere));
    assert_eq!(said(&registry).await, format!("plain HTTP is not allowed for {}", other.host));
    assert_eq!(other.count("/layer"), 0);
    let both = Registries::new(Credentials::default(), [registry.host.clone(), other.host.clone()], &[]).unwrap();
    let source =
        OciSource::new(&oci(&format!("oci://{}/hyper:1", registry.host)), &both, Policy::default(), Poll::default());
    assert_eq!(source.fetch(None).await.unwrap().unwrap().bytes.as_ref(), COMPONENT);
}

#[tokio::test]
async fn a_redirect_in_a_circle_ends() {
    let registry = FakeRegistry::start().await;
    registry.on("GET /v2/hyper/manifests/1", Reply::status(302).header("Location", "/v2/hyper/manifests/1"));
    assert!(said(&registry).await.ends_with("redirects more than 5 times"));
}

/// A registry that asks for a token, with the credentials of `puller`.
async fn asking(challenge: &str) -> (FakeRegistry, OciSource) {
    let registry = FakeRegistry::start().await;
    registry.artifact(WASM, COMPONENT, COMPONENT.len());
    let challenge = challenge.replace("HOST", &registry.host);
    registry.on("GET /v2/hyper/manifests/1", Reply::status(401).header("WWW-Authenticate", &challenge));
    let credentials = Credentials { given: Some(password("puller", "pass:word")), ..Credentials::default() };
    let registries = Registries::new(credentials, [registry.host.clone()], &[]).unwrap();
    let source = OciSource::new(
        &oci(&format!("oci://{}/hyper:1", registry.host)),
        &registries,
        Policy::default(),
        Poll::default(),
    );
    (registry, source)
}

#[tokio::test]
async fn a_token_is_asked_for_with_the_credentials_and_sent() {
    let (registry, source) = asking(r#"Bearer realm="http://HOST/token",service="test""#).await;
    registry.on(
        "GET /token?service=test&scope=repository%3Ahyper%3Apull",
        Reply::ok(r#"{"token": "the-token", "expires_in": 300}"#),
    );
    // The fake answers by route alone, so it refuses the token too; what it was sent is what counts.
    let error = source.fetch(None).await.unwrap_err().to_string();
    assert!(error.contains("refuses the credentials of puller"), "{error}");
    assert!(!error.contains("the-token") && !error.contains("pass:word"), "{error}");
    // puller:pass:word
    assert!(
        registry
            .said("/token?service=test&scope=repository%3Ahyper%3Apull authorization: Basic cHVsbGVyOnBhc3M6d29yZA==")
    );
    assert!(registry.said("/v2/hyper/manifests/1 authorization: Bearer the-token"));
}

#[tokio::test]
async fn credentials_go_to_no_token_server_over_plain_http() {
    let other = FakeRegistry::start().await;
    let realm = format!(r#"Bearer realm="http://{}/token""#, other.host);
    let (_registry, source) = asking(&realm).await;
    let error = source.fetch(None).await.unwrap_err().to_string();
    assert!(error.ends_with(&format!("plain HTTP is not allowed for {}", other.host)), "{error}");
    assert_eq!(other.count("token"), 0);
}

#[tokio::test]
async fn a_token_that_is_none_is_an_error() {
    for answer in ["", "{}", r#"{"token": "a\nb"}"#, "[1]"] {
        let (registry, source) = asking(r#"Bearer realm="http://HOST/token""#).await;
        registry.on("GET /token?scope=repository%3Ahyper%3Apull", Reply::ok(answer));
        let error = source.fetch(None).await.unwrap_err().to_string();
        assert!(error.ends_with("answers with no token"), "{answer}: {error}");
    }
}
