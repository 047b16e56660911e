//! Thousands of pods on a small fake engine in simulated time, with everything going wrong that can: containers that
//! crash, sandboxes that are lost, pulls and calls that fail or whose answer is lost, old observations, an API server
//! that does not take what is written, restarts of the host at any moment, deletions with any grace period.
//!
//! Each scenario follows from its seed alone. `SEED=n` runs one and prints what happens in it; `SCENARIOS=n` runs more.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod engine;
mod pods;
mod world;

use std::time::Instant;

use world::World;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

#[test]
fn every_scenario_keeps_its_promises() {
    if let Some(seed) = number("SEED") {
        World::new(seed, true).run();
        return;
    }
    let began = Instant::now();
    let scenarios = number("SCENARIOS").unwrap_or(2_000);
    let mut steps = 0;
    for seed in 0..scenarios {
        let outcome = std::panic::catch_unwind(|| World::new(seed, false).run());
        match outcome {
            Ok(taken) => steps += taken,
            Err(_) => panic!("scenario {seed} failed; run it alone with SEED={seed}"),
        }
    }
    println!("{scenarios} scenarios, {steps} steps in {:?}", began.elapsed());
}
