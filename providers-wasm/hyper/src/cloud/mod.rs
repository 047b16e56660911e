//! The Hyper.sh cloud: Docker's API 1.23, each request signed ([`signature`]), in which a container is a small virtual machine
//! of its own. What it shares with Docker (objects, images, logs, use) is asked for by the same code; this is the rest.
//!
//! | Docker | here |
//! | --- | --- |
//! | a sandbox | none: an entry in the host's store ([`record`]); one container of a pod runs at a time beside its sidecars |
//! | control groups | one of ten sizes ([`sizes`]) |
//! | a folder of the pod's volume | a volume of 10 GB ([`volumes`]), filled by upload, that one container has at a time |
//! | a published port | a floating IP ([`addresses`]), which is the pod's address |
//!
//! Bound: 4 volumes and 32 ports a container. What Hyper.sh takes and ignores (users, capabilities, DNS, …) is refused by the
//! field's name ([`refused`]).

pub mod addresses;
pub mod annotations;
pub mod containers;
pub mod create;
pub mod ended;
pub mod leftovers;
pub mod node;
pub mod record;
pub mod refused;
pub mod sandbox;
pub mod signature;
pub mod sizes;
pub mod volumes;
