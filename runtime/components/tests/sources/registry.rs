//! A real registry: what is pushed comes back, also what others push; credentials; TLS.

use std::time::Duration;

use bytes::Bytes;
use components::Digest;
use components::source::oci::{Credentials, OciSource, Poll, Registries, push};
use components::source::{Policy, Source};
use serde_json::json;

use crate::docker_registry::{DockerRegistry, fixture};
use crate::{COMPONENT, oci, password, plain, source};

async fn pushed(registry: &DockerRegistry, rest: &str, component: &'static [u8]) -> Digest {
    let address = oci(&format!("oci://{}/{rest}", registry.host));
    let names = (vec!["vk:provider/node@0.1.0".to_owned()], vec!["vk:host/log@0.1.0".to_owned()]);
    push(&address, &plain(&registry.host), Bytes::from_static(component), names).await.unwrap().manifest
}

#[tokio::test]
async fn what_is_pushed_is_fetched_and_only_once() {
    let registry = DockerRegistry::start();
    let manifest = pushed(&registry, "providers/hyper:1", COMPONENT).await;
    let source = source(&registry.host, "providers/hyper:1", Policy::default());
    let first = source.fetch(None).await.unwrap().unwrap();
    assert_eq!(first.bytes.as_ref(), COMPONENT);
    assert_eq!(first.digest, Digest::of(COMPONENT));
    assert_eq!(first.revision.to_string(), manifest.to_string());
    assert!(source.fetch(Some(&first.revision)).await.unwrap().is_none());
    // The same component makes the same manifest; another one moves the tag.
    assert_eq!(pushed(&registry, "providers/hyper:1", COMPONENT).await, manifest);
    pushed(&registry, "providers/hyper:1", b"\0asm another").await;
    let second = source.fetch(Some(&first.revision)).await.unwrap().unwrap();
    assert_eq!(second.bytes.as_ref(), b"\0asm another");
    // Who asked for the digest still gets that one.
    let pinned = crate::source(&registry.host, &format!("providers/hyper:1@{manifest}"), Policy::default());
    assert_eq!(pinned.fetch(None).await.unwrap().unwrap().bytes.as_ref(), COMPONENT);
    assert!(tokio::time::timeout(Duration::from_millis(50), pinned.changed()).await.is_err(), "it can't change");
}

#[tokio::test]
async fn what_is_pushed_has_the_layout_of_the_cncf() {
    let registry = DockerRegistry::start();
    pushed(&registry, "hyper:1", COMPONENT).await;
    let manifest = registry.manifest("hyper", "1");
    assert_eq!(manifest["mediaType"], "application/vnd.oci.image.manifest.v1+json");
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.wasm.config.v0+json");
    assert_eq!(manifest["layers"].as_array().unwrap().len(), 1);
    assert_eq!(manifest["layers"][0]["mediaType"], "application/wasm");
    assert_eq!(manifest["layers"][0]["size"], 8);
    let config = registry.blob("hyper", manifest["config"]["digest"].as_str().unwrap());
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    assert_eq!(
        config,
        json!({
            "architecture": "wasm",
            "os": "wasip2",
            "layerDigests": [Digest::of(COMPONENT).to_string()],
            "component": { "exports": ["vk:provider/node@0.1.0"], "imports": ["vk:host/log@0.1.0"] },
        })
    );
}

#[tokio::test]
async fn what_oras_pushes_is_fetched() {
    // See `fixtures/oras/README.md`.
    for name in ["plain", "config"] {
        let registry = DockerRegistry::start();
        for blob in [COMPONENT, b"{}", &fixture("oras/wasm-config.json")] {
            registry.put_blob("hyper", blob);
        }
        registry.put_manifest("hyper", "1", &fixture(&format!("oras/{name}.json")));
        let fetched = source(&registry.host, "hyper:1", Policy::default()).fetch(None).await.unwrap().unwrap();
        assert_eq!(fetched.bytes.as_ref(), COMPONENT, "{name}");
    }
}

#[tokio::test]
async fn an_index_is_followed_to_the_manifest_for_wasm() {
    let registry = DockerRegistry::start();
    pushed(&registry, "hyper:inner", COMPONENT).await;
    let manifest = registry.manifest("hyper", "inner");
    let digest = pushed(&registry, "hyper:inner", COMPONENT).await.to_string();
    let size = manifest.to_string().len();
    let entry = |architecture: &str| {
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": size,
            "platform": { "architecture": architecture, "os": "wasip2" } })
    };
    let index = |architectures: &[&str]| {
        json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": architectures.iter().map(|own| entry(own)).collect::<Vec<_>>(),
        })
    };
    registry.put_manifest("hyper", "1", index(&["amd64", "wasm"]).to_string().as_bytes());
    let fetched = source(&registry.host, "hyper:1", Policy::default()).fetch(None).await.unwrap().unwrap();
    assert_eq!(fetched.bytes.as_ref(), COMPONENT);
    registry.put_manifest("hyper", "2", index(&["amd64", "arm64"]).to_string().as_bytes());
    let error = source(&registry.host, "hyper:2", Policy::default()).fetch(None).await.unwrap_err().to_string();
    assert!(error.ends_with("it is an index of 2 manifests, none of them for wasm"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let registry = DockerRegistry::start();
    let error = source(&registry.host, "hyper:1", Policy::default()).fetch(None).await.unwrap_err();
    assert_eq!(error.to_string(), format!("oci://{}/hyper:1: there is no such artifact", registry.host));
}

#[tokio::test]
async fn with_tls_and_a_password_both_are_needed() {
    let registry = DockerRegistry::with(true, true);
    let address = oci(&format!("oci://{}/hyper:1", registry.host));
    let ca = [registry.certificate.clone()];
    let with = |given| Registries::new(Credentials { given, ..Credentials::default() }, [], &ca).unwrap();
    let good = with(Some(password("puller", "pass:word")));
    let names = || (Vec::new(), Vec::new());
    push(&address, &good, Bytes::from_static(COMPONENT), names()).await.unwrap();
    let source = |registries: &Registries| OciSource::new(&address, registries, Policy::default(), Poll::default());
    assert_eq!(source(&good).fetch(None).await.unwrap().unwrap().bytes.as_ref(), COMPONENT);

    // What a pull secret says is as good.
    use base64::Engine;
    let auth = base64::engine::general_purpose::STANDARD.encode("puller:pass:word");
    let secret = json!({ "auths": { &registry.host: { "auth": auth } } }).to_string().into_bytes();
    let credentials = Credentials { pull_secrets: vec![secret.into()], ..Credentials::default() };
    let pull_secret = Registries::new(credentials, [], &ca).unwrap();
    assert!(source(&pull_secret).fetch(None).await.unwrap().is_some());

    for (registries, says) in [
        (with(None), "it wants credentials, and there are none for it"),
        (with(Some(password("puller", "wrong"))), "refuses the credentials of puller"),
        (Registries::new(Credentials::default(), [], &[]).unwrap(), "invalid peer certificate"),
        (plain(&registry.host), "400 Bad Request"),
    ] {
        let error = source(&registries).fetch(None).await.unwrap_err().to_string();
        assert!(error.contains(says), "{error}");
        assert!(!error.contains("wrong"), "{error}");
    }
    let error = push(&address, &with(None), Bytes::from_static(COMPONENT), names()).await.unwrap_err().to_string();
    assert!(error.contains("there are none for it"), "{error}");
}
