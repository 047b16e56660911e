//! The thread that writes the audit log.

use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, Sender};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde::Serialize;

use super::file::AuditFile;
use super::record::{Record, shown};
use super::{Counts, Waiting};

/// Records that are written at once.
const BATCH: usize = 512;
/// How often a failure is told.
const TELL_EVERY: Duration = Duration::from_secs(60);

pub(super) enum Message {
    Record(Box<Record>, Waiting),
    Flush(Sender<()>),
}

/// Where the lines go.
pub(super) enum Destination {
    File(AuditFile),
    Log,
}

/// What is said of records that were dropped.
#[derive(Serialize)]
struct Dropped {
    #[serde(serialize_with = "shown")]
    time: Timestamp,
    dropped: u64,
}

/// Writes until all that could send are gone.
pub(super) fn run(queue: &Receiver<Message>, mut destination: Destination, counts: &Counts) {
    let mut told: Option<Instant> = None;
    while let Ok(first) = queue.recv() {
        let mut lines = Vec::new();
        let mut records = 0;
        let mut flushed = Vec::new();
        let mut places = Vec::new();
        for message in std::iter::once(first).chain(queue.try_iter().take(BATCH)) {
            match message {
                Message::Flush(done) => flushed.push(done),
                Message::Record(record, place) => {
                    places.push(place);
                    records += 1;
                    line(&mut lines, &*record);
                }
            }
        }
        let untold = counts.untold.swap(0, Ordering::Relaxed);
        if untold > 0 {
            line(&mut lines, &Dropped { time: Timestamp::now(), dropped: untold });
        }
        match write(&mut destination, &lines) {
            Ok(()) => {
                counts.written.fetch_add(records, Ordering::Relaxed);
            }
            Err(error) => {
                counts.dropped.fetch_add(records, Ordering::Relaxed);
                counts.untold.fetch_add(records + untold, Ordering::Relaxed);
                if told.is_none_or(|at| at.elapsed() > TELL_EVERY) {
                    told = Some(Instant::now());
                    tracing::error!(%error, "the audit log can't be written: its records are dropped");
                }
            }
        }
        drop(places);
        for done in flushed {
            // Who waited may have gone.
            let _ = done.send(());
        }
    }
}

fn line(lines: &mut Vec<u8>, content: &impl Serialize) {
    let before = lines.len();
    match serde_json::to_writer(&mut *lines, content) {
        Ok(()) => lines.push(b'\n'),
        // Texts and numbers can always be written; half a line must not be.
        Err(_) => lines.truncate(before),
    }
}

fn write(destination: &mut Destination, lines: &[u8]) -> std::io::Result<()> {
    match destination {
        _ if lines.is_empty() => Ok(()),
        Destination::File(file) => file.write(lines),
        Destination::Log => {
            for line in String::from_utf8_lossy(lines).lines() {
                tracing::info!(target: "audit", "{line}");
            }
            Ok(())
        }
    }
}
