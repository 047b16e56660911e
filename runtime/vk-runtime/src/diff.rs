//! `vk-runtime diff`: what a new version of a component would ask for that the old one didn't.
//!
//! A version is *wider* if somebody has to say yes to it: it imports an interface of `vk:host` that the old one doesn't, or
//! one that this host does not know; lost an export that people may use; is of the other kind; or speaks a contract that
//! this host does not serve, or is no provider. Then the exit status is 1; it is 0 for the same and for less, 2 where one of
//! them can't be read. WASI is inert: what is imported of it is shown and makes nothing wider.

use std::collections::BTreeSet;
use std::fmt::Write;

use anyhow::Result;
use clap::Args;
use components::source::Address;
use components::{CONTRACT, Inspection, ProviderKind};
use serde::Serialize;

use crate::arguments::Output;
use crate::fetching::{self, FetchArguments};

/// The exit status for a version that asks for more.
pub const WIDER: u8 = 1;

#[derive(Debug, Args)]
pub struct DiffArguments {
    /// The version that runs: PATH, configmap://NAMESPACE/NAME[/KEY] or oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]
    #[arg(value_name = "OLD")]
    old: Address,
    /// The version that is to run
    #[arg(value_name = "NEW")]
    new: Address,
    #[command(flatten)]
    fetch: FetchArguments,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Shows it; returns whether the new version is wider.
pub fn diff(arguments: &DiffArguments) -> Result<bool> {
    let (old, new) = fetching::run(async {
        Ok((inspected(arguments, &arguments.old).await?, inspected(arguments, &arguments.new).await?))
    })?;
    let difference = Difference::between(old, new);
    let shown = match arguments.output {
        Output::Json => serde_json::to_string_pretty(&difference)? + "\n",
        Output::Text => difference.text(),
    };
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{shown}");
    }
    Ok(difference.is_wider())
}

async fn inspected(arguments: &DiffArguments, address: &Address) -> Result<Inspection> {
    let fetched = arguments.fetch.fetch(address).await?;
    Ok(fetching::compiled(&address.to_string(), &fetched).await?.inspection().clone())
}

/// Two values of one thing.
#[derive(Debug, PartialEq, Serialize)]
struct Change<T> {
    old: T,
    new: T,
}

impl<T: PartialEq> Change<T> {
    fn differs(&self) -> bool {
        self.old != self.new
    }
}

/// Names that came and went.
#[derive(Debug, PartialEq, Serialize)]
struct Names {
    gained: Vec<String>,
    lost: Vec<String>,
}

impl Names {
    fn between<'a>(old: impl IntoIterator<Item = &'a String>, new: impl IntoIterator<Item = &'a String>) -> Self {
        let (old, new): (BTreeSet<_>, BTreeSet<_>) = (old.into_iter().collect(), new.into_iter().collect());
        let less = |from: &BTreeSet<&String>, what| from.difference(what).map(|name| (*name).clone()).collect();
        Self { gained: less(&new, &old), lost: less(&old, &new) }
    }
}

/// What differs between two versions.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Difference {
    digest: Change<String>,
    size: Change<u64>,
    kind: Change<Option<ProviderKind>>,
    contract: Change<Option<String>>,
    /// Whether this host serves the new one's contract.
    contract_served: bool,
    /// Interfaces of `vk:host`.
    capabilities: Names,
    /// Exports beside the kind's own, in the contract or not.
    exports: Names,
    inert_imports: Names,
    unknown_imports: Names,
    /// Why the new one is wider; empty: it is not.
    wider: Vec<String>,
}

impl Difference {
    fn between(old: Inspection, new: Inspection) -> Self {
        let exports = |own: &Inspection| -> Vec<String> {
            own.optional_exports.iter().chain(&own.other_exports).cloned().collect()
        };
        let mut own = Self {
            capabilities: Names::between(&old.capabilities, &new.capabilities),
            exports: Names::between(&exports(&old), &exports(&new)),
            inert_imports: Names::between(&old.inert_imports, &new.inert_imports),
            unknown_imports: Names::between(&old.unknown_imports, &new.unknown_imports),
            contract_served: new.speaks_our_contract(),
            digest: Change { old: old.digest, new: new.digest },
            size: Change { old: old.size, new: new.size },
            kind: Change { old: old.kind, new: new.kind },
            contract: Change { old: old.contract, new: new.contract },
            wider: Vec::new(),
        };
        own.wider = own.reasons();
        own
    }

    fn is_wider(&self) -> bool {
        !self.wider.is_empty()
    }

    fn reasons(&self) -> Vec<String> {
        let mut all = Vec::new();
        if self.kind.new.is_none() {
            all.push("it is no provider".to_owned());
        } else if self.kind.differs() {
            all.push(format!("its kind is {}, it was {}", kind(self.kind.new), kind(self.kind.old)));
        }
        if let Some(version) = self.contract.new.as_deref().filter(|_| !self.contract_served) {
            all.push(format!("it speaks the contract {version}, this host serves {CONTRACT}"));
        }
        let each =
            |names: &[String], words: &str| names.iter().map(|name| format!("{words} `{name}`")).collect::<Vec<_>>();
        all.extend(each(&self.capabilities.gained, "it asks for the capability"));
        all.extend(each(&self.unknown_imports.gained, "it imports what this host does not know,"));
        all.extend(each(&self.exports.lost, "it no longer has"));
        all
    }

    fn text(&self) -> String {
        let mut out = String::new();
        let mut line = |name: &str, value: String| {
            // A String takes whatever is written to it.
            let _ = writeln!(out, "{name:<18} {value}");
        };
        if !self.digest.differs() {
            line("Digest:", format!("{} (the same file)", self.digest.new));
            return out;
        }
        line("Digest:", format!("{} -> {}", self.digest.old, self.digest.new));
        let by = i128::from(self.size.new) - i128::from(self.size.old);
        line("Size:", format!("{} -> {} bytes ({by:+})", self.size.old, self.size.new));
        let arrow = |old: &str, new: &str| if old == new { new.to_owned() } else { format!("{old} -> {new}") };
        line("Provider:", arrow(kind(self.kind.old), kind(self.kind.new)));
        let version = |own: &Option<String>| own.clone().unwrap_or_else(|| "-".to_owned());
        line("Contract:", arrow(&version(&self.contract.old), &version(&self.contract.new)));
        for (name, names) in [
            ("Capabilities:", &self.capabilities),
            ("Exports:", &self.exports),
            ("Inert WASI:", &self.inert_imports),
            ("Unknown imports:", &self.unknown_imports),
        ] {
            let signed = |sign: char, all: &[String]| all.iter().map(|one| format!("{sign}{one}")).collect::<Vec<_>>();
            let changes = [signed('+', &names.gained), signed('-', &names.lost)].concat();
            line(name, if changes.is_empty() { "the same".to_owned() } else { changes.join(" ") });
        }
        match self.wider.as_slice() {
            [] => line("Verdict:", "asks for no more than the old version".to_owned()),
            [first, rest @ ..] => {
                line("Verdict:", format!("wider: {first}"));
                rest.iter().for_each(|reason| line("", format!("wider: {reason}")));
            }
        }
        out
    }
}

const fn kind(kind: Option<ProviderKind>) -> &'static str {
    match kind {
        Some(ProviderKind::Pods) => "pods",
        Some(ProviderKind::Containers) => "containers",
        None => "none",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(digest: &str, change: impl FnOnce(&mut Inspection)) -> Inspection {
        let names = |all: &[&str]| all.iter().map(|own| (*own).to_owned()).collect::<Vec<_>>();
        let mut own = Inspection {
            digest: digest.to_owned(),
            size: 1_000,
            kind: Some(ProviderKind::Pods),
            contract: Some(CONTRACT.to_owned()),
            base_exports: names(&["node", "pods"]),
            optional_exports: names(&["logs", "stats"]),
            other_exports: Vec::new(),
            capabilities: names(&["http", "log", "store"]),
            inert_imports: names(&["wasi:io/error@0.2.6"]),
            unknown_imports: Vec::new(),
        };
        change(&mut own);
        own
    }

    fn to(change: impl FnOnce(&mut Inspection)) -> Difference {
        Difference::between(version("sha256:old", |_| {}), version("sha256:new", change))
    }

    #[test]
    fn the_same_file_is_no_difference() {
        let same = Difference::between(version("sha256:old", |_| {}), version("sha256:old", |_| {}));
        assert!(!same.is_wider());
        assert_eq!(same.text(), "Digest:            sha256:old (the same file)\n");
    }

    #[test]
    fn less_and_inert_changes_are_not_wider() {
        let changes: [fn(&mut Inspection); 5] = [
            |own| own.size = 2_000,
            |own| drop(own.capabilities.remove(0)),
            |own| own.optional_exports.push("exec".to_owned()),
            |own| own.inert_imports.push("wasi:sockets/tcp@0.2.6".to_owned()),
            |own| own.contract = Some("0.1.7".to_owned()),
        ];
        for change in changes {
            let difference = to(change);
            assert!(!difference.is_wider(), "{difference:?}");
            assert!(difference.text().contains("asks for no more than the old version"));
        }
    }

    #[test]
    fn what_somebody_has_to_allow_is_wider_and_named() {
        type Case = (fn(&mut Inspection), &'static str);
        let changes: [Case; 6] = [
            (|own| own.capabilities.push("process".to_owned()), "it asks for the capability `process`"),
            (|own| own.unknown_imports.push("x:y/z".to_owned()), "it imports what this host does not know, `x:y/z`"),
            (|own| own.kind = Some(ProviderKind::Containers), "its kind is containers, it was pods"),
            (|own| own.kind = None, "it is no provider"),
            (|own| own.contract = Some("0.2.0".to_owned()), "it speaks the contract 0.2.0, this host serves 0.1.0"),
            (|own| drop(own.optional_exports.remove(0)), "it no longer has `logs`"),
        ];
        for (change, reason) in changes {
            let difference = to(change);
            assert_eq!(difference.wider, [reason]);
            assert!(difference.text().contains(&format!("wider: {reason}")));
        }
    }

    #[test]
    fn both_directions_are_shown() {
        let text = to(|own| {
            own.capabilities = vec!["dial".to_owned(), "log".to_owned(), "store".to_owned()];
            own.size = 900;
        })
        .text();
        assert!(text.contains("Capabilities:      +dial -http\n"), "{text}");
        assert!(text.contains("Size:              1000 -> 900 bytes (-100)\n"), "{text}");
    }
}
