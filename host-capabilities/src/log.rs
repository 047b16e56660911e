//! `log`: the provider's lines in the host's log. Always granted.
//!
//! Default bound: 64 KiB a second after a burst of 256 KiB; a line is cut at 16 KiB. What is over the limit is counted,
//! and the count stands on the next line that passes. Values of secrets that this provider was shown are masked.

use std::sync::Arc;

use tracing::Level as TracingLevel;

pub use crate::bindings::vk::host::log::Level;

use crate::bindings::vk::host::log;
use crate::mask::Mask;
use crate::rate::Rate;
use crate::{Call, Capabilities, Subject};

const BYTES_PER_SECOND: f64 = 64.0 * 1024.0;
const BURST: f64 = 256.0 * 1024.0;
const MAX_LINE: usize = 16 * 1024;

/// The limit of one provider's log.
#[derive(Debug)]
pub struct Log {
    rate: Rate,
}

impl Default for Log {
    fn default() -> Self {
        Self { rate: Rate::new(BYTES_PER_SECOND, BURST) }
    }
}

/// Writes lines of one call. Cheap to clone.
#[derive(Clone)]
pub struct Logger {
    capabilities: Arc<Capabilities>,
    call: Arc<(Subject, Arc<Mask>)>,
}

impl Logger {
    pub(crate) fn new(capabilities: Arc<Capabilities>, subject: Subject, mask: Arc<Mask>) -> Self {
        Self { capabilities, call: Arc::new((subject, mask)) }
    }

    /// Replaces the secret values that this provider was shown by stars.
    pub fn mask(&self, text: String) -> String {
        self.capabilities.secrets.mask(self.call.1.apply(text))
    }

    /// Writes a line.
    pub fn write(&self, level: Level, message: &str, fields: &[(String, String)]) {
        let mut line = message.to_owned();
        for (name, value) in fields {
            line.push(' ');
            line.push_str(name);
            line.push('=');
            line.push_str(value);
            if line.len() > MAX_LINE {
                break;
            }
        }
        let mut line = self.mask(line);
        cut(&mut line, MAX_LINE);
        let Some(dropped) = self.capabilities.log.rate.take(line.len() as f64) else { return };
        let provider = self.capabilities.name.as_ref();
        let Subject { export, pod, id, version } = &self.call.0;
        let dropped = (dropped > 0).then_some(dropped);
        let pod = pod.as_ref().map(tracing::field::display);
        macro_rules! write {
            ($level:expr) => {
                tracing::event!(target: "provider", $level, provider, export, call = id, %version, pod, dropped, "{line}")
            };
        }
        match level {
            Level::Trace => write!(TracingLevel::TRACE),
            Level::Debug => write!(TracingLevel::DEBUG),
            Level::Info => write!(TracingLevel::INFO),
            Level::Warn => write!(TracingLevel::WARN),
            Level::Error => write!(TracingLevel::ERROR),
        }
    }
}

/// Cuts a text at a character's border.
pub(crate) fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let at = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(at);
        text.push('…');
    }
}

impl log::Host for Call {
    fn write(&mut self, level: Level, message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        self.logger.write(level, &message, &fields);
        Ok(())
    }

    fn enabled(&mut self, level: Level) -> wasmtime::Result<bool> {
        Ok(match level {
            Level::Trace => tracing::enabled!(target: "provider", TracingLevel::TRACE),
            Level::Debug => tracing::enabled!(target: "provider", TracingLevel::DEBUG),
            Level::Info => tracing::enabled!(target: "provider", TracingLevel::INFO),
            Level::Warn => tracing::enabled!(target: "provider", TracingLevel::WARN),
            Level::Error => tracing::enabled!(target: "provider", TracingLevel::ERROR),
        })
    }
}
