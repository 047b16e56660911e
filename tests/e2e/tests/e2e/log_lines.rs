//! Every line of a call says whose it is, with the same fields, in text and in JSON.

use anyhow::{Context, Result};
use e2e::{NodeBuilder, eventually, test_component};
use serde_json::Value;

use crate::shared::{cluster, create, patient, pod, pods, ready};

#[tokio::test]
async fn lines_of_calls_have_node_provider_version_call_and_pod() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "lines").await?;
    let builder = NodeBuilder::new(cluster(), "lines", test_component("template-pods"))?;
    let node = builder.with(&["--log-format", "json", "--log-level", "debug"]).start(&client).await?;
    let pods = pods(&client, &namespace);
    let made = create(&pods, pod("web", "lines", &[patient("c")])).await?;
    let uid = made.metadata.uid.context("no UID")?;
    ready(&pods, "web").await?;
    let lines = eventually("the line of the call", 10, async || {
        let log = node.log();
        let lines = log.lines().map(serde_json::from_str).collect::<serde_json::Result<Vec<Value>>>();
        let lines = lines.context("not every line is JSON")?;
        let is_there = lines.iter().any(|line| line["message"] == "called" && line["export"] == "pods.create");
        Ok(is_there.then_some(lines))
    })
    .await?;
    let (mut said, mut called) = (None, None);
    for line in lines.iter().filter(|line| line["target"] == "provider" || line["message"] == "called") {
        for field in ["node", "provider", "version", "export"] {
            assert!(line[field].as_str().is_some_and(|text| !text.is_empty()), "{field} is missing: {line}");
        }
        assert!(line["call"].is_u64(), "{line}");
        assert_eq!((&line["node"], &line["provider"]), (&"lines".into(), &"template-pods".into()));
        if line["export"] == "pods.create" {
            assert_eq!(line["pod"], format!("{namespace}/web"));
            assert_eq!(line["uid"], uid);
            *(if line["target"] == "provider" { &mut said } else { &mut called }) = Some(line["call"].clone());
        }
    }
    assert!(
        said.is_some() && said == called,
        "the guest's line and the host's have the call in common: {said:?} {called:?}"
    );
    Ok(())
}
