//! `componentize CORE OUT`: encodes a core module built for wasm32-unknown-unknown as a component.
//!
//! The module says in its own sections what it imports and exports. Only what it uses is imported.

use std::env::args_os;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use wit_component::ComponentEncoder;

fn main() -> Result<()> {
    let arguments: Vec<PathBuf> = args_os().skip(1).map(PathBuf::from).collect();
    let [core, out] = arguments.as_slice() else { bail!("usage: componentize CORE OUT") };
    let module = fs::read(core).with_context(|| format!("reading {}", core.display()))?;
    let encoder = ComponentEncoder::default().validate(true).module(&module);
    let component =
        encoder.and_then(|mut encoder| encoder.encode()).with_context(|| format!("encoding {}", core.display()))?;
    fs::write(out, component).with_context(|| format!("writing {}", out.display()))
}
