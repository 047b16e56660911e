//! What end-to-end tests and benches stand on: a real control plane, a real container engine, and nodes of ours.
//!
//! Each is started by the script that people use too, and is gone when the process that started it ends, however it ends.

mod cluster;
mod engine;
mod hyper_cloud;
mod node;
mod proxy;
mod wait;

pub use cluster::Cluster;
pub use engine::Engine;
pub use hyper_cloud::HyperCloud;
pub use node::{Node, NodeBuilder, component, test_component};
pub use proxy::{Faults, Proxy};
pub use wait::{eventually, within};

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The repository's folder: that of the package that cargo runs, `tests/SOMETHING`. What it was built from may have been
/// another clone's, since clones share what they build.
pub fn repository() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()).join("../..")
}

/// Runs a script of the repository; returns the `KEY=VALUE` lines that it printed.
fn script(path: &str, arguments: &[&str]) -> Result<Vec<(String, String)>> {
    let output = Command::new(repository().join(path))
        .args(arguments)
        .output()
        .with_context(|| format!("{path} can't be run"))?;
    if !output.status.success() {
        bail!("{path} {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr));
    }
    let lines = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok(lines.lines().filter_map(|line| line.split_once('=')).map(|(key, value)| (key.into(), value.into())).collect())
}

fn value(lines: &[(String, String)], key: &str) -> Result<String> {
    let found = lines.iter().find(|(own, _)| own == key);
    Ok(found.with_context(|| format!("{key} was not printed"))?.1.clone())
}
