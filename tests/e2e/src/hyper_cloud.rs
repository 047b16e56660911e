//! The Hyper.sh cloud, emulated: its API in a control plane's network namespace, its containers on an engine.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{Cluster, Engine, eventually, repository};

/// The cloud. It ends with this process.
#[derive(Debug)]
pub struct HyperCloud {
    /// Its access key.
    pub access_key: String,
    /// Its secret key.
    pub secret_key: String,
    /// Its certificate's authority, PEM.
    pub ca: PathBuf,
    /// Its folder.
    pub folder: PathBuf,
    /// Its address, in the namespace.
    pub address: &'static str,
    child: Child,
}

/// As an account on the internet has it, so that no grant for private addresses is needed.
const ADDRESS: &str = "209.177.87.1";

impl HyperCloud {
    /// Starts it.
    pub async fn start(cluster: &Cluster, engine: &Engine) -> Result<Self> {
        let program = repository().join("target/emulators/hyper-emulator");
        if !program.exists() {
            bail!("{} is missing: `tests/emulators/build` makes it", program.display());
        }
        let folder = cluster.folder.join("hyper-cloud");
        std::fs::create_dir_all(&folder)?;
        let (access_key, secret_key) = ("AKHYPERTESTS".to_owned(), format!("SKCANARY{:016x}", std::process::id()));
        let socket = engine.endpoint.strip_prefix("unix://").context("the engine has no socket")?;
        let mut command = Command::new("setpriv");
        command
            .args(["--pdeathsig", "KILL", "nsenter"])
            .arg(format!("--net=/run/netns/{}", cluster.netns))
            .arg(program)
            .arg("--dir")
            .arg(&folder)
            .args(["--podman", socket, "--address", ADDRESS])
            .env("HYPER_ACCESS_KEY", &access_key)
            .env("HYPER_SECRET_KEY", &secret_key)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("log"))?);
        let child = spawn(command)?;
        let ca = folder.join("ca.pem");
        let cloud = Self { access_key, secret_key, ca, folder, address: ADDRESS, child };
        eventually("the cloud", 10, async || Ok(cloud.state().ok())).await?;
        Ok(cloud)
    }

    /// What its account has, and what it was asked.
    pub fn state(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&self.control(&["http://cloud/state"])?)?)
    }

    /// Sets `faults`, `quotas`, `violations` or `list-without-state`.
    pub fn set(&self, what: &str, value: &Value) -> Result<()> {
        self.control(&["--data", &value.to_string(), &format!("http://cloud/{what}")]).map(|_| ())
    }

    fn control(&self, arguments: &[&str]) -> Result<Vec<u8>> {
        let socket = self.folder.join("control.sock");
        let output = Command::new("curl")
            .args(["-sS", "--fail-with-body", "--unix-socket"])
            .arg(socket)
            .args(arguments)
            .output()?;
        if !output.status.success() {
            let said = [output.stdout, output.stderr].concat();
            bail!("the cloud's control: {}", String::from_utf8_lossy(&said));
        }
        Ok(output.stdout)
    }
}

/// Starts it from a thread that never ends, for with the thread that started it the kernel ends it: a test's is soon over.
fn spawn(mut command: Command) -> Result<Child> {
    let (sender, receiver) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        // The caller listens until this has come.
        let _ = sender.send(command.spawn());
        loop {
            std::thread::park();
        }
    });
    Ok(receiver.recv()??)
}

impl Drop for HyperCloud {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
