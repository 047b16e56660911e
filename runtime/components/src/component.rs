//! A component that was checked and compiled; nothing of it has run yet.
//!
//! The checks, in their order, each an error of its own that says what to do: size; whether it is a component; whether it
//! is a provider, of a contract that this host serves; whether it imports only what the host knows and what was granted;
//! whether its functions have the contract's types, in an instance made for that.
//!
//! Cost: compiling takes about a second for a megabyte of code, on a thread of its own; loading from the cache some
//! milliseconds.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use host_capabilities::{Capabilities, MISSING};
use wasmtime::component::Component;

use crate::code_cache::CodeCache;
use crate::digest::Digest;
use crate::engine::Engine;
use crate::inspect::{CONTRACT, Inspection, ProviderKind};
use crate::limits::Limits;

/// Why a component can't be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file can't be read.
    #[error("the component {} can't be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// It is too large.
    #[error("the component {name} has more than {limit} bytes: --limit component-size=SIZE raises it")]
    TooLarge {
        /// The component.
        name: String,
        /// The limit.
        limit: u64,
    },
    /// It is something else.
    #[error("{name} is no WebAssembly component: {reason}")]
    NoComponent {
        /// The component.
        name: String,
        /// What it is instead, or what is wrong with it.
        reason: String,
    },
    /// Compiling it takes too much, or fails.
    #[error("the component {name} can't be compiled: {reason}")]
    Compile {
        /// The component.
        name: String,
        /// What there was too much of.
        reason: String,
    },
    /// It exports no provider.
    #[error(
        "the component {name} exports no provider: `vk:provider/node` and either `pods` or `containers` are wanted, it has {found}"
    )]
    NoProvider {
        /// The component.
        name: String,
        /// Its exports.
        found: String,
    },
    /// It was made for another contract.
    #[error("the component {name} speaks the contract {version}, this host serves {CONTRACT}")]
    Contract {
        /// The component.
        name: String,
        /// Its version.
        version: String,
    },
    /// It imports what this version of the host does not have.
    #[error("the component {name} imports `vk:host/{interface}`, which is not in this version of vk-runtime")]
    Missing {
        /// The component.
        name: String,
        /// The interface.
        interface: String,
    },
    /// It imports what no version has.
    #[error("the component {name} imports `{import}`, which is no part of the contract {CONTRACT}")]
    Unknown {
        /// The component.
        name: String,
        /// The import.
        import: String,
    },
    /// It wants what it was not granted.
    #[error("the component {name} wants {wanted}, of which nothing is granted: {flags} would grant it")]
    NotGranted {
        /// The component.
        name: String,
        /// The capabilities.
        wanted: String,
        /// How to grant them.
        flags: String,
    },
    /// It drives its backend in another way than the version before.
    #[error("the component {name} runs {kind}, the version that is loaded runs {before}: that takes a restart")]
    OtherKind {
        /// The component.
        name: String,
        /// What the version before runs.
        before: ProviderKind,
        /// What it runs.
        kind: ProviderKind,
    },
    /// It can't describe a node that the version before can describe.
    #[error("the component {name} can't describe the node: {reason}")]
    Describe {
        /// The component.
        name: String,
        /// Why.
        reason: String,
    },
    /// Its functions are not the contract's, or it can't be instantiated.
    #[error("the component {name} can't be used: {reason}")]
    Unusable {
        /// The component.
        name: String,
        /// Why.
        reason: String,
    },
}

/// A component's bytes, and what to call it in errors.
pub struct Bytes {
    /// A path or an address.
    pub name: String,
    /// The component.
    pub bytes: Vec<u8>,
}

impl Bytes {
    /// Reads a file of at most `limit` bytes.
    pub fn read(path: &Path, limit: u64) -> Result<Self, LoadError> {
        let fail = |error| LoadError::Read { path: path.to_owned(), error };
        let name = path.display().to_string();
        let mut bytes = Vec::new();
        let file = File::open(path).map_err(fail)?;
        file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
        if bytes.len() as u64 > limit {
            return Err(LoadError::TooLarge { name, limit });
        }
        Ok(Self { name, bytes })
    }
}

/// Whether these bytes may be a component at all.
pub(crate) fn check_form(name: &str, bytes: &[u8], limits: &Limits) -> Result<(), LoadError> {
    let name = || name.to_owned();
    if bytes.len() as u64 > limits.component_size {
        return Err(LoadError::TooLarge { name: name(), limit: limits.component_size });
    }
    if !bytes.starts_with(b"\0asm") {
        return Err(LoadError::NoComponent {
            name: name(),
            reason: "it does not begin as WebAssembly does".to_owned(),
        });
    }
    if bytes.get(4..8) == Some(&[1, 0, 0, 0]) {
        let reason = "it is a core module (build it with --target wasm32-wasip2)".to_owned();
        return Err(LoadError::NoComponent { name: name(), reason });
    }
    Ok(())
}

/// A compiled component, of which nothing has run yet.
pub struct Compiled {
    pub(crate) name: String,
    pub(crate) component: Component,
    pub(crate) digest: Digest,
    pub(crate) inspection: Inspection,
}

impl Compiled {
    /// Compiles a component, or takes its code from the cache. Blocks: not for a thread that others wait for.
    pub fn new(engine: &Engine, source: &Bytes, limits: &Limits, cache: Option<&CodeCache>) -> Result<Self, LoadError> {
        let name = source.name.as_str();
        check_form(name, &source.bytes, limits)?;
        let digest = Digest::of(&source.bytes);
        let component = match cache.and_then(|cache| cache.load(engine, &digest)) {
            Some(component) => component,
            None => {
                let fail = |error| LoadError::NoComponent { name: name.to_owned(), reason: format!("{error:#}") };
                let component = Component::from_binary(&engine.wasmtime, &source.bytes).map_err(fail)?;
                if let Some(cache) = cache {
                    cache.keep(engine, &digest, &component.serialize().map_err(fail)?);
                }
                component
            }
        };
        Ok(Self::of(name, component, digest, source.bytes.len() as u64))
    }

    pub(crate) fn of(name: &str, component: Component, digest: Digest, size: u64) -> Self {
        let inspection = Inspection::new(&component, &digest, size);
        Self { name: name.to_owned(), component, digest, inspection }
    }

    /// What it exports and imports.
    pub const fn inspection(&self) -> &Inspection {
        &self.inspection
    }

    /// The names of all that it exports, and of all that it imports.
    pub fn names(&self) -> (Vec<String>, Vec<String>) {
        let (engine, own) = (self.component.engine(), self.component.component_type());
        let exports = own.exports(engine).map(|(name, _)| name.to_owned()).collect();
        (exports, own.imports(engine).map(|(name, _)| name.to_owned()).collect())
    }

    /// Whether it is a provider that this host can run.
    pub fn check(&self) -> Result<ProviderKind, LoadError> {
        let name = || self.name.clone();
        let seen = &self.inspection;
        if let Some(version) = seen.contract.as_ref().filter(|_| !seen.speaks_our_contract()) {
            return Err(LoadError::Contract { name: name(), version: version.clone() });
        }
        let Some(kind) = seen.kind else {
            let found: Vec<_> = [&seen.base_exports, &seen.optional_exports, &seen.other_exports]
                .into_iter()
                .flatten()
                .map(String::as_str)
                .collect();
            let found = if found.is_empty() { "none".to_owned() } else { found.join(", ") };
            return Err(LoadError::NoProvider { name: name(), found });
        };
        if let Some(interface) = seen.capabilities.iter().find(|own| MISSING.contains(&own.as_str())) {
            return Err(LoadError::Missing { name: name(), interface: interface.clone() });
        }
        if let Some(import) = seen.unknown_imports.first() {
            return Err(LoadError::Unknown { name: name(), import: import.clone() });
        }
        Ok(kind)
    }

    /// Whether what it imports is granted.
    pub fn check_grants(&self, capabilities: &Capabilities) -> Result<(), LoadError> {
        check_grants(&self.name, &self.inspection, capabilities)
    }
}

/// Whether what it imports is granted. Requests and raw connections grant each other: an engine is reached by either.
pub(crate) fn check_grants(name: &str, inspection: &Inspection, capabilities: &Capabilities) -> Result<(), LoadError> {
    let imports = |interface: &str| inspection.capabilities.iter().any(|own| own == interface);
    let (mut wanted, mut flags) = (Vec::new(), Vec::new());
    if imports("http") {
        wanted.push("`http`");
        flags.push("--allow-http=URL");
    }
    if imports("dial") || imports("http") {
        flags.push("--allow-dial=HOST:PORT or --allow-dial=unix:///PATH");
    }
    if imports("dial") {
        wanted.push("`dial`");
    }
    if wanted.is_empty() || capabilities.grants_network() {
        return Ok(());
    }
    Err(LoadError::NotGranted { name: name.to_owned(), wanted: wanted.join(" and "), flags: flags.join(" or ") })
}
