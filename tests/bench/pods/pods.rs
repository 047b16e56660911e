//! The pods of the bench: 3 KB each, bound to a node when they are made.

use std::time::Duration;

use anyhow::Result;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Client};
use serde_json::json;

/// Requests at once.
pub const AT_ONCE: usize = 64;

fn pod(node: &str, name: &str) -> Result<Pod> {
    // As an ordinary pod of a Deployment has it: some labels, some environment, resources, no mounted token.
    let env: Vec<_> =
        (0..20).map(|n| json!({ "name": format!("SETTING_{n}"), "value": "a value of some thirty letters" })).collect();
    Ok(serde_json::from_value(json!({
        "metadata": { "name": name, "labels": { "app": "bench", "node": node } },
        "spec": {
            "nodeName": node,
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "tolerations": [{ "operator": "Exists" }],
            "containers": [{
                "name": "main", "image": "registry.example.com/team/application:1.2.3", "env": env,
                "resources": { "requests": { "cpu": "1m", "memory": "1Mi" } },
            }],
        },
    }))?)
}

/// Makes pods `PREFIX-0` and on.
pub async fn create(client: &Client, namespace: &str, node: &str, prefix: &str, count: usize) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    stream::iter(0..count)
        .map(|number| {
            let pods = &pods;
            async move {
                let pod = pod(node, &format!("{prefix}-{number}"))?;
                pods.create(&PostParams::default(), &pod).await?;
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Makes one.
pub async fn create_one(client: &Client, namespace: &str, node: &str, name: &str) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    pods.create(&PostParams::default(), &pod(node, name)?).await?;
    Ok(())
}

/// Asks for their deletion, which the node then carries out.
pub async fn delete(client: &Client, namespace: &str, prefix: &str, count: usize) -> Result<()> {
    let pods = Api::<Pod>::namespaced(client.clone(), namespace);
    stream::iter(0..count)
        .map(|number| {
            let pods = &pods;
            async move {
                pods.delete(&format!("{prefix}-{number}"), &DeleteParams::default()).await?;
                Ok::<_, anyhow::Error>(())
            }
        })
        .buffer_unordered(AT_ONCE)
        .try_collect()
        .await
}

/// Deletes one, by its UID, at once.
pub async fn remove(pods: &Api<Pod>, name: &str, uid: &str) -> Result<()> {
    let parameters = DeleteParams {
        grace_period_seconds: Some(0),
        preconditions: Some(Preconditions { uid: Some(uid.to_owned()), resource_version: None }),
        ..DeleteParams::default()
    };
    pods.delete(name, &parameters).await?;
    Ok(())
}

/// A rate a second.
pub fn rate(count: usize, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "some thousands")]
    {
        count as f64 / time.as_secs_f64()
    }
}
