//! Components in ConfigMaps of a real API server: written with kubectl as the documentation says, and with `vk-runtime push`;
//! read under an identity that may do no more than the Role here says.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use e2e::{Node, NodeBuilder, component, eventually, repository};
use kube::Client;
use serde_json::json;

use crate::shared::cluster;

/// A kubeconfig that may do everything, inside the network namespace.
fn operator() -> Result<PathBuf> {
    cluster().kubeconfig("operator", &["system:masters"], true)
}

/// Another version of `mock`: the same code, and a note of its own. `padding` makes it larger.
fn version(folder: &Path, note: &str, padding: usize) -> Result<PathBuf> {
    let mut bytes = std::fs::read(component("mock"))?;
    let name = b"note";
    let mut section = vec![u8::try_from(name.len())?];
    section.extend_from_slice(name);
    section.extend_from_slice(note.as_bytes());
    // What doesn't repeat itself: the parts are as large as they look.
    section.extend((0..padding).map(|at| u8::try_from(at * 7919 % 251).unwrap_or_default()));
    bytes.push(0);
    let mut size = section.len();
    loop {
        let low = u8::try_from(size & 0x7f)?;
        size >>= 7;
        bytes.push(if size == 0 { low } else { low | 0x80 });
        if size == 0 {
            break;
        }
    }
    bytes.extend_from_slice(&section);
    let path = folder.join("mock.wasm");
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// The first digits of a file's SHA-256, by which versions are called.
fn short(path: &Path) -> Result<String> {
    let output = Command::new("sha256sum").arg(path).output()?;
    Ok(String::from_utf8_lossy(&output.stdout).chars().take(12).collect())
}

/// Lets a node read and watch ConfigMaps of these names.
fn grant(namespace: &str, node: &str, names: &[&str]) -> Result<()> {
    let role = format!("components-of-{node}");
    let names: Vec<_> = names.iter().map(|name| format!("--resource-name={name}")).collect();
    let mut arguments = vec!["create", "role", &role, "-n", namespace, "--verb=get,watch", "--resource=configmaps"];
    arguments.extend(names.iter().map(String::as_str));
    cluster().kubectl(&arguments)?;
    let (role, user) = (format!("--role={role}"), format!("--user=system:node:{node}"));
    cluster().kubectl(&["create", "rolebinding", "components", "-n", namespace, &role, &user]).map(drop)
}

async fn started(client: &Client, name: &str, address: &str) -> Result<Node> {
    NodeBuilder::new(cluster(), name, address.into())?.start(client).await
}

fn serves(digest: &str) -> String {
    format!("version {digest} serves")
}

async fn runs(node: &Node, digest: &str) -> Result<()> {
    eventually("the version", 20, async || Ok(node.log().contains(&serves(digest)).then_some(()))).await
}

fn push(arguments: &[&str]) -> Result<String> {
    let output = cluster()
        .inside(repository().join("target/release/vk-runtime"))
        .arg("push")
        .args(arguments)
        .arg("--kubeconfig")
        .arg(operator()?)
        .output()?;
    if !output.status.success() {
        bail!("push {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[tokio::test]
async fn a_new_version_in_a_config_map_is_swapped_in() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "component").await?;
    let folder = tempfile::tempdir()?;
    let first = version(folder.path(), "first", 0)?;
    let from = format!("--from-file={}", first.display());
    cluster().kubectl(&["create", "configmap", "provider", "-n", &namespace, &from])?;
    grant(&namespace, "config-map-node", &["provider"])?;
    let node = started(&client, "config-map-node", &format!("configmap://{namespace}/provider")).await?;
    runs(&node, &short(&first)?).await?;

    let second = version(folder.path(), "second", 0)?;
    let digest = short(&second)?;
    let pushed = push(&[&second.display().to_string(), &format!("configmap://{namespace}/provider/mock.wasm")])?;
    assert!(pushed.contains(&digest), "{pushed}");
    let began = Instant::now();
    runs(&node, &digest).await?;
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    Ok(())
}

/// The commands of `docs/sources.md`.
const UPLOAD: &str = r#"
cd "$FOLDER"
rm -f mock.wasm.*
split --bytes=900K --numeric-suffixes --suffix-length=2 mock.wasm mock.wasm.
for part in mock.wasm.[0-9][0-9]; do
  $KUBECTL create configmap provider-${part##*.} -n "$NAMESPACE" --from-file=$part --dry-run=client -o yaml | $KUBECTL apply --server-side -f -
done
sha256sum mock.wasm >mock.wasm.sha256
$KUBECTL create configmap provider -n "$NAMESPACE" --from-file=mock.wasm.sha256 --dry-run=client -o yaml | $KUBECTL apply --server-side -f -
"#;

#[tokio::test]
async fn parts_written_with_kubectl_are_put_together_and_two_versions_never_mix() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "parts").await?;
    let folder = tempfile::tempdir()?;
    let outside = cluster().kubeconfig("operator", &["system:masters"], false)?;
    let upload = || {
        let output = Command::new("bash")
            .args(["-euo", "pipefail", "-c", UPLOAD])
            .env("FOLDER", folder.path())
            .env("NAMESPACE", &namespace)
            .env("KUBECTL", &cluster().kubectl)
            .env("KUBECONFIG", &outside)
            .output()?;
        if !output.status.success() {
            bail!("{}", String::from_utf8_lossy(&output.stderr));
        }
        Ok(())
    };
    let first = version(folder.path(), "first", 2 << 20)?;
    let digest = short(&first)?;
    upload()?;
    grant(&namespace, "parts-node", &["provider", "provider-00", "provider-01", "provider-02", "provider-03"])?;
    let node = started(&client, "parts-node", &format!("configmap://{namespace}/provider/mock.wasm")).await?;
    runs(&node, &digest).await?;

    // The head of the second version is there before its parts are: the first goes on, and nothing mixed is loaded.
    let second = version(folder.path(), "other", 2 << 20)?;
    let digest = short(&second)?;
    let sum = String::from_utf8(Command::new("sha256sum").arg(&second).output()?.stdout)?;
    // As the walk-through has it, but without the parts.
    let head = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "provider", "namespace": namespace },
        "data": { "mock.wasm.sha256": sum },
    });
    let file = folder.path().join("head.json");
    std::fs::write(&file, head.to_string())?;
    cluster().kubectl(&["apply", "--server-side", "-f", &file.display().to_string()])?;
    eventually("the refusal", 20, async || {
        Ok(node.log().contains("parts don't make what has the digest").then_some(()))
    })
    .await?;
    assert!(!node.log().contains(&serves(&digest)));
    upload()?;
    runs(&node, &digest).await
}
