//! A node of ours: `vk-runtime` as a process, under its node identity.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node as ApiNode;
use kube::{Api, Client};

use crate::{Cluster, Engine, eventually, repository};

/// A component that was built by `make build`.
pub fn component(name: &str) -> PathBuf {
    repository().join(format!("target/components/{name}.wasm"))
}

/// A component of the tests, built by `tests/components/build`.
pub fn test_component(name: &str) -> PathBuf {
    repository().join(format!("target/test-components/{name}.wasm"))
}

fn binary() -> PathBuf {
    repository().join("target/release/vk-runtime")
}

/// What a runtime that refuses its work is given to say so.
const LONGEST_RUN: Duration = Duration::from_secs(20);

/// How a node is to be started.
#[derive(Clone, Debug)]
pub struct NodeBuilder {
    name: String,
    component: PathBuf,
    arguments: Vec<String>,
    folder: PathBuf,
    kubeconfig: PathBuf,
    netns: String,
}

/// A running node. It is killed when this is dropped.
#[derive(Debug)]
pub struct Node {
    /// `metadata.name`.
    pub name: String,
    builder: NodeBuilder,
    child: Child,
}

impl NodeBuilder {
    /// A node of this name with this component.
    pub fn new(cluster: &Cluster, name: &str, component: PathBuf) -> Result<Self> {
        Ok(Self {
            name: name.to_owned(),
            component,
            arguments: Vec::new(),
            folder: cluster.folder.join(format!("node-{name}")),
            kubeconfig: cluster.node_kubeconfig(name)?,
            netns: cluster.netns.clone(),
        })
    }

    /// A node that runs its pods on an engine.
    pub fn hyper(cluster: &Cluster, name: &str, engine: &Engine) -> Result<Self> {
        let own = Self::new(cluster, name, component("hyper"))?;
        Ok(own.with(&["--config", &format!("endpoint={}", engine.endpoint), "--allow-dial", &engine.endpoint]))
    }

    /// A node whose pods run nowhere.
    pub fn mock(cluster: &Cluster, name: &str) -> Result<Self> {
        Self::new(cluster, name, component("mock"))
    }

    /// Under another identity than the node's own.
    pub fn identity(mut self, kubeconfig: PathBuf) -> Self {
        self.kubeconfig = kubeconfig;
        self
    }

    /// With these arguments too.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(|argument| (*argument).to_owned()));
        self
    }

    /// Under the identity of another kubeconfig.
    pub fn under(mut self, kubeconfig: &Path) -> Self {
        self.kubeconfig = kubeconfig.to_owned();
        self
    }

    /// The state folder, which survives a restart.
    pub fn state(&self) -> PathBuf {
        self.folder.join("state")
    }

    /// What was logged so far, over all starts.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn command(&self, words: &[&str]) -> Command {
        // Goes with the thread that started it, should that not get to end it.
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "TERM", "nsenter"])
            .arg(format!("--net=/run/netns/{}", self.netns))
            .arg(binary())
            .args(words)
            .args(["--nodename", &self.name, "--kubelet-port", "0"])
            .arg("--component")
            .arg(&self.component)
            .arg("--kubeconfig")
            .arg(&self.kubeconfig)
            .arg("--state-dir")
            .arg(self.state())
            .args(&self.arguments);
        command
    }

    /// Runs another command with the flags that the node is started with; returns exit code, output, and what it said.
    pub fn run_command(&self, words: &[&str]) -> Result<(Option<i32>, String, String)> {
        let output = self.command(words).stdin(Stdio::null()).output()?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((output.status.code(), text(&output.stdout), text(&output.stderr)))
    }

    /// Runs it to its end, for one that is expected to refuse its work; returns exit code and what it said.
    pub fn run_to_end(&self) -> Result<(Option<i32>, String)> {
        let mut child = self.command(&[]).stdin(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let until = Instant::now() + LONGEST_RUN;
        while child.try_wait()?.is_none() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
        }
        // It may have ended just now.
        let _ = child.kill();
        let output = child.wait_with_output()?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned()))
    }

    /// Starts it.
    pub fn spawn(&self) -> Result<Node> {
        Ok(Node { name: self.name.clone(), builder: self.clone(), child: self.spawn_child()? })
    }

    fn spawn_child(&self) -> Result<Child> {
        if !binary().exists() {
            bail!("{} is missing: `make build` makes it", binary().display());
        }
        std::fs::create_dir_all(&self.folder)?;
        let log = File::options().append(true).create(true).open(self.folder.join("log"))?;
        let mut command = self.command(&[]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        command.spawn().context("setpriv can't be run")
    }

    /// Starts it, and waits until its Node is Ready.
    pub async fn start(&self, client: &Client) -> Result<Node> {
        let node = self.spawn()?;
        node.ready(client).await?;
        Ok(node)
    }
}

impl Node {
    /// Waits until the Node is Ready.
    pub async fn ready(&self, client: &Client) -> Result<()> {
        let nodes = Api::<ApiNode>::all(client.clone());
        let ready = eventually("the node's being Ready", 30, async || {
            let Some(node) = nodes.get_opt(&self.name).await? else { return Ok(None) };
            Ok(is_ready(&node).then_some(()))
        });
        ready.await.with_context(|| format!("the log of {}:\n{}", self.name, self.builder.log()))
    }

    /// Its process id: of nsenter, which became the runtime.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Kills it without a word, as a crash does.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Asks it to end, and waits.
    pub fn stop(&mut self) -> Result<Option<i32>> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw).context("no pid")?;
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        Ok(self.child.wait()?.code())
    }

    /// Starts it again, with the same state.
    pub fn restart(&mut self) -> Result<()> {
        self.child = self.builder.spawn_child()?;
        Ok(())
    }

    /// Whether its process runs.
    pub fn runs(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// What was logged so far.
    pub fn log(&self) -> String {
        self.builder.log()
    }

    /// Resident memory, bytes.
    pub fn memory(&self) -> Result<u64> {
        let status = std::fs::read_to_string(Path::new("/proc").join(self.pid().to_string()).join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").trim().parse::<u64>()? << 10)
    }
}

/// Whether the Node's condition Ready is True.
fn is_ready(node: &ApiNode) -> bool {
    let conditions = node.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
