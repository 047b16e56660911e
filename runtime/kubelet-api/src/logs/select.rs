//! What of a log the client gets: streams, lines from a time on, the last lines, times before them, a number of bytes.
//!
//! In the kubelet's order: the last lines of all, of those the ones from a time on, of those the first bytes, times
//! included.

use bytes::Bytes;
use jiff::Timestamp;
use provider::LogStreams;

use super::line::{Origin, Piece, Sink};
use super::progress::{Place, Position, Progress};
use super::tail::Tail;
use super::time;

/// Which lines of a reading are looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Range {
    /// Not the lines before these.
    pub(crate) skip: u64,
    /// Not the lines from here on.
    pub(crate) until: Option<u64>,
}

/// Where lines go.
#[derive(Debug)]
enum Destination {
    Client,
    Tail(Tail),
    Nowhere,
}

/// Chooses, and gathers what goes out.
#[derive(Debug)]
pub(crate) struct Selection {
    streams: LogStreams,
    since: Option<Timestamp>,
    timestamps: bool,
    /// Bytes that the client may still get.
    limit: Option<u64>,
    destination: Destination,
    out: Vec<u8>,
    range: Range,
    /// Lines of this reading that have begun.
    lines: u64,
    /// Kept for a log that is read again and again.
    progress: Option<Progress>,
    present: [Present; 2],
}

/// The present line of standard output or of standard error.
#[derive(Clone, Copy, Debug)]
struct Present {
    /// New enough; a line without a time is if the one before it was.
    timely: bool,
    /// The client's.
    chosen: bool,
    /// So many bytes of it were there in a reading before.
    known: u64,
}

const ANY: Present = Present { timely: true, chosen: true, known: 0 };

impl Selection {
    /// `since`: none where the provider has seen to it already; `streams`: `All` likewise.
    pub(crate) fn new(streams: LogStreams, since: Option<Timestamp>, timestamps: bool, limit: Option<u64>) -> Self {
        Self {
            streams,
            since,
            timestamps,
            limit,
            destination: Destination::Client,
            out: Vec::new(),
            range: Range::default(),
            lines: 0,
            progress: None,
            present: [ANY; 2],
        }
    }

    /// Keeps the last lines back.
    pub(crate) fn hold_tail(&mut self, wanted: u64, memory: usize) {
        self.destination = Destination::Tail(Tail::new(wanted, memory));
    }

    /// Only counts.
    pub(crate) fn count(&mut self) {
        self.destination = Destination::Nowhere;
    }

    /// Gives out what was kept back; or, if that was too much, says how many lines come before it.
    pub(crate) fn release_tail(&mut self) -> Result<(), u64> {
        if let Destination::Tail(tail) = std::mem::replace(&mut self.destination, Destination::Client) {
            for origin in [Origin::Stdout, Origin::Stderr] {
                if let Some(progress) = self.progress.as_mut().filter(|_| !tail.has_last_of(origin)) {
                    progress.forget(origin);
                }
            }
            for line in tail.into_lines()? {
                self.put(&line);
            }
        }
        Ok(())
    }

    /// The log is read again from its beginning, and these lines are the client's.
    pub(crate) fn read_lines(&mut self, range: Range) {
        if let Some(progress) = &mut self.progress {
            progress.start_again();
        }
        self.read(range);
    }

    /// The log is read again, and what is new in it is the client's.
    pub(crate) fn read_news(&mut self) {
        if let Some(progress) = &mut self.progress {
            progress.read_again();
        }
        self.read(Range::default());
    }

    fn read(&mut self, range: Range) {
        self.destination = Destination::Client;
        self.range = range;
        self.lines = 0;
        self.present = [ANY; 2];
    }

    /// Lines of this reading so far.
    pub(crate) const fn lines(&self) -> u64 {
        self.lines
    }

    /// It has come to lines that are the client's.
    pub(crate) const fn has_skipped(&self) -> bool {
        self.lines >= self.range.skip
    }

    /// Keeps an account of how far the log has come.
    pub(crate) fn keep_progress(&mut self) {
        self.progress = Some(Progress::default());
    }

    /// How far it has come.
    pub(crate) fn position(&self) -> Position {
        self.progress.as_ref().map(Progress::position).unwrap_or_default()
    }

    /// The client has all it may get.
    pub(crate) fn is_satisfied(&self) -> bool {
        self.limit == Some(0)
    }

    /// Every byte of standard output is the client's.
    pub(crate) fn takes_all(&self) -> bool {
        self.limit.is_none() && self.streams != LogStreams::Stderr
    }

    /// What has come together for the client since the last time.
    pub(crate) fn take(&mut self) -> Option<Bytes> {
        (!self.out.is_empty()).then(|| std::mem::take(&mut self.out).into())
    }

    fn put(&mut self, bytes: &[u8]) {
        let mut bytes = bytes;
        if let Some(limit) = &mut self.limit {
            let allowed = usize::try_from(*limit).unwrap_or(usize::MAX).min(bytes.len());
            *limit -= allowed as u64;
            bytes = bytes.get(..allowed).unwrap_or_default();
        }
        self.out.extend_from_slice(bytes);
    }

    fn begin(&mut self, origin: Origin, time: Option<Timestamp>) {
        let index = self.lines;
        self.lines += 1;
        let in_range = index >= self.range.skip && self.range.until.is_none_or(|until| index < until);
        let place = self.progress.as_mut().map_or(Place::New, |progress| progress.begin(origin, time));
        let line = &mut self.present[origin as usize];
        if let Some(time) = time {
            line.timely = self.since.is_none_or(|since| time >= since);
        }
        line.chosen = in_range && line.timely && place != Place::Seen;
        line.known = if let Place::Resumed(bytes) = place { bytes } else { 0 };
        let chosen = line.chosen;
        if let Some(progress) = self.progress.as_mut().filter(|_| !chosen) {
            progress.forget(origin);
        }
        if let Destination::Tail(tail) = &mut self.destination {
            tail.begin(origin);
        }
        if let Some(time) = time.filter(|_| self.timestamps && chosen && place == Place::New) {
            let mut prefix = Vec::with_capacity(time::MAX_LEN);
            time::prefix(time, &mut prefix);
            self.go_on(origin, &prefix);
        }
    }

    fn go_on(&mut self, origin: Origin, bytes: &[u8]) {
        match &mut self.destination {
            Destination::Client => self.put(bytes),
            Destination::Tail(tail) => tail.append(origin, bytes),
            Destination::Nowhere => {}
        }
    }
}

impl Sink for Selection {
    fn piece(&mut self, piece: Piece<'_>) {
        let Piece { origin, starts, time, bytes } = piece;
        match (self.streams, origin) {
            (LogStreams::Stdout, Origin::Stderr) | (LogStreams::Stderr, Origin::Stdout) => return,
            _ => {}
        }
        if starts {
            self.begin(origin, time);
        }
        if let Some(progress) = &mut self.progress {
            progress.go_on(origin, bytes);
        }
        let line = &mut self.present[origin as usize];
        if line.chosen {
            let known = usize::try_from(line.known).unwrap_or(usize::MAX).min(bytes.len());
            line.known -= known as u64;
            self.go_on(origin, bytes.get(known..).unwrap_or_default());
        }
    }
}
