//! 10,000 pods on one node: begin, memory, restart; and what 1,000 cost while nothing happens.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::Cluster;
use http::Request;
use kube::Client;

use crate::watch::Watching;
use crate::{line, node, pods, scaled};

/// How long the runtime may take for its memory to settle.
const SETTLE: Duration = Duration::from_secs(15);
const IDLE: Duration = Duration::from_secs(60);

/// Begin, memory and restart with 10,000.
pub async fn run(cluster: &Cluster, client: &Client) -> Result<()> {
    let count = scaled(10_000);
    let namespace = cluster.namespace(client, "many").await?;
    let mut own = node::builder(cluster, "many")?.start(client).await?;
    let mut watching = Watching::start(client, &namespace).await?;
    let began = Instant::now();
    pods::create(client, &namespace, "many", "web", count).await?;
    let made = began.elapsed();
    let done = watching.until("pods begin", |seen| seen.running.len() >= count).await?;
    line(
        &format!("{count} pods, first create to last Running"),
        format!("{:.1} s", (done - began).as_secs_f64()),
        &format!("<= 60 s (creating them took {:.1} s)", made.as_secs_f64()),
    );
    drop(watching);
    tokio::time::sleep(SETTLE).await;
    line(&format!("memory with {count} pods"), format!("{} MiB", own.memory()? >> 20), "<= 150 MB");

    let before = Requests::read(client).await?;
    own.stop()?;
    let began = Instant::now();
    own.restart()?;
    let reconciled = loop {
        if running(client, "many").await.unwrap_or(0) >= count {
            break began.elapsed();
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    tokio::time::sleep(SETTLE).await;
    let writes = Requests::read(client).await?.pod_writes - before.pod_writes;
    let restarted = format!("restart with {count} running pods: all known again");
    line(&restarted, format!("{:.1} s", reconciled.as_secs_f64()), "<= 15 s");
    line("  pod writes by it", writes.to_string(), "0");
    line("  memory after it", format!("{} MiB", own.memory()? >> 20), "");
    Ok(())
}

/// CPU and requests while 1,000 pods run and nothing happens; memory with 100.
pub async fn idle(cluster: &Cluster, client: &Client) -> Result<()> {
    let namespace = cluster.namespace(client, "idle").await?;
    let own = node::builder(cluster, "idle")?.start(client).await?;
    let mut watching = Watching::start(client, &namespace).await?;
    pods::create(client, &namespace, "idle", "few", 100).await?;
    watching.until("pods begin", |seen| seen.running.len() >= 100).await?;
    tokio::time::sleep(SETTLE).await;
    line("memory with 100 pods", format!("{} MiB", own.memory()? >> 20), "<= 60 MB");
    let count = scaled(1_000);
    pods::create(client, &namespace, "idle", "more", count).await?;
    watching.until("pods begin", |seen| seen.running.len() >= count + 100).await?;
    tokio::time::sleep(SETTLE).await;
    let (before, cpu) = (Requests::read(client).await?, node::cpu(&own)?);
    tokio::time::sleep(IDLE).await;
    let (after, spent) = (Requests::read(client).await?, node::cpu(&own)? - cpu);
    let share = spent.as_secs_f64() / IDLE.as_secs_f64() * 100.0;
    line(&format!("CPU with {} idle pods", count + 100), format!("{share:.2} %"), "<= 1 % of a core");
    line("  pod writes in that minute", (after.pod_writes - before.pod_writes).to_string(), "0");
    Ok(())
}

/// Pods that the runtime says run.
async fn running(client: &Client, node: &str) -> Result<usize> {
    let request = Request::get(format!("/api/v1/nodes/{node}/proxy/runningpods/")).body(Vec::new())?;
    let list: serde_json::Value = client.request(request).await?;
    Ok(list["items"].as_array().context("no items")?.len())
}

/// What the API server counted.
struct Requests {
    pod_writes: u64,
}

impl Requests {
    async fn read(client: &Client) -> Result<Self> {
        let text = client.request_text(Request::get("/metrics").body(Vec::new())?).await?;
        let is_write = |line: &str| {
            line.starts_with("apiserver_request_total{")
                && line.contains("resource=\"pods\"")
                && ["PATCH", "PUT", "POST", "DELETE", "APPLY"]
                    .iter()
                    .any(|verb| line.contains(&format!("verb=\"{verb}\"")))
        };
        let count = |line: &str| line.rsplit(' ').next().and_then(|own| own.parse::<f64>().ok()).unwrap_or(0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts")]
        let pod_writes = text.lines().filter(|line| is_write(line)).map(count).sum::<f64>() as u64;
        Ok(Self { pod_writes })
    }
}
