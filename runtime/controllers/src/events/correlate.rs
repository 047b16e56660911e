//! Which Events are one, as client-go's `EventCorrelator` has it.
//!
//! The same Event is counted up ([`SAME`]). More than [`SIMILAR`] that differ in their message alone, each within
//! [`WITHIN`] of the one before, become one that is counted up too and shows the last message.

use std::collections::hash_map::DefaultHasher;
use std::collections::{HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::time::Duration;

use tokio::time::Instant;

use super::{Object, PodEvent};

/// How long an Event is counted up: as long as the API server keeps it.
const SAME: Duration = Duration::from_secs(3_600);
/// Messages of one reason that are told each by itself.
const SIMILAR: usize = 10;
const WITHIN: Duration = Duration::from_secs(600);
/// What is remembered of each kind.
const REMEMBERED: usize = 4_096;
/// What the message of one that stands for many begins with, in client-go's words.
const COMBINED: &str = "(combined from similar events): ";

/// What makes an Event the same as another one.
pub(super) type Key = (Object, PodEvent);

/// An Event at the API server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub name: String,
    pub namespace: String,
    pub count: u32,
    at: Instant,
}

struct Similar {
    messages: HashSet<u64>,
    at: Instant,
}

/// Remembers what was told.
#[derive(Default)]
pub(super) struct Correlator {
    known: HashMap<Key, Known>,
    similar: HashMap<(Object, bool, String), Similar>,
}

/// An Event as it is to be written.
pub(super) struct Correlated {
    pub key: Key,
    /// As it is to be shown.
    pub message: String,
}

impl Correlator {
    /// What an Event is to be written as.
    pub fn correlate(&mut self, object: Object, mut event: PodEvent, now: Instant) -> Correlated {
        if self.similar.len() > REMEMBERED {
            self.similar.retain(|_, similar| now.duration_since(similar.at) < WITHIN);
        }
        let group = (object.clone(), event.warning, event.reason.clone());
        let similar = self.similar.entry(group).or_insert_with(|| Similar { messages: HashSet::new(), at: now });
        if now.duration_since(similar.at) > WITHIN {
            similar.messages.clear();
        }
        similar.at = now;
        let mut hasher = DefaultHasher::new();
        event.message.hash(&mut hasher);
        let message = hasher.finish();
        if similar.messages.len() < SIMILAR || similar.messages.contains(&message) {
            similar.messages.insert(message);
            let message = event.message.clone();
            return Correlated { key: (object, event), message };
        }
        let message = format!("{COMBINED}{}", event.message);
        // The same for all of them.
        event.message = COMBINED.to_owned();
        event.field_path.clear();
        Correlated { key: (object, event), message }
    }

    /// The Event that is to be counted up, with its new count.
    pub fn count_up(&mut self, key: &Key, now: Instant) -> Option<Known> {
        let known = self.known.get_mut(key).filter(|known| now.duration_since(known.at) < SAME)?;
        known.count = known.count.saturating_add(1);
        known.at = now;
        Some(known.clone())
    }

    /// It was written anew.
    pub fn written(&mut self, key: Key, name: String, namespace: String, now: Instant) {
        if self.known.len() > REMEMBERED {
            self.known.retain(|_, known| now.duration_since(known.at) < WITHIN);
        }
        if self.known.len() > REMEMBERED {
            self.known.clear();
        }
        self.known.insert(key, Known { name, namespace, count: 1, at: now });
    }
}

#[cfg(test)]
mod tests {
    use provider::PodKey;

    use super::*;

    fn pod(uid: &str) -> Object {
        Object::Pod(PodKey::new(uid, "default", "web"))
    }

    fn event(message: &str) -> PodEvent {
        PodEvent::warning("Failed", message)
    }

    #[test]
    fn the_same_event_is_counted_up_for_an_hour() {
        let (mut own, now) = (Correlator::default(), Instant::now());
        let key = own.correlate(pod("u"), event("a"), now).key;
        assert_eq!(own.count_up(&key, now), None);
        own.written(key.clone(), "web.1".into(), "default".into(), now);
        assert_eq!(own.count_up(&key, now + Duration::from_secs(3_000)).unwrap().count, 2);
        assert_eq!(own.count_up(&key, now + Duration::from_secs(6_000)).unwrap().count, 3);
        assert_eq!(own.count_up(&key, now + Duration::from_secs(9_600)), None);
    }

    #[test]
    fn more_than_ten_similar_events_within_ten_minutes_become_one() {
        let (mut own, now) = (Correlator::default(), Instant::now());
        let mut keys = HashSet::new();
        for n in 0..30 {
            let told = own.correlate(pod("u"), event(&format!("message {n}")), now + Duration::from_secs(n));
            let expected = if n < 10 { "" } else { COMBINED };
            assert_eq!(told.message, format!("{expected}message {n}"));
            keys.insert(told.key);
        }
        assert_eq!(keys.len(), 11);
        // One of the first ten is still itself; another pod's are its own.
        assert_eq!(own.correlate(pod("u"), event("message 3"), now + Duration::from_secs(30)).message, "message 3");
        assert_eq!(own.correlate(pod("v"), event("message 11"), now).message, "message 11");
        // After a pause it begins anew.
        let later = now + Duration::from_secs(700);
        assert_eq!(own.correlate(pod("u"), event("message 40"), later).message, "message 40");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (mut own, now) = (Correlator::default(), Instant::now());
        for n in 0..3 * REMEMBERED {
            let key = own.correlate(pod(&n.to_string()), event("a"), now).key;
            own.written(key, "n".into(), "default".into(), now);
        }
        assert!(own.known.len() <= REMEMBERED + 1);
    }
}
