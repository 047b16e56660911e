//! Who comes from Virtual Kubelet keeps flags, environment and file.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use e2e::{NodeBuilder, component, eventually, repository};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::Api;
use serde_json::{Value, json};

use crate::shared::cluster;

const NAME: &str = "moved";
const ADDRESS: &str = "10.77.0.1";
const PORT: u16 = 10_261;

/// Killed when it is dropped.
struct Process(Child);

impl Process {
    /// With the mock provider, a state folder and a log in this folder, and what else is said of it.
    fn start(folder: &Path, say: impl FnOnce(&mut Command) -> &mut Command) -> Result<Self> {
        let mut command = cluster().inside(repository().join("target/release/vk-runtime"));
        command.arg("--component").arg(component("mock")).arg("--state-dir").arg(folder.join("state"));
        let log = std::fs::File::create(folder.join("log"))?;
        Ok(Self(say(&mut command).stdin(Stdio::null()).stderr(log).spawn()?))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn virtual_kubelets_command_line_makes_the_same_node() -> Result<()> {
    let folder = cluster().folder.join("node-moved");
    std::fs::create_dir_all(&folder)?;
    let file = folder.join("vkubelet-mock-0-cfg.json");
    let settings = json!({
        NAME: {
            "cpu": "2", "memory": "32Gi", "pods": "128", "others": { "nvidia.com/gpu": "4" }, "providerID": "rack://7/moved",
        },
        "another": { "cpu": "64" },
    });
    std::fs::write(&file, settings.to_string())?;
    let log = folder.join("log");
    let kubeconfig = cluster().node_kubeconfig(NAME)?;
    let _process = Process::start(&folder, |command| {
        command
            .args(["--nodename", NAME, "--os", "windows", "--namespace", "default", "--disable-taint=false"])
            .arg("--provider-config")
            .arg(&file)
            .arg("--kubeconfig")
            .arg(kubeconfig)
            .env("VKUBELET_POD_IP", ADDRESS)
            .env("KUBELET_PORT", PORT.to_string())
            .env("VKUBELET_TAINT_KEY", "example.com/moved")
            .env("VKUBELET_TAINT_VALUE", "yes")
            .env("VKUBELET_TAINT_EFFECT", "PreferNoSchedule")
    })?;

    let nodes = Api::<Node>::all(cluster().client().await?);
    let described = eventually("a node that is described", 30, async || {
        let node = nodes.get_opt(NAME).await?;
        Ok(node.filter(|node| node.status.as_ref().is_some_and(|status| status.capacity.is_some())))
    });
    let said = || std::fs::read_to_string(&log).unwrap_or_default();
    let node: Value = serde_json::to_value(described.await.with_context(said)?)?;
    let at = |path: &str| node.pointer(path).cloned().unwrap_or_default();
    assert_eq!(at("/metadata/labels/kubernetes.io~1os"), "windows");
    assert_eq!(at("/status/nodeInfo/operatingSystem"), "windows");
    assert_eq!(at("/metadata/labels/type"), "virtual-kubelet");
    let taints = at("/spec/taints");
    let own = taints.as_array().into_iter().flatten().find(|taint| taint["key"] == "example.com/moved");
    assert_eq!(
        own.map(|own| (&own["value"], &own["effect"])),
        Some((&json!("yes"), &json!("PreferNoSchedule"))),
        "{taints}"
    );
    assert_eq!(at("/spec/providerID"), "rack://7/moved");
    for (resource, amount) in [("cpu", "2"), ("memory", "32Gi"), ("pods", "128"), ("nvidia.com~1gpu", "4")] {
        assert_eq!(at(&format!("/status/capacity/{resource}")), amount, "{resource}");
    }
    assert_eq!(at("/status/daemonEndpoints/kubeletEndpoint/Port"), PORT);
    let addresses = at("/status/addresses");
    assert!(addresses.as_array().into_iter().flatten().any(|own| own["address"] == ADDRESS), "{addresses}");
    assert!(said().contains("--namespace has no meaning"), "{}", said());
    Ok(())
}

#[tokio::test]
async fn virtual_kubelets_environment_alone_makes_a_node_that_serves_with_its_certificate() -> Result<()> {
    let name = "moved-env";
    let folder = cluster().folder.join("node-moved-env");
    std::fs::create_dir_all(&folder)?;
    let (certificate, key) = (folder.join("kubelet.crt"), folder.join("kubelet.key"));
    let pair = rcgen::generate_simple_self_signed([ADDRESS.to_owned()])?;
    std::fs::write(&certificate, pair.cert.pem())?;
    std::fs::write(&key, pair.signing_key.serialize_pem())?;
    let kubeconfig = cluster().node_kubeconfig(name)?;
    let _process = Process::start(&folder, |command| {
        command
            .env("DEFAULT_NODE_NAME", name)
            .env("KUBECONFIG", kubeconfig)
            .env("VKUBELET_POD_IP", ADDRESS)
            .env("KUBELET_PORT", "10262")
            .env("APISERVER_CERT_LOCATION", &certificate)
            .env("APISERVER_KEY_LOCATION", &key)
            .env("APISERVER_CA_CERT_LOCATION", cluster().folder.join("pki/ca.crt"))
    })?;
    let said = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    let nodes = Api::<Node>::all(cluster().client().await?);
    let there = eventually("the node", 30, async || nodes.get_opt(name).await.map_err(Into::into));
    let taints = there.await.with_context(said)?.spec.and_then(|spec| spec.taints).unwrap_or_default();
    assert!(taints.iter().any(|own| own.key == "virtual-kubelet.io/provider"), "{taints:?}");
    // Trusted are that certificate, and clients of the CA.
    let curl = cluster()
        .inside("curl")
        .args(["--silent", "--show-error", "--max-time", "5", "--cacert"])
        .arg(&certificate)
        .arg(format!("https://{ADDRESS}:10262/pods"))
        .output()?;
    ensure!(curl.status.success(), "{}", String::from_utf8_lossy(&curl.stderr));
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "Unauthorized");
    let pods = cluster().kubectl(&["get", "--raw", &format!("/api/v1/nodes/{name}/proxy/pods")])?;
    ensure!(pods.contains("PodList"), "{pods}");
    Ok(())
}

#[tokio::test]
async fn taints_of_the_command_line_are_on_the_node_and_none_where_it_says_so() -> Result<()> {
    let client = cluster().client().await?;
    let nodes = Api::<Node>::all(client.clone());
    // What Kubernetes itself put there counts for nothing.
    let taints = async |name: &str| -> Result<Vec<Taint>> {
        let all = nodes.get(name).await?.spec.and_then(|spec| spec.taints).unwrap_or_default();
        Ok(all.into_iter().filter(|own| !own.key.starts_with("node.kubernetes.io/")).collect())
    };
    let given = ["--taint", "example.com/a=b:PreferNoSchedule", "--taint", "example.com/key"];
    let _given = NodeBuilder::mock(cluster(), "taint-given")?.with(&given).start(&client).await?;
    let written = |own: &Taint| format!("{}={}:{}", own.key, own.value.as_deref().unwrap_or_default(), own.effect);
    let mut all: Vec<String> = taints("taint-given").await?.iter().map(written).collect();
    all.sort();
    assert_eq!(all, ["example.com/a=b:PreferNoSchedule", "example.com/key=mock:NoSchedule"]);
    let _none = NodeBuilder::mock(cluster(), "taint-none")?.with(&["--disable-taint"]).start(&client).await?;
    assert_eq!(taints("taint-none").await?, []);
    Ok(())
}
