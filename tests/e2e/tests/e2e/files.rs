//! Files of a container that runs follow what they are made of.

use std::time::{Duration, Instant};

use anyhow::Result;
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::shared::{IMAGE, cluster, create, engine, event, events, patient, pod, pods, ready, status_of};

/// Within which a change is to be seen in a container.
const SOON: u64 = 60;

async fn change<K>(api: &Api<K>, name: &str, change: Value) -> Result<()>
where
    K: Clone + k8s_openapi::serde::de::DeserializeOwned + std::fmt::Debug,
{
    api.patch(name, &PatchParams::default(), &Patch::Merge(change)).await?;
    Ok(())
}

async fn make(client: &Client, namespace: &str) -> Result<()> {
    let config: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": "config" }, "data": { "key": "config-1" },
    }))?;
    Api::<ConfigMap>::namespaced(client.clone(), namespace).create(&PostParams::default(), &config).await?;
    let secret: Secret =
        serde_json::from_value(json!({ "metadata": { "name": "secret" }, "stringData": { "key": "secret-1" } }))?;
    Api::<Secret>::namespaced(client.clone(), namespace).create(&PostParams::default(), &secret).await?;
    Ok(())
}

/// A pod that shows its files every half second.
fn showing(node: &str) -> Value {
    let script = "trap 'exit 0' TERM; while true; do \
                  echo $(cat /config/key) $(cat /config/more 2>/dev/null) $(cat /secret/sub/key) $(cat /down/team) \
                  $(cat /down/labels) \
                  env=$E part=$(cat /part/key) token=$(cut -c1-3 /token/t); sleep 0.5; done";
    let container = json!({
        "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "env": [{ "name": "E", "valueFrom": { "configMapKeyRef": { "name": "config", "key": "key" } } }],
        "volumeMounts": [
            { "name": "config", "mountPath": "/config" }, { "name": "all", "mountPath": "/secret" },
            { "name": "down", "mountPath": "/down" }, { "name": "token", "mountPath": "/token" },
            { "name": "config", "mountPath": "/part/key", "subPath": "key" },
        ],
    });
    let mut wanted = pod("files", node, &[container]);
    wanted["metadata"]["annotations"] = json!({ "team": "team-1" });
    wanted["metadata"]["labels"] = json!({ "label": "1" });
    wanted["spec"]["volumes"] = json!([
        { "name": "config", "configMap": { "name": "config" } },
        { "name": "all", "projected": { "sources": [
            { "secret": { "name": "secret", "items": [{ "key": "key", "path": "sub/key" }] } },
        ] } },
        { "name": "down", "downwardAPI": { "items": [
            { "path": "team", "fieldRef": { "fieldPath": "metadata.annotations['team']" } },
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
        ] } },
        { "name": "token", "projected": { "sources": [
            { "serviceAccountToken": { "path": "t", "expirationSeconds": 600 } },
        ] } },
    ]);
    wanted
}

/// Waits until the container shows this; returns how long it took.
async fn shows(namespace: &str, line: &str) -> Result<Duration> {
    let began = Instant::now();
    eventually(&format!("{line:?}"), SOON, async || {
        let last = cluster().kubectl(&["-n", namespace, "logs", "files", "--tail", "1"])?;
        anyhow::ensure!(last.trim() == line, "it shows {last:?}");
        Ok(Some(()))
    })
    .await?;
    Ok(began.elapsed())
}

#[tokio::test]
async fn files_of_a_container_follow_config_maps_secrets_and_annotations_and_nothing_else_does() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "files").await?;
    let mut node = NodeBuilder::hyper(cluster(), "files-node", engine())?.start(&client).await?;
    make(&client, &namespace).await?;
    let pods = pods(&client, &namespace);
    create(&pods, showing("files-node")).await?;
    ready(&pods, "files").await?;
    let rest = "env=config-1 part=config-1 token=eyJ";
    shows(&namespace, &format!("config-1 secret-1 team-1 label=\"1\" {rest}")).await?;

    let configs = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    change(&configs, "config", json!({ "data": { "key": "config-2", "more": "more-2" } })).await?;
    let took = shows(&namespace, &format!("config-2 more-2 secret-1 team-1 label=\"1\" {rest}")).await?;
    println!("a ConfigMap's change was seen after {took:?}");
    change(&secrets, "secret", json!({ "stringData": { "key": "secret-2" } })).await?;
    let took = shows(&namespace, &format!("config-2 more-2 secret-2 team-1 label=\"1\" {rest}")).await?;
    println!("a Secret's change was seen after {took:?}");
    let labels = json!({ "metadata": { "annotations": { "team": "team-2" }, "labels": { "label": "2" } } });
    change(&pods, "files", labels).await?;
    let took = shows(&namespace, &format!("config-2 more-2 secret-2 team-2 label=\"2\" {rest}")).await?;
    println!("an annotation's change was seen after {took:?}");

    // What changes while nobody looks is found at the next start.
    node.kill()?;
    change(&configs, "config", json!({ "data": { "key": "config-3", "more": null } })).await?;
    node.restart()?;
    node.ready(&client).await?;
    let took = shows(&namespace, &format!("config-3 secret-2 team-2 label=\"2\" {rest}")).await?;
    println!("what changed meanwhile was seen {took:?} after the start");

    let now: Pod = pods.get("files").await?;
    assert_eq!(status_of(&now, "c").map(|status| status.restart_count), Some(0));
    let said = events(&client, &namespace, "files").await?;
    assert!(said.iter().all(|(reason, _)| reason != "FailedMount" && reason != "FilesNotUpdated"), "{said:?}");
    Ok(())
}

/// A certificate that signs itself.
fn certificate() -> Result<String> {
    let key = rcgen::KeyPair::generate()?;
    let mut wanted = rcgen::CertificateParams::new(Vec::new())?;
    wanted.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    Ok(wanted.self_signed(&key)?.pem())
}

#[tokio::test]
async fn trust_bundles_of_a_signer_are_one_file_that_follows_them() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "trust").await?;
    let _node = NodeBuilder::hyper(cluster(), "trust-node", engine())?.start(&client).await?;
    let (one, two) = (certificate()?, certificate()?);
    let apply = |name: &str, text: &str| {
        let bundle = json!({
            "apiVersion": "certificates.k8s.io/v1beta1", "kind": "ClusterTrustBundle",
            "metadata": { "name": format!("example.com:roots:{name}"), "labels": { "of": namespace } },
            "spec": { "signerName": "example.com/roots", "trustBundle": text },
        });
        let file = cluster().folder.join(format!("bundle-{name}.json"));
        std::fs::write(&file, bundle.to_string())?;
        cluster().kubectl(&["apply", "-f", &file.display().to_string()])
    };
    apply("one", &one)?;
    let script = "trap 'exit 0' TERM; while true; do echo $(grep -c BEGIN /trust/ca.pem) $(wc -c < /trust/ca.pem) \
                  $(wc -c < /trust/none.pem); sleep 0.5; done";
    let container = json!({
        "name": "c", "image": IMAGE, "command": ["sh", "-c", script],
        "volumeMounts": [{ "name": "trust", "mountPath": "/trust" }],
    });
    let mut wanted = pod("files", "trust-node", &[container]);
    let of = json!({ "matchLabels": { "of": namespace } });
    wanted["spec"]["volumes"] = json!([{ "name": "trust", "projected": { "sources": [
        { "clusterTrustBundle": { "path": "ca.pem", "signerName": "example.com/roots", "labelSelector": of } },
        { "clusterTrustBundle": { "path": "none.pem", "name": "no-such", "optional": true } },
    ] } }]);
    let pods = pods(&client, &namespace);
    create(&pods, wanted).await?;
    ready(&pods, "files").await?;
    shows(&namespace, &format!("1 {} 0", one.len())).await?;
    // The same certificate in two bundles is in the file once.
    apply("two", &format!("{one}{two}"))?;
    let took = shows(&namespace, &format!("2 {} 0", one.len() + two.len())).await?;
    println!("a trust bundle's change was seen after {took:?}");
    Ok(())
}

#[tokio::test]
async fn a_provider_without_file_updates_is_said_on_the_pod_when_one_is_due() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "fixed").await?;
    let _node = NodeBuilder::mock(cluster(), "fixed-node")?.start(&client).await?;
    make(&client, &namespace).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("fixed", "fixed-node", &[patient("c")]);
    wanted["spec"]["volumes"] = json!([{ "name": "v", "configMap": { "name": "config" } }]);
    create(&pods, wanted).await?;
    ready(&pods, "fixed").await?;
    let configs = Api::<ConfigMap>::namespaced(client.clone(), &namespace);
    change(&configs, "config", json!({ "data": { "key": "config-2" } })).await?;
    let message = event(&client, &namespace, "fixed", "FilesNotUpdated").await?;
    assert!(message.contains("\"v\""), "{message}");
    Ok(())
}

#[tokio::test]
async fn a_volume_that_the_provider_does_not_take_is_said_on_the_pod_by_its_field() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "volumes").await?;
    let _node = NodeBuilder::hyper(cluster(), "volumes-node", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let taken = json!({ "name": "scratch", "emptyDir": {} });
    for (name, source, field) in [
        ("claim", json!({ "persistentVolumeClaim": { "claimName": "data" } }), "persistentVolumeClaim"),
        ("host", json!({ "hostPath": { "path": "/etc" } }), "hostPath"),
    ] {
        let mut wanted = pod(name, "volumes-node", &[patient("c")]);
        let mut volume = source;
        volume["name"] = "data".into();
        wanted["spec"]["volumes"] = json!([taken, volume]);
        let made = Instant::now();
        create(&pods, wanted).await?;
        let message = eventually(&format!("the refusal of {name}"), 10, async || {
            let all = events(&client, &namespace, name).await?;
            let path = format!("spec.volumes[1].{field}");
            Ok(all.into_iter().map(|(_, message)| message).find(|message| message.contains(&path)))
        })
        .await?;
        println!("said after {:?}: {message}", made.elapsed());
        let waiting = eventually("the reason at the container", 10, async || {
            Ok(crate::shared::waiting(&pods.get(name).await?, "c").filter(|(reason, _)| reason != "ContainerCreating"))
        })
        .await?;
        assert!(waiting.1.contains(field), "{waiting:?}");
    }
    Ok(())
}
