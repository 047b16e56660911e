//! Time and randomness.

use super::*;
use crate::Grants;
use crate::bindings::vk::host::clock::{Host as _, HostWithStore};
use crate::bindings::vk::host::random::Host as _;
use crate::testing::guest::Guest;

#[tokio::test]
async fn the_time_of_day_is_the_hosts_and_the_other_clock_never_steps_back() {
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    let before = nanos(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let now = call.now().unwrap();
    assert!((before..before + 60_000_000_000).contains(&now), "{before} {now}");
    let readings: Vec<u64> = (0..100).map(|_| call.monotonic().unwrap()).collect();
    assert!(readings.is_sorted());
}

#[tokio::test]
async fn a_sleep_lasts_as_long_as_it_says_or_longer() {
    let mut guest = Guest::new(Grants::default());
    guest
        .run(async |accessor| {
            for time in [0, 20_000_000] {
                let began = Instant::now();
                <CallData as HostWithStore<_>>::sleep(accessor, time).await.unwrap();
                assert!(nanos(began.elapsed()) >= time);
            }
        })
        .await;
}

#[tokio::test]
async fn random_bytes_differ_and_are_bounded() {
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    assert_ne!(call.bytes(32).unwrap(), call.bytes(32).unwrap());
    assert!(call.bytes(0).unwrap().is_empty());
    assert_eq!(call.bytes(MAX_RANDOM).unwrap().len(), 65_536);
    let error = call.bytes(MAX_RANDOM + 1).unwrap_err().to_string();
    assert!(error.contains("random.bytes: 65537 bytes"), "{error}");
}
