//! The API server: requests, their errors, and watches.
//!
//! Thin over kube's client, which keeps credentials and TLS: objects that are only passed on are never parsed, and the
//! answers to writes are not kept. Connections speak HTTP/2 where the server does, so that watches and writes share few.

mod client;
mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
#[path = "../../../pod-worker/tests/behaviour/merge.rs"]
pub(crate) mod merge;
mod request;
mod watch;

pub use client::{ClientError, connect};
pub use error::ApiError;
pub use request::{Api, Patch};
pub(crate) use watch::{Event, FromWatch, Watch};

/// How long a refusal may only mean that the API server's authorizer has not heard of a binding yet: it watches pods as we
/// do, and may hear of one a moment later.
pub(crate) const RIGHTS_ARRIVE: std::time::Duration = std::time::Duration::from_secs(2);
