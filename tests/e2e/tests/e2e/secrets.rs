//! A canary in a Secret is found nowhere that nobody granted.

use std::time::Duration;

use anyhow::Result;
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::core::v1::{Event, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use serde_json::json;

use crate::shared::{IMAGE, cluster, create, engine, gone, patient, pod, pods, ready, waits_for};

const CANARY: &str = "canary-7f3a9c";
const OPERATORS: &str = "canary-b81d02";

#[tokio::test]
async fn a_canary_is_in_no_log_event_status_or_state_folder() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "canary").await?;
    let key = cluster().folder.join("operators-key");
    std::fs::write(&key, OPERATORS)?;
    let builder = NodeBuilder::hyper(cluster(), "canary-node", engine())?.with(&[
        "--log-level",
        "trace",
        "--secret",
        &format!("key=file:{}:sign", key.display()),
    ]);
    let mut node = builder.start(&client).await?;
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "s" }, "stringData": { "k": CANARY } }))?;
    Api::<Secret>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &secret).await?;
    let from = json!([{ "name": "K", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
    let pods = pods(&client, &namespace);
    let mut good = pod("good", "canary-node", &[patient("c")]);
    good["spec"]["containers"][0]["env"] = from.clone();
    good["spec"]["containers"][0]["volumeMounts"] = json!([{ "name": "s", "mountPath": "/s" }]);
    good["spec"]["volumes"] = json!([{ "name": "s", "secret": { "secretName": "s" } }]);
    create(&pods, good).await?;
    // The engine's own words about a command that is not there name the command: here, the canary.
    let bad = json!({ "name": "c", "image": IMAGE, "command": ["/no/$(K)"], "env": from });
    create(&pods, pod("bad", "canary-node", &[bad])).await?;
    ready(&pods, "good").await?;
    eventually("the failure", 30, async || {
        let events = crate::shared::events(&client, &namespace, "bad").await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "Failed"))
    })
    .await?;
    let mut statuses = Vec::new();
    for restart in [true, false] {
        statuses.extend(pods.list(&ListParams::default()).await?.items.into_iter().map(|pod| pod.status));
        if restart {
            // A runtime that was started anew hears it from the engine before it knows the value.
            node.kill()?;
            node.restart()?;
            node.ready(&client).await?;
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
    }
    let events = Api::<Event>::namespaced(client.clone(), &namespace).list(&ListParams::default()).await?.items;
    pods.delete("good", &DeleteParams::default()).await?;
    gone(&pods, "good", 20).await?;
    node.stop()?;
    let mut seen = vec![
        ("log", node.log()),
        ("statuses", serde_json::to_string(&statuses)?),
        ("events", serde_json::to_string(&events)?),
    ];
    for file in walk(&builder.state())? {
        seen.push(("state folder", String::from_utf8_lossy(&std::fs::read(file)?).into_owned()));
    }
    for (place, text) in &seen {
        for canary in [CANARY, OPERATORS] {
            let at = text.find(canary).map(|at| text.get(at.saturating_sub(300)..at + 40).unwrap_or_default());
            assert_eq!(at, None, "{place} holds {canary}");
        }
    }
    assert!(seen[0].1.len() > 10_000, "the log holds nothing");
    Ok(())
}

fn walk(folder: &std::path::Path) -> Result<Vec<std::path::PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() { files.extend(walk(&path)?) } else { files.push(path) }
    }
    Ok(files)
}

#[tokio::test]
async fn a_provider_that_may_not_have_them_runs_no_pod_with_secrets() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "deny").await?;
    let builder = NodeBuilder::hyper(cluster(), "deny-node", engine())?.with(&["--pod-secrets", "deny"]);
    let _node = builder.start(&client).await?;
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "s" }, "stringData": { "k": CANARY } }))?;
    Api::<Secret>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &secret).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("secret", "deny-node", &[patient("c")]);
    wanted["spec"]["containers"][0]["env"] =
        json!([{ "name": "K", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
    create(&pods, wanted).await?;
    create(&pods, pod("plain", "deny-node", &[patient("c")])).await?;
    ready(&pods, "plain").await?;
    let message = waits_for(&pods, "secret", "c", "CreateContainerConfigError", 20).await?;
    assert!(message.contains("--pod-secrets=reveal"), "{message}");
    Ok(())
}
