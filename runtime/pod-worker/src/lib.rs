//! What a kubelet decides, and nothing that it does: no I/O, no clock, no randomness, no threads.
//!
//! - [`observation`]: what a backend has of a pod, as whoever talks to the backend tells it.
//! - [`status`]: the pod's status as Kubernetes shows it, for backends of every kind, and the patch that brings the API
//!   server's copy to it.
//! - [`machine`]: for backends that only run containers: observations and time in, actions out.
//!
//! Order, wording and numbers are the kubelet's of Kubernetes 1.36. Equal input gives equal output: a caller that gets
//! the same status twice has nothing to write.

mod delay;
mod host;
mod image;
pub mod machine;
pub mod observation;
mod over;
mod pod;
mod restart;
mod start_error;
pub mod status;

pub use host::{Probe, TerminationMessage, Verdict, Waiting, Work};
pub use image::{InvalidImageName, spec_hash, with_default_tag};
pub use over::{has_run, is_over, may_be_over};
pub use pod::{PodView, Role};
pub use status::nanos;
