//! `vk-runtime pull`: a component from any source into a file, checked as it would be for running.
//!
//! The file is replaced at once and when all is there, so what watches it never sees a part.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use components::source::Address;

use crate::fetching::{self, FetchArguments};

#[derive(Debug, Args)]
pub struct PullArguments {
    /// The component: oci://REGISTRY/REPOSITORY[:TAG][@DIGEST], configmap://NAMESPACE/NAME[/KEY] or PATH
    #[arg(value_name = "ADDRESS")]
    address: Address,
    /// Where to
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    fetch: FetchArguments,
}

pub fn pull(arguments: &PullArguments) -> Result<()> {
    let fetched = fetching::run(arguments.fetch.fetch(&arguments.address))?;
    write(&arguments.file, &fetched.bytes)
        .with_context(|| format!("the file {} can't be written", arguments.file.display()))?;
    let signed = fetched.signer.map(|signer| format!(", signed with {signer}")).unwrap_or_default();
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        println!("{} {} bytes{signed}", fetched.digest, fetched.bytes.len());
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().permissions(permissions()).tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// As other programs make files; the umask takes from it.
fn permissions() -> std::fs::Permissions {
    std::os::unix::fs::PermissionsExt::from_mode(0o666)
}
