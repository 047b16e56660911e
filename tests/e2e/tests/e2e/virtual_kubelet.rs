//! Who comes from Virtual Kubelet keeps flags, environment and file.

use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use e2e::{component, eventually, repository};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use serde_json::{Value, json};

use crate::shared::cluster;

const NAME: &str = "moved";
const ADDRESS: &str = "10.77.0.1";
const PORT: u16 = 10_261;

/// Killed when it is dropped.
struct Process(Child);

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
    let _process = Process(
        cluster()
            .inside(repository().join("target/release/vk-runtime"))
            .args(["--nodename", NAME, "--os", "windows", "--namespace", "default", "--disable-taint=false"])
            .arg("--provider-config")
            .arg(&file)
            .arg("--kubeconfig")
            .arg(cluster().node_kubeconfig(NAME)?)
            .arg("--component")
            .arg(component("mock"))
            .arg("--state-dir")
            .arg(folder.join("state"))
            .env("VKUBELET_POD_IP", ADDRESS)
            .env("KUBELET_PORT", PORT.to_string())
            .env("VKUBELET_TAINT_KEY", "example.com/moved")
            .env("VKUBELET_TAINT_VALUE", "yes")
            .env("VKUBELET_TAINT_EFFECT", "PreferNoSchedule")
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(&log)?)
            .spawn()?,
    );

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
