//! A control plane of its own, in a network namespace of its own.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::PostParams;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use serde_json::json;

use crate::{eventually, script, value};

/// A control plane. It ends with this process, or earlier with [`Cluster::down`].
#[derive(Clone, Debug)]
pub struct Cluster {
    /// Its folder.
    pub folder: PathBuf,
    /// Its network namespace.
    pub netns: String,
    /// The kubectl of its version.
    pub kubectl: PathBuf,
    kubeconfig: PathBuf,
}

impl Cluster {
    /// Starts one; three seconds.
    pub fn start() -> Result<Self> {
        let own = std::process::id().to_string();
        let lines = script("tests/control-plane/up", &["--with", &own])?;
        Ok(Self {
            folder: value(&lines, "DIR")?.into(),
            netns: value(&lines, "NETNS")?,
            kubectl: value(&lines, "KUBECTL")?.into(),
            kubeconfig: value(&lines, "KUBECONFIG")?.into(),
        })
    }

    /// A client with all rights. A new one for each test, for it lives on that test's runtime.
    pub async fn client(&self) -> Result<Client> {
        let read = Kubeconfig::read_from(&self.kubeconfig)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(controllers::connect(&config)?)
    }

    /// A namespace that nobody else has, ready for pods.
    pub async fn namespace(&self, client: &Client, prefix: &str) -> Result<String> {
        let wanted = json!({ "metadata": { "generateName": format!("{prefix}-") } });
        let made = Api::<Namespace>::all(client.clone())
            .create(&PostParams::default(), &serde_json::from_value(wanted)?)
            .await?;
        let name = made.metadata.name.unwrap_or_default();
        let accounts = Api::<k8s_openapi::api::core::v1::ServiceAccount>::namespaced(client.clone(), &name);
        eventually("the namespace's ServiceAccount", 30, async || Ok(accounts.get_opt("default").await?)).await?;
        Ok(name)
    }

    /// A kubeconfig of the node identity of this node, for use inside the namespace.
    pub fn node_kubeconfig(&self, node: &str) -> Result<PathBuf> {
        self.kubeconfig(&format!("system:node:{node}"), &["system:nodes"], true)
    }

    /// A kubeconfig of a user in these groups, for use inside the namespace or outside.
    pub fn kubeconfig(&self, user: &str, groups: &[&str], inside: bool) -> Result<PathBuf> {
        let folder = self.folder.display().to_string();
        let mut command = Command::new(crate::repository().join("tests/control-plane/kubeconfig"));
        command.args([&folder, "--user", user]).args(groups.iter().flat_map(|group| ["--group", group]));
        let place = if inside { "inside" } else { "outside" };
        let output = if inside { command.arg("--inside").output()? } else { command.output()? };
        if !output.status.success() {
            bail!("kubeconfig: {}", String::from_utf8_lossy(&output.stderr));
        }
        let path = self.folder.join(format!("{}.{place}.kubeconfig", user.replace(':', "-")));
        std::fs::write(&path, output.stdout)?;
        Ok(path)
    }

    /// A client of a user in these groups.
    pub async fn client_of(&self, user: &str, groups: &[&str]) -> Result<Client> {
        let read = Kubeconfig::read_from(self.kubeconfig(user, groups, false)?)?;
        let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        Ok(controllers::connect(&config)?)
    }

    /// Runs kubectl; returns what it printed.
    pub fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.kubectl).env("KUBECONFIG", &self.kubeconfig).args(arguments).output()?;
        if !output.status.success() {
            bail!("kubectl {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// A command that runs inside the network namespace.
    pub fn inside(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.netns)).arg(program);
        command
    }

    /// Stops a component: `apiserver`, `etcd`, `controller-manager` or `scheduler`.
    pub fn stop(&self, component: &str) -> Result<()> {
        script("tests/control-plane/stop", &[&self.folder.display().to_string(), component]).map(|_| ())
    }

    /// Starts it again.
    pub fn resume(&self, component: &str) -> Result<()> {
        script("tests/control-plane/start", &[&self.folder.display().to_string(), component]).map(|_| ())
    }

    /// Has etcd forget everything but the present state, as it does by itself every few minutes: who wants to go on from an
    /// earlier one is answered 410.
    pub fn compact(&self) -> Result<()> {
        let ask = |path: &str, body: &serde_json::Value| -> Result<serde_json::Value> {
            let url = format!("http://127.0.0.1:2379/v3/kv/{path}");
            let output =
                self.inside("curl").args(["-sS", "--fail-with-body", "--data", &body.to_string(), &url]).output()?;
            if !output.status.success() {
                bail!("etcd: {}", String::from_utf8_lossy(&[output.stdout, output.stderr].concat()));
            }
            Ok(serde_json::from_slice(&output.stdout)?)
        };
        // Any key will do: the answer tells the revision.
        let present = ask("range", &json!({ "key": "AA==" }))?;
        ask("compaction", &json!({ "revision": present["header"]["revision"], "physical": true })).map(|_| ())
    }

    /// Ends it.
    pub fn down(&self) -> Result<()> {
        script("tests/control-plane/down", &[&self.folder.display().to_string()]).map(|_| ())
    }
}
