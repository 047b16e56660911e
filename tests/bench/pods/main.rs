//! Many pods on one node: a real control plane, and `mock.wasm` in the whole runtime as a process.
//!
//! Speeds stand beside those of raw requests in the same run ([`raw`]): the same patches and deletions from a client
//! that does nothing else, with the concurrency that is best for it. What the runtime is given is prepared while it is
//! stopped (SIGSTOP), so that only its own work is timed.
//!
//! `VK_BENCH_PODS` scales the numbers of pods (1.0: 3,000 and 10,000); `VK_BENCH_ONLY=NAME,…` picks parts: `speed`,
//! `latency`, `many`, `idle`, `nodes`.

#![expect(clippy::print_stdout, reason = "a bench says what it measured")]

mod many;
mod nobody;
mod node;
mod nodes;
mod pods;
mod raw;
mod speed;
mod watch;

use anyhow::Result;
use e2e::Cluster;

/// A number of pods, scaled.
fn scaled(count: usize) -> usize {
    let scale = std::env::var("VK_BENCH_PODS").ok().and_then(|text| text.parse::<f64>().ok()).unwrap_or(1.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "counts")]
    {
        ((count as f64 * scale) as usize).max(10)
    }
}

fn is_wanted(part: &str) -> bool {
    std::env::var("VK_BENCH_ONLY").map_or(true, |only| only.split(',').any(|own| own == part))
}

/// A line of the table.
fn line(what: &str, value: String, beside: &str) {
    println!("{what:<58} {value:>16}   {beside}");
}

#[tokio::main]
async fn main() -> Result<()> {
    line("", "measured".to_owned(), "wanted");
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    if is_wanted("speed") {
        speed::run(&cluster, &client).await?;
    }
    if is_wanted("latency") {
        speed::latency(&cluster, &client).await?;
    }
    if is_wanted("idle") {
        many::idle(&cluster, &client).await?;
    }
    if is_wanted("many") {
        many::run(&cluster, &client).await?;
    }
    if is_wanted("nodes") {
        nodes::run(&cluster, &client).await?;
    }
    cluster.down()
}
