//! `events`: Kubernetes Events on this node's pods and on the Node. Always granted.
//!
//! Bound: the limit `events`, and what is over it is dropped; how much is said in the log with the next one that passes. A message is cut at 1,024 bytes. With a `key`, one Event for each pod and key (the last 4,096 are
//! remembered, by their hashes).

use std::collections::{HashSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use provider::PodKey;
use tracing::Level;
use wasmtime::bail;

use crate::Call;
use crate::audit::Used;
use crate::bindings::vk::host::{events, types};
use crate::line_of_call;
use crate::log::{cut, plain};
use crate::quota::{Reached, Throughput};

const MAX_MESSAGE: usize = 1_024;
const MAX_REASON: usize = 128;
/// Longest name of a container, as of any DNS label, and of the parts of a pod's key.
const MAX_NAME: usize = 253;
const REMEMBERED: usize = 4_096;

/// An Event that a provider wants written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProviderEvent {
    /// The pod it is on; none: the Node.
    pub pod: Option<PodKey>,
    /// The container it is about; empty: the pod.
    pub container: String,
    /// Whether it is a warning.
    pub warning: bool,
    /// CamelCase.
    pub reason: String,
    /// One sentence.
    pub message: String,
    /// When it happened, if that is not now.
    pub at: Option<Timestamp>,
}

/// Where Events go. Never waits.
pub type EventSink = Box<dyn Fn(ProviderEvent) + Send + Sync>;

/// The Events of one provider.
pub struct Events {
    sink: EventSink,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    keys: HashSet<u64>,
    order: VecDeque<u64>,
}

impl Events {
    /// Events that go to this sink.
    pub fn new(sink: EventSink) -> Self {
        Self { sink, seen: Mutex::default() }
    }

    /// Whether an Event passes, and what was dropped before it; none: it was told already. One that is dropped may come again under its key.
    fn pass(&self, rate: &Throughput, uid: &str, key: &str) -> Option<Result<u64, Reached>> {
        if key.is_empty() {
            return Some(rate.take(1));
        }
        let mut hasher = DefaultHasher::new();
        (uid, key).hash(&mut hasher);
        let entry = hasher.finish();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.keys.contains(&entry) {
            return None;
        }
        let dropped = match rate.take(1) {
            Ok(dropped) => dropped,
            reached => return Some(reached),
        };
        seen.keys.insert(entry);
        seen.order.push_back(entry);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.keys.remove(&oldest);
        }
        Some(Ok(dropped))
    }
}

impl events::Host for Call {
    fn emit(&mut self, pod: Option<types::PodKey>, event: events::Event) -> wasmtime::Result<()> {
        let own = &self.capabilities.events;
        let uid = pod.as_ref().map_or("", |pod| pod.uid.as_str());
        let names = pod.iter().flat_map(|pod| [&pod.uid, &pod.namespace, &pod.name]);
        if names.chain([&event.container]).any(|name| name.len() > MAX_NAME) {
            bail!("events.emit: a name of more than {MAX_NAME} bytes is nobody's");
        }
        let Some(passed) = own.pass(&self.capabilities.quotas.events, uid, &event.key) else { return Ok(()) };
        let refused = passed.clone().err().map(|reached| reached.of("events"));
        self.logger.used(refused.as_ref(), || {
            let on = pod.as_ref().map_or_else(|| "Node".to_owned(), |pod| format!("{}/{}", pod.namespace, pod.name));
            Used::new("events", "emit", format!("{on} {}", event.reason))
        });
        let Ok(dropped) = passed else { return Ok(()) };
        if dropped > 0 {
            let why = "Events of the provider were dropped: --limit events=VALUE raises the limit";
            line_of_call!(&self.logger, Level::WARN, dropped, "{why}");
        }
        let mut message = plain(self.logger.mask(event.message));
        cut(&mut message, MAX_MESSAGE);
        let mut reason = self.logger.mask(event.reason);
        reason.retain(|c| c.is_ascii_alphanumeric());
        reason.truncate(MAX_REASON);
        (own.sink)(ProviderEvent {
            pod: pod.map(|pod| PodKey::new(pod.uid, pod.namespace, pod.name)),
            container: self.logger.mask(event.container),
            warning: event.severity == "Warning",
            reason: if reason.is_empty() { "Provider".to_owned() } else { reason },
            message,
            at: event.at.and_then(|at| Timestamp::from_nanosecond(i128::from(at)).ok()),
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests;
