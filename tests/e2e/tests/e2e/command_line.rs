//! What is wrong is said in one line, with exit status 2, before anything is registered.

use anyhow::Result;
use e2e::{NodeBuilder, component};
use k8s_openapi::api::core::v1::Node;
use kube::Api;

use crate::shared::{cluster, engine};

async fn refused(name: &str, builder: NodeBuilder, says: &[&str]) -> Result<()> {
    let (code, said) = builder.run_to_end()?;
    assert_eq!(code, Some(2), "{said}");
    for part in says {
        assert!(said.contains(part), "{part:?} is missing: {said}");
    }
    let last = said.lines().last().unwrap_or_default();
    assert!(last.starts_with("vk-runtime: ") || last.starts_with("For more information"), "{said}");
    let nodes = Api::<Node>::all(cluster().client().await?);
    assert!(nodes.get_opt(name).await?.is_none(), "{name} was registered");
    Ok(())
}

#[tokio::test]
async fn a_file_that_is_not_there() -> Result<()> {
    let builder = NodeBuilder::new(cluster(), "cli-missing", "/no/such/file.wasm".into())?;
    refused("cli-missing", builder, &["/no/such/file.wasm", "No such file"]).await
}

#[tokio::test]
async fn a_file_that_is_no_component() -> Result<()> {
    let path = cluster().folder.join("text.wasm");
    std::fs::write(&path, "not wasm")?;
    let builder = NodeBuilder::new(cluster(), "cli-text", path)?;
    refused("cli-text", builder, &["text.wasm", "is no WebAssembly component"]).await
}

#[tokio::test]
async fn a_truncated_component() -> Result<()> {
    let path = cluster().folder.join("half.wasm");
    let whole = std::fs::read(component("mock"))?;
    std::fs::write(&path, &whole[..whole.len() / 2])?;
    let builder = NodeBuilder::new(cluster(), "cli-half", path)?;
    refused("cli-half", builder, &["half.wasm", "is no WebAssembly component"]).await
}

#[tokio::test]
async fn a_capability_that_was_not_granted_names_the_flag() -> Result<()> {
    let builder = NodeBuilder::new(cluster(), "cli-denied", component("hyper"))?;
    let builder = builder.with(&["--config", &format!("endpoint={}", engine().endpoint)]);
    refused("cli-denied", builder, &["hyper.wasm", "http", "--allow-dial=unix:///PATH"]).await
}

#[tokio::test]
async fn a_wrong_flag_and_a_wrong_value() -> Result<()> {
    for (arguments, says) in [
        (&["--no-such-flag"][..], "--no-such-flag"),
        (&["--allow-dial", "host-without-port"], "the port is missing"),
        (&["--limit", "memory=much"], "memory"),
        (&["--taint", "key:Never"], "Never"),
    ] {
        let builder = NodeBuilder::mock(cluster(), "cli-flag")?.with(arguments);
        refused("cli-flag", builder, &[says]).await?;
    }
    Ok(())
}

#[tokio::test]
async fn two_at_once_on_one_state_folder() -> Result<()> {
    let client = cluster().client().await?;
    let builder = NodeBuilder::mock(cluster(), "cli-twice")?;
    let _first = builder.start(&client).await?;
    let (code, said) = builder.run_to_end()?;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("in use by another process") && said.contains("--state-dir"), "{said}");
    Ok(())
}
