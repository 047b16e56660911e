//! The audit log: who used which capability on what, and whether it was let.
//!
//! Default: off. `refusals` writes what was refused, `all` every use of `http`, `dial`, `secrets`, `blobs`, `store`, `cache`
//! and `events`; of what is always granted and touches nothing (`log`, `metrics`, `config`, `clock`) only what a limit cut
//! off. One JSON object a line, to a file of this user's alone or into the host's log.
//!
//! Bounds: [`QUEUE`] records wait for the disk, a quarter of them of one provider; more are dropped and counted, and no call
//! ever waits. A text is cut at
//! [`MAX_TEXT`] bytes. No record holds a value: of a URL there is no query, of a secret its name, of a key in the store its
//! first part. Cost: nothing when off; else a few short strings a use, written by a thread of its own.

mod file;
mod record;
mod writer;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, mpsc};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

pub use file::AuditFileError;
pub use record::{Outcome, Record};
pub(crate) use record::{Used, key_prefix};

use file::AuditFile;
use writer::{Destination, Message};

/// Records that wait to be written.
const QUEUE: usize = 8_192;
/// Records of one provider that wait.
const SHARE: usize = QUEUE / 4;
/// Longest text of a record, bytes.
const MAX_TEXT: usize = 1_024;

/// What is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Nothing.
    #[default]
    Off,
    /// What was refused.
    Refusals,
    /// Every use.
    All,
}

impl FromStr for Mode {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            "refusals" => Ok(Self::Refusals),
            "all" => Ok(Self::All),
            other => Err(format!("`{other}` is none of off, refusals, all")),
        }
    }
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Refusals => "refusals",
            Self::All => "all",
        })
    }
}

/// The audit log of the process. Cheap to clone; the default is off.
#[derive(Clone, Debug, Default)]
pub struct Audit {
    inner: Option<Arc<Inner>>,
}

#[derive(Debug)]
struct Inner {
    mode: Mode,
    sender: SyncSender<Message>,
    counts: Arc<Counts>,
}

/// What became of the records.
#[derive(Debug, Default)]
struct Counts {
    written: AtomicU64,
    dropped: AtomicU64,
    /// Of those, what the next line has to say.
    untold: AtomicU64,
}

impl Counts {
    fn drop_one(&self) {
        self.dropped.fetch_add(1, Ordering::Relaxed);
        self.untold.fetch_add(1, Ordering::Relaxed);
    }
}

/// The place of a record in the queue, given back once it is written.
struct Waiting(Arc<AtomicUsize>);

impl Waiting {
    /// A place, if the provider has one left.
    fn one(waiting: &Arc<AtomicUsize>) -> Option<Self> {
        let counted =
            waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| (now < SHARE).then_some(now + 1));
        counted.ok().map(|_| Self(waiting.clone()))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Audit {
    /// To a file, which is made if it does not exist, appended to, and opened again when it was renamed or removed.
    pub fn to_file(mode: Mode, path: &Path) -> Result<Self, AuditFileError> {
        if mode == Mode::Off {
            return Ok(Self::default());
        }
        let file = AuditFile::open(path)?;
        Self::start(mode, Destination::File(file)).map_err(|error| AuditFileError::new(path, &error))
    }

    /// Into the host's log, under the target `audit`.
    pub fn to_log(mode: Mode) -> std::io::Result<Self> {
        if mode == Mode::Off { Ok(Self::default()) } else { Self::start(mode, Destination::Log) }
    }

    fn start(mode: Mode, destination: Destination) -> std::io::Result<Self> {
        let (sender, queue) = sync_channel(QUEUE);
        let counts: Arc<Counts> = Arc::default();
        let own = counts.clone();
        std::thread::Builder::new().name("audit".to_owned()).spawn(move || writer::run(&queue, destination, &own))?;
        Ok(Self { inner: Some(Arc::new(Inner { mode, sender, counts })) })
    }

    /// Whether anything is written.
    pub const fn is_on(&self) -> bool {
        self.inner.is_some()
    }

    fn wants(&self, outcome: Outcome) -> bool {
        match self.inner.as_ref().map_or(Mode::Off, |inner| inner.mode) {
            Mode::Off => false,
            Mode::Refusals => outcome == Outcome::Refused,
            Mode::All => true,
        }
    }

    /// Has a record written; `waiting` counts those of the same provider. Never waits.
    fn record(&self, record: Record, waiting: &Arc<AtomicUsize>) {
        let Some(inner) = &self.inner else { return };
        let sent = Waiting::one(waiting)
            .is_some_and(|place| inner.sender.try_send(Message::Record(Box::new(record), place)).is_ok());
        if !sent {
            inner.counts.drop_one();
        }
    }

    /// Waits until what was recorded before is written. For the end of the process; blocks.
    pub fn flush(&self) {
        let Some(inner) = &self.inner else { return };
        let (done, written) = mpsc::channel();
        if inner.sender.send(Message::Flush(done)).is_ok() {
            // The writer has gone: there is nothing to wait for.
            let _ = written.recv();
        }
    }

    /// Records that were dropped because nobody kept up with them.
    pub fn dropped(&self) -> u64 {
        self.inner.as_ref().map_or(0, |inner| inner.counts.dropped.load(Ordering::Relaxed))
    }
}

impl Collector for Audit {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Some(inner) = &self.inner else { return Ok(()) };
        for (name, help, count) in [
            ("vk_audit_records", "Records of the audit log that were written.", &inner.counts.written),
            ("vk_audit_dropped", "Records of the audit log that were dropped.", &inner.counts.dropped),
        ] {
            let count = count.load(Ordering::Relaxed);
            let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
            metric.encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
