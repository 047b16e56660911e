//! What the calls of a program cost, by export: how many with which outcome, how long they took and waited, CPU time,
//! memory, and what ended those that did not end by themselves.
//!
//! Outcomes are `ok`, the contract's error codes, and three that are the host's: `trap`, `limit`, `cancelled` (who called
//! went away). Cost: a dozen counters a call, no lock and no allocation; a failure takes a lock and names its kind.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use provider::{Code, Error};
use serde::Serialize;

use crate::export::{self, Export};

/// Bounds of the buckets of time, seconds.
pub(crate) const BUCKETS: [f64; 17] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0];

/// The words for outcomes; a call's is an index.
pub(crate) const OUTCOMES: [&str; 16] = [
    "ok",
    "not-found",
    "invalid",
    "conflict",
    "throttled",
    "unavailable",
    "unauthorized",
    "unsupported",
    "denied",
    "limit",
    "timeout",
    "closed",
    "internal",
    "trap",
    "drained",
    "cancelled",
];

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Ok,
    /// The provider's own error.
    Error(Code),
    Trap,
    Limit,
    /// Its version was replaced, and the time to end was over.
    Drained,
    Cancelled,
}

impl Outcome {
    const fn index(self) -> usize {
        match self {
            Self::Ok => 0,
            Self::Error(Code::NotFound) => 1,
            Self::Error(Code::Invalid) => 2,
            Self::Error(Code::Conflict) => 3,
            Self::Error(Code::Throttled) => 4,
            Self::Error(Code::Unavailable) => 5,
            Self::Error(Code::Unauthorized) => 6,
            Self::Error(Code::Unsupported) => 7,
            Self::Error(Code::Denied) => 8,
            Self::Error(Code::Limit) | Self::Limit => 9,
            Self::Error(Code::Timeout) => 10,
            Self::Error(Code::Closed) => 11,
            Self::Error(Code::Internal) => 12,
            Self::Trap => 13,
            Self::Drained => 14,
            Self::Cancelled => 15,
        }
    }

    /// Of what a guest answered.
    pub(crate) fn answered<R>(result: &Result<R, Error>) -> Self {
        result.as_ref().map_or_else(|error| Self::Error(error.code), |_| Self::Ok)
    }
}

/// Times, in buckets.
#[derive(Default)]
pub(crate) struct Histogram {
    buckets: [AtomicU64; BUCKETS.len() + 1],
    nanos: AtomicU64,
}

impl Histogram {
    fn record(&self, time: Duration) {
        let seconds = time.as_secs_f64();
        let bucket = BUCKETS.iter().position(|bound| seconds <= *bound).unwrap_or(BUCKETS.len());
        if let Some(bucket) = self.buckets.get(bucket) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.nanos.fetch_add(nanos(time), Ordering::Relaxed);
    }

    /// Seconds in all, how many, and the buckets with their bounds.
    pub(crate) fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let counts = self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed));
        let buckets: Vec<_> = BUCKETS.into_iter().chain([f64::INFINITY]).zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        (seconds(&self.nanos), count, buckets)
    }

    /// The bound below which this share of the times lies, seconds.
    fn quantile(&self, share: f64) -> Option<f64> {
        let (_, count, buckets) = self.read();
        let wanted = count as f64 * share;
        let mut seen = 0;
        let within = buckets.iter().find(|(_, own)| {
            seen += own;
            seen as f64 >= wanted
        });
        within.filter(|_| count > 0).map(|(bound, _)| *bound)
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn seconds(nanos: &AtomicU64) -> f64 {
    Duration::from_nanos(nanos.load(Ordering::Relaxed)).as_secs_f64()
}

/// The calls of one export.
#[derive(Default)]
pub(crate) struct Account {
    outcomes: [AtomicU64; OUTCOMES.len()],
    /// From the beginning of a call, after it has waited, to its answer.
    pub(crate) duration: Histogram,
    /// Waiting for a slot.
    pub(crate) queue: Histogram,
    /// Calls that had to wait for a slot.
    throttled: AtomicU64,
    running: AtomicU64,
    cpu_nanos: AtomicU64,
    peak_memory: AtomicU64,
}

impl Account {
    /// Calls by outcome, without those that never were.
    pub(crate) fn outcomes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let counts = self.outcomes.iter().map(|count| count.load(Ordering::Relaxed));
        OUTCOMES.into_iter().zip(counts).filter(|(_, count)| *count > 0)
    }

    pub(crate) fn calls(&self) -> u64 {
        self.outcomes.iter().map(|count| count.load(Ordering::Relaxed)).sum()
    }

    pub(crate) fn throttled(&self) -> u64 {
        self.throttled.load(Ordering::Relaxed)
    }

    pub(crate) fn running(&self) -> u64 {
        self.running.load(Ordering::Relaxed)
    }

    pub(crate) fn cpu_seconds(&self) -> f64 {
        seconds(&self.cpu_nanos)
    }

    pub(crate) fn peak_memory(&self) -> u64 {
        self.peak_memory.load(Ordering::Relaxed)
    }
}

/// The calls of a program.
pub(crate) struct Accounts {
    exports: [Account; export::ALL.len()],
    /// By export, and by kind: the name of the limit or the trap.
    failures: Mutex<BTreeMap<(&'static str, &'static str), u64>>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self { exports: std::array::from_fn(|_| Account::default()), failures: Mutex::default() }
    }
}

impl Accounts {
    /// Exports that were called, with what that was.
    pub(crate) fn called(&self) -> impl Iterator<Item = (&'static str, &Account)> {
        let all = export::ALL.iter().map(|export| export.name).zip(&self.exports);
        all.filter(|(_, account)| account.calls() + account.running() > 0)
    }

    /// How often calls were ended, by export and by kind.
    pub(crate) fn failures(&self) -> Vec<(&'static str, &'static str, u64)> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.iter().map(|((export, kind), count)| (*export, *kind, *count)).collect()
    }

    fn of(&self, export: Export) -> Option<&Account> {
        self.exports.get(export.index)
    }

    /// A call wants to begin.
    pub(crate) fn enter(&self, export: Export) -> Entry<'_> {
        let account = self.of(export);
        if let Some(account) = account {
            account.running.fetch_add(1, Ordering::Relaxed);
        }
        Entry { account, queued: Instant::now(), begun: None, outcome: Outcome::Cancelled }
    }

    /// What an instance took.
    pub(crate) fn spent(&self, export: Export, cpu: Duration, memory: u64) {
        if let Some(account) = self.of(export) {
            account.cpu_nanos.fetch_add(nanos(cpu), Ordering::Relaxed);
            account.peak_memory.fetch_max(memory, Ordering::Relaxed);
        }
    }

    /// A limit or a trap ended a call, or what was left of it.
    pub(crate) fn failed(&self, export: Export, kind: &'static str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        *failures.entry((export.name, kind)).or_default() += 1;
    }

    /// As data.
    pub(crate) fn status(&self) -> Vec<ExportStatus> {
        let failures = self.failures();
        let of = |(name, account): (&'static str, &Account)| ExportStatus {
            export: name,
            calls: account.calls(),
            running: account.running(),
            outcomes: account.outcomes().collect(),
            failures: failures.iter().filter(|own| own.0 == name).map(|own| (own.1, own.2)).collect(),
            throttled: account.throttled(),
            p50_seconds: account.duration.quantile(0.5).filter(|bound| bound.is_finite()),
            p99_seconds: account.duration.quantile(0.99).filter(|bound| bound.is_finite()),
            cpu_seconds: account.cpu_seconds(),
            peak_memory_bytes: account.peak_memory(),
        };
        self.called().map(of).collect()
    }
}

/// A call on its way; dropped before its outcome is known, it was cancelled.
pub(crate) struct Entry<'a> {
    account: Option<&'a Account>,
    queued: Instant,
    begun: Option<Instant>,
    outcome: Outcome,
}

impl Entry<'_> {
    /// It has its slot. How long it waited.
    pub(crate) fn begin(&mut self, had_to_wait: bool) -> Duration {
        let now = Instant::now();
        let waited = now.duration_since(self.queued);
        self.begun = Some(now);
        if let Some(account) = self.account {
            account.queue.record(waited);
            if had_to_wait {
                account.throttled.fetch_add(1, Ordering::Relaxed);
            }
        }
        waited
    }

    /// It ended so.
    pub(crate) const fn end(&mut self, outcome: Outcome) {
        self.outcome = outcome;
    }
}

impl Drop for Entry<'_> {
    fn drop(&mut self) {
        let Some(account) = self.account else { return };
        account.running.fetch_sub(1, Ordering::Relaxed);
        if let Some(count) = account.outcomes.get(self.outcome.index()) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(begun) = self.begun {
            account.duration.record(begun.elapsed());
        }
    }
}

/// The calls of one export, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExportStatus {
    /// `INTERFACE.FUNCTION`.
    pub export: &'static str,
    /// Calls that ended.
    pub calls: u64,
    /// Calls that wait or run.
    pub running: u64,
    /// Calls by outcome.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Traps and broken limits, by kind.
    pub failures: BTreeMap<&'static str, u64>,
    /// Calls that had to wait for a slot.
    pub throttled: u64,
    /// Half of the calls were answered within this time.
    pub p50_seconds: Option<f64>,
    /// 99 of 100 were.
    pub p99_seconds: Option<f64>,
    /// CPU time in all.
    pub cpu_seconds: f64,
    /// The most linear memory that one call had.
    pub peak_memory_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_are_counted_by_outcome_and_time() {
        let accounts = Accounts::default();
        for outcome in [Outcome::Ok, Outcome::Ok, Outcome::Error(Code::Throttled), Outcome::Trap] {
            let mut entry = accounts.enter(export::POD_LIST);
            entry.begin(outcome == Outcome::Trap);
            entry.end(outcome);
        }
        drop(accounts.enter(export::POD_LIST));
        accounts.failed(export::POD_LIST, "unreachable");
        accounts.spent(export::POD_LIST, Duration::from_millis(2), 4_096);
        accounts.spent(export::POD_LIST, Duration::from_millis(1), 1_024);
        let status = accounts.status();
        let [list] = status.as_slice() else { panic!("{status:?}") };
        assert_eq!((list.export, list.calls, list.running, list.throttled), ("pods.list", 5, 0, 1));
        assert_eq!(list.outcomes, [("ok", 2), ("throttled", 1), ("trap", 1), ("cancelled", 1)].into());
        assert_eq!(list.failures, [("unreachable", 1)].into());
        assert_eq!((list.cpu_seconds, list.peak_memory_bytes), (0.003, 4_096));
        assert_eq!(list.p99_seconds, Some(0.0001));
    }

    #[test]
    fn a_time_lies_within_its_bucket() {
        let histogram = Histogram::default();
        for millis in [1, 3, 3, 700_000] {
            histogram.record(Duration::from_millis(millis));
        }
        let (seconds, count, buckets) = histogram.read();
        assert_eq!((seconds, count), (700.007, 4));
        let filled: Vec<_> = buckets.into_iter().filter(|(_, count)| *count > 0).collect();
        assert_eq!(filled, [(0.001, 1), (0.005, 2), (f64::INFINITY, 1)]);
    }
}
