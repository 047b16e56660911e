//! The folder for what must last: the providers' store, and compiled code.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The folder, made if need be, readable by this user alone.
pub fn folder(given: Option<&Path>, node: &str) -> Result<PathBuf> {
    let folder = given.map_or_else(|| default(node), Path::to_owned);
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&folder)
        .with_context(|| format!("the folder {} can't be made: --state-dir names another", folder.display()))?;
    Ok(folder)
}

fn default(node: &str) -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return Path::new("/var/lib/vk-runtime").join(node);
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("vk-runtime").join(node)
}
