//! `vk-runtime inspect`: what a component exports and imports, wherever it is.

use std::fmt::Write;

use anyhow::Result;
use components::{Inspection, ProviderKind};

use crate::arguments::{InspectArguments, Output};
use crate::fetching;

pub fn inspect(arguments: &InspectArguments) -> Result<()> {
    let compiled = fetching::run(async {
        let fetched = arguments.fetch.fetch(&arguments.component).await?;
        fetching::compiled(&arguments.component.to_string(), &fetched).await
    })?;
    let shown = match arguments.output {
        Output::Json => serde_json::to_string_pretty(compiled.inspection())? + "\n",
        Output::Text => text(compiled.inspection()),
    };
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{shown}");
    }
    Ok(())
}

fn text(own: &Inspection) -> String {
    let list = |names: &[String]| if names.is_empty() { "-".to_owned() } else { names.join(" ") };
    let kind = match own.kind {
        Some(ProviderKind::Pods) => "pods (the backend runs whole pods)",
        Some(ProviderKind::Containers) => "containers (the host is the kubelet)",
        None => "none: this component is no provider",
    };
    let mut out = String::new();
    let mut line = |name: &str, value: &str| {
        // A String takes whatever is written to it.
        let _ = writeln!(out, "{name:<18} {value}");
    };
    line("Digest:", &own.digest);
    line("Size:", &format!("{} bytes", own.size));
    line("Provider:", kind);
    line("Contract:", own.contract.as_deref().unwrap_or("-"));
    line("Optional exports:", &list(&own.optional_exports));
    if !own.other_exports.is_empty() {
        line("Other exports:", &list(&own.other_exports));
    }
    line("Capabilities:", &list(&own.capabilities));
    line("Inert WASI:", &list(&own.inert_imports));
    if !own.unknown_imports.is_empty() {
        line("Unknown imports:", &list(&own.unknown_imports));
    }
    out
}
