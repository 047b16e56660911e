//! So much a second: a token bucket, in which who waits has its turn in the order of asking.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Gauge, Reached};

/// Grants a rate, and bursts of some seconds' worth. Cost: one lock.
#[derive(Debug)]
pub struct Throughput {
    gauge: Arc<Gauge>,
    /// Seconds' worth that may pass at once.
    burst: f64,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Below zero: what was promised, or used, before its time.
    tokens: f64,
    at: Instant,
    dropped: u64,
    window: Window,
}

/// What was used in this second and in the last.
#[derive(Debug)]
struct Window {
    began: Instant,
    now: u64,
    last: u64,
}

const SECOND: Duration = Duration::from_secs(1);

impl Window {
    fn pass(&mut self, now: Instant) {
        let elapsed = now.duration_since(self.began);
        if elapsed >= SECOND {
            self.last = if elapsed < SECOND * 2 { self.now } else { 0 };
            self.now = 0;
            self.began = now;
        }
    }
}

impl Throughput {
    pub(super) fn new(gauge: Arc<Gauge>, burst: u32) -> Self {
        let at = Instant::now();
        let burst = f64::from(burst);
        let tokens = gauge.maximum() as f64 * burst;
        let window = Window { began: at, now: 0, last: 0 };
        Self { gauge, burst, state: Mutex::new(State { tokens, at, dropped: 0, window }) }
    }

    pub(super) const fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Refills, and lets `decide` look at the tokens, the rate and the burst; what it returns was used.
    fn with<R>(&self, decide: impl FnOnce(&mut State, f64, f64) -> (u64, R)) -> R {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let rate = self.gauge.maximum() as f64;
        let burst = rate * self.burst;
        let now = Instant::now();
        let elapsed = now.duration_since(state.at).as_secs_f64();
        state.tokens = (state.tokens + elapsed * rate).min(burst);
        state.at = now;
        state.window.pass(now);
        let (used, result) = decide(&mut state, rate, burst);
        state.window.now += used;
        self.gauge.set_used(state.window.now.max(state.window.last));
        self.gauge.count(used);
        result
    }

    /// Uses so many units now, or refuses. Granted: how many were refused since the last grant.
    pub fn take(&self, units: u64) -> Result<u64, Reached> {
        self.with(|state, _, burst| {
            // One that is larger than any burst must pass some time.
            if state.tokens < (units as f64).min(burst) {
                state.dropped += 1;
                return (0, Err(self.gauge.refuse()));
            }
            state.tokens -= units as f64;
            (units, Ok(std::mem::take(&mut state.dropped)))
        })
    }

    /// Uses so many units, and waits for their turn, but no longer than this.
    pub async fn turn(&self, units: u64, longest: Duration) -> Result<(), Reached> {
        let wait = self.with(|state, rate, _| {
            let after = state.tokens - units as f64;
            let wait = Duration::try_from_secs_f64(-after / rate).unwrap_or_default();
            if wait > longest {
                return (0, None);
            }
            state.tokens = after;
            (units, Some(wait))
        });
        match wait {
            None => Err(self.gauge.refuse()),
            Some(Duration::ZERO) => Ok(()),
            Some(wait) => {
                let mut promised = Promised { of: self, units, kept: false };
                tokio::time::sleep(wait).await;
                self.gauge.waited(wait);
                promised.kept = true;
                Ok(())
            }
        }
    }

    /// Counts units that were used already; the answer is how long to wait before the next.
    pub fn charge(&self, units: u64) -> Duration {
        let wait = self.with(|state, rate, _| {
            state.tokens -= units as f64;
            (units, Duration::try_from_secs_f64(-state.tokens / rate).unwrap_or_default())
        });
        self.gauge.waited(wait);
        wait
    }

    /// Forgets a second that has passed.
    pub(super) fn refresh(&self) {
        self.with(|_, _, _| (0, ()));
    }
}

/// Units whose time has not come; who leaves before gives them back.
struct Promised<'a> {
    of: &'a Throughput,
    units: u64,
    kept: bool,
}

impl Drop for Promised<'_> {
    fn drop(&mut self) {
        if !self.kept {
            self.of.with(|state, _, _| {
                state.tokens += self.units as f64;
                (0, ())
            });
        }
    }
}
