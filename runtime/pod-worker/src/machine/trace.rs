//! Which attempts of a container or sandbox exist, and whether an observation is new enough to say so.

/// What is remembered of the attempts of one container, or of the sandbox.
#[derive(Debug, Default)]
pub(super) struct Trace {
    /// The attempt that the next one gets.
    pub next: u32,
    /// The highest attempt that is known to exist.
    pub known: Option<u32>,
    /// Observations of a lower revision are older than what is remembered.
    pub fresh: u32,
    /// The highest attempt that existed and is gone.
    gone: Option<u32>,
    /// The last observation contradicted what was known.
    doubted: bool,
}

/// What an observation says of the known attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// All that was remembered is in it, or is gone for good.
    Settled,
    /// It is too old to say.
    Old,
    /// It contradicts what was known; the next observation decides.
    Doubt,
}

impl Trace {
    /// Takes in the highest attempt that an observation of revision `seen` shows; `revision` is the present one. That
    /// what was known is gone, or that what was gone is back, is believed only when a second look, begun after the
    /// first, says so too: the first may have been older than it seemed.
    pub(super) fn look(&mut self, highest: Option<u32>, seen: u32, revision: u32) -> Look {
        self.next = self.next.max(highest.map_or(0, |highest| highest.saturating_add(1)));
        let is_gone = highest < self.known;
        let is_back = highest > self.known && highest <= self.gone;
        if !is_gone && !is_back {
            self.known = highest;
            self.doubted = false;
            return if seen >= self.fresh { Look::Settled } else { Look::Old };
        }
        if seen < self.fresh {
            return Look::Old;
        }
        if std::mem::take(&mut self.doubted) {
            self.gone = if is_gone { self.known.max(self.gone) } else { None };
            self.known = highest;
            return Look::Settled;
        }
        self.doubted = true;
        self.doubt(revision)
    }

    /// Only an observation that is begun from now on counts.
    pub(super) fn doubt(&mut self, revision: u32) -> Look {
        self.fresh = revision.saturating_add(1);
        Look::Doubt
    }

    /// The pod's status tells of attempts: what comes next, and what runs.
    pub(super) fn told(&mut self, next: u32, running: Option<u32>) {
        self.next = next;
        self.known = running;
    }

    /// An attempt was removed; if it was the last one, nobody wonders that it is missing.
    pub(super) fn removed(&mut self, attempt: u32, revision: u32) {
        if self.known == Some(attempt) {
            self.all_removed(revision);
        }
    }

    /// All attempts were removed.
    pub(super) fn all_removed(&mut self, revision: u32) {
        self.known = None;
        self.fresh = revision;
    }

    /// An attempt was made.
    pub(super) fn made(&mut self, attempt: u32) {
        self.next = self.next.max(attempt.saturating_add(1));
        self.known = self.known.max(Some(attempt));
    }
}
