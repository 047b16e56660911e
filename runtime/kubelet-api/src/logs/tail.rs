//! The last lines of a log that must be read from its start.
//!
//! Holds the last lines within a bound of memory. If they don't fit, it lets go of all and only counts: the log is then
//! read a second time, without its first lines. So the answer is exact at any length and in bounded memory.

use std::collections::VecDeque;

use super::line::Origin;

/// What a line costs beside its text.
const LINE_OVERHEAD: usize = 64;

/// The last `wanted` lines, as long as they take no more than `memory` bytes.
#[derive(Debug)]
pub(crate) struct Tail {
    wanted: u64,
    memory: usize,
    lines: VecDeque<Vec<u8>>,
    size: usize,
    overflown: bool,
    /// Lines that began, and which of them is the last of standard output, of standard error.
    begun: u64,
    last: [u64; 2],
}

impl Tail {
    pub(crate) const fn new(wanted: u64, memory: usize) -> Self {
        Self { wanted, memory, lines: VecDeque::new(), size: 0, overflown: false, begun: 0, last: [0; 2] }
    }

    /// A line begins.
    pub(crate) fn begin(&mut self, origin: Origin) {
        self.begun += 1;
        if self.overflown || self.wanted == 0 {
            return;
        }
        self.last[origin as usize] = self.begun;
        if self.lines.len() as u64 == self.wanted
            && let Some(oldest) = self.lines.pop_front()
        {
            self.size -= oldest.len() + LINE_OVERHEAD;
        }
        self.lines.push_back(Vec::new());
        self.grow(LINE_OVERHEAD);
    }

    /// More of the line that began last of this origin. It may have left the front since.
    pub(crate) fn append(&mut self, origin: Origin, bytes: &[u8]) {
        let newer = self.begun - self.last[origin as usize];
        let place = (self.lines.len() as u64).checked_sub(newer + 1);
        if let Some(line) = place.and_then(|place| self.lines.get_mut(usize::try_from(place).ok()?)) {
            line.extend_from_slice(bytes);
            self.grow(bytes.len());
        }
    }

    fn grow(&mut self, bytes: usize) {
        self.size += bytes;
        if self.size > self.memory {
            self.lines = VecDeque::new();
            self.overflown = true;
        }
    }

    /// Whether the line that began last of this origin is there.
    pub(crate) fn has_last_of(&self, origin: Origin) -> bool {
        self.begun - self.last[origin as usize] < self.lines.len() as u64
    }

    /// The lines, oldest first; or, if they were too large, how many lines come before them.
    pub(crate) fn into_lines(self) -> Result<VecDeque<Vec<u8>>, u64> {
        if self.overflown { Err(self.begun.saturating_sub(self.wanted)) } else { Ok(self.lines) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail_of(lines: &[(Origin, &str)], wanted: u64, memory: usize) -> Result<Vec<String>, u64> {
        let mut tail = Tail::new(wanted, memory);
        for (origin, text) in lines {
            tail.begin(*origin);
            tail.append(*origin, text.as_bytes());
        }
        tail.into_lines().map(|lines| lines.into_iter().map(|line| String::from_utf8(line).unwrap()).collect())
    }

    const LOG: [(Origin, &str); 3] = [(Origin::Stdout, "a\n"), (Origin::Stderr, "b\n"), (Origin::Stdout, "c")];

    #[test]
    fn the_last_lines_are_kept() {
        assert_eq!(tail_of(&LOG, 0, 1000).unwrap(), [""; 0]);
        assert_eq!(tail_of(&LOG, 2, 1000).unwrap(), ["b\n", "c"]);
        assert_eq!(tail_of(&LOG, 9, 1000).unwrap(), ["a\n", "b\n", "c"]);
    }

    #[test]
    fn lines_that_take_too_much_are_counted() {
        assert_eq!(tail_of(&LOG, 2, 130), Err(1));
        assert_eq!(tail_of(&LOG, 9, 130), Err(0));
        assert_eq!(tail_of(&LOG, 1, 130).unwrap(), ["c"]);
    }

    #[test]
    fn a_line_goes_on_after_others_and_not_after_it_was_dropped() {
        let mut tail = Tail::new(2, 1000);
        tail.begin(Origin::Stdout);
        tail.append(Origin::Stdout, b"a");
        tail.begin(Origin::Stderr);
        tail.append(Origin::Stderr, b"b\n");
        tail.append(Origin::Stdout, b"A");
        tail.begin(Origin::Stderr);
        tail.append(Origin::Stderr, b"c\n");
        tail.append(Origin::Stdout, b"lost\n");
        assert_eq!(tail.into_lines().unwrap(), [b"b\n".to_vec(), b"c\n".to_vec()]);
    }
}
