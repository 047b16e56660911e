//! A configuration file: several providers and nodes in one process, changed while it runs.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result};
use e2e::{component, eventually, repository, test_component};
use k8s_openapi::api::core::v1::{Event, Node, NodeCondition};
use kube::api::ListParams;
use kube::{Api, Client};
use serde_json::{Value, json};

use crate::shared::{cluster, create, pod, pods, ready, runs};

/// A process of vk-runtime that runs a file; it is killed when this is dropped.
struct Process {
    folder: PathBuf,
    child: Child,
}

fn binary() -> PathBuf {
    repository().join("target/release/vk-runtime")
}

impl Process {
    fn start(name: &str, text: &str) -> Result<Self> {
        let folder = cluster().folder.join(name);
        std::fs::create_dir_all(&folder)?;
        let file = folder.join("vk.yaml");
        std::fs::write(&file, text)?;
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM", "nsenter"]).arg(format!("--net=/run/netns/{}", cluster().netns));
        command.arg(binary()).arg("run").arg(&file);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { folder, child: command.spawn()? })
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Puts a file in the place of another, in one step.
    fn replace(&self, name: &str, content: &[u8]) -> Result<()> {
        let new = self.folder.join(format!("{name}.new"));
        std::fs::write(&new, content)?;
        Ok(std::fs::rename(new, self.folder.join(name))?)
    }

    fn status(&self) -> Result<Value> {
        let own = self.folder.join("state").display().to_string();
        let output = Command::new(binary()).args(["status", "--output", "json", "--state-dir", &own]).output()?;
        serde_json::from_slice(&output.stdout).with_context(|| String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn stop(&mut self) -> Result<Option<i32>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(self.child.wait()?.code())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A file with providers and nodes: each node has an identity of its own.
fn file(folder: &str, providers: &[Value], nodes: &[Value]) -> Result<String> {
    let mut nodes = nodes.to_vec();
    for node in &mut nodes {
        let name = node["name"].as_str().context("a node has a name")?;
        node["kubeconfig"] = json!(cluster().node_kubeconfig(name)?);
        if node.get("kubelet").is_none() {
            node["kubelet"] = json!({ "port": 0 });
        }
    }
    let host = cluster().node_kubeconfig(folder)?;
    Ok(json!({
        "apiVersion": "vk-runtime.io/v1alpha1", "kind": "Configuration", "stateDir": "state",
        "cluster": { "kubeconfig": host }, "providers": providers, "nodes": nodes,
    })
    .to_string())
}

fn mock(name: &str, own: &str, config: Value) -> Value {
    json!({ "name": name, "component": own, "config": config })
}

async fn node(client: &Client, name: &str) -> Result<Option<Node>> {
    Ok(Api::<Node>::all(client.clone()).get_opt(name).await?)
}

fn condition(node: &Node, kind: &str) -> Option<NodeCondition> {
    let conditions = node.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|own| own.type_ == kind).cloned()
}

async fn node_ready(client: &Client, process: &Process, name: &str) -> Result<Node> {
    eventually(&format!("the node {name} being Ready"), 30, async || {
        let found = node(client, name).await?;
        Ok(found.filter(|node| condition(node, "Ready").is_some_and(|ready| ready.status == "True")))
    })
    .await
    .with_context(|| process.log())
}

/// Waits for an Event on a Node; returns its message.
async fn event(client: &Client, process: &Process, node: &str, reason: &str) -> Result<String> {
    let events = Api::<Event>::namespaced(client.clone(), "default");
    let own = ListParams::default().fields(&format!("involvedObject.name={node},reason={reason}"));
    eventually(&format!("the Event {reason} on {node}"), 20, async || {
        let found = events.list(&own).await?.items.into_iter().next_back();
        Ok(found.map(|event| event.message.unwrap_or_default()))
    })
    .await
    .with_context(|| process.log())
}

fn capacity(node: &Node, resource: &str) -> String {
    let capacity = node.status.as_ref().and_then(|status| status.capacity.as_ref());
    capacity.and_then(|all| all.get(resource)).map(|own| own.0.clone()).unwrap_or_default()
}

/// Another component of the same behaviour: a section that means nothing stands at its end.
fn another(bytes: &[u8], mark: u8) -> Vec<u8> {
    [bytes, &[0, 3, 1, b'v', mark]].concat()
}

#[tokio::test]
async fn two_providers_and_three_nodes_change_while_they_run() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "config").await?;
    let mock_wasm = component("mock").display().to_string();
    let providers =
        |cpu: u64| [mock("small", &mock_wasm, json!({ "cpu": cpu })), mock("large", &mock_wasm, json!({ "cpu": 32 }))];
    let nodes = ["config-a", "config-b", "config-c"];
    let own = |name: &str, provider: &str| json!({ "name": name, "provider": provider });
    let three = [own(nodes[0], "small"), own(nodes[1], "small"), own(nodes[2], "large")];
    let began = Instant::now();
    let mut process = Process::start("config-three", &file("config-host", &providers(2), &three)?)?;
    for (name, cpu) in nodes.into_iter().zip(["2", "2", "32"]) {
        let node = node_ready(&client, &process, name).await?;
        assert_eq!(capacity(&node, "cpu"), cpu, "{name}");
    }
    println!("three nodes were Ready after {:?}", began.elapsed());
    let pods = pods(&client, &namespace);
    for name in nodes {
        create(&pods, pod(name, name, &[json!({ "name": "c", "image": "any:1" })])).await?;
        ready(&pods, name).await?;
    }
    let before = runs(&pods).await?;

    let status = process.status()?;
    assert_eq!(status["providers"].as_array().map(Vec::len), Some(2), "{status:#}");
    let states: Vec<_> = status["nodes"].as_array().into_iter().flatten().map(|node| &node["state"]).collect();
    assert_eq!(states, ["Ready", "Ready", "Ready"], "{status:#}");
    assert_eq!(status["nodes"][0]["pods"], json!(1), "{status:#}");

    // What a provider is told, one node less, one more, and a label.
    let mut labelled = own(nodes[2], "large");
    labelled["labels"] = json!({ "e2e": "yes" });
    let next = [own(nodes[0], "small"), labelled, own("config-d", "large")];
    process.replace("vk.yaml", file("config-host", &providers(4), &next)?.as_bytes())?;
    node_ready(&client, &process, "config-d").await?;
    eventually("the change", 25, async || {
        let told = node(&client, nodes[0]).await?.is_some_and(|node| capacity(&node, "cpu") == "4");
        let label = node(&client, nodes[2]).await?.and_then(|node| node.metadata.labels?.get("e2e").cloned());
        Ok((told && label.is_some()).then_some(()))
    })
    .await
    .with_context(|| process.log())?;
    let message = event(&client, &process, nodes[0], "ConfigurationChanged").await?;
    assert!(message.contains("the node config-b has ended here"), "{message}");
    assert_eq!(runs(&pods).await?, before, "a pod was touched");

    // A file that is wrong changes nothing, and is said.
    process.replace("vk.yaml", b"apiVersion: vk-runtime.io/v1alpha1\nkind: Configuration\nnods: []\n")?;
    let message = event(&client, &process, nodes[0], "ConfigurationRefused").await?;
    assert!(message.contains("vk.yaml:3:1: nods: `nods` is no key here; did you mean `nodes`?"), "{message}");
    assert_eq!(process.status()?["nodes"].as_array().map(Vec::len), Some(3));

    // What can't change while it runs is said.
    let mut moved: Value = serde_json::from_str(&file("config-host", &providers(4), &next)?)?;
    moved["stateDir"] = json!("elsewhere");
    process.replace("vk.yaml", moved.to_string().as_bytes())?;
    let message = event(&client, &process, nodes[0], "ConfigurationNeedsRestart").await?;
    assert!(message.contains("stateDir") && message.contains("elsewhere"), "{message}");
    assert_eq!(process.stop()?, Some(0));
    Ok(())
}

#[tokio::test]
async fn a_new_build_is_swapped_in_and_a_greedy_one_refused() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "swap").await?;
    let first = std::fs::read(component("mock"))?;
    let name = "config-swap";
    let folder = cluster().folder.join(name);
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("own.wasm"), &first)?;
    let text =
        file("config-swap-host", &[mock("own", "own.wasm", json!({}))], &[json!({ "name": name, "provider": "own" })])?;
    let process = Process::start(name, &text)?;
    node_ready(&client, &process, name).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("stays", name, &[json!({ "name": "c", "image": "any:1" })])).await?;
    ready(&pods, "stays").await?;
    let before = runs(&pods).await?;
    let digest = |process: &Process| -> Result<String> {
        Ok(process.status()?["providers"][0]["current"]["digest"].as_str().unwrap_or_default().to_owned())
    };
    let old = digest(&process)?;
    let up_to_date = async |status: &str| {
        eventually(&format!("ProviderUpToDate being {status}"), 20, async || {
            let found = node(&client, name).await?.and_then(|node| condition(&node, "ProviderUpToDate"));
            Ok(found.filter(|own| own.status == status))
        })
        .await
        .with_context(|| process.log())
    };
    up_to_date("True").await?;

    let began = Instant::now();
    process.replace("own.wasm", &another(&first, 1))?;
    eventually("another version", 20, async || Ok((digest(&process)? != old).then_some(()))).await?;
    println!("a new build served after {:?}", began.elapsed());
    let swapped = digest(&process)?;
    event(&client, &process, name, "ProviderSwapped").await?;
    create(&pods, pod("new", name, &[json!({ "name": "c", "image": "any:1" })])).await?;
    ready(&pods, "new").await?;
    assert_eq!(runs(&pods).await?.get("stays/c"), before.get("stays/c"), "a pod was touched");

    // One that wants what it was not granted.
    process.replace("own.wasm", &std::fs::read(test_component("fetching"))?)?;
    let message = event(&client, &process, name, "ProviderRefused").await?;
    assert!(message.contains("http") && message.contains("--allow-http"), "{message}");
    let condition = up_to_date("False").await?;
    assert_eq!(condition.reason.as_deref(), Some("ProviderRefused"));
    assert_eq!(digest(&process)?, swapped, "the old one goes on");

    process.replace("own.wasm", &another(&first, 2))?;
    up_to_date("True").await?;
    assert!(![old, swapped].contains(&digest(&process)?));
    assert_eq!(runs(&pods).await?.get("stays/c"), before.get("stays/c"), "a pod was touched");
    Ok(())
}

fn run(folder: &Path, arguments: &[&str]) -> Result<(Option<i32>, String)> {
    let mut command = cluster().inside(binary());
    let output = command.args(arguments).current_dir(folder).output()?;
    let both = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8_lossy(&both).into_owned()))
}

#[tokio::test]
async fn a_wrong_file_is_refused_with_every_line_before_anything_is_registered() -> Result<()> {
    let folder = cluster().folder.join("config-wrong");
    std::fs::create_dir_all(&folder)?;
    let text = "apiVersion: vk-runtime.io/v1alpha1\nkind: Configuration\nproviders:\n- { name: a, component: none.wasm }\n\
                nodes:\n- { name: config-wrong, provider: b }\n- { name: config-wrong, provider: a, nonsense: 1 }\n";
    std::fs::write(folder.join("vk.yaml"), text)?;
    for command in [&["config", "check", "vk.yaml"][..], &["run", "vk.yaml"]] {
        let (code, said) = run(&folder, command)?;
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains("vk.yaml:7:38: nodes[1].nonsense: `nonsense` is no key here"), "{said}");
    }
    std::fs::write(folder.join("vk.yaml"), text.replace(", nonsense: 1", ""))?;
    let (code, said) = run(&folder, &["run", "vk.yaml"])?;
    assert_eq!(code, Some(2), "{said}");
    for says in ["none.wasm", "`b` is no provider of this configuration", "two nodes `config-wrong`", "port 10250"] {
        assert!(said.contains(says), "{says:?} is missing: {said}");
    }
    assert!(node(&cluster().client().await?, "config-wrong").await?.is_none());
    let (code, said) = run(&folder, &["status", "--state-dir", "."])?;
    assert!(code == Some(2) && said.contains("can't be asked"), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_node_that_cant_be_started_is_no_other_nodes_trouble() -> Result<()> {
    let client = cluster().client().await?;
    let mock_wasm = component("mock").display().to_string();
    let nodes = [
        json!({ "name": "config-good", "provider": "own" }),
        json!({ "name": "config-bad", "provider": "own", "kubelet": { "port": 2379 } }),
    ];
    let text = file("config-one-host", &[mock("own", &mock_wasm, json!({}))], &nodes)?;
    let process = Process::start("config-one", &text)?;
    node_ready(&client, &process, "config-good").await?;
    let bad = eventually("the other node being Failing", 10, async || {
        let status = process.status()?;
        let found = status["nodes"].as_array().into_iter().flatten().find(|node| node["name"] == "config-bad").cloned();
        Ok(found.filter(|node| node["state"] == "Failing"))
    })
    .await
    .with_context(|| process.log())?;
    assert!(bad["message"].as_str().is_some_and(|why| why.contains("2379")), "{bad:#}");
    Ok(())
}
