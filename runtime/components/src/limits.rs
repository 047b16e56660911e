//! What a provider may use, each limit with its default; all of them are enforced.
//!
//! What it may use of the host (requests, bytes, connections, log, Events, store) is in [`host_capabilities::quota`] and is
//! set in the same way. `cpu` and `wall` may be set for one export too: `wall.pods.create=30s`. There is no limit on
//! processes: nothing starts any in this version, and one that is set is refused.
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
//! | `drain`          | 10 min  | streams of the guest's own making, after their version was replaced | `version` |
//! | `component-size` | 64 MiB  | the component itself, before it is compiled           | `component`    |

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use host_capabilities::quota::{BoundError, Bounds, Limit, Size, parse_bytes};

use crate::export::{self, Export};

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
    /// How long streams that keep their instance go on after their version was replaced.
    pub drain: Duration,
    /// Bytes of the component.
    pub component_size: u64,
    /// What it may use of the host.
    pub quotas: Bounds,
    /// CPU and wall time of single exports.
    pub exports: BTreeMap<&'static str, Times>,
}

/// Times of one export; none: those of all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// CPU time.
    pub cpu: Option<Duration>,
    /// Wall time.
    pub wall: Option<Duration>,
}

/// A time that a call has, and the export that it was set for, if it was for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) limit: Duration,
    pub(crate) export: Option<&'static str>,
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.export {
            Some(export) => write!(f, ".{export}={:?}", self.limit),
            None => write!(f, "={:?}", self.limit),
        }
    }
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
            drain: Duration::from_secs(600),
            component_size: 64 << 20,
            quotas: Bounds::default(),
            exports: BTreeMap::new(),
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
    #[error("`{0}` is no limit; these are: {names}", names = names())]
    Unknown(String),
    /// It would bound what no provider can do.
    #[error("the limit processes would bound nothing: no provider can start processes in this version")]
    Processes,
    /// There is no such export.
    #[error("the limit {limit}.{export}: there is no export `{export}`; these are: {names}", names = exports())]
    Export {
        /// `cpu` or `wall`.
        limit: &'static str,
        /// What was written.
        export: String,
    },
    /// A limit on what is used of the host can't be set so.
    #[error(transparent)]
    Bound(#[from] BoundError),
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
                self.memory = parse_bytes(value)
                    .filter(|size| (1 << 16..=MAX_MEMORY).contains(size))
                    .ok_or_else(|| fail("memory", "a size from 64Ki to 1Gi"))?;
            }
            "table-elements" => {
                self.table_elements = number(value)
                    .filter(|count| *count <= MAX_TABLE_ELEMENTS)
                    .ok_or_else(|| fail("table-elements", "a number from 1 to 100000"))?;
            }
            "drain" => self.drain = time(value).ok_or_else(|| fail("drain", "a time as 30s or 10m"))?,
            "cpu" => self.cpu = time(value).ok_or_else(|| fail("cpu", "a time as 500ms or 2s"))?,
            "wall" => self.wall = Some(time(value).ok_or_else(|| fail("wall", "a time as 500ms or 2s"))?),
            "host-memory" => {
                self.host_memory = parse_bytes(value)
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
                self.component_size = parse_bytes(value).ok_or_else(|| fail("component-size", "a size as 64Mi"))?;
            }
            "processes" => return Err(LimitError::Processes),
            other => match (other.strip_prefix("cpu."), other.strip_prefix("wall.")) {
                (Some(export), _) => {
                    let time = time(value).ok_or_else(|| fail("cpu", "a time as 500ms or 2s"))?;
                    self.times("cpu", export)?.cpu = Some(time);
                }
                (_, Some(export)) => {
                    let time = time(value).ok_or_else(|| fail("wall", "a time as 500ms or 2s"))?;
                    self.times("wall", export)?.wall = Some(time);
                }
                _ => self.quotas.set(other, value).ok_or_else(|| LimitError::Unknown(other.to_owned()))??,
            },
        }
        Ok(())
    }

    /// All of them as they are written: name and value. `wall` only if it was set: else each export has its own.
    pub fn written(&self) -> Vec<(String, String)> {
        let size = |bytes: u64| Size(bytes).to_string();
        let mut all = vec![
            ("memory".to_owned(), size(self.memory)),
            ("table-elements".to_owned(), self.table_elements.to_string()),
            ("cpu".to_owned(), written_time(self.cpu)),
            ("host-memory".to_owned(), size(self.host_memory as u64)),
            ("calls".to_owned(), self.calls.to_string()),
            ("streams".to_owned(), self.streams.to_string()),
            ("sessions".to_owned(), self.sessions.to_string()),
            ("drain".to_owned(), written_time(self.drain)),
            ("component-size".to_owned(), size(self.component_size)),
        ];
        all.extend(self.wall.map(|wall| ("wall".to_owned(), written_time(wall))));
        for (export, times) in &self.exports {
            all.extend(times.cpu.map(|cpu| (format!("cpu.{export}"), written_time(cpu))));
            all.extend(times.wall.map(|wall| (format!("wall.{export}"), written_time(wall))));
        }
        all.extend(self.quotas.written().map(|(name, value)| (name.to_owned(), value)));
        all
    }

    fn times(&mut self, limit: &'static str, export: &str) -> Result<&mut Times, LimitError> {
        let known = export::ALL.iter().find(|known| known.name == export);
        let name = known.map(|known| known.name);
        let name = name.ok_or_else(|| LimitError::Export { limit, export: export.to_owned() })?;
        Ok(self.exports.entry(name).or_default())
    }

    /// How long a call of this export may take.
    pub(crate) fn wall(&self, export: Export) -> Time {
        match self.exports.get(export.name).and_then(|times| times.wall) {
            Some(limit) => Time { limit, export: Some(export.name) },
            None => match self.wall {
                Some(limit) => Time { limit, export: None },
                None => Time { limit: export.wall, export: Some(export.name) },
            },
        }
    }

    /// How much CPU time a call of this export may take.
    pub(crate) fn cpu(&self, export: Export) -> Time {
        match self.exports.get(export.name).and_then(|times| times.cpu) {
            Some(limit) => Time { limit, export: Some(export.name) },
            None => Time { limit: self.cpu, export: None },
        }
    }
}

fn names() -> String {
    let own = [
        "memory",
        "table-elements",
        "cpu",
        "cpu.EXPORT",
        "wall",
        "wall.EXPORT",
        "host-memory",
        "calls",
        "streams",
        "sessions",
        "drain",
        "component-size",
    ];
    own.into_iter().chain(Limit::ALL.map(Limit::name)).collect::<Vec<_>>().join(", ")
}

fn exports() -> String {
    export::ALL.iter().map(|export| export.name).collect::<Vec<_>>().join(", ")
}

fn written_time(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

fn number(text: &str) -> Option<usize> {
    text.parse().ok().filter(|number| *number > 0)
}

fn time(text: &str) -> Option<Duration> {
    let (digits, unit) = [("ms", 1), ("s", 1_000), ("m", 60_000)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))?;
    digits.parse::<u64>().ok().filter(|number| *number > 0)?.checked_mul(unit).map(Duration::from_millis)
}

/// Most handles that a call may hold at once: of resources, streams, futures and calls of its own. Nobody can set it: they
/// take the host's memory, and the time of its threads when they are dropped.
pub(crate) const HANDLES: usize = 1 << 15;

/// A limit that a call reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Linear memory.
    Memory(u64),
    /// Entries of tables.
    TableElements(usize),
    /// CPU time.
    Cpu(Time),
    /// Wall time.
    Wall(Time),
    /// Bytes copied by the host.
    HostMemory(usize),
    /// Stack.
    Stack,
    /// Handles.
    Handles,
    /// Open streams.
    Streams(usize),
    /// Streams that keep their instance.
    Sessions(usize),
    /// Host functions that wait at once.
    Tasks(u64),
}

impl Reached {
    /// The limit's name.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Memory(_) => "memory",
            Self::TableElements(_) => "table-elements",
            Self::Cpu(_) => "cpu",
            Self::Wall(_) => "wall",
            Self::HostMemory(_) => "host-memory",
            Self::Stack => "stack",
            Self::Handles => "handles",
            Self::Streams(_) => "streams",
            Self::Sessions(_) => "sessions",
            Self::Tasks(_) => "tasks",
        }
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory(limit) => write!(f, "the limit memory={} (linear memory of one call)", Size(*limit)),
            Self::TableElements(limit) => write!(f, "the limit table-elements={limit}"),
            Self::Cpu(limit) => write!(f, "the limit cpu{limit} (CPU time of one call)"),
            Self::Wall(limit) => write!(f, "the limit wall{limit} (time of one call)"),
            Self::HostMemory(limit) => {
                write!(f, "the limit host-memory={} (size of one value out of the guest)", Size(*limit as u64))
            }
            Self::Stack => f.write_str("the end of its stack (a recursion without end)"),
            Self::Handles => write!(f, "the most handles that a call may hold, {HANDLES}"),
            Self::Streams(limit) => write!(f, "the limit streams={limit} (open streams)"),
            Self::Tasks(limit) => write!(f, "the limit tasks={limit} ({})", Limit::Tasks.what()),
            Self::Sessions(limit) => write!(f, "the limit sessions={limit} (streams of the guest's own making)"),
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
    fn an_export_has_its_own_times_if_it_was_given_some() {
        let limits: Limits = "wall.pods.create=30s,cpu.pods.list=5ms,wall=7s".parse().unwrap();
        let shown = |time: Time| time.to_string();
        assert_eq!(shown(limits.wall(export::POD_CREATE)), ".pods.create=30s");
        assert_eq!(shown(limits.wall(export::POD_LIST)), "=7s");
        assert_eq!(shown(limits.cpu(export::POD_LIST)), ".pods.list=5ms");
        assert_eq!(shown(limits.cpu(export::POD_CREATE)), "=2s");
        // Its default is that of the export, and is raised by its name.
        assert_eq!(shown(Limits::default().wall(export::POD_CREATE)), ".pods.create=60s");
    }

    #[test]
    fn limits_on_the_host_are_set_with_the_others() {
        let limits: Limits = "memory=1Mi,requests=7/s,stream-size=none,store-bytes=1Mi".parse().unwrap();
        assert_eq!((limits.quotas.get(Limit::Requests), limits.quotas.get(Limit::StoreBytes)), (7, 1 << 20));
        for limit in Limit::ALL {
            assert!(names().contains(limit.name()));
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let limits: Limits = "memory=128Mi,cpu=1500ms,wall.pods.create=30s,wall=2m,calls=16".parse().unwrap();
        let text: Vec<String> = limits.written().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        assert_eq!(text.join(",").parse::<Limits>().unwrap(), limits, "{text:?}");
    }

    #[test]
    fn a_wrong_limit_is_named_with_its_value() {
        for (text, says) in [
            ("memory=2Gi", "the limit memory can't be `2Gi`: a size from 64Ki to 1Gi"),
            ("cpu=fast", "the limit cpu can't be `fast`"),
            ("speed=1", "`speed` is no limit"),
            ("calls", "NAME=VALUE"),
            ("calls=1", "from 8 to 1000"),
            ("requests=0", "the limit requests can't be `0`: a number a second from 1"),
            ("processes=1", "no provider can start processes"),
            ("wall.pods.make=1s", "there is no export `pods.make`; these are: load, node.describe"),
            ("cpu.pods.create=1", "the limit cpu can't be `1`"),
        ] {
            let error = text.parse::<Limits>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
