//! What a node may read, and what it asks for.

use anyhow::{Context, Result};
use e2e::NodeBuilder;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::shared::{cluster, create, patient, pod, pods, ready};

/// What this user asked for of Secrets so far: URIs, as the API server logged them.
fn asked(user: &str) -> Result<Vec<String>> {
    let log = std::fs::read_to_string(cluster().folder.join("logs/audit.log")).context("no audit log")?;
    let all = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let own = all.filter(|entry| entry["user"]["username"] == user && entry["objectRef"]["resource"] == "secrets");
    Ok(own.filter_map(|entry| entry["requestURI"].as_str().map(str::to_owned)).collect())
}

async fn secrets(client: &kube::Client, namespace: &str) -> Result<Api<Secret>> {
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    for name in ["mine", "others"] {
        let secret = json!({ "metadata": { "name": name }, "stringData": { "KEY": "value" } });
        secrets.create(&PostParams::default(), &serde_json::from_value(secret)?).await?;
    }
    Ok(secrets)
}

fn container() -> Value {
    let mut container = patient("c");
    container["envFrom"] = json!([{ "secretRef": { "name": "mine" } }]);
    container
}

#[tokio::test]
async fn a_node_can_not_read_a_secret_that_no_pod_of_it_refers_to_and_never_asks() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "privilege").await?;
    secrets(&client, &namespace).await?;
    let user = "system:node:privilege-node";
    let as_node = cluster().client_of(user, &["system:nodes"]).await?;
    let as_node = Api::<Secret>::namespaced(as_node, &namespace);
    let _node = NodeBuilder::mock(cluster(), "privilege-node")?.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("p", "privilege-node", &[container()])).await?;
    ready(&pods, "p").await?;
    let asked = asked(user)?;
    assert!(!asked.is_empty());
    for uri in asked {
        assert!(uri.starts_with(&format!("/api/v1/namespaces/{namespace}/secrets?")), "{uri}");
        assert!(uri.contains("fieldSelector=metadata.name%3Dmine"), "{uri}");
    }
    // The Node authorizer holds, whoever has the node's certificate.
    as_node.get("mine").await?;
    for refused in [as_node.get("others").await.err(), as_node.list(&Default::default()).await.err()] {
        let refused = refused.context("it was allowed")?.to_string();
        assert!(refused.contains("forbidden"), "{refused}");
    }
    Ok(())
}

#[tokio::test]
async fn a_service_account_with_the_role_in_deploy_runs_a_node() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "account").await?;
    let role = e2e::repository().join("deploy/rbac/service-account.yaml");
    cluster().kubectl(&["apply", "-f", &role.display().to_string()])?;
    secrets(&client, &namespace).await?;
    let user = "system:serviceaccount:vk-runtime:vk-runtime";
    let kubeconfig =
        cluster().kubeconfig(user, &["system:serviceaccounts", "system:serviceaccounts:vk-runtime"], true)?;
    let node = NodeBuilder::mock(cluster(), "account-node")?.under(&kubeconfig);
    let running = node.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("p", "account-node", &[container()])).await?;
    ready(&pods, "p").await?;
    crate::shared::event(&client, "default", "account-node", "NodeReady").await?;
    pods.delete("p", &Default::default()).await?;
    crate::shared::gone(&pods, "p", 20).await?;
    // Nothing that it does is more than the role says.
    assert!(!running.log().contains("forbidden"), "{}", running.log());
    Ok(())
}
