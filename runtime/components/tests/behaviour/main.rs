//! Components that can be loaded, and those that can't; calls within their limits, and those that are not.
//!
//! The provider is `mock`, or `misbehaving`, which does what it is asked to.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod calls;
mod code_cache;
mod crowd;
mod escape;
mod garbage;
mod greedy;
mod lab;
mod limits;
mod load;
mod secrets;
mod streams;
mod supervisor;
mod swap;
mod watch;
