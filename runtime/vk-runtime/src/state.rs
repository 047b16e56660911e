//! The folder for what must last: the providers' store, and compiled code.

use std::fs::DirBuilder;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use host_capabilities::store::{Embedded, OpenError};

/// The folder, made if need be, readable by this user alone.
pub fn make(folder: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("the folder {} can't be made: --state-dir names another", folder.display()))
}

/// How long a process before this one may take to let go of the store: one that was killed a moment ago still has it.
const HANDOVER: Duration = Duration::from_secs(3);

/// The store in this folder.
pub async fn store(folder: &Path) -> Result<Embedded> {
    let deadline = Instant::now() + HANDOVER;
    loop {
        match Embedded::open(&folder.join("store.redb")) {
            Err(OpenError::InUse(_)) if Instant::now() < deadline => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            opened => return Ok(opened?),
        }
    }
}

/// The folder of a process of this name, where none is given.
pub fn default(name: &str) -> PathBuf {
    base().join(name)
}

/// Where such folders are.
pub fn base() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/vk-runtime");
    }
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".local/state"));
    let base = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or_else(home);
    base.unwrap_or_else(std::env::temp_dir).join("vk-runtime")
}
