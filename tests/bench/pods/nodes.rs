//! Hundreds of nodes of one provider in one process: how soon all are Ready, and what one more takes.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use e2e::{Cluster, component, repository};
use k8s_openapi::api::core::v1::Node;
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::json;

use crate::{line, scaled};

/// First kubelet port.
const PORTS: usize = 20_000;
const LONGEST: Duration = Duration::from_secs(180);
/// How long the runtime may take for its memory to settle.
const SETTLE: Duration = Duration::from_secs(15);

/// It ends with this.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn start(cluster: &Cluster, name: &str, nodes: usize) -> Result<Self> {
        let folder = cluster.folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let nodes: Vec<_> = (0..nodes)
            .map(|number| {
                json!({ "name": format!("{name}-{number}"), "provider": "mock", "kubelet": { "port": PORTS + number } })
            })
            .collect();
        let file = json!({
            "apiVersion": "vk-runtime.io/v1alpha1", "kind": "Configuration", "stateDir": "state",
            // One identity for all, as a ServiceAccount in the cluster has it.
            "cluster": { "kubeconfig": cluster.kubeconfig("many-nodes", &["system:masters"], true)? },
            "providers": [{ "name": "mock", "component": component("mock") }],
            "nodes": nodes,
        });
        let path = folder.join("vk.yaml");
        std::fs::write(&path, file.to_string())?;
        let log = std::fs::File::create(folder.join("log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nsenter"]).arg(format!("--net=/run/netns/{}", cluster.netns));
        command.arg(repository().join("target/release/vk-runtime")).arg("run").arg(path);
        Ok(Self(command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?))
    }

    fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<u64>()? << 10)
    }
}

async fn ready(client: &Client, name: &str) -> Result<usize> {
    let nodes = Api::<Node>::all(client.clone()).list(&ListParams::default()).await?;
    let is_ready = |node: &Node| {
        let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
        conditions.into_iter().flatten().any(|own| own.type_ == "Ready" && own.status == "True")
    };
    let own = |node: &&Node| node.metadata.name.as_deref().is_some_and(|own| own.starts_with(name));
    Ok(nodes.items.iter().filter(own).filter(|node| is_ready(node)).count())
}

/// Starts so many; how long until all are Ready, and the memory after that.
async fn start(cluster: &Cluster, client: &Client, name: &str, count: usize) -> Result<(Duration, u64)> {
    let began = Instant::now();
    let process = Process::start(cluster, name, count)?;
    loop {
        let are = ready(client, &format!("{name}-")).await?;
        if are >= count {
            break;
        }
        if began.elapsed() > LONGEST {
            bail!("{are} of {count} nodes are Ready after {} s", LONGEST.as_secs());
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    }
    let took = began.elapsed();
    tokio::time::sleep(SETTLE).await;
    Ok((took, process.memory()?))
}

/// One node, and hundreds.
pub async fn run(cluster: &Cluster, client: &Client) -> Result<()> {
    let count = scaled(500);
    let (_, of_one) = start(cluster, client, "single", 1).await?;
    let (took, of_all) = start(cluster, client, "several", count).await?;
    line(&format!("{count} nodes in one process, all Ready"), format!("{:.1} s", took.as_secs_f64()), "<= 30 s");
    #[expect(clippy::cast_precision_loss, reason = "some thousands of KiB")]
    let each = of_all.saturating_sub(of_one) as f64 / (count - 1) as f64 / f64::from(1 << 20);
    line("  memory of one more", format!("{each:.2} MiB"), "<= 0.5 MB");
    Ok(())
}
