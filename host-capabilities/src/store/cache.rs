//! Pairs in memory, gone with the process.
//!
//! Every entry has a time to live. When the bound is reached the oldest give way, but never a claim (an entry put under
//! the condition that it did not exist): two calls can't hold one thing. Cost: a lock; making room walks all entries.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Condition, Entry, StoreError, check};
use crate::quota::{Gauge, Limit};

/// What an entry costs beside its bytes.
const OVERHEAD: usize = 128;

struct Cached {
    value: Vec<u8>,
    version: u64,
    expires: Instant,
    claim: bool,
}

#[derive(Default)]
struct State {
    entries: HashMap<String, Cached>,
    bytes: usize,
    version: u64,
}

/// The cache of one provider and node.
pub struct Cache {
    state: Mutex<State>,
    /// Bytes, of all nodes of the provider; its bound is that of each.
    gauge: Arc<Gauge>,
}

fn cost(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl State {
    fn remove(&mut self, key: &str) {
        if let Some(old) = self.entries.remove(key) {
            self.bytes -= cost(key, &old.value);
        }
    }

    fn live(&self, key: &str, now: Instant) -> Option<&Cached> {
        self.entries.get(key).filter(|entry| entry.expires > now)
    }

    /// Frees room for `needed` bytes beside those of `own`: what has expired, then the oldest that is no claim. Nothing
    /// gives way if that is not enough.
    fn make_room(&mut self, needed: usize, most: usize, own: &str, now: Instant) -> bool {
        if self.bytes + needed <= most || needed == 0 {
            return true;
        }
        let gives_way =
            |(key, entry): &(&String, &Cached)| key.as_str() != own && (!entry.claim || entry.expires <= now);
        let room: usize = self.entries.iter().filter(gives_way).map(|(key, entry)| cost(key, &entry.value)).sum();
        if self.bytes + needed > most.saturating_add(room) {
            return false;
        }
        let mut order: Vec<(bool, u64, String)> = self
            .entries
            .iter()
            .filter(gives_way)
            .map(|(key, entry)| (entry.expires > now, entry.version, key.clone()))
            .collect();
        order.sort_unstable();
        for (_, _, key) in order {
            if self.bytes + needed <= most {
                break;
            }
            self.remove(&key);
        }
        true
    }
}

impl Cache {
    /// An empty one, of at most so many bytes.
    pub fn new(gauge: Arc<Gauge>) -> Self {
        Self { state: Mutex::default(), gauge }
    }

    /// The entry.
    pub fn get(&self, key: &str) -> Option<Entry> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.live(key, Instant::now()).map(|entry| Entry {
            key: key.to_owned(),
            value: entry.value.clone(),
            version: entry.version,
        })
    }

    /// Writes; returns the version.
    pub fn put(
        &self,
        key: String,
        value: Vec<u8>,
        condition: Condition,
        time_to_live: Duration,
    ) -> Result<u64, StoreError> {
        check(&key, &value)?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let known = state.live(&key, now).map(|entry| (entry.version, entry.claim));
        if !condition.holds(known.map(|(version, _)| version)) {
            return Err(StoreError::Conflict(key));
        }
        let expires = now
            .checked_add(time_to_live)
            .ok_or_else(|| StoreError::Invalid(format!("the time to live of `{key}` is beyond all clocks")))?;
        let freed = state.entries.get(&key).map_or(0, |old| cost(&key, &old.value));
        let most = usize::try_from(self.gauge.maximum()).unwrap_or(usize::MAX);
        if !state.make_room(cost(&key, &value).saturating_sub(freed), most, &key, now) {
            self.gauge.refuse();
            return Err(StoreError::Limit { limit: Limit::CacheBytes, most: self.gauge.maximum() });
        }
        state.remove(&key);
        state.version += 1;
        let version = state.version;
        state.bytes += cost(&key, &value);
        // A claim that is renewed by its holder stays one.
        let claim = condition == Condition::Absent
            || (matches!(condition, Condition::Version(_)) && known.is_some_and(|(_, claim)| claim));
        state.entries.insert(key, Cached { value, version, expires, claim });
        self.gauge.observe(state.bytes as u64);
        Ok(version)
    }

    /// Deletes.
    pub fn delete(&self, key: &str, condition: Condition) -> Result<(), StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let known = state.live(key, Instant::now()).map(|entry| entry.version);
        if matches!(condition, Condition::Version(_)) && !condition.holds(known) {
            return Err(StoreError::Conflict(key.to_owned()));
        }
        state.remove(key);
        Ok(())
    }
}
