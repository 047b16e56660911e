//! Log lines, as text or JSON, on standard error.
//!
//! `--log-level` is for this program's own parts; libraries speak from `warn` on, for what some of them say at `trace` (headers,
//! frames) is nobody's to read. `RUST_LOG` overrides both.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::arguments::{LogFormat, LogLevel};

const OWN: &[&str] =
    &["vk_runtime", "controllers", "components", "host_capabilities", "kubelet_api", "pod_worker", "provider"];

pub fn start(format: LogFormat, level: LogLevel) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let directives = OWN.iter().map(|own| format!("{own}={level}")).collect::<Vec<_>>().join(",");
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("warn,{directives}")));
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => lines.init(),
        LogFormat::Json => lines.json().flatten_event(true).init(),
    }
}
