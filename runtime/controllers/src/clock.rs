//! The wall clock, and by how much somebody set it while the process runs.
//!
//! Times that are told (of starts, of transitions, of renewals) are the wall clock's. Times that are waited for are kept in
//! it too, so that they can be compared with those; who keeps one moves it by what the clock was set by ([`set_by`]), so
//! that no wait becomes longer or shorter by that. Cost: two readings of clocks.

use jiff::{SignedDuration, Timestamp};

#[cfg(not(test))]
pub(crate) use real::{now, set_by};
#[cfg(test)]
pub(crate) use simulated::{now, set_by};

/// What is less than this is no setting but a correction of the clock's speed, and is left to add up.
const SETTING: SignedDuration = SignedDuration::from_secs(1);

mod real {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicI64, Ordering};
    use std::time::Instant;

    use super::{SETTING, SignedDuration, Timestamp};

    /// The time of day.
    pub(crate) fn now() -> Timestamp {
        Timestamp::now()
    }

    /// By how much the clock was set since the process began.
    pub(crate) fn set_by() -> SignedDuration {
        static BEGAN: OnceLock<(Timestamp, Instant)> = OnceLock::new();
        static SET_BY: AtomicI64 = AtomicI64::new(0);
        let (day, monotonic) = BEGAN.get_or_init(|| (now(), Instant::now()));
        let passed = SignedDuration::try_from(monotonic.elapsed()).unwrap_or(SignedDuration::MAX);
        let off = now().duration_since(*day).saturating_sub(passed);
        let known = SignedDuration::from_millis(SET_BY.load(Ordering::Relaxed));
        if off.saturating_sub(known).abs() < SETTING {
            return known;
        }
        let off = SignedDuration::from_millis(i64::try_from(off.as_millis()).unwrap_or(0));
        SET_BY.store(i64::try_from(off.as_millis()).unwrap_or(0), Ordering::Relaxed);
        off
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_clock_that_nobody_sets_was_not_set() {
            for _ in 0..3 {
                assert_eq!(set_by(), SignedDuration::ZERO);
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
        }
    }
}

/// In a test that simulates time, the clock goes with tokio's, and can be set.
#[cfg(test)]
pub(crate) mod simulated {
    use std::cell::Cell;

    use tokio::time::Instant;

    use super::{SignedDuration, Timestamp, real};

    thread_local! {
        static BEGAN: Cell<Option<Instant>> = const { Cell::new(None) };
        static OFF: Cell<SignedDuration> = const { Cell::new(SignedDuration::ZERO) };
    }

    /// This thread's time is simulated from now on; tokio's must be, too.
    pub(crate) fn begin() {
        BEGAN.set(Some(Instant::now()));
        OFF.set(SignedDuration::ZERO);
    }

    /// Sets the clock.
    pub(crate) fn set(by: SignedDuration) {
        OFF.set(OFF.get() + by);
    }

    /// The time of a clock that nobody sets.
    pub(crate) fn steady() -> Timestamp {
        let began = BEGAN.get().expect("simulated time has not begun");
        Timestamp::from_second(1_700_000_000).unwrap() + began.elapsed()
    }

    pub(crate) fn now() -> Timestamp {
        if BEGAN.get().is_none() { real::now() } else { steady() + OFF.get() }
    }

    pub(crate) fn set_by() -> SignedDuration {
        OFF.get()
    }
}
