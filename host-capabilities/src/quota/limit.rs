//! The limits by name, with their defaults and bounds, and how they are written.

use std::fmt;

use crate::quota::gauge::Unit;

/// A limit on what a provider uses of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// Requests a second.
    Requests,
    /// Bytes a second to sockets.
    BytesOut,
    /// Bytes a second from sockets.
    BytesIn,
    /// Open sockets.
    Connections,
    /// Bytes of one fetched body.
    ResponseSize,
    /// Bytes of one streamed body.
    StreamSize,
    /// Bytes in the host's memory.
    HeldBytes,
    /// Waiting host functions of a call.
    Tasks,
    /// Bytes of log lines a second.
    LogBytes,
    /// Events a second.
    Events,
    /// Bytes in the store.
    StoreBytes,
    /// Keys in the store.
    StoreKeys,
    /// Bytes in the cache.
    CacheBytes,
}

/// No bound.
const NONE: u64 = u64::MAX;

impl Limit {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::Requests,
        Self::BytesOut,
        Self::BytesIn,
        Self::Connections,
        Self::ResponseSize,
        Self::StreamSize,
        Self::HeldBytes,
        Self::Tasks,
        Self::LogBytes,
        Self::Events,
        Self::StoreBytes,
        Self::StoreKeys,
        Self::CacheBytes,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::BytesOut => "bytes-out",
            Self::BytesIn => "bytes-in",
            Self::Connections => "connections",
            Self::ResponseSize => "response-size",
            Self::StreamSize => "stream-size",
            Self::HeldBytes => "held-bytes",
            Self::Tasks => "tasks",
            Self::LogBytes => "log-bytes",
            Self::Events => "events",
            Self::StoreBytes => "store-bytes",
            Self::StoreKeys => "store-keys",
            Self::CacheBytes => "cache-bytes",
        }
    }

    /// What it bounds, in words.
    pub const fn what(self) -> &'static str {
        match self {
            Self::Requests => "requests",
            Self::BytesOut => "bytes sent",
            Self::BytesIn => "bytes received",
            Self::Connections => "open connections",
            Self::ResponseSize => "body of one response that is fetched",
            Self::StreamSize => "one streamed body",
            Self::HeldBytes => "bytes that the host holds for the provider",
            Self::Tasks => "host functions of one call that wait at once",
            Self::LogBytes => "log lines",
            Self::Events => "Events",
            Self::StoreBytes => "keys and values in the store of one node",
            Self::StoreKeys => "keys in the store of one node",
            Self::CacheBytes => "keys and values in the cache of one node",
        }
    }

    pub(super) const fn unit(self) -> Unit {
        match self {
            Self::Requests | Self::Events => Unit::PerSecond,
            Self::BytesOut | Self::BytesIn | Self::LogBytes => Unit::BytesPerSecond,
            Self::Connections | Self::Tasks | Self::StoreKeys => Unit::Number,
            Self::ResponseSize | Self::StreamSize | Self::HeldBytes | Self::StoreBytes | Self::CacheBytes => {
                Unit::Bytes
            }
        }
    }

    /// Default, least and most.
    const fn values(self) -> (u64, u64, u64) {
        match self {
            Self::Requests => (2_000, 1, 1_000_000),
            Self::BytesOut | Self::BytesIn => (256 << 20, 64 << 10, 64 << 30),
            Self::Connections => (1_024, 1, 100_000),
            Self::ResponseSize => (64 << 20, 1, 1 << 30),
            Self::StreamSize => (NONE, 1, NONE),
            Self::HeldBytes => (256 << 20, 1 << 20, 16 << 30),
            Self::Tasks => (4_096, 16, 100_000),
            Self::LogBytes => (64 << 10, 1 << 10, 64 << 20),
            Self::Events => (5, 1, 1_000),
            Self::StoreBytes => (64 << 20, 1 << 10, 64 << 30),
            Self::StoreKeys => (100_000, 1, 10_000_000),
            Self::CacheBytes => (16 << 20, 1 << 10, 1 << 30),
        }
    }

    fn expected(self) -> String {
        let (_, least, most) = self.values();
        let shown = |value| self.unit().show(value);
        match (self, self.unit()) {
            (Self::StreamSize, _) => "a size as 1Gi, or none".to_owned(),
            (_, Unit::Number) => format!("a number from {least} to {most}"),
            (_, Unit::PerSecond) => format!("a number a second from {least} to {most}"),
            _ => format!("a size from {} to {}", shown(least), shown(most)),
        }
    }
}

/// The values of all limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds([u64; Limit::ALL.len()]);

impl Default for Bounds {
    fn default() -> Self {
        Self(Limit::ALL.map(|limit| limit.values().0))
    }
}

/// A limit can't be set so.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the limit {name} can't be `{value}`: {expected}")]
pub struct BoundError {
    /// The limit.
    pub name: &'static str,
    /// What was written.
    pub value: String,
    /// What could be.
    pub expected: String,
}

impl Bounds {
    /// The value of one.
    pub fn get(&self, limit: Limit) -> u64 {
        Limit::ALL.iter().zip(self.0).find_map(|(own, value)| (*own == limit).then_some(value)).unwrap_or_default()
    }

    /// Sets the limit of this name: sizes as `64Mi`, numbers as such, rates with or without `/s`. None: there is no such
    /// limit here.
    pub fn set(&mut self, name: &str, written: &str) -> Option<Result<(), BoundError>> {
        let (limit, own) = Limit::ALL.into_iter().zip(&mut self.0).find(|(limit, _)| limit.name() == name)?;
        let (_, least, most) = limit.values();
        let unit = limit.unit();
        let text = if unit.is_rate() { written.strip_suffix("/s").unwrap_or(written) } else { written };
        let value = match unit {
            Unit::Number | Unit::PerSecond => text.parse().ok(),
            _ if most == NONE && text == "none" => Some(NONE),
            _ => parse_bytes(text),
        };
        Some(match value.filter(|value| (least..=most).contains(value)) {
            Some(value) => {
                *own = value;
                Ok(())
            }
            None => Err(BoundError { name: limit.name(), value: written.to_owned(), expected: limit.expected() }),
        })
    }

    /// All of them as they are written: name and value.
    pub fn written(&self) -> impl Iterator<Item = (&'static str, String)> {
        Limit::ALL.into_iter().zip(self.0).map(|(limit, value)| (limit.name(), limit.unit().show(value)))
    }
}

const UNITS: [(&str, u64); 5] = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("Ti", 1 << 40), ("", 1)];

/// A size as `64Mi`; not zero.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let (digits, factor) =
        UNITS.into_iter().find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, factor)))?;
    digits.parse::<u64>().ok().filter(|number| *number > 0)?.checked_mul(factor)
}

/// A size, shown as it is written.
#[derive(Clone, Copy, Debug)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(size) = *self;
        if size == NONE {
            return f.write_str("none");
        }
        let (suffix, factor) = UNITS
            .into_iter()
            .rev()
            .filter(|(_, factor)| size.is_multiple_of(*factor))
            .max_by_key(|(_, factor)| *factor)
            .unwrap_or(("", 1));
        write!(f, "{}{suffix}", size / factor)
    }
}
