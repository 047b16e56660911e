//! How a version does: its calls and those that went wrong, by export, and when that is too much.
//!
//! Wrong is what a healthy version never does: a trap, a broken limit, a use of what was not granted. A backend's errors are
//! not. An export counts by itself: `create` may trap while a hundred times as many `list` go well.
//!
//! | [`Tolerance`] | default | a version is taken back when, for one export            |
//! |---------------|---------|---------------------------------------------------------|
//! | `failures`    | 5       | at least so many calls went wrong,                      |
//! | `share`       | 0.1     | which is more than this share of them,                  |
//! | `times`       | 2       | and so many times the share of the version before it,   |
//! | `within`      | 10 min  | in this time after the swap                             |

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::export::{self, Export};

/// What is borne of a new version.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerance {
    /// Calls that may go wrong, less one.
    pub failures: u64,
    /// Share of the calls that may go wrong, 0 to 1.
    pub share: f64,
    /// How many times the share of the version before it that may be.
    pub times: f64,
    /// How long a version is new.
    pub within: Duration,
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { failures: 5, share: 0.1, times: 2.0, within: Duration::from_secs(600) }
    }
}

#[derive(Default)]
struct Counts {
    calls: AtomicU64,
    failures: AtomicU64,
}

impl Counts {
    fn read(&self) -> (u64, u64) {
        // In this order there are never more failures than calls.
        let failures = self.failures.load(Ordering::Acquire);
        (self.calls.load(Ordering::Acquire), failures)
    }

    fn share(&self) -> f64 {
        let (calls, failures) = self.read();
        if calls == 0 { 0.0 } else { failures as f64 / calls as f64 }
    }
}

/// The calls of one version.
pub(crate) struct Health {
    exports: [Counts; export::ALL.len()],
    last: Mutex<String>,
}

impl Default for Health {
    fn default() -> Self {
        Self { exports: std::array::from_fn(|_| Counts::default()), last: Mutex::default() }
    }
}

impl Health {
    /// A call of this export ended.
    pub(crate) fn called(&self, export: Export) {
        if let Some(counts) = self.exports.get(export.index) {
            counts.calls.fetch_add(1, Ordering::Release);
        }
    }

    /// It, or what was left of it, went wrong.
    pub(crate) fn failed(&self, export: Export, why: &str) {
        if let Some(counts) = self.exports.get(export.index) {
            counts.failures.fetch_add(1, Ordering::Release);
        }
        why.clone_into(&mut self.last.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// Calls, and those that went wrong.
    pub(crate) fn total(&self) -> (u64, u64) {
        let add = |sum: (u64, u64), own: (u64, u64)| (sum.0 + own.0, sum.1 + own.1);
        self.exports.iter().map(Counts::read).fold((0, 0), add)
    }

    /// What went wrong last; empty: nothing.
    pub(crate) fn last(&self) -> String {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Shares of what went wrong, to hold those of the next version against.
    pub(crate) fn shares(&self) -> Shares {
        Shares(self.exports.iter().map(Counts::share).collect())
    }

    /// Why it can't be borne any longer, if that is so.
    pub(crate) fn verdict(&self, tolerance: &Tolerance, before: &Shares) -> Option<String> {
        let too_much = |(counts, before): &(&Counts, f64)| {
            let (_, failures) = counts.read();
            failures >= tolerance.failures && counts.share() > tolerance.share.max(before * tolerance.times)
        };
        let before = before.0.iter().copied().chain(std::iter::repeat(0.0));
        let mut all = self.exports.iter().zip(before).zip(export::ALL);
        let (counts, export) = all.find(|(own, _)| too_much(own))?;
        let (calls, failures) = counts.0.read();
        Some(format!("{failures} of {calls} calls of {} went wrong; the last: {}", export.name, self.last()))
    }
}

/// Shares of what went wrong, by export.
#[derive(Clone, Debug, Default)]
pub(crate) struct Shares(Vec<f64>);

#[cfg(test)]
mod tests {
    use super::*;

    fn health(export: Export, calls: u64, failures: u64) -> Health {
        let health = Health::default();
        (0..calls).for_each(|_| health.called(export));
        (0..failures).for_each(|_| health.failed(export, "it trapped"));
        health
    }

    #[test]
    fn a_few_failures_are_borne_and_many_are_not() {
        let (tolerance, before) = (Tolerance::default(), Shares::default());
        let verdict = |calls, failures| health(export::POD_CREATE, calls, failures).verdict(&tolerance, &before);
        assert_eq!(verdict(4, 4), None);
        assert_eq!(verdict(100, 10), None);
        let said = verdict(5, 5).unwrap();
        assert_eq!(said, "5 of 5 calls of pods.create went wrong; the last: it trapped");
        assert!(verdict(100, 11).is_some());
    }

    #[test]
    fn calls_of_other_exports_hide_nothing() {
        let health = health(export::POD_CREATE, 5, 5);
        (0..10_000).for_each(|_| health.called(export::POD_LIST));
        assert!(health.verdict(&Tolerance::default(), &Shares::default()).is_some());
    }

    #[test]
    fn what_went_as_wrong_before_is_no_reason() {
        let before = health(export::POD_CREATE, 100, 30).shares();
        let verdict = |failures| health(export::POD_CREATE, 100, failures).verdict(&Tolerance::default(), &before);
        assert_eq!(verdict(60), None);
        assert!(verdict(61).is_some());
    }
}
