//! Embeds what `vk-runtime new` makes a provider from: the templates, the kit with the contract, and what both inherit of
//! their workspace. Leaves `embedded.rs`: a list of `(path below providers-wasm/, content)`.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

/// Of `providers-wasm/`.
const EMBEDDED: &[&str] = &["Cargo.toml", "Cargo.lock", "sdk", "template"];

fn main() -> io::Result<()> {
    let variable = |name| env::var_os(name).map(PathBuf::from).ok_or_else(|| io::Error::other("cargo runs this"));
    let providers = variable("CARGO_MANIFEST_DIR")?.join("../../providers-wasm");
    let mut list = String::from("&[\n");
    for name in EMBEDDED {
        add(&providers, &providers.join(name), &mut list)?;
    }
    // The kit's `wit` is a link, which cargo does not look behind.
    println!("cargo::rerun-if-changed={}", providers.join("../wit").display());
    fs::write(variable("OUT_DIR")?.join("embedded.rs"), list + "]\n")
}

fn add(root: &Path, path: &Path, list: &mut String) -> io::Result<()> {
    println!("cargo::rerun-if-changed={}", path.display());
    if path.is_dir() {
        let mut entries = fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
        entries.sort();
        return entries.iter().try_for_each(|entry| add(root, entry, list));
    }
    let name = path.strip_prefix(root).map_err(io::Error::other)?;
    writeln!(list, "    ({:?}, include_str!({:?})),", name, path.canonicalize()?).map_err(io::Error::other)
}
