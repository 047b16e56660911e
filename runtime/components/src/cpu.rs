//! Measures the CPU time of a call, and ends it when its budget is spent.
//!
//! The time of the thread is taken round each poll of the call's future; while the guest runs, the epoch callback asks
//! whether the budget is spent. So a guest that waits pays nothing, and one that spins pays what it burned. Cost: two
//! clock readings a poll, and one for each tick of the epoch that meets the guest running.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use crate::engine::Clock;
use crate::limits::Time;

/// What a call may burn before it is a heavy one; see `threads`.
const LIGHT_SHARE: Duration = Duration::from_millis(2);
/// Of its own duration, what a stream of the guest's making may burn on top of the budget.
const SESSION_SHARE: u32 = 10;

fn thread_time() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec.unsigned_abs() * 1_000_000_000 + time.tv_nsec.unsigned_abs()
}

/// The CPU time of one call.
pub(crate) struct Meter {
    budget: Time,
    begun: Instant,
    spent: AtomicU64,
    poll_began: AtomicU64,
    session: AtomicBool,
    clock: Arc<Clock>,
}

impl Meter {
    pub(crate) fn new(budget: Time, clock: Arc<Clock>) -> Arc<Self> {
        Arc::new(Self {
            budget,
            begun: Instant::now(),
            spent: AtomicU64::new(0),
            poll_began: AtomicU64::new(0),
            session: AtomicBool::new(false),
            clock,
        })
    }

    /// What was spent up to the end of the last poll.
    pub(crate) fn spent(&self) -> Duration {
        Duration::from_nanos(self.spent.load(Ordering::Relaxed))
    }

    /// Whether it burned more than the light threads are for.
    pub(crate) fn is_heavy(&self) -> bool {
        self.spent() > LIGHT_SHARE
    }

    /// What was spent up to now. To be asked on the thread that runs the call.
    pub(crate) fn spent_now(&self) -> Duration {
        let running = thread_time().saturating_sub(self.poll_began.load(Ordering::Relaxed));
        self.spent() + Duration::from_nanos(running)
    }

    /// The call goes on as long as its stream: its budget grows with time.
    pub(crate) fn becomes_session(&self) {
        self.session.store(true, Ordering::Relaxed);
    }

    /// Whether it goes on as long as its stream.
    pub(crate) fn is_session(&self) -> bool {
        self.session.load(Ordering::Relaxed)
    }

    /// The budget, as it stands now.
    pub(crate) fn budget(&self) -> Time {
        if self.session.load(Ordering::Relaxed) {
            Time { limit: self.budget.limit + self.begun.elapsed() / SESSION_SHARE, ..self.budget }
        } else {
            self.budget
        }
    }

    /// Polls a future on the meter.
    pub(crate) fn poll<F: Future + ?Sized>(&self, future: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let _ticking = self.clock.tick(self.is_heavy());
        let began = thread_time();
        self.poll_began.store(began, Ordering::Relaxed);
        let polled = future.poll(cx);
        self.spent.fetch_add(thread_time().saturating_sub(began), Ordering::Relaxed);
        polled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waiting_is_free_and_burning_is_not() {
        let meter = Meter::new(Time { limit: Duration::from_secs(1), export: None }, Arc::default());
        let mut wait = std::pin::pin!(tokio::time::sleep(Duration::from_millis(50)));
        std::future::poll_fn(|cx| meter.poll(wait.as_mut(), cx)).await;
        assert!(meter.spent() < Duration::from_millis(20), "{:?}", meter.spent());
        let burn = async {
            let until = Instant::now() + Duration::from_millis(200);
            while Instant::now() < until {}
        };
        let mut burn = std::pin::pin!(burn);
        std::future::poll_fn(|cx| meter.poll(burn.as_mut(), cx)).await;
        assert!(meter.spent() > Duration::from_millis(20), "{:?}", meter.spent());
    }
}
