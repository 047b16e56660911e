//! The node under test, stopped and continued as a whole.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use e2e::{Cluster, Node, NodeBuilder};
use rustix::process::{Pid, Signal, kill_process};

/// A mock with room for all of them.
pub fn builder(cluster: &Cluster, name: &str) -> Result<NodeBuilder> {
    Ok(NodeBuilder::mock(cluster, name)?.with(&["--config", "pods=20000", "--config", "ip-range=10.128.0.0/12"]))
}

fn pid(node: &Node) -> Result<Pid> {
    i32::try_from(node.pid()).ok().and_then(Pid::from_raw).context("no pid")
}

/// Stops all of its threads.
pub fn pause(node: &Node) -> Result<()> {
    Ok(kill_process(pid(node)?, Signal::STOP)?)
}

/// Lets it go on.
pub fn resume(node: &Node) -> Result<()> {
    Ok(kill_process(pid(node)?, Signal::CONT)?)
}

/// CPU time that it used.
pub fn cpu(node: &Node) -> Result<Duration> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(node.pid().to_string()).join("stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|own| own.parse::<u64>().ok()).context("no times in stat");
    // utime and stime, fields 14 and 15; in hundredths of a second, as on every Linux.
    Ok(Duration::from_millis((ticks(11)? + ticks(12)?) * 10))
}
