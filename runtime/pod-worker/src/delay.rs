//! How long to wait before trying again.
//!
//! A container that ends is restarted at once the first time, then after 10 s, doubling to 5 minutes, and at once again
//! after it ran for 10 minutes. The delay follows from what is observed alone, so that it is the same after the host was
//! restarted. Failed calls wait 10 s, doubling to 1 minute (image pulls: 5 minutes).

use std::fmt::Write;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::observation::Start;
use crate::pod::after;

/// The first delay of all kinds.
const FIRST: Duration = Duration::from_secs(10);
/// The longest one for restarts and image pulls.
const LONGEST: Duration = Duration::from_secs(300);
/// The longest one for other failures.
const LONGEST_RETRY: Duration = Duration::from_secs(60);
/// A container that ran this long is not in a crash loop.
pub(crate) const STABLE: Duration = Duration::from_secs(600);

/// A time to wait for. A clock that is set back makes no wait longer than it was meant to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    until: Timestamp,
    length: Duration,
}

impl Wait {
    pub(crate) fn new(from: Timestamp, length: Duration) -> Self {
        Self { until: after(from, length), length }
    }

    /// The same, after the clock was set by so much.
    pub(crate) fn clock_set(&mut self, by: SignedDuration) {
        if self.until != Timestamp::MIN {
            self.until = self.until.saturating_add(by).unwrap_or(self.until);
        }
    }

    /// One that is over.
    pub(crate) const OVER: Self = Self { until: Timestamp::MIN, length: Duration::ZERO };

    /// It was meant to be one at all.
    pub(crate) const fn is_any(self) -> bool {
        !self.length.is_zero()
    }

    /// When it ends, or has ended.
    pub(crate) fn end(&mut self, now: Timestamp) -> Timestamp {
        self.until = self.until.min(after(now, self.length));
        self.until
    }

    /// When it ends; none: it is over.
    pub(crate) fn rest(&mut self, now: Timestamp) -> Option<Timestamp> {
        Some(self.end(now)).filter(|end| *end > now)
    }
}

/// After the `failures`-th failure of an image pull in a row, from 1.
pub(crate) fn pull(failures: u32) -> Duration {
    doubled(failures, LONGEST)
}

/// Before the sandbox that is the `in_a_row`-th that died soon is replaced, from 1.
pub(crate) fn sandbox(in_a_row: u32) -> Duration {
    doubled(in_a_row, LONGEST)
}

/// After the `failures`-th failure of any other call in a row, from 1.
pub(crate) fn retry(failures: u32) -> Duration {
    doubled(failures, LONGEST_RETRY)
}

/// After the `failures`-th failure to stop something in a row, from 1: there somebody waits.
pub(crate) fn stop(failures: u32) -> Duration {
    doubled(failures, LONGEST_RETRY) / 10
}

/// Between the end of a start and the next start; `before` is the end before it, if it is known.
pub(crate) fn restart(ended: &Start, before: Option<&Start>) -> Duration {
    let began = ended.started_at.or(ended.created_at);
    let ran = began.zip(ended.finished_at).map(|(began, finished)| finished.duration_since(began));
    if ended.attempt == 0 || ran.is_some_and(|ran| ran.unsigned_abs() > STABLE && ran.is_positive()) {
        return Duration::ZERO;
    }
    // What an unbroken loop would have come to; less if the last pause shows that it was broken.
    let at_most = doubled(ended.attempt, LONGEST);
    let last_pause = before
        .and_then(|before| before.finished_at)
        .zip(began)
        .map(|(end, began)| Duration::try_from(began.duration_since(end)).unwrap_or(Duration::ZERO));
    last_pause.map_or(at_most, |pause| step_above(pause).min(at_most))
}

/// The delay that follows one of about `pause`.
fn step_above(pause: Duration) -> Duration {
    let mut step = FIRST;
    while step <= pause && step < LONGEST {
        step = (step * 2).min(LONGEST);
    }
    step
}

fn doubled(count: u32, longest: Duration) -> Duration {
    let doublings = count.saturating_sub(1).min(16);
    (FIRST * (1 << doublings)).min(longest)
}

/// A duration as Go prints it: `10s`, `2m40s`, `1.5s`, `850ms`.
pub(crate) fn in_words(duration: Duration) -> String {
    let (seconds, millis) = (duration.as_secs(), duration.subsec_millis());
    if seconds == 0 {
        return if millis == 0 { "0s".into() } else { format!("{millis}ms") };
    }
    let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    let mut words = String::new();
    if hours > 0 {
        let _ = write!(words, "{hours}h");
    }
    if hours > 0 || minutes > 0 {
        let _ = write!(words, "{minutes}m");
    }
    let _ = match millis {
        0 => write!(words, "{seconds}s"),
        _ => write!(words, "{}s", format!("{seconds}.{millis:03}").trim_end_matches('0')),
    };
    words
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::Phase;

    fn end(attempt: u32, started: i64, finished: i64) -> Start {
        let mut start = Start::new("app", attempt, Phase::Exited);
        start.started_at = Some(Timestamp::from_second(started).unwrap());
        start.finished_at = Some(Timestamp::from_second(finished).unwrap());
        start
    }

    #[test]
    fn an_unbroken_crash_loop_waits_as_the_kubelet_does() {
        let mut time = 0;
        let mut before: Option<Start> = None;
        let mut delays = vec![];
        for attempt in 0..9 {
            let ended = end(attempt, time, time + 1);
            let delay = restart(&ended, before.as_ref());
            delays.push(delay.as_secs());
            time += 1 + i64::try_from(delay.as_secs()).unwrap();
            before = Some(ended);
        }
        assert_eq!(delays, [0, 10, 20, 40, 80, 160, 300, 300, 300]);
    }

    #[test]
    fn a_run_of_ten_minutes_starts_the_row_again() {
        let ran_long = end(7, 1_000, 1_601);
        assert_eq!(restart(&ran_long, Some(&end(6, 600, 700))), Duration::ZERO);
        assert_eq!(restart(&end(8, 1_602, 1_603), Some(&ran_long)), Duration::from_secs(10));
        assert_eq!(restart(&end(9, 1_613, 1_614), Some(&end(8, 1_602, 1_603))), Duration::from_secs(20));
    }

    #[test]
    fn without_the_end_before_the_count_decides() {
        assert_eq!(restart(&end(3, 100, 101), None), Duration::from_secs(40));
        assert_eq!(restart(&end(50, 100, 101), None), Duration::from_secs(300));
    }

    #[test]
    fn a_slow_start_in_between_does_not_skip_a_step() {
        // Attempt 2 came 45 s after attempt 1 ended, because its image was pulled: the row still goes on with 20 s.
        assert_eq!(restart(&end(2, 146, 147), Some(&end(1, 100, 101))), Duration::from_secs(20));
    }

    #[test]
    fn durations_read_as_in_go() {
        for (millis, words) in [
            (0, "0s"),
            (850, "850ms"),
            (1_500, "1.5s"),
            (10_000, "10s"),
            (160_000, "2m40s"),
            (300_000, "5m0s"),
            (61_250, "1m1.25s"),
            (3_600_000, "1h0m0s"),
        ] {
            assert_eq!(in_words(Duration::from_millis(millis)), words);
        }
    }
}
