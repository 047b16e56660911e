//! Byte streams out of and into a container: logs, exec, attach, port-forward.

use std::fmt;
use std::pin::Pin;

use bytes::Bytes;
use futures::Stream;
use jiff::Timestamp;

use crate::{PodRef, Result};

/// Chunks of bytes that come as the reader takes them; an error ends it.
pub type ByteStream = Pin<Box<dyn Stream<Item = Result<Bytes>> + Send>>;

/// Bytes that go to a container; the end of the stream is the end of its input.
pub type Input = Pin<Box<dyn Stream<Item = Bytes> + Send>>;

/// One container, to talk to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The pod.
    pub pod: PodRef,
    /// Its name.
    pub container: String,
    /// Its id as the provider last reported it; empty if none was.
    pub id: String,
}

/// What the bytes of an [`Output`] mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Framing {
    /// As they are.
    Raw,
    /// Docker's frames: stream number, three zeros, length (u32 big endian), payload.
    Docker,
    /// Log lines of the Container Runtime Interface: `TIME STREAM P|F CONTENT`.
    Cri,
    /// Lines that end in a newline.
    Lines,
    /// A ZIP archive holding one file.
    Zip,
    /// One that the host does not know.
    Other(String),
}

impl Framing {
    /// Reads the contract's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "raw" | "" => Self::Raw,
            "docker" => Self::Docker,
            "cri" => Self::Cri,
            "lines" => Self::Lines,
            "zip" => Self::Zip,
            other => Self::Other(other.to_owned()),
        }
    }
}

/// Bytes that a call handed back.
pub struct Output {
    /// The bytes.
    pub content: ByteStream,
    /// What they mean.
    pub framing: Framing,
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output").field("framing", &self.framing).finish_non_exhaustive()
    }
}

/// Which of a container's streams a log is wanted of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogStreams {
    /// Both, as they came.
    #[default]
    All,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// What is asked of a log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// Go on as lines are written.
    pub follow: bool,
    /// The last lines only.
    pub tail: Option<u64>,
    /// Lines from this time on.
    pub since: Option<Timestamp>,
    /// The time before each line, RFC 3339 with nanoseconds, then a blank.
    pub timestamps: bool,
    /// The run before the present one.
    pub previous: bool,
    /// Which streams.
    pub streams: LogStreams,
}

/// An option that a log already reflects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogOption {
    /// [`LogOptions::follow`].
    Follow,
    /// [`LogOptions::tail`].
    Tail,
    /// [`LogOptions::since`].
    Since,
    /// [`LogOptions::timestamps`].
    Timestamps,
    /// [`LogOptions::streams`].
    Streams,
}

/// A container's log.
#[derive(Debug)]
pub struct Log {
    /// Its lines.
    pub output: Output,
    /// What they already reflect; the rest is the host's to apply.
    pub applied: Vec<LogOption>,
}

/// Size of a terminal, in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size {
    /// Columns.
    pub columns: u16,
    /// Rows.
    pub rows: u16,
}

/// An open session of exec or attach.
#[derive(Debug)]
pub struct Session {
    /// Names it in later calls.
    pub id: String,
    /// Standard output and error.
    pub output: Output,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Its code; none: the backend does not tell.
    pub code: Option<i32>,
    /// Why it has no code of its own; empty if it has.
    pub message: String,
}
