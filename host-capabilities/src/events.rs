//! `events`: Kubernetes Events on this node's pods and on the Node. Always granted.
//!
//! Default bound: 5 a second after a burst of 50, and what is over it is dropped and counted; a message is cut at 1,024
//! bytes. With a `key`, one Event for each pod and key (the last 4,096 are remembered).

use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use provider::PodKey;

use crate::Call;
use crate::bindings::vk::host::{events, types};
use crate::log::cut;
use crate::rate::Rate;

const PER_SECOND: f64 = 5.0;
const BURST: f64 = 50.0;
const MAX_MESSAGE: usize = 1_024;
const MAX_REASON: usize = 128;
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
}

/// Where Events go. Never waits.
pub type EventSink = Box<dyn Fn(ProviderEvent) + Send + Sync>;

/// The Events of one provider.
pub struct Events {
    sink: EventSink,
    rate: Rate,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    keys: HashSet<(String, String)>,
    order: VecDeque<(String, String)>,
}

impl Events {
    /// Events that go to this sink.
    pub fn new(sink: EventSink) -> Self {
        Self { sink, rate: Rate::new(PER_SECOND, BURST), seen: Mutex::default() }
    }

    fn is_first(&self, uid: &str, key: &str) -> bool {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let entry = (uid.to_owned(), key.to_owned());
        if !seen.keys.insert(entry.clone()) {
            return false;
        }
        seen.order.push_back(entry);
        if seen.order.len() > REMEMBERED
            && let Some(oldest) = seen.order.pop_front()
        {
            seen.keys.remove(&oldest);
        }
        true
    }
}

impl events::Host for Call {
    fn emit(&mut self, pod: Option<types::PodKey>, event: events::Event) -> wasmtime::Result<()> {
        let own = &self.capabilities.events;
        let uid = pod.as_ref().map_or("", |pod| pod.uid.as_str());
        if !event.key.is_empty() && !own.is_first(uid, &event.key) {
            return Ok(());
        }
        if own.rate.take(1.0).is_none() {
            return Ok(());
        }
        let mut message = self.logger.mask(event.message);
        cut(&mut message, MAX_MESSAGE);
        let mut reason = self.logger.mask(event.reason);
        reason.retain(|c| c.is_ascii_alphanumeric());
        reason.truncate(MAX_REASON);
        (own.sink)(ProviderEvent {
            pod: pod.map(|pod| PodKey::new(pod.uid, pod.namespace, pod.name)),
            container: event.container,
            warning: event.severity == "Warning",
            reason: if reason.is_empty() { "Provider".to_owned() } else { reason },
            message,
        });
        Ok(())
    }
}
