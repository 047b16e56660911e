//! A token bucket: so much a second, and a burst.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Grants `rate` units a second, and at most `burst` at once. Cost: one lock.
#[derive(Debug)]
pub struct Rate {
    rate: f64,
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    tokens: f64,
    at: Instant,
    refused: u64,
}

impl Rate {
    /// A full bucket.
    pub fn new(rate: f64, burst: f64) -> Self {
        Self { rate, burst, state: Mutex::new(State { tokens: burst, at: Instant::now(), refused: 0 }) }
    }

    /// Takes `units`, or counts a refusal. Granted: how many were refused since the last grant.
    pub fn take(&self, units: f64) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let elapsed = now.duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + elapsed * self.rate).min(self.burst);
        state.at = now;
        if state.tokens < units {
            state.refused += 1;
            return None;
        }
        state.tokens -= units;
        Some(std::mem::take(&mut state.refused))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_granted_and_then_refused_and_counted() {
        let rate = Rate::new(1e-9, 2.0);
        assert_eq!(rate.take(1.0), Some(0));
        assert_eq!(rate.take(1.0), Some(0));
        assert_eq!(rate.take(1.0), None);
        assert_eq!(rate.take(1.0), None);
        let refill = Rate::new(1e9, 1.0);
        assert_eq!(refill.take(1.0), Some(0));
        std::thread::yield_now();
        assert!(refill.take(0.5).is_some());
    }
}
