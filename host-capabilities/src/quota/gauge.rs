//! What is used of one limit, for errors, metrics and the status.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use provider::Code;
use serde::Serialize;

use super::{Limit, Size};
use crate::error::{Error, error};

/// What a limit counts in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Unit {
    /// So many at once.
    Number,
    /// Bytes.
    Bytes,
    /// So many a second.
    PerSecond,
    /// Bytes a second.
    BytesPerSecond,
    /// Nanoseconds.
    Nanoseconds,
}

impl Unit {
    pub(super) const fn is_rate(self) -> bool {
        matches!(self, Self::PerSecond | Self::BytesPerSecond)
    }

    /// A value as it is written.
    pub(super) fn show(self, value: u64) -> String {
        match self {
            Self::Number => value.to_string(),
            Self::Bytes => Size(value).to_string(),
            Self::PerSecond => format!("{value}/s"),
            Self::BytesPerSecond => format!("{}/s", Size(value)),
            Self::Nanoseconds => format!("{:?}", Duration::from_nanos(value)),
        }
    }
}

/// One limit of a provider: its bound, and what happened to it.
#[derive(Debug)]
pub struct Gauge {
    name: &'static str,
    what: &'static str,
    unit: Unit,
    maximum: AtomicU64,
    used: AtomicU64,
    peak: AtomicU64,
    total: AtomicU64,
    refused: AtomicU64,
    waited: AtomicU64,
}

/// What is used of one limit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Usage {
    /// The limit's name, as in `--limit NAME=VALUE`.
    pub limit: &'static str,
    /// What it counts in.
    pub unit: Unit,
    /// In use now; of a rate, in the last second.
    pub used: u64,
    /// The most that was in use.
    pub peak: u64,
    /// The bound.
    pub maximum: u64,
    /// Units used since the start.
    pub total: u64,
    /// Uses that were refused, or dropped.
    pub refused: u64,
    /// Time that uses waited for their turn, nanoseconds.
    pub waited: u64,
}

/// A limit was reached.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("reached the limit {name}={value} ({what}); --limit {name}=VALUE raises it")]
pub struct Reached {
    /// The limit.
    pub name: &'static str,
    /// Its value, as it is written.
    pub value: String,
    /// What it bounds.
    pub what: &'static str,
}

impl Reached {
    /// This limit was reached at this value.
    pub fn new(limit: Limit, value: u64) -> Self {
        Self { name: limit.name(), value: limit.unit().show(value), what: limit.what() }
    }

    /// The error of a capability that reached it.
    pub fn of(self, capability: impl fmt::Display) -> Error {
        error(Code::Limit, format!("{capability}: {self}"))
    }
}

impl Gauge {
    /// A limit of which nothing is used yet.
    pub const fn new(name: &'static str, what: &'static str, unit: Unit, maximum: u64) -> Self {
        Self {
            name,
            what,
            unit,
            maximum: AtomicU64::new(maximum),
            used: AtomicU64::new(0),
            peak: AtomicU64::new(0),
            total: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            waited: AtomicU64::new(0),
        }
    }

    /// The bound.
    pub fn maximum(&self) -> u64 {
        self.maximum.load(Ordering::Relaxed)
    }

    /// Moves the bound.
    pub fn set_maximum(&self, maximum: u64) {
        self.maximum.store(maximum, Ordering::Relaxed);
    }

    /// In use now.
    pub fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// So much is in use now.
    pub fn set_used(&self, used: u64) {
        self.used.store(used, Ordering::Relaxed);
        self.peak.fetch_max(used, Ordering::Relaxed);
    }

    /// One use of this size came and went.
    pub fn observe(&self, size: u64) {
        self.set_used(size);
        self.count(size);
    }

    /// So many units were used.
    pub fn count(&self, units: u64) {
        self.total.fetch_add(units, Ordering::Relaxed);
    }

    /// A use waited so long.
    pub fn waited(&self, time: Duration) {
        self.waited.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// A use was refused.
    pub fn refuse(&self) -> Reached {
        self.refused.fetch_add(1, Ordering::Relaxed);
        Reached { name: self.name, value: self.unit.show(self.maximum()), what: self.what }
    }

    /// Whether one use of this size fits.
    pub fn fits(&self, size: u64) -> Result<(), Reached> {
        if size > self.maximum() {
            return Err(self.refuse());
        }
        self.observe(size);
        Ok(())
    }

    /// Takes units if there is room for them.
    pub(super) fn take(&self, units: u64) -> bool {
        let taken = self.used.fetch_update(Ordering::AcqRel, Ordering::Relaxed, |used| {
            used.checked_add(units).filter(|after| *after <= self.maximum())
        });
        let Ok(before) = taken else { return false };
        self.peak.fetch_max(before + units, Ordering::Relaxed);
        self.count(units);
        true
    }

    /// Gives units back.
    pub(super) fn give(&self, units: u64) {
        self.used.fetch_sub(units, Ordering::AcqRel);
    }

    /// What is used of it.
    pub fn usage(&self) -> Usage {
        let read = |value: &AtomicU64| value.load(Ordering::Relaxed);
        Usage {
            limit: self.name,
            unit: self.unit,
            used: self.used(),
            peak: read(&self.peak),
            maximum: self.maximum(),
            total: read(&self.total),
            refused: read(&self.refused),
            waited: read(&self.waited),
        }
    }
}
