//! What a component exports and imports, before anything of it runs.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use wasmtime::component::Component;

use crate::digest::Digest;

/// The contract that this host serves.
pub const CONTRACT: &str = "0.1.0";

/// Exports of which a provider has `node` and one of the others.
const BASE: &[&str] = &["node", "pods", "containers"];

/// Optional exports of the contract, by their interface's name.
const OPTIONAL: &[&str] =
    &["watch", "logs", "exec", "attach", "port-forward", "stats", "files", "probes", "restart", "background"];

/// What the contract's host has, whether or not this version serves it.
const CAPABILITIES: &[&str] = &[
    "blobs",
    "cache",
    "certificates",
    "clock",
    "config",
    "dial",
    "events",
    "files",
    "http",
    "images",
    "log",
    "metrics",
    "process",
    "random",
    "schedule",
    "secrets",
    "store",
];

/// How a provider's backend is driven.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ProviderKind {
    /// It runs whole pods.
    Pods,
    /// It runs containers.
    Containers,
}

impl fmt::Display for ProviderKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pods => "pods",
            Self::Containers => "containers",
        })
    }
}

/// A component, as it stands in its file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Inspection {
    /// SHA-256 of the file, `sha256:…`.
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Which kind of provider; none: it is none.
    pub kind: Option<ProviderKind>,
    /// Version of the contract that its exports are written for; none: it is no provider.
    pub contract: Option<String>,
    /// Which of `node`, `pods` and `containers` it exports.
    pub base_exports: Vec<String>,
    /// Optional exports that it has.
    pub optional_exports: Vec<String>,
    /// Exports that are not in the contract.
    pub other_exports: Vec<String>,
    /// Interfaces of `vk:host` that it imports.
    pub capabilities: Vec<String>,
    /// Interfaces of WASI that it imports: linked, and inert.
    pub inert_imports: Vec<String>,
    /// Imports that this host does not know.
    pub unknown_imports: Vec<String>,
}

/// An interface's name in its parts, `NAMESPACE:PACKAGE/INTERFACE@VERSION`.
struct Name<'a> {
    package: &'a str,
    interface: &'a str,
    version: &'a str,
}

fn split(name: &str) -> Option<Name<'_>> {
    let (package, rest) = name.split_once('/')?;
    let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
    Some(Name { package, interface, version })
}

/// Whether a version of the contract is one that this host serves: before 1.0 the second number is the breaking one.
fn serves(version: &str) -> bool {
    let breaking = |version: &str| version.split('.').take(2).map(str::to_owned).collect::<Vec<_>>();
    breaking(version) == breaking(CONTRACT)
}

impl Inspection {
    /// Looks at a compiled component.
    pub(crate) fn new(component: &Component, digest: &Digest, size: u64) -> Self {
        let engine = component.engine();
        let kind = component.component_type();
        let mut exports = BTreeSet::new();
        let mut other_exports = Vec::new();
        let mut contract: Option<String> = None;
        for (name, _) in kind.exports(engine) {
            match split(name) {
                Some(Name { package: "vk:provider", interface, version }) => {
                    // One that is not ours is what there is to say.
                    if contract.as_deref().is_none_or(serves) {
                        contract = Some(version.to_owned());
                    }
                    // Interfaces that only hold types are exported along with those that use them.
                    if !matches!(interface, "types" | "sessions") {
                        exports.insert(interface.to_owned());
                    }
                }
                _ => other_exports.push(name.to_owned()),
            }
        }
        let (mut capabilities, mut inert_imports, mut unknown_imports) = (Vec::new(), Vec::new(), Vec::new());
        for (name, _) in kind.imports(engine) {
            match split(name) {
                Some(Name { package: "vk:host", interface: "types", version }) if serves(version) => {}
                Some(Name { package: "vk:host", interface, version })
                    if serves(version) && CAPABILITIES.contains(&interface) =>
                {
                    capabilities.push(interface.to_owned());
                }
                Some(Name { package: "vk:provider", interface: "types" | "sessions", version }) if serves(version) => {}
                Some(Name { package, .. }) if package.starts_with("wasi:") => inert_imports.push(name.to_owned()),
                _ => unknown_imports.push(name.to_owned()),
            }
        }
        let has = |interface: &str| exports.contains(interface);
        let provider_kind = match (has("node"), has("pods"), has("containers")) {
            (true, true, false) => Some(ProviderKind::Pods),
            (true, false, true) => Some(ProviderKind::Containers),
            _ => None,
        };
        capabilities.sort();
        let known = |interface: &str| OPTIONAL.contains(&interface) || BASE.contains(&interface);
        let of = |all: &[&str]| all.iter().filter(|name| has(name)).map(|name| (*name).to_owned()).collect();
        other_exports.extend(exports.iter().filter(|name| !known(name)).map(|name| format!("vk:provider/{name}")));
        Self {
            digest: digest.to_string(),
            size,
            kind: provider_kind,
            contract,
            base_exports: of(BASE),
            optional_exports: of(OPTIONAL),
            other_exports,
            capabilities,
            inert_imports,
            unknown_imports,
        }
    }

    /// Whether it is written for a contract that this host serves.
    pub fn speaks_our_contract(&self) -> bool {
        self.contract.as_deref().is_some_and(serves)
    }

    /// Whether it has an optional export.
    pub fn exports(&self, interface: &str) -> bool {
        self.optional_exports.iter().any(|own| own == interface)
    }
}
