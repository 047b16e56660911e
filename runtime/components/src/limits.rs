//! What a provider may use, each limit with its default; all of them are enforced.
//!
//! | limit            | default | bounds                                                | enforced in    |
//! |------------------|---------|-------------------------------------------------------|----------------|
//! | `memory`         | 64 MiB  | linear memory of one call                             | `memory`       |
//! | `table-elements` | 20,000  | entries of all tables of one call                     | `memory`       |
//! | `cpu`            | 2 s     | CPU time of one call (a stream of the guest's own making earns a tenth of its time on top) | `cpu` |
//! | `wall`           | by export | from the start of a call to its end; waiting for a slot does not count | `call` |
//! | `host-memory`    | 64 MiB  | bytes that the host copies for one value out of the guest | wasmtime   |
//! | `calls`          | 96      | calls at once, divided into lanes                     | `lanes`        |
//! | `streams`        | 512     | open streams (logs, exec, …)                          | `lanes`        |
//! | `sessions`       | 64      | streams of the guest's own making, which keep their instance | `lanes` |
//! | `component-size` | 64 MiB  | the component itself, before it is compiled           | `component`    |

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The limits of one provider.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of linear memory of one call.
    pub memory: u64,
    /// Entries of all tables of one call.
    pub table_elements: usize,
    /// CPU time of one call.
    pub cpu: Duration,
    /// Wall time of one call, for all exports alike. None: each export's own default.
    pub wall: Option<Duration>,
    /// Bytes that the host copies for one value out of the guest.
    pub host_memory: usize,
    /// Calls at once.
    pub calls: usize,
    /// Open streams.
    pub streams: usize,
    /// Streams that keep their instance.
    pub sessions: usize,
    /// Bytes of the component.
    pub component_size: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            memory: 64 << 20,
            table_elements: 20_000,
            cpu: Duration::from_secs(2),
            wall: None,
            host_memory: 64 << 20,
            calls: 96,
            streams: 512,
            sessions: 64,
            component_size: 64 << 20,
        }
    }
}

/// The most that one call's memory may be set to: what a slot of the pool has room for.
pub(crate) const MAX_MEMORY: u64 = 1 << 30;

/// The most that one call's tables may be set to.
pub(crate) const MAX_TABLE_ELEMENTS: usize = 100_000;

/// A limit that can't be set so.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum LimitError {
    /// There is no such limit.
    #[error(
        "`{0}` is no limit; these are: memory, table-elements, cpu, wall, host-memory, calls, streams, sessions, component-size"
    )]
    Unknown(String),
    /// The value can't be read, or is out of bounds.
    #[error("the limit {name} can't be `{value}`: {expected}")]
    Value {
        /// The limit.
        name: &'static str,
        /// What was written.
        value: String,
        /// What could be.
        expected: &'static str,
    },
    /// Not `NAME=VALUE`.
    #[error("`{0}`: a limit is written NAME=VALUE")]
    Form(String),
}

impl Limits {
    /// Sets one limit, written `NAME=VALUE`: sizes as `64Mi`, times as `500ms` or `2s`, numbers as such.
    pub fn set(&mut self, text: &str) -> Result<(), LimitError> {
        let (name, value) = text.split_once('=').ok_or_else(|| LimitError::Form(text.to_owned()))?;
        let fail = |name, expected| LimitError::Value { name, value: value.to_owned(), expected };
        match name {
            "memory" => {
                self.memory = bytes(value)
                    .filter(|size| (1 << 16..=MAX_MEMORY).contains(size))
                    .ok_or_else(|| fail("memory", "a size from 64Ki to 1Gi"))?;
            }
            "table-elements" => {
                self.table_elements = number(value)
                    .filter(|count| *count <= MAX_TABLE_ELEMENTS)
                    .ok_or_else(|| fail("table-elements", "a number from 1 to 100000"))?;
            }
            "cpu" => self.cpu = time(value).ok_or_else(|| fail("cpu", "a time as 500ms or 2s"))?,
            "wall" => self.wall = Some(time(value).ok_or_else(|| fail("wall", "a time as 500ms or 2s"))?),
            "host-memory" => {
                self.host_memory = bytes(value)
                    .and_then(|size| usize::try_from(size).ok())
                    .ok_or_else(|| fail("host-memory", "a size as 64Mi"))?;
            }
            "calls" => {
                self.calls = number(value)
                    .filter(|count| (8..=1_000).contains(count))
                    .ok_or_else(|| fail("calls", "a number from 8 to 1000"))?;
            }
            "streams" => self.streams = number(value).ok_or_else(|| fail("streams", "a number"))?,
            "sessions" => {
                self.sessions = number(value)
                    .filter(|count| *count <= 1_000)
                    .ok_or_else(|| fail("sessions", "a number from 1 to 1000"))?;
            }
            "component-size" => {
                self.component_size = bytes(value).ok_or_else(|| fail("component-size", "a size as 64Mi"))?;
            }
            other => return Err(LimitError::Unknown(other.to_owned())),
        }
        Ok(())
    }
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

fn bytes(text: &str) -> Option<u64> {
    let (digits, factor) = [("Ki", 1 << 10), ("Mi", 1 << 20), ("Gi", 1 << 30), ("", 1)]
        .into_iter()
        .find_map(|(suffix, factor)| text.strip_suffix(suffix).map(|digits| (digits, factor)))?;
    digits.parse::<u64>().ok().filter(|number| *number > 0)?.checked_mul(factor)
}

fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = [("ms", 1), ("s", 1_000), ("m", 60_000)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))?;
    digits.parse::<u64>().ok().filter(|number| *number > 0)?.checked_mul(unit).map(Duration::from_millis)
}

/// A limit that a call reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Linear memory.
    Memory(u64),
    /// Entries of tables.
    TableElements(usize),
    /// CPU time.
    Cpu(Duration),
    /// Wall time.
    Wall(Duration),
    /// Bytes copied by the host.
    HostMemory(usize),
    /// Stack.
    Stack,
    /// Open streams.
    Streams(usize),
    /// Streams that keep their instance.
    Sessions(usize),
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(limit) => write!(f, "the limit memory={} (linear memory of one call)", Size(*limit)),
            Self::TableElements(limit) => write!(f, "the limit table-elements={limit}"),
            Self::Cpu(limit) => write!(f, "the limit cpu={limit:?} (CPU time of one call)"),
            Self::Wall(limit) => write!(f, "the limit wall={limit:?} (time of one call)"),
            Self::HostMemory(limit) => {
                write!(f, "the limit host-memory={} (size of one value out of the guest)", Size(*limit as u64))
            }
            Self::Stack => f.write_str("the end of its stack (a recursion without end)"),
            Self::Streams(limit) => write!(f, "the limit streams={limit} (open streams)"),
            Self::Sessions(limit) => write!(f, "the limit sessions={limit} (streams of the guest's own making)"),
        }
    }
}

struct Size(u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            size if size % (1 << 20) == 0 => write!(f, "{}Mi", size >> 20),
            size if size % (1 << 10) == 0 => write!(f, "{}Ki", size >> 10),
            size => write!(f, "{size}"),
        }
    }
}

impl FromStr for Limits {
    type Err = LimitError;

    /// Reads limits separated by commas, on top of the defaults.
    fn from_str(text: &str) -> Result<Self, LimitError> {
        let mut limits = Self::default();
        text.split(',').filter(|one| !one.is_empty()).try_for_each(|one| limits.set(one))?;
        Ok(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_with_their_units() {
        let limits: Limits = "memory=128Mi,cpu=500ms,wall=2m,calls=16".parse().unwrap();
        assert_eq!(limits.memory, 128 << 20);
        assert_eq!(limits.cpu, Duration::from_millis(500));
        assert_eq!(limits.wall, Some(Duration::from_secs(120)));
        assert_eq!(limits.calls, 16);
    }

    #[test]
    fn a_wrong_limit_is_named_with_its_value() {
        for (text, says) in [
            ("memory=2Gi", "the limit memory can't be `2Gi`: a size from 64Ki to 1Gi"),
            ("cpu=fast", "the limit cpu can't be `fast`"),
            ("speed=1", "`speed` is no limit"),
            ("calls", "NAME=VALUE"),
            ("calls=1", "from 8 to 1000"),
        ] {
            let error = text.parse::<Limits>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
