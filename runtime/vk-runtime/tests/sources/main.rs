//! Where components come from, and how they are compiled: with the binary as it is shipped.

#![expect(
    clippy::unwrap_used,
    reason = "a test that can't go on fails; outside of test functions the lints don't know that they are in one"
)]

mod compile;
