//! Thousands of pods on a small fake engine in simulated time, with everything going wrong that can: containers that
//! crash, sandboxes that are lost, pulls and calls that fail or whose answer is lost, old observations, an API server
//! that does not take what is written, restarts of the host at any moment, deletions with any grace period.
//!
//! Each scenario follows from its seed alone. `VK_SEED=n` runs one and prints what happens in it; `SCENARIOS=n` runs more.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod engine;
mod pods;
mod world;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_scenario_keeps_its_promises() {
    if let Some(seed) = number("VK_SEED") {
        World::new(seed, true).run();
        return;
    }
    let began = Instant::now();
    let scenarios = number("SCENARIOS").unwrap_or(2_000);
    let (next, steps, failed) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(u64::MAX));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                while failed.load(Ordering::Relaxed) == u64::MAX {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= scenarios {
                        break;
                    }
                    match std::panic::catch_unwind(|| World::new(seed, false).run()) {
                        Ok(taken) => steps.fetch_add(taken, Ordering::Relaxed),
                        Err(_) => failed.fetch_min(seed, Ordering::Relaxed),
                    };
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed == u64::MAX, "scenario {failed} failed; run it alone with VK_SEED={failed}");
    println!("{scenarios} scenarios, {} steps in {:?}", steps.into_inner(), began.elapsed());
}
