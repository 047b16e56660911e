//! `vk-runtime gc`: what a node has left at its backend is shown, and what no pod owns is removed, and nothing else.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use e2e::{NodeBuilder, test_component};
use kube::api::DeleteParams;
use serde_json::Value;

use crate::shared::{cluster, create, engine, gone, patient, pod, pods, ready, runs};

/// Names at the engine that say this.
fn objects(part: &str) -> Result<BTreeSet<String>> {
    Ok(engine().objects()?.into_iter().filter(|name| name.contains(part)).collect())
}

fn shown(builder: &NodeBuilder, words: &[&str]) -> Result<String> {
    let (code, output, said) = builder.run_command(words)?;
    assert_eq!(code, Some(0), "{words:?}: {output}{said}");
    Ok(output)
}

#[tokio::test]
async fn of_a_node_that_runs_no_more_exactly_what_no_pod_owns_is_removed() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "gc").await?;
    let builder = NodeBuilder::hyper(cluster(), "gc-node", engine())?;
    let mut node = builder.start(&client).await?;
    let _other = NodeBuilder::hyper(cluster(), "gc-other", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let mut uids = Vec::new();
    for (name, on) in [("kept", "gc-node"), ("left", "gc-node"), ("elsewhere", "gc-other")] {
        let made = create(&pods, pod(name, on, &[patient("c")])).await?;
        uids.push(made.metadata.uid.context("no UID")?);
    }
    for name in ["kept", "left", "elsewhere"] {
        ready(&pods, name).await?;
    }
    let before = runs(&pods).await?;

    // A node that runs collects by itself, and has the state folder.
    let (code, _, said) = builder.run_command(&["gc", "--dry-run"])?;
    assert!(code == Some(2) && said.contains("in use by another process"), "{said}");

    node.kill()?;
    pods.delete("left", &DeleteParams::default().grace_period(0)).await?;
    gone(&pods, "left", 20).await?;
    let (of_kept, of_left) = (objects(&format!("{namespace}-kept"))?, objects(&format!("{namespace}-left"))?);
    assert!(!of_kept.is_empty() && !of_left.is_empty(), "{of_kept:?} {of_left:?}");
    let of_other = objects(&format!("{namespace}-elsewhere"))?;

    let text = shown(&builder, &["gc", "--dry-run"])?;
    let row = |uid: &str| text.lines().find(|line| line.contains(uid)).map(str::to_owned);
    assert!(row(&uids[0]).is_some_and(|row| row.contains("kept") && row.ends_with("yes")), "{text}");
    assert!(row(&uids[1]).is_some_and(|row| row.contains("running") && row.ends_with("no")), "{text}");
    assert_eq!(row(&uids[2]), None, "another node's: {text}");
    assert!(text.ends_with("2 at the backend, 1 of no pod; nothing was removed (--dry-run)\n"), "{text}");
    let json: Value = serde_json::from_str(&shown(&builder, &["gc", "--dry-run", "--output", "json"])?)?;
    let left = &json[0]["objects"][1];
    assert_eq!((&left["uid"], &left["owned"]), (&Value::from(uids[1].clone()), &Value::from(false)));
    assert!(left["since"].as_str().is_some_and(|since| since.starts_with("20")), "{left}");
    assert_eq!(left["containers"][0]["state"], "running");

    // Who can't ask the API server takes nothing for an orphan.
    let blind = cluster().folder.join("gc-blind.kubeconfig");
    let kubeconfig = std::fs::read_to_string(cluster().node_kubeconfig("gc-node")?)?;
    let lines = kubeconfig.lines().map(|line| match line.split_once("server:") {
        Some((indent, _)) => format!("{indent}server: https://127.0.0.1:9"),
        None => line.to_owned(),
    });
    std::fs::write(&blind, lines.collect::<Vec<_>>().join("\n"))?;
    let (code, output, said) = builder.clone().under(&blind).with(&["--node-ip", "127.0.0.1"]).run_command(&["gc"])?;
    assert!(code == Some(2) && output.is_empty() && said.contains("nothing of it was removed"), "{output}{said}");
    assert_eq!(objects(&format!("{namespace}-left"))?, of_left);

    let text = shown(&builder, &["gc", "--grace-period", "5"])?;
    assert!(text.contains("no: removed") && text.ends_with("2 at the backend, 1 of no pod; 1 removed\n"), "{text}");
    assert_eq!(objects(&format!("{namespace}-left"))?, BTreeSet::new());
    assert_eq!(objects(&format!("{namespace}-kept"))?, of_kept);
    assert_eq!(objects(&format!("{namespace}-elsewhere"))?, of_other);
    let text = shown(&builder, &["gc"])?;
    assert!(text.ends_with("1 at the backend, 0 of no pod; 0 removed\n"), "{text}");

    node.restart()?;
    node.ready(&client).await?;
    ready(&pods, "kept").await?;
    let after = runs(&pods).await?;
    assert_eq!(after["kept/c"], before["kept/c"], "it ran on");
    Ok(())
}

#[tokio::test]
async fn whole_pods_are_removed_too() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "gc-whole").await?;
    let builder = NodeBuilder::new(cluster(), "gc-whole", test_component("template-pods"))?;
    let mut node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("left", "gc-whole", &[patient("c")])).await?;
    ready(&pods, "left").await?;
    node.kill()?;
    pods.delete("left", &DeleteParams::default().grace_period(0)).await?;
    gone(&pods, "left", 20).await?;
    assert!(shown(&builder, &["gc", "--dry-run"])?.ends_with("1 of no pod; nothing was removed (--dry-run)\n"));
    assert!(shown(&builder, &["gc"])?.ends_with("1 at the backend, 1 of no pod; 1 removed\n"));
    assert_eq!(shown(&builder, &["gc"])?, "0 at the backend, 0 of no pod; 0 removed\n");
    Ok(())
}
