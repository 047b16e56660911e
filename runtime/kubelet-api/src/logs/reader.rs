//! Reads a log and gives out what the client gets, piece by piece, as the client takes it.
//!
//! Nothing is read ahead: a slow client slows the provider down, and a client that has gone takes the provider's stream
//! with it. A log takes one piece of the provider's at a time, the last lines that are kept back (bounded, see
//! [`super::tail`]), and nothing else, however long it is.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use provider::{ByteStream, Code, Log, LogOption, LogOptions, LogStreams, Output};
use tokio::time::{sleep, timeout};

use super::framing::{Decoder, FramingError};
use super::line::Shape;
use super::options::Wanted;
use super::progress::Position;
use super::select::{Range, Selection};
use super::source::{Opened, Source};

/// As much of a provider's piece is worked on at once; what comes of it is no more than 32 times as much (newlines that
/// get a time before each).
const STEP: usize = 32 * 1024;
/// A followed log that is silent for this long is looked after: has the container ended?
const SILENCE: Duration = Duration::from_secs(1);
/// A provider's stream may go on for so many silences after the container's end.
const SILENCES_AFTER_END: u32 = 5;
/// How often a log is read again that the provider can't follow; longer while nothing comes.
const POLL: Duration = Duration::from_secs(1);
const MAX_POLL: Duration = Duration::from_secs(10);
/// Readings in a row that may fail.
const MAX_FAILURES: u32 = 5;

/// Why a log was cut off.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LogError {
    #[error(transparent)]
    Provider(#[from] provider::Error),
    #[error(transparent)]
    Framing(#[from] FramingError),
}

/// What becomes of a reading when it ends.
#[derive(Clone, Copy, Debug)]
enum Reading {
    /// Its lines went to the client.
    Shown,
    /// Its last lines were kept back, and are shown.
    Tail,
    /// Its lines were counted: the log is followed from the last `tail` of them.
    Counted { tail: u64 },
}

/// A reading that goes on.
struct Feed {
    content: ByteStream,
    decoder: Decoder,
    /// The provider goes on as lines are written.
    follows: bool,
}

/// A log that the provider can't follow.
#[derive(Debug)]
struct Poll {
    interval: Duration,
    /// How far the log had come.
    position: Position,
    failures: u32,
    /// The container had ended before this reading began: it is the last one.
    last: bool,
}

pub(crate) struct Reader {
    source: Source,
    /// How the log is opened again.
    asked: LogOptions,
    shape: Shape,
    selection: Selection,
    reading: Reading,
    feed: Option<Feed>,
    /// What has been read and not yet looked at.
    pending: Bytes,
    /// Why nothing can be made of the rest; said after what was good.
    broken: Option<FramingError>,
    poll: Option<Poll>,
}

impl Reader {
    /// Opens the log of a run. `memory`: bytes of last lines that may be kept back.
    pub(crate) async fn open(source: Source, wanted: &Wanted, running: bool, memory: usize) -> Result<Self, LogError> {
        let Opened { mut log, asked, stamped, polled } = source.negotiate(wanted, wanted.follow && running).await?;
        let applied = |option| log.applied.contains(&option);
        let since = wanted.since.filter(|_| !applied(LogOption::Since));
        let streams = if applied(LogOption::Streams) { LogStreams::All } else { wanted.streams };
        let mut selection = Selection::new(streams, since, wanted.timestamps, wanted.limit);
        if polled {
            selection.keep_progress();
        }
        let tail_is_ours = asked.tail.is_none() || !applied(LogOption::Tail);
        let asked = LogOptions { tail: None, ..asked };
        let reading = match wanted.tail {
            Some(tail) if tail_is_ours && asked.follow => {
                selection.count();
                log = source.open(LogOptions { follow: false, ..asked.clone() }).await?;
                Reading::Counted { tail }
            }
            Some(tail) if tail_is_ours => {
                selection.hold_tail(tail, memory);
                Reading::Tail
            }
            _ => Reading::Shown,
        };
        let by_line = since.is_some() || wanted.timestamps || polled || !matches!(reading, Reading::Shown);
        let shape = match (stamped, by_line) {
            (true, _) => Shape::StampedLines,
            (false, true) => Shape::Lines,
            (false, false) => Shape::Bytes,
        };
        let follows = asked.follow && matches!(reading, Reading::Shown);
        let feed = Feed::new(log, shape, follows)?;
        let shows_nothing = wanted.tail == Some(0) && !asked.follow && !polled;
        Ok(Self {
            source,
            asked,
            shape,
            selection,
            reading,
            feed: (!shows_nothing).then_some(feed),
            pending: Bytes::new(),
            broken: None,
            poll: polled.then_some(Poll { interval: POLL, position: Position::default(), failures: 0, last: false }),
        })
    }

    /// The next piece; none: the log has ended.
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, LogError> {
        loop {
            tokio::task::consume_budget().await;
            if let Some(error) = self.broken.take() {
                return Err(error.into());
            }
            if let Some(feed) = &mut self.feed {
                if self.pending.is_empty() {
                    self.read().await?;
                    continue;
                }
                if self.shape == Shape::Bytes && feed.decoder.is_raw() && self.selection.takes_all() {
                    return Ok(Some(std::mem::take(&mut self.pending)));
                }
                let step = self.pending.split_to(self.pending.len().min(STEP));
                if let Err(error) = feed.decoder.push(&step, &mut self.selection) {
                    self.broken = Some(error);
                    self.feed = None;
                }
            } else if !self.advance().await? {
                return Ok(None);
            }
            if self.selection.is_satisfied() {
                self.feed = None;
                self.poll = None;
                self.pending = Bytes::new();
            }
            if let Some(piece) = self.selection.take() {
                return Ok(Some(piece));
            }
        }
    }

    /// Waits for the provider's next piece, or the end of this reading.
    async fn read(&mut self) -> Result<(), LogError> {
        let Some(feed) = &mut self.feed else { return Ok(()) };
        let mut silences = 0;
        let next = loop {
            if !feed.follows {
                break feed.content.next().await;
            }
            match timeout(SILENCE, feed.content.next()).await {
                Ok(next) => break next,
                Err(_) if self.source.is_running() => silences = 0,
                Err(_) if silences < SILENCES_AFTER_END => silences += 1,
                Err(_) => break None,
            }
        };
        match next {
            Some(Ok(bytes)) => self.pending = bytes,
            None => {
                feed.decoder.finish(&mut self.selection);
                self.feed = None;
                if let Some(poll) = &mut self.poll {
                    poll.failures = 0;
                }
            }
            Some(Err(error)) => {
                self.feed = None;
                self.fail(error)?;
            }
        }
        Ok(())
    }

    /// A log that is read again and again is not over when one reading fails, but for one that must be whole.
    fn fail(&mut self, error: provider::Error) -> Result<(), LogError> {
        let may_fail = matches!(self.reading, Reading::Shown) && self.selection.has_skipped();
        match &mut self.poll {
            Some(poll) if may_fail && error.code.is_retryable() && poll.failures < MAX_FAILURES => {
                poll.failures += 1;
                poll.interval = (poll.interval * 2).min(MAX_POLL).max(error.retry_after.unwrap_or_default());
                tracing::debug!(%error, "a container's log is read again");
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// A reading is over: what comes next? False: nothing.
    async fn advance(&mut self) -> Result<bool, LogError> {
        match std::mem::replace(&mut self.reading, Reading::Shown) {
            Reading::Tail => {
                let total = self.selection.lines();
                if let Err(skip) = self.selection.release_tail() {
                    let until = self.poll.is_none().then_some(total);
                    let log = self.source.open(self.asked.clone()).await?;
                    self.selection.read_lines(Range { skip, until });
                    self.feed = Some(Feed::new(log, self.shape, false)?);
                }
                Ok(true)
            }
            Reading::Counted { tail } => {
                let skip = self.selection.lines().saturating_sub(tail);
                let log = self.source.open(self.asked.clone()).await?;
                self.selection.read_lines(Range { skip, until: None });
                self.feed = Some(Feed::new(log, self.shape, true)?);
                Ok(true)
            }
            Reading::Shown => self.poll().await,
        }
    }

    /// Reads what has been written since the last reading.
    async fn poll(&mut self) -> Result<bool, LogError> {
        let Some(poll) = &mut self.poll else { return Ok(false) };
        if poll.last && poll.failures == 0 {
            return Ok(false);
        }
        let position = self.selection.position();
        if poll.failures == 0 {
            poll.interval = if poll.position == position { (poll.interval * 2).min(MAX_POLL) } else { POLL };
        }
        poll.position = position;
        if poll.failures > 0 || self.source.is_running() {
            sleep(poll.interval).await;
        }
        poll.last = !self.source.is_running();
        let since = position.since().max(self.asked.since);
        match self.source.open(LogOptions { since, ..self.asked.clone() }).await {
            Ok(log) => {
                self.selection.read_news();
                self.feed = Some(Feed::new(log, self.shape, false)?);
                Ok(true)
            }
            Err(error) if error.code == Code::NotFound => Ok(false),
            Err(error) => self.fail(error).map(|()| true),
        }
    }
}

impl Feed {
    fn new(log: Log, shape: Shape, follows: bool) -> Result<Self, FramingError> {
        let Output { content, framing } = log.output;
        Ok(Self { content, decoder: Decoder::new(&framing, shape)?, follows })
    }
}
