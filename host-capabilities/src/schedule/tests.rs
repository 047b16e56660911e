//! When background work is wanted.

use super::*;

/// Whether it is so many seconds away, give or take what the test itself took.
fn is_in(at: Option<Instant>, seconds: u64) -> bool {
    let wanted = Instant::now() + Duration::from_secs(seconds);
    at.is_some_and(|at| at <= wanted && wanted - at < Duration::from_secs(5))
}

#[tokio::test]
async fn the_earliest_wish_counts_until_the_work_begins() {
    let schedule = Schedule::default();
    let mut wishes = schedule.subscribe();
    assert_eq!(*wishes.borrow_and_update(), None);
    schedule.wake(Duration::from_secs(60));
    schedule.wake(Duration::from_secs(10));
    schedule.wake(Duration::from_secs(30));
    assert!(is_in(*wishes.borrow_and_update(), 10));
    // A later wish wakes nobody.
    schedule.wake(Duration::from_secs(20));
    assert!(!wishes.has_changed().unwrap());
    schedule.begin();
    assert_eq!(*wishes.borrow_and_update(), None);
    schedule.wake(Duration::from_secs(20));
    assert!(is_in(*wishes.borrow_and_update(), 20));
}

#[tokio::test]
async fn a_wish_beyond_all_clocks_is_none_or_far_away() {
    let schedule = Schedule::default();
    schedule.wake(Duration::from_nanos(u64::MAX));
    schedule.wake(Duration::MAX);
    let far = Instant::now() + Duration::from_secs(86_400 * 365);
    assert!(schedule.subscribe().borrow().is_none_or(|at| at > far));
    schedule.wake(Duration::ZERO);
    assert!(is_in(*schedule.subscribe().borrow(), 0));
}
