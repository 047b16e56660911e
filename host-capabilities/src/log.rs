//! `log`: the provider's lines in the host's log. Always granted.
//!
//! Bound: the limit `log-bytes`, each line counting 128 bytes more than it has; a line is cut at 16 KiB. What is over the
//! limit is counted, and the count stands on the next line that passes. Values of secrets that
//! this provider was shown are masked, and control characters are escaped: a line is one line. The last error of a call, or
//! all lines from a panic on, are kept as its last words, up to 512 bytes: what is said of a guest that traps.

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError};

use tracing::Level as TracingLevel;

pub use crate::bindings::vk::host::log::Level;

use crate::audit::Used;
use crate::bindings::vk::host::log;
use crate::error::Error;
use crate::mask::Mask;
use crate::{Call, Capabilities, Subject};

const MAX_LINE: usize = 16 * 1024;
/// What the host adds to a line.
const LINE_OVERHEAD: usize = 128;
/// Enough of a guest's last words.
const MAX_SAID: usize = 512;
/// Larger contents are documents, not values; they are not looked for.
const MAX_MASKED: usize = 64 * 1024;

/// Writes lines of one call. Cheap to clone.
#[derive(Clone)]
pub struct Logger {
    capabilities: Arc<Capabilities>,
    call: Arc<Speaker>,
}

/// The call that writes.
struct Speaker {
    subject: Subject,
    mask: Mutex<Mask>,
    last_words: Mutex<String>,
}

/// Writes a line about a call, the guest's or the host's: with the fields by which all lines of calls are found, and others.
///
/// | field | |
/// | --- | --- |
/// | `node` | the Node |
/// | `provider`, `version` | the provider's name, and the digest of its component, shortened |
/// | `export`, `call` | the function, and the number of the call, unique while the host runs |
/// | `pod`, `uid` | `NAMESPACE/NAME` and UID of the pod it is for, where it is for one |
#[macro_export]
macro_rules! line_of_call {
    ($logger:expr, target: $target:expr, $level:expr, $($rest:tt)+) => {{
        let logger: &$crate::log::Logger = $logger;
        let subject = logger.subject();
        ::tracing::event!(
            target: $target,
            $level,
            node = logger.node(),
            provider = logger.provider(),
            version = %subject.version,
            export = subject.export,
            call = subject.id,
            pod = subject.pod.as_ref().map(::tracing::field::display),
            uid = subject.pod.as_ref().map(|pod| &*pod.uid),
            $($rest)+
        )
    }};
    ($logger:expr, $level:expr, $($rest:tt)+) => {
        $crate::line_of_call!($logger, target: module_path!(), $level, $($rest)+)
    };
}

impl Logger {
    /// The node of the call.
    pub fn node(&self) -> &str {
        &self.capabilities.node.name
    }

    /// The name of the provider.
    pub fn provider(&self) -> &str {
        self.capabilities.name()
    }

    /// What the call is about.
    pub fn subject(&self) -> &Subject {
        &self.call.subject
    }

    /// Whether the audit log wants to know of uses.
    pub(crate) fn is_audited(&self) -> bool {
        self.capabilities.audit.is_on()
    }

    /// Records of the provider that wait to be written.
    pub(crate) fn audited(&self) -> &Arc<AtomicUsize> {
        &self.capabilities.quotas.audited
    }

    /// Tells the audit log of a use, which ended with this error or well.
    pub(crate) fn used(&self, error: Option<&Error>, used: impl FnOnce() -> Used) {
        self.capabilities.audit.used(self, error, used);
    }

    pub(crate) fn new(capabilities: Arc<Capabilities>, subject: Subject, mask: Arc<Mask>) -> Self {
        let mask = Mutex::new(Arc::unwrap_or_clone(mask));
        Self { capabilities, call: Arc::new(Speaker { subject, mask, last_words: Mutex::default() }) }
    }

    /// Replaces the secret values that this provider was shown by stars.
    pub fn mask(&self, text: String) -> String {
        let text = self.call.mask.lock().unwrap_or_else(PoisonError::into_inner).apply(text);
        self.capabilities.secrets.mask(text)
    }

    /// Masks this content of a pod's Secret from now on.
    pub(crate) fn remember_shown(&self, content: &[u8]) {
        if let Ok(text) = std::str::from_utf8(content)
            && text.len() <= MAX_MASKED
        {
            self.call.mask.lock().unwrap_or_else(PoisonError::into_inner).add(text.trim());
        }
    }

    /// What the guest said last of what went wrong; may be empty.
    pub fn last_words(&self) -> String {
        self.call.last_words.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn remember_said(&self, line: &str) {
        let mut said = self.call.last_words.lock().unwrap_or_else(PoisonError::into_inner);
        // How Rust's panics begin: on standard error, and without it.
        let begins = |text: &str| text.starts_with("thread '") || text.starts_with("panicked at ");
        if begins(line) || !begins(&said) {
            said.clear();
        }
        // How to get a backtrace is no news.
        if !line.starts_with("note:") {
            if !said.is_empty() {
                said.push(' ');
            }
            said.push_str(line.trim());
            cut(&mut said, MAX_SAID);
        }
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
        line = plain(line);
        cut(&mut line, MAX_LINE);
        if level == Level::Error {
            self.remember_said(&line);
        }
        let cost = (line.len() + LINE_OVERHEAD) as u64;
        let Ok(dropped) = self.capabilities.quotas.log_bytes.take(cost) else { return };
        let dropped = (dropped > 0).then_some(dropped);
        macro_rules! write {
            ($level:expr) => {
                line_of_call!(self, target: "provider", $level, dropped, "{line}")
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

/// The text as one line that moves no cursor and hides nothing: what would is escaped, tabs aside.
pub(crate) fn plain(text: String) -> String {
    let odd = |c: char| match c {
        '\t' => false,
        // Ends of lines that are no control characters, marks of direction, and what can't be seen.
        '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' => true,
        c => c.is_control(),
    };
    if !text.contains(odd) {
        return text;
    }
    text.chars().fold(String::with_capacity(text.len()), |mut line, c| {
        if odd(c) {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
        line
    })
}

/// Cuts a text to at most `max` bytes, at a character's border, and shows that it was.
pub(crate) fn cut(text: &mut String, max: usize) {
    const MARK: char = '…';
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(MARK.len_utf8())));
        text.push(MARK);
    }
}

#[cfg(test)]
mod tests;

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
