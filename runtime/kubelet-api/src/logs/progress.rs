//! How far a log has come that is read again and again, so that no line is shown twice and none is lost.
//!
//! Only the times of lines tell one reading from the next: many lines may share a time, and a reading may end within a
//! line. So what is remembered is the last time and on how many lines it was seen, and for each stream a line that had
//! not ended and how much of it there was. A line that turns up with a time before the last is taken for seen.

use jiff::Timestamp;

use super::line::Origin;

/// A line: its time, and which of the lines with this time it is, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    time: Timestamp,
    number: u64,
}

/// A line that has not ended, and how many bytes of it there were.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Open {
    mark: Mark,
    bytes: u64,
}

/// A place in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Position {
    last: Option<Mark>,
    open: [Option<Open>; 2],
}

/// What a line that begins is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It was there in a reading before.
    Seen,
    /// So many bytes of it were.
    Resumed(u64),
    /// It was not.
    New,
}

/// The account of all readings of a log.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Of the readings before.
    before: Position,
    /// Of this one.
    now: Position,
    /// Whether this reading has come to where the ones before had left a stream.
    reached: [bool; 2],
}

impl Progress {
    /// A line begins.
    pub(crate) fn begin(&mut self, origin: Origin, time: Option<Timestamp>) -> Place {
        let Some(time) = time else {
            // It belongs to the one before it.
            self.now.open[origin as usize] = None;
            return if self.reached[origin as usize] || self.before.last.is_none() { Place::New } else { Place::Seen };
        };
        self.now.last = match self.now.last {
            Some(last) if time < last.time => Some(last),
            Some(last) if time == last.time => Some(Mark { time, number: last.number + 1 }),
            _ => Some(Mark { time, number: 1 }),
        };
        let mark = self.now.last.filter(|last| last.time == time).unwrap_or(Mark { time, number: 1 });
        let open = self.before.open[origin as usize].filter(|open| open.mark == mark);
        let place = match (open, self.before.last) {
            (Some(open), _) => Place::Resumed(open.bytes),
            (None, Some(last)) if mark <= last => Place::Seen,
            _ => Place::New,
        };
        if place != Place::Seen {
            self.reached[origin as usize] = true;
            self.now.open[origin as usize] = Some(Open { mark, bytes: 0 });
        }
        place
    }

    /// More of the present line of a stream.
    pub(crate) fn go_on(&mut self, origin: Origin, bytes: &[u8]) {
        let open = &mut self.now.open[origin as usize];
        if bytes.ends_with(b"\n") {
            *open = None;
        } else if let Some(open) = open {
            open.bytes += bytes.len() as u64;
        }
    }

    /// The present line of a stream is not shown, nor what may come of it.
    pub(crate) fn forget(&mut self, origin: Origin) {
        self.now.open[origin as usize] = None;
    }

    /// The log is read again.
    pub(crate) fn read_again(&mut self) {
        self.before = self.position();
        self.now = Position::default();
        self.reached = [false; 2];
    }

    /// The log is read again as if for the first time.
    pub(crate) fn start_again(&mut self) {
        *self = Self::default();
    }

    /// How far all readings have come.
    pub(crate) fn position(&self) -> Position {
        let open = |origin: Origin| {
            let (before, now) = (self.before.open[origin as usize], self.now.open[origin as usize]);
            match (before, now) {
                (before, _) if !self.reached[origin as usize] => before,
                // This reading may have ended before it came to the end of the one before.
                (Some(before), Some(now)) if before.mark == now.mark && before.bytes > now.bytes => Some(before),
                _ => now,
            }
        };
        Position { last: self.before.last.max(self.now.last), open: [open(Origin::Stdout), open(Origin::Stderr)] }
    }
}

impl Position {
    /// Where the next reading must begin. None: at the log's beginning.
    pub(crate) fn since(&self) -> Option<Timestamp> {
        let open = self.open.iter().flatten().map(|open| open.mark.time);
        open.chain(self.last.map(|last| last.time)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Option<Timestamp> {
        Timestamp::from_second(second).ok()
    }

    /// Lines of a reading: where, when, and with which bytes.
    fn read(progress: &mut Progress, lines: &[(Origin, i64, &str)]) -> Vec<Place> {
        let places = lines.iter().map(|&(origin, second, text)| {
            let place = progress.begin(origin, time(second));
            progress.go_on(origin, text.as_bytes());
            place
        });
        places.collect()
    }

    use Origin::{Stderr, Stdout};
    use Place::{New, Resumed, Seen};

    #[test]
    fn lines_that_share_a_time_are_counted() {
        let mut progress = Progress::default();
        assert_eq!(read(&mut progress, &[(Stdout, 1, "a\n"), (Stdout, 2, "b\n"), (Stderr, 2, "c\n")]), [New, New, New]);
        assert_eq!(progress.position().since(), time(2));
        progress.read_again();
        let again = [(Stdout, 2, "b\n"), (Stderr, 2, "c\n"), (Stdout, 2, "d\n"), (Stdout, 3, "e\n")];
        assert_eq!(read(&mut progress, &again), [Seen, Seen, New, New]);
    }

    #[test]
    fn a_line_that_had_not_ended_is_resumed() {
        let mut progress = Progress::default();
        assert_eq!(read(&mut progress, &[(Stdout, 1, "abc"), (Stderr, 2, "x\n")]), [New, New]);
        assert_eq!(progress.position().since(), time(1));
        progress.read_again();
        assert_eq!(read(&mut progress, &[(Stdout, 1, "abcdef\n"), (Stderr, 2, "x\n")]), [Resumed(3), Seen]);
        assert_eq!(progress.position().since(), time(2));
    }

    #[test]
    fn a_reading_that_fails_loses_nothing() {
        let mut progress = Progress::default();
        read(&mut progress, &[(Stdout, 1, "abc"), (Stderr, 2, "x\n")]);
        let before = progress.position();
        for cut_off in [&[][..], &[(Stdout, 1, "a")]] {
            progress.read_again();
            read(&mut progress, cut_off);
            assert_eq!(progress.position(), before);
        }
    }

    #[test]
    fn a_line_that_is_not_shown_is_not_resumed() {
        let mut progress = Progress::default();
        read(&mut progress, &[(Stdout, 1, "abc")]);
        progress.forget(Stdout);
        progress.read_again();
        assert_eq!(read(&mut progress, &[(Stdout, 1, "abcdef\n"), (Stdout, 2, "x\n")]), [Seen, New]);
    }
}
