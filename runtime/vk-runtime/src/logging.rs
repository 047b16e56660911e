//! Log lines, as text or JSON, on standard error.
//!
//! `--log-level` is for this program's own parts; libraries speak from `warn` on, for what some of them say at `trace` (headers,
//! frames) is nobody's to read. `RUST_LOG` overrides both.

use std::io::IsTerminal;

use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, reload};

use crate::configuration::{Log, LogFormat, LogLevel};
use crate::traces::Traces;

const OWN: &[&str] =
    &["vk_runtime", "controllers", "components", "host_capabilities", "kubelet_api", "pod_worker", "provider"];

/// Changes how much is logged.
pub struct Level(Box<dyn Fn(LogLevel) + Send + Sync>);

impl Level {
    /// From now on.
    pub fn set(&self, level: LogLevel) {
        (self.0)(level);
    }
}

/// Begins to write lines, and to send traces where that is wanted. Traces have their own filter, and no lines.
pub fn start(log: Log, traces: Option<&Traces>) -> Level {
    let (filter, handle) = reload::Layer::new(filter(log.level));
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = lines.with_ansi(std::io::stderr().is_terminal());
    let lines = match log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).with(traces.map(Traces::layer)).init();
    // Only fails when nobody logs any more.
    Level(Box::new(move |level| drop(handle.reload(self::filter(level)))))
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    let directives = OWN.iter().map(|own| format!("{own}={level}")).collect::<Vec<_>>().join(",");
    EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(format!("warn,{directives}")))
}
