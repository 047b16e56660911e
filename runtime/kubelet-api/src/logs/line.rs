//! Lines of one stream, found in bytes that are cut anywhere.
//!
//! Holds no more than the start of a time stamp (35 bytes); a line passes through in pieces, however long it is.

use jiff::Timestamp;
use memchr::memchr;

use super::time;

/// Where a piece was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    Stdout,
    Stderr,
}

/// A piece of a line. The newline belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Piece<'a> {
    pub(crate) origin: Origin,
    /// The line begins with this piece, which may then be empty.
    pub(crate) starts: bool,
    /// When the line was written, if that is known; said with its first piece.
    pub(crate) time: Option<Timestamp>,
    pub(crate) bytes: &'a [u8],
}

/// Takes pieces.
pub(crate) trait Sink {
    fn piece(&mut self, piece: Piece<'_>);
}

/// What is to be found in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Shape {
    /// Nothing: nobody asks for lines.
    Bytes,
    /// Lines.
    Lines,
    /// Lines, each with its time and a blank before it.
    StampedLines,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A line begins here.
    Start,
    /// A message begins here that continues a line: engines put a time before it as before any other.
    Continuation,
    /// In a line.
    Inside,
}

/// The lines of one stream.
#[derive(Debug)]
pub(crate) struct Lines {
    origin: Origin,
    shape: Shape,
    at: At,
    /// What may be the start of a time.
    held: Vec<u8>,
}

impl Lines {
    pub(crate) const fn new(origin: Origin, shape: Shape) -> Self {
        Self { origin, shape, at: At::Start, held: Vec::new() }
    }

    /// A message of the engine begins.
    pub(crate) fn message(&mut self) {
        if self.shape == Shape::StampedLines && self.at == At::Inside {
            self.at = At::Continuation;
        }
    }

    /// The message, or the log, has ended: what was held back is all there is of it.
    pub(crate) fn flush(&mut self, sink: &mut impl Sink) {
        if !self.held.is_empty() {
            let held = std::mem::take(&mut self.held);
            match time::parse(&held) {
                Some(time) => self.begin(Some(time), b"", sink),
                None => self.begin(None, &held, sink),
            }
        }
    }

    pub(crate) fn push(&mut self, mut bytes: &[u8], sink: &mut impl Sink) {
        if self.shape == Shape::Bytes {
            return sink.piece(Piece { origin: self.origin, starts: false, time: None, bytes });
        }
        while !bytes.is_empty() {
            if self.at != At::Inside && self.shape == Shape::StampedLines {
                bytes = self.stamp(bytes, sink);
                continue;
            }
            let (piece, rest) = split_line(bytes);
            bytes = rest;
            if self.at == At::Inside {
                self.go_on(piece, sink);
            } else {
                self.begin(None, piece, sink);
            }
        }
    }

    /// Takes the time before a line off, or as much of it as there is; returns the rest.
    fn stamp<'a>(&mut self, bytes: &'a [u8], sink: &mut impl Sink) -> &'a [u8] {
        let room = (time::MAX_LEN + 1).saturating_sub(self.held.len()).min(bytes.len());
        let (candidate, _) = bytes.split_at(room);
        let Some(end) = candidate.iter().position(|byte| matches!(byte, b' ' | b'\n')) else {
            self.held.extend_from_slice(candidate);
            if self.held.len() > time::MAX_LEN {
                let held = std::mem::take(&mut self.held);
                self.begin(None, &held, sink);
            }
            return bytes.get(room..).unwrap_or_default();
        };
        let (token, rest) = bytes.split_at(end);
        self.held.extend_from_slice(token);
        let held = std::mem::take(&mut self.held);
        match time::parse(&held) {
            Some(time) => {
                let rest = rest.strip_prefix(b" ").unwrap_or(rest);
                let (piece, rest) = split_line(rest);
                self.begin(Some(time), piece, sink);
                rest
            }
            None => {
                self.begin(None, &held, sink);
                rest
            }
        }
    }

    /// The first piece of a line, or of a message that continues one.
    fn begin(&mut self, time: Option<Timestamp>, bytes: &[u8], sink: &mut impl Sink) {
        let starts = self.at == At::Start;
        self.at = At::Inside;
        sink.piece(Piece { origin: self.origin, starts, time: time.filter(|_| starts), bytes });
        if bytes.ends_with(b"\n") {
            self.at = At::Start;
        }
    }

    fn go_on(&mut self, bytes: &[u8], sink: &mut impl Sink) {
        sink.piece(Piece { origin: self.origin, starts: false, time: None, bytes });
        if bytes.ends_with(b"\n") {
            self.at = At::Start;
        }
    }
}

/// Up to and with the first newline, and the rest.
pub(crate) fn split_line(bytes: &[u8]) -> (&[u8], &[u8]) {
    bytes.split_at(memchr(b'\n', bytes).map_or(bytes.len(), |newline| newline + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as they come out: the time's seconds and the text.
    #[derive(Default)]
    struct Collected(Vec<(Option<i64>, String)>);

    impl Sink for Collected {
        fn piece(&mut self, piece: Piece<'_>) {
            let text = String::from_utf8_lossy(piece.bytes);
            if piece.starts {
                self.0.push((piece.time.map(Timestamp::as_second), text.into_owned()));
            } else {
                self.0.last_mut().expect("a line begins with its first piece").1.push_str(&text);
            }
        }
    }

    fn lines(shape: Shape, messages: &[&str], cut: usize) -> Vec<(Option<i64>, String)> {
        let mut lines = Lines::new(Origin::Stdout, shape);
        let mut collected = Collected::default();
        for message in messages {
            lines.message();
            for chunk in message.as_bytes().chunks(cut) {
                lines.push(chunk, &mut collected);
            }
            if messages.len() > 1 {
                lines.flush(&mut collected);
            }
        }
        lines.flush(&mut collected);
        collected.0
    }

    fn own(expected: &[(Option<i64>, &str)]) -> Vec<(Option<i64>, String)> {
        expected.iter().map(|&(time, text)| (time, text.to_owned())).collect()
    }

    #[test]
    fn lines_are_found_however_the_bytes_are_cut() {
        for cut in 1..12 {
            let found = lines(Shape::Lines, &["one\n\ntwo\nlast"], cut);
            assert_eq!(found, own(&[(None, "one\n"), (None, "\n"), (None, "two\n"), (None, "last")]), "cut {cut}");
        }
    }

    #[test]
    fn times_are_taken_off_however_the_bytes_are_cut() {
        let log = "1970-01-01T00:00:01Z one\n1970-01-01T00:00:02.000000000Z \n1970-01-01T00:00:03+00:00\n\
                   not a time\n1970-01-01T00:00:04.5Z  two\nno-time-at-all-and-longer-than-any-time-can-be\n\
                   1970-01-01T00:00:05Z last";
        for cut in 1..80 {
            let expected = [
                (Some(1), "one\n"),
                (Some(2), "\n"),
                (Some(3), "\n"),
                (None, "not a time\n"),
                (Some(4), " two\n"),
                (None, "no-time-at-all-and-longer-than-any-time-can-be\n"),
                (Some(5), "last"),
            ];
            assert_eq!(lines(Shape::StampedLines, &[log], cut), own(&expected), "cut {cut}");
        }
    }

    #[test]
    fn a_message_that_continues_a_line_may_have_a_time_of_its_own() {
        for second in ["1970-01-01T00:00:02Z def\n", "def\n"] {
            for cut in 1..30 {
                let found = lines(Shape::StampedLines, &["1970-01-01T00:00:01Z abc", second], cut);
                assert_eq!(found, own(&[(Some(1), "abcdef\n")]), "cut {cut}");
            }
        }
    }

    #[test]
    fn a_log_may_end_within_a_time() {
        assert_eq!(lines(Shape::StampedLines, &["1970-01-0"], 3), own(&[(None, "1970-01-0")]));
        assert_eq!(lines(Shape::StampedLines, &["1970-01-01T00:00:01Z"], 3), own(&[(Some(1), "")]));
    }
}
