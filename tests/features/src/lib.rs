//! Nothing: `tests/build-runtime` builds this along with the binary.
//!
//! Cargo compiles a crate once for each set of features that it is asked for with. Dependencies of tests ask for a few
//! more; unless the binary asks for the same, wasmtime, tokio and the runtime's own crates are compiled twice, which is
//! minutes of every run of the tests.
