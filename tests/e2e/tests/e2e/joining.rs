//! A node joins with a bootstrap token, and serves with a certificate that somebody approves.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::certificates::v1::CertificateSigningRequest;
use k8s_openapi::api::core::v1::{Node, NodeCondition, Secret};
use kube::Api;
use kube::api::{DeleteParams, ListParams, PostParams};
use kube::config::Kubeconfig;
use serde_json::json;

use crate::shared::{cluster, create, patient, pod, pods, ready};

const NODE: &str = "joining-node";
const USER: &str = "system:node:joining-node";

/// A kubeconfig with a bootstrap token, for use inside the namespace.
async fn bootstrap(client: &kube::Client) -> Result<PathBuf> {
    let token = json!({
        "metadata": { "name": "bootstrap-token-join01" },
        "type": "bootstrap.kubernetes.io/token",
        "stringData": {
            "token-id": "join01", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
            "auth-extra-groups": "system:bootstrappers:kubeadm:default-node-token",
        },
    });
    let secrets = Api::<Secret>::namespaced(client.clone(), "kube-system");
    secrets.create(&PostParams::default(), &serde_json::from_value(token)?).await?;
    let mut kubeconfig = Kubeconfig::read_from(cluster().node_kubeconfig(NODE)?)?;
    for user in &mut kubeconfig.auth_infos {
        user.auth_info = Some(serde_json::from_value(json!({ "token": "join01.0123456789abcdef" }))?);
    }
    let path = cluster().folder.join("bootstrap.kubeconfig");
    std::fs::write(&path, serde_json::to_string(&kubeconfig)?)?;
    Ok(path)
}

async fn condition(nodes: &Api<Node>) -> Result<Option<NodeCondition>> {
    let conditions = nodes.get(NODE).await?.status.and_then(|status| status.conditions);
    Ok(conditions.into_iter().flatten().find(|own| own.type_ == "ServingCertificateApproved"))
}

/// Whether what the kubelet API serves with is the cluster's.
async fn is_trusted(nodes: &Api<Node>) -> Result<bool> {
    let status = nodes.get(NODE).await?.status.context("no status")?;
    let port = status.daemon_endpoints.and_then(|all| all.kubelet_endpoint).context("no port")?.port;
    let ca = cluster().folder.join("pki/ca.crt");
    let curl = cluster()
        .inside("curl")
        .args(["--silent", "--max-time", "5", "--output", "/dev/null", "--cacert"])
        .arg(ca)
        .arg(format!("https://10.77.0.1:{port}/healthz"))
        .status()?;
    Ok(curl.success())
}

fn mode(path: &Path) -> Result<u32> {
    use std::os::unix::fs::PermissionsExt;
    Ok(std::fs::metadata(path).with_context(|| path.display().to_string())?.permissions().mode() & 0o777)
}

#[tokio::test]
async fn a_node_joins_with_a_token_and_serves_with_what_was_approved() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "joining").await?;
    let bootstrap = bootstrap(&client).await?;
    let kubeconfig = cluster().folder.join("joined.kubeconfig");
    let flags = ["--bootstrap-kubeconfig", &bootstrap.display().to_string(), "--rotate-server-certificates"];
    let builder = NodeBuilder::mock(cluster(), NODE)?.under(&kubeconfig).with(&flags);
    let mut node = builder.start(&client).await?;
    let nodes = Api::<Node>::all(client.clone());
    // It is the node itself from then on.
    let requests = Api::<CertificateSigningRequest>::all(client.clone());
    let all = requests.list(&ListParams::default()).await?.items;
    let by = |user: &str, signer: &str| {
        let mut all = all.iter().filter(|own| own.spec.username.as_deref() == Some(user));
        all.find(|own| own.spec.signer_name == signer).cloned()
    };
    let asked = by("system:bootstrap:join01", "kubernetes.io/kube-apiserver-client-kubelet");
    ensure!(asked.is_some(), "no request for a client certificate: {all:?}");
    let pki = builder.state().join("pki").join(NODE);
    assert_eq!(mode(&pki)?, 0o700);
    assert_eq!(mode(&pki.join("kubelet-client-current.pem"))?, 0o600);
    assert_eq!(mode(&kubeconfig)?, 0o600);
    ensure!(!std::fs::read_to_string(&kubeconfig)?.contains("0123456789abcdef"), "the token was copied");
    // Self-signed until somebody approves.
    let waits = eventually("the condition", 20, async || condition(&nodes).await).await?;
    assert_eq!((waits.status.as_str(), waits.reason.as_deref()), ("False", Some("WaitingForApproval")));
    ensure!(!is_trusted(&nodes).await?, "it is trusted though nobody approved it");
    let serving = eventually("the request for a serving certificate", 20, async || {
        let all = requests.list(&ListParams::default()).await?.items;
        let own = all.into_iter().find(|own| own.spec.username.as_deref() == Some(USER));
        Ok(own.filter(|own| own.spec.signer_name == "kubernetes.io/kubelet-serving"))
    })
    .await?;
    let name = serving.metadata.name.context("no name")?;
    cluster().kubectl(&["certificate", "approve", &name])?;
    eventually("the approved certificate", 20, async || {
        Ok(condition(&nodes).await?.filter(|own| own.status == "True"))
    })
    .await?;
    // Without a restart.
    ensure!(is_trusted(&nodes).await?, "it does not serve with what was approved");
    let pods = pods(&client, &namespace);
    create(&pods, pod("p", NODE, &[patient("c")])).await?;
    ready(&pods, "p").await?;
    // The token is not needed any more.
    Api::<Secret>::namespaced(client.clone(), "kube-system")
        .delete("bootstrap-token-join01", &DeleteParams::default())
        .await?;
    node.kill()?;
    node.restart()?;
    node.ready(&client).await?;
    eventually("the certificate of the first run", 20, async || Ok(is_trusted(&nodes).await?.then_some(()))).await?;
    Ok(())
}

#[tokio::test]
async fn a_node_can_be_drained_when_it_ends_and_takes_pods_again_after_its_start() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "drained").await?;
    let name = "drained-node";
    let mut node = NodeBuilder::mock(cluster(), name)?.with(&["--shutdown", "drain"]).start(&client).await?;
    let pods = pods(&client, &namespace);
    for n in 0..3 {
        create(&pods, pod(&format!("p{n}"), name, &[patient("c")])).await?;
        ready(&pods, &format!("p{n}")).await?;
    }
    assert_eq!(node.stop()?, Some(0));
    assert!(pods.list(&ListParams::default()).await?.items.is_empty());
    let nodes = Api::<Node>::all(client.clone());
    let is_cordoned = async || {
        let spec = nodes.get(name).await?.spec.unwrap_or_default();
        anyhow::Ok(spec.unschedulable == Some(true))
    };
    assert!(is_cordoned().await?);
    node.restart()?;
    eventually("the end of the cordon", 20, async || Ok((!is_cordoned().await?).then_some(()))).await?;
    Ok(())
}
