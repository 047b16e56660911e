//! Files of volumes, and volumes that can't be had.

use std::collections::BTreeMap;

use provider::{File, Volume};

use super::*;

fn objects() -> Value {
    let mut binary = config("cfg", json!({ "a": "1", "b": "2" }));
    binary["binaryData"] = json!({ "raw": "AP8=" });
    json!({ "configmaps": [binary], "secrets": [config("sec", json!({ "k": "cw==" }))] })
}

/// Bytes and mode of a file, and whose it is.
type Seen = (Vec<u8>, u32, Option<u32>, Option<u32>);

async fn seen(files: &[File]) -> BTreeMap<String, Seen> {
    let mut out = BTreeMap::new();
    for file in files {
        // Who only looks at it asks for no token.
        let bytes = match file.origin.kind {
            provider::OriginKind::Token => Vec::new(),
            _ => file.content.read().await.unwrap().to_vec(),
        };
        out.insert(file.path.clone(), (bytes, file.mode, file.user, file.group));
    }
    out
}

async fn files(spec: Value) -> BTreeMap<String, Seen> {
    let sandbox = world(objects()).sandbox(spec).await.unwrap();
    let Some(Volume::Files { files, .. }) = sandbox.volumes.first() else { panic!("{:?}", sandbox.volumes) };
    seen(files).await
}

fn volume(source: Value) -> Value {
    let mut volume = source;
    volume["name"] = "v".into();
    json!({ "volumes": [volume] })
}

fn file(bytes: &[u8], mode: u32) -> Seen {
    (bytes.to_vec(), mode, None, None)
}

#[tokio::test]
async fn keys_become_files_and_items_map_them() {
    let all = files(volume(json!({ "configMap": { "name": "cfg" } }))).await;
    assert_eq!(all["a"], file(b"1", 0o644));
    assert_eq!(all["raw"], file(&[0, 255], 0o644));
    assert_eq!(all.len(), 3);
    let none = files(volume(json!({ "configMap": { "name": "cfg", "items": [], "defaultMode": 256 } }))).await;
    assert_eq!((none.len(), none["b"].1), (3, 0o400), "no item is no mapping");
    let mapped =
        files(volume(json!({ "configMap": { "name": "cfg", "defaultMode": 0o440, "optional": true, "items": [
        { "key": "a", "path": "x/y", "mode": 0o600 }, { "key": "raw", "path": "raw" }, { "key": "none", "path": "n" },
    ] } })))
        .await;
    assert_eq!(mapped, [("raw".into(), file(&[0, 255], 0o440)), ("x/y".into(), file(b"1", 0o600))].into());
}

#[tokio::test]
async fn what_is_missing_is_said_as_the_kubelet_says_it_and_is_empty_if_optional() {
    for (source, message) in [
        (json!({ "configMap": { "name": "none" } }), "configmap \"none\" not found"),
        (json!({ "secret": { "secretName": "none" } }), "secret \"none\" not found"),
        (
            json!({ "configMap": { "name": "cfg", "items": [{ "key": "z", "path": "z" }] } }),
            "configmap references non-existent config key: z",
        ),
        (
            json!({ "projected": { "sources": [{ "secret": { "name": "sec", "items": [{ "key": "z", "path": "z" }] } }] } }),
            "references non-existent secret key: z",
        ),
        (json!({ "configMap": { "name": "cfg", "items": [{ "key": "a", "path": "../a" }] } }), "invalid path \"../a\""),
    ] {
        let error = world(objects()).sandbox(volume(source)).await.unwrap_err();
        assert_eq!(error.message, format!("MountVolume.SetUp failed for volume \"v\" : {message}"));
        assert_eq!((error.reason, error.is_final), ("FailedMount", false));
    }
    for source in [
        json!({ "configMap": { "name": "none", "optional": true } }),
        json!({ "secret": { "secretName": "none", "optional": true } }),
        json!({ "projected": { "sources": [{ "secret": { "name": "none", "optional": true } }] } }),
    ] {
        assert_eq!(files(volume(source)).await, BTreeMap::new());
    }
}

#[tokio::test]
async fn sources_of_a_projected_volume_are_put_together_and_a_later_one_wins() {
    let all = files(volume(json!({ "projected": { "defaultMode": 0o444, "sources": [
        { "configMap": { "name": "cfg", "items": [{ "key": "a", "path": "same" }, { "key": "b", "path": "b", "mode": 0o400 }] } },
        { "secret": { "name": "sec", "items": [{ "key": "k", "path": "same" }] } },
        { "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "cpu", "mode": 0o400, "resourceFieldRef": { "containerName": "c", "resource": "limits.cpu", "divisor": "1m" } },
        ] } },
        { "serviceAccountToken": { "path": "token", "expirationSeconds": 600 } },
    ] } })))
    .await;
    assert_eq!(
        all,
        [
            ("b".into(), file(b"2", 0o400)),
            ("cpu".into(), file(b"4000", 0o400)),
            ("labels".into(), file(b"app=\"web\"", 0o444)),
            ("same".into(), file(b"s", 0o444)),
            ("token".into(), file(b"", 0o444)),
        ]
        .into()
    );
}

#[tokio::test]
async fn tokens_belong_to_the_user_of_all_containers_and_files_to_the_pods_group() {
    let volumes = json!([{ "name": "v", "projected": { "defaultMode": 0o400, "sources": [
        { "configMap": { "name": "cfg", "items": [{ "key": "a", "path": "a" }] } },
        { "serviceAccountToken": { "path": "token" } },
    ] } }]);
    let user =
        |user: u32| json!({ "name": format!("c{user}"), "image": "i:1", "securityContext": { "runAsUser": user } });
    let of = |containers: Value, security: Value| json!({ "volumes": volumes, "containers": containers, "securityContext": security });
    let with_group = files(of(json!([user(7)]), json!({ "fsGroup": 9 }))).await;
    assert_eq!(with_group["token"], (Vec::new(), 0o640, Some(7), Some(9)));
    assert_eq!(with_group["a"], (b"1".to_vec(), 0o440, None, Some(9)));
    let with_user = files(of(json!([user(7)]), json!({}))).await;
    assert_eq!(with_user["token"], (Vec::new(), 0o600, Some(7), None));
    assert_eq!(with_user["a"], file(b"1", 0o400));
    // They don't agree, or one does not say.
    let mut world = world(objects());
    world.node.features = vec!["multiple-containers".to_owned()];
    for containers in [json!([user(7), user(8)]), json!([user(7), { "name": "c", "image": "i:1" }])] {
        let sandbox = world.sandbox(of(containers, json!({}))).await.unwrap();
        let Some(Volume::Files { files, .. }) = sandbox.volumes.first() else { panic!() };
        assert_eq!(seen(files).await["token"], file(b"", 0o400));
    }
}

#[tokio::test]
async fn what_can_not_be_had_is_named_by_its_path_at_once() {
    let certificate = json!({ "projected": { "sources": [
        { "configMap": { "name": "cfg" } }, { "podCertificate": { "signerName": "example.com/s", "keyType": "ED25519" } },
    ] } });
    for (source, path) in [
        (json!({ "persistentVolumeClaim": { "claimName": "data" } }), "spec.volumes[1].persistentVolumeClaim"),
        (json!({ "hostPath": { "path": "/" } }), "spec.volumes[1].hostPath"),
        (json!({ "nfs": { "server": "s", "path": "/" } }), "spec.volumes[1].nfs"),
        (json!({ "ephemeral": {} }), "spec.volumes[1].ephemeral"),
        (certificate, "spec.volumes[1].projected.sources[1].podCertificate"),
    ] {
        let mut volume = source;
        volume["name"] = "v".into();
        let spec = json!({ "volumes": [{ "name": "scratch", "emptyDir": { "sizeLimit": "1Mi" } }, volume] });
        let world = world(objects());
        let error = world.sandbox(spec).await.unwrap_err();
        assert!(error.message.starts_with(path), "{}", error.message);
        assert_eq!((error.reason, error.is_final), ("CreateContainerConfigError", true));
    }
    let mut world = world(objects());
    world.node.volume_kinds = vec!["persistent-volume-claim".to_owned()];
    let claim = volume(json!({ "persistentVolumeClaim": { "claimName": "data" } }));
    let sandbox = world.sandbox(claim).await.unwrap();
    assert!(matches!(&sandbox.volumes[..], [Volume::Backend { kind, source, .. }]
        if kind == "persistent-volume-claim" && source == r#"{"claimName":"data"}"#));
}

#[tokio::test]
async fn each_volume_is_resolved_by_itself_once_the_pod_runs() {
    let world = world(objects());
    let (record, parsed) = pod(json!({ "volumes": [
        { "name": "gone", "configMap": { "name": "none" } }, { "name": "work", "emptyDir": {} },
        { "name": "there", "configMap": { "name": "cfg" } },
    ] }));
    let all = world.resolver.files_of(&record.key, &parsed, &world.node).await;
    let seen: Vec<(&str, bool)> = all.iter().map(|(name, files)| (name.as_str(), files.is_ok())).collect();
    assert_eq!(seen, [("gone", false), ("there", true)]);
}
