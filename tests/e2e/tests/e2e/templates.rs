//! The components that `vk-runtime new` begins with are whole providers: a pod runs, speaks, ends and leaves nothing.

use anyhow::Result;
use e2e::{NodeBuilder, test_component};
use kube::api::{DeleteParams, LogParams};
use serde_json::json;

use crate::shared::{cluster, create, gone, pod, pods, ready, status_of};

async fn runs_a_pod(kind: &str, says: &str) -> Result<()> {
    let client = cluster().client().await?;
    let name = format!("template-{kind}");
    let namespace = cluster().namespace(&client, &name).await?;
    let builder = NodeBuilder::new(cluster(), &name, test_component(&name))?;
    let _node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    let container = |name: &str| json!({ "name": name, "image": "any" });
    let mut wanted = pod("web", &name, &[container("server")]);
    wanted["spec"]["initContainers"] = json!([container("setup")]);
    create(&pods, wanted).await?;
    let running = ready(&pods, "web").await?;
    let setup = status_of(&running, "setup").and_then(|own| own.state.as_ref()?.terminated.as_ref());
    assert_eq!(setup.map(|own| own.exit_code), Some(0));
    let options = LogParams { container: Some("server".into()), ..LogParams::default() };
    assert!(pods.logs("web", &options).await?.contains(says));
    pods.delete("web", &DeleteParams::default()).await?;
    gone(&pods, "web", 20).await
}

#[tokio::test]
async fn the_template_of_whole_pods_runs_a_pod() -> Result<()> {
    runs_a_pod("pods", "src/backend.rs is a stand-in").await
}

#[tokio::test]
async fn the_template_of_containers_runs_a_pod() -> Result<()> {
    runs_a_pod("containers", "src/engine.rs is a stand-in").await
}
