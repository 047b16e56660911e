//! Floating IPs as real addresses: each is one of the network namespace's own, and what connects to a published port of it is
//! led to the container that has it, wherever that is by then. TCP alone.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result, bail};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Command;
use tokio::task::AbortHandle;

use crate::engine::Engine;

/// The addresses that are led on.
#[derive(Default)]
pub struct Forwards(Mutex<BTreeMap<Ipv4Addr, Vec<AbortHandle>>>);

impl Forwards {
    /// Leads these ports of an address to a container.
    pub async fn lead(&self, engine: &Arc<Engine>, from: Ipv4Addr, ports: &[u16], container: &str) -> Result<()> {
        self.end(from);
        let mut handles = Vec::new();
        for port in ports {
            let listener = TcpListener::bind((from, *port)).await;
            let listener = listener.with_context(|| format!("the floating IP {from}:{port}"))?;
            let task = tokio::spawn(serve(listener, engine.clone(), *port, container.to_owned()));
            handles.push(task.abort_handle());
        }
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(from, handles);
        Ok(())
    }

    /// Leads an address nowhere.
    pub fn end(&self, from: Ipv4Addr) {
        let handles = self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&from);
        handles.into_iter().flatten().for_each(|handle| handle.abort());
    }
}

async fn serve(listener: TcpListener, engine: Arc<Engine>, port: u16, container: String) {
    while let Ok((mut client, _)) = listener.accept().await {
        let (engine, container) = (engine.clone(), container.clone());
        tokio::spawn(async move {
            let Ok(path) = machine(&engine, &container).await else { return };
            // Whoever waits for a page sees that there is none.
            let Ok(mut server) = TcpStream::connect((path.as_str(), port)).await else { return };
            let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
        });
    }
}

/// A container's own address.
async fn machine(engine: &Engine, container: &str) -> Result<String> {
    let found = engine.get(&format!("/containers/{container}/json")).await;
    let found = found.map_err(|refusal| anyhow::anyhow!(refusal.text))?;
    let networks = found["NetworkSettings"]["Networks"].as_object();
    let ips = networks.into_iter().flat_map(|networks| networks.values());
    let ip = ips.filter_map(|network| network["IPAddress"].as_str()).find(|ip| !ip.is_empty());
    ip.map(str::to_owned).context("the container has no address")
}

/// Makes an address the namespace's own, or takes it away: `add` or `del`.
pub async fn own(what: &str, address: Ipv4Addr) -> Result<()> {
    let network = format!("{address}/32");
    let output = Command::new("ip").args(["address", what, &network, "dev", "lo"]).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    // What was left by an emulator that was killed.
    if output.status.success() || (what == "add" && said.contains("exists")) {
        return Ok(());
    }
    bail!("ip address {what} {network}: {}", said.trim())
}
