//! Whose writes go next where several providers write to one file.
//!
//! Every commit costs a sync, whoever it is for, and what comes meanwhile waits for it. So of providers that write at the
//! same time the one that wrote more lets the others go first: it waits until it is no more than [`AHEAD`] ahead, or for
//! [`PAUSES`] times as long as its last commit took: it never stands still, and fewer than one in a hundred of the others'
//! writes wait for one of its own. As what comes during a commit waits for its end, no commit holds much more than [`SHARED`]
//! bytes of one provider. A provider counts as writing for [`RECENT`] after its last write. One that writes alone never
//! waits, and writes as much at once as there is.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How far a provider may be ahead of another, in writes of a page.
const AHEAD: u64 = 16;
/// Pauses of one that is further ahead, in times of its last commit.
const PAUSES: u32 = 64;
/// How long after its last write a provider counts as writing.
const RECENT: Duration = Duration::from_millis(2);
/// Bytes of one provider after which its other writes are left to a later commit, while several providers write.
const SHARED: usize = 64 << 10;
/// Bytes that a write of one page holds.
const PAGE: usize = 4_096;

/// What a write of so many bytes counts.
pub(super) const fn cost(bytes: usize) -> u64 {
    1 + (bytes / PAGE) as u64
}

struct Party {
    /// What it has written, counted so that all who write began at the same figure.
    written: u64,
    last: Instant,
    /// It may write then, however far ahead it is.
    pause_until: Instant,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    /// The writes of these providers go.
    Write(Vec<Box<[u8]>>),
    /// Nobody's, for so long, unless another one's comes.
    Wait(Duration),
}

/// Who wrote how much of late.
#[derive(Default)]
pub(super) struct Turns {
    parties: HashMap<Box<[u8]>, Party>,
}

impl Turns {
    /// Whose turn it is of those who have writes waiting.
    pub fn next(&mut self, waiting: Vec<Box<[u8]>>, now: Instant) -> Turn {
        let is_active = |name: &[u8], party: &Party| {
            now.duration_since(party.last) <= RECENT || waiting.iter().any(|own| **own == *name)
        };
        self.parties.retain(|name, party| is_active(name, party));
        let floor = self.parties.values().map(|party| party.written).min().unwrap_or(0);
        for name in &waiting {
            self.parties.entry(name.clone()).or_insert(Party { written: floor, last: now, pause_until: now });
        }
        if self.parties.len() == 1 {
            return Turn::Write(waiting);
        }
        let may = |party: &Party| party.written <= floor + AHEAD || party.pause_until <= now;
        let (ready, others): (Vec<_>, Vec<_>) =
            waiting.into_iter().partition(|name| self.parties.get(name).is_none_or(may));
        if !ready.is_empty() {
            return Turn::Write(ready);
        }
        let until = others.iter().filter_map(|name| Some(self.parties.get(name)?.pause_until)).min().unwrap_or(now);
        // Whom they wait for may write no more.
        Turn::Wait(until.duration_since(now).min(RECENT))
    }

    /// How many bytes of a provider a commit holds before the rest is left to a later one.
    pub fn most_bytes(&self) -> usize {
        if self.parties.len() > 1 { SHARED } else { usize::MAX }
    }

    /// A commit that took so long wrote so much for a provider.
    pub fn wrote(&mut self, provider: &[u8], cost: u64, took: Duration, now: Instant) {
        if let Some(party) = self.parties.get_mut(provider) {
            party.written += cost;
            party.last = now;
            party.pause_until = now + took * PAUSES;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COMMIT: Duration = Duration::from_micros(500);

    fn names(names: &[&str]) -> Vec<Box<[u8]>> {
        names.iter().map(|name| name.as_bytes().into()).collect()
    }

    #[test]
    fn who_writes_alone_never_waits() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        for _ in 0..1_000 {
            assert_eq!(turns.next(names(&["bulk"]), now), Turn::Write(names(&["bulk"])));
            assert_eq!(turns.most_bytes(), usize::MAX);
            now += COMMIT;
            turns.wrote(b"bulk", 1_000, COMMIT, now);
        }
    }

    #[test]
    fn who_wrote_more_lets_the_other_go_first_and_never_stands_still() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        assert_eq!(turns.next(names(&["bulk", "few"]), now), Turn::Write(names(&["bulk", "few"])));
        now += COMMIT;
        turns.wrote(b"bulk", 100, COMMIT, now);
        turns.wrote(b"few", 1, COMMIT, now);
        assert_eq!(turns.next(names(&["bulk", "few"]), now), Turn::Write(names(&["few"])));
        now += COMMIT;
        turns.wrote(b"few", 1, COMMIT, now);
        // The next write of the other is expected at any moment.
        assert_eq!(turns.next(names(&["bulk"]), now), Turn::Wait(RECENT));
        let began = now;
        while turns.next(names(&["bulk", "few"]), now) == Turn::Write(names(&["few"])) {
            now += COMMIT;
            turns.wrote(b"few", 1, COMMIT, now);
        }
        let waited = now - began;
        assert!(waited >= COMMIT * (PAUSES - 2) && waited <= COMMIT * PAUSES, "{waited:?}");
    }

    #[test]
    fn when_the_other_has_not_written_for_a_while_nobody_waits_for_it() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        turns.next(names(&["bulk", "few"]), now);
        turns.wrote(b"bulk", 100, Duration::from_secs(1), now);
        turns.wrote(b"few", 1, COMMIT, now);
        now += RECENT + COMMIT;
        assert_eq!(turns.next(names(&["bulk"]), now), Turn::Write(names(&["bulk"])));
    }

    #[test]
    fn who_was_away_does_not_come_back_with_a_claim_on_what_others_wrote_meanwhile() {
        let (mut turns, mut now) = (Turns::default(), Instant::now());
        turns.next(names(&["few"]), now);
        turns.wrote(b"few", 1, COMMIT, now);
        now += Duration::from_secs(1);
        turns.next(names(&["bulk"]), now);
        turns.wrote(b"bulk", 1_000, COMMIT, now);
        assert_eq!(turns.next(names(&["few", "bulk"]), now), Turn::Write(names(&["few", "bulk"])));
    }
}
