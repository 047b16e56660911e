//! What goes wrong, whether a process still runs, and what is found wrong.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use tokio::time::Instant;

use crate::clock::simulated as clock;

/// A process of the host: what one that was killed asked for gets no answer.
#[derive(Clone)]
pub struct Life(Arc<AtomicBool>);

impl Life {
    pub fn new() -> Self {
        Self(Arc::new(AtomicBool::new(true)))
    }

    pub fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    pub fn is_over(&self) -> bool {
        !self.0.load(Ordering::Relaxed)
    }

    /// Goes on only while the process lives.
    pub async fn goes_on(&self) {
        if self.is_over() {
            std::future::pending::<()>().await;
        }
    }
}

/// What becomes of a request or call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Done,
    Fails,
    /// It is done, and fails all the same.
    Lost,
    Hangs,
}

/// How much goes wrong: shares, and how long things take at most.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub fail: f64,
    pub lost: f64,
    pub hang: f64,
    pub takes: Duration,
}

impl Faults {
    pub const NONE: Self = Self { fail: 0.0, lost: 0.0, hang: 0.0, takes: Duration::from_millis(20) };

    pub fn fate(&self, rng: &mut Rng) -> (Fate, Duration) {
        let drawn = rng.f64();
        let fate = if drawn < self.fail {
            Fate::Fails
        } else if drawn < self.fail + self.lost {
            Fate::Lost
        } else if drawn < self.fail + self.lost + self.hang {
            Fate::Hangs
        } else {
            Fate::Done
        };
        // Most are quick.
        (fate, self.takes.mul_f64(rng.f64() * rng.f64()))
    }
}

/// What a scenario notes: what happens, if somebody wants to know, and what should not have.
#[derive(Clone)]
pub struct Notes {
    began: Instant,
    said: Option<Arc<Mutex<String>>>,
    wrong: Arc<Mutex<Vec<String>>>,
}

impl Notes {
    pub fn new(said: Option<Arc<Mutex<String>>>) -> Self {
        Self { began: Instant::now(), said, wrong: Arc::default() }
    }

    pub fn say(&self, what: impl FnOnce() -> String) {
        if let Some(said) = &self.said {
            let line = format!("{:>9.3} {}\n", self.began.elapsed().as_secs_f64(), what());
            said.lock().unwrap().push_str(&line);
        }
    }

    pub fn wrong(&self, what: String) {
        self.say(|| format!("WRONG {what}"));
        let at = clock::steady();
        self.wrong.lock().unwrap().push(format!("{at}: {what}"));
    }

    pub fn all_wrong(&self) -> Vec<String> {
        self.wrong.lock().unwrap().clone()
    }
}
