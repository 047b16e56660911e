//! Providers to measure, and what is read from the system.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use components::{Bytes, Compiled, ComponentProvider, Engine, Limits, Program};
use host_capabilities::audit::Audit;
use host_capabilities::config::NodeIdentity;
use host_capabilities::quota::Quotas;
use host_capabilities::store::Embedded;
use host_capabilities::{Capabilities, Grants, Host};
use provider::{Kind, Provider};
use tempfile::TempDir;

#[path = "../calls/pod.rs"]
mod pods;

pub use pods::pod;

/// The one engine of the process.
pub fn engine() -> Result<&'static Engine> {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    if let Some(engine) = ENGINE.get() {
        return Ok(engine);
    }
    let engine = Engine::new()?;
    Ok(ENGINE.get_or_init(|| engine))
}

/// A provider, and what it stands on.
pub struct Lab {
    pub bytes: Bytes,
    pub program: Arc<Program>,
    pub provider: Arc<ComponentProvider>,
    pub capabilities: Arc<Capabilities>,
    pub folder: TempDir,
    name: String,
    grants: Grants,
    host: Host,
}

impl Lab {
    pub async fn new(name: &str, component: &Path) -> Result<Self> {
        Self::with(name, component, Limits::default(), Grants::default()).await
    }

    pub async fn with(name: &str, component: &Path, limits: Limits, grants: Grants) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let store = Arc::new(Embedded::open(&folder.path().join("store.redb"))?);
        let host = Host { io: tokio::runtime::Handle::current(), store, audit: Audit::default() };
        let bytes = Bytes::read(component, limits.component_size)?;
        let capabilities = capabilities(name, "bench", &limits, &grants, &host);
        let compiled = Compiled::new(engine()?, &bytes, &limits, None)?;
        let program = Program::load(engine()?, compiled, limits, &capabilities).await?;
        let provider = Arc::new(ComponentProvider::new(&program, capabilities.clone()));
        Ok(Self { bytes, program, provider, capabilities, folder, name: name.to_owned(), grants, host })
    }

    /// What the same provider has for another node.
    pub fn capabilities_for(&self, node: &str) -> Arc<Capabilities> {
        capabilities(&self.name, node, &Limits::default(), &self.grants, &self.host)
    }

    pub fn compile(&self, bytes: &Bytes) -> Result<Compiled> {
        Ok(Compiled::new(engine()?, bytes, &Limits::default(), None)?)
    }

    /// A call.
    pub async fn call(&self) -> Result<()> {
        let Kind::Pods(pods) = self.provider.kind() else { bail!("it runs no whole pods") };
        pods.list(None).await?;
        Ok(())
    }
}

fn capabilities(name: &str, node: &str, limits: &Limits, grants: &Grants, host: &Host) -> Arc<Capabilities> {
    let node = NodeIdentity {
        cluster: "bench".into(),
        name: node.into(),
        address: "127.0.0.1".into(),
        operating_system: "linux".into(),
        cluster_domain: "cluster.local".into(),
    };
    let quotas = Quotas::new(name, &limits.quotas);
    Arc::new(Capabilities::new(quotas, node, grants.clone(), host, Box::new(drop)))
}

/// The same component as another version: with a section in it that means nothing.
pub fn another(bytes: &Bytes) -> Bytes {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let mut other = bytes.bytes.clone();
    // A custom section: its id, its length, the length of its name, the name.
    let name = format!("{:016}", COUNT.fetch_add(1, Ordering::Relaxed));
    other.extend([0, name.len() as u8 + 1, name.len() as u8]);
    other.extend(name.as_bytes());
    Bytes { name: bytes.name.clone(), bytes: other }
}

/// Bytes of memory that this process has.
pub fn rss() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
    let kibibytes: u64 = line.trim().trim_end_matches(" kB").trim().parse()?;
    Ok(kibibytes << 10)
}

pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times.get(times.len() / 2).copied().unwrap_or_default()
}

pub fn micros(time: Duration) -> String {
    format!("{:.1} µs", time.as_secs_f64() * 1e6)
}

pub fn millis(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}
