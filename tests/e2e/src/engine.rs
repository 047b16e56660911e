//! A Podman of its own, in a control plane's network namespace.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Result, bail};

use crate::{Cluster, script, value};

/// An engine. It ends with this process, or earlier with [`Engine::down`].
#[derive(Clone, Debug)]
pub struct Engine {
    /// `unix:///…`.
    pub endpoint: String,
    /// The range of its pods' addresses.
    pub pod_cidr: String,
    folder: String,
    podman: PathBuf,
}

impl Engine {
    /// Starts one; half a second.
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let own = std::process::id().to_string();
        let lines = script("tests/podman/up", &["--netns", &cluster.netns, "--with", &own])?;
        Ok(Self {
            endpoint: value(&lines, "ENDPOINT")?,
            pod_cidr: value(&lines, "POD_CIDR")?,
            folder: value(&lines, "DIR")?,
            podman: value(&lines, "PODMAN")?.into(),
        })
    }

    /// Runs podman on its storage; returns what it printed.
    pub fn podman(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new(&self.podman).args(arguments).output()?;
        if !output.status.success() {
            bail!("podman {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Containers, pods and volumes that are there, by name.
    pub fn objects(&self) -> Result<Vec<String>> {
        let mut all = Vec::new();
        for arguments in [
            &["ps", "-a", "--format", "{{.Names}}"][..],
            &["pod", "ps", "--format", "{{.Name}}"],
            &["volume", "ls", "-q"],
        ] {
            all.extend(self.podman(arguments)?.lines().filter(|line| !line.is_empty()).map(str::to_owned));
        }
        Ok(all)
    }

    /// Stops its API; containers run on.
    pub fn stop(&self) -> Result<()> {
        script("tests/podman/stop", &[&self.folder]).map(|_| ())
    }

    /// Serves its API again.
    pub fn resume(&self) -> Result<()> {
        script("tests/podman/start", &[&self.folder]).map(|_| ())
    }

    /// Ends it.
    pub fn down(&self) -> Result<()> {
        script("tests/podman/down", &[&self.folder]).map(|_| ())
    }
}
