//! Where components come from, and how they are compiled: with the binary as it is shipped.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod commands;
mod compile;
#[path = "../../../components/tests/sources/docker_registry.rs"]
#[allow(dead_code, reason = "the tests of the sources themselves need more of it")]
mod docker_registry;
