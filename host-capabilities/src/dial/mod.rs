//! `dial`: raw two-way byte streams.
//!
//! Default: none is granted. TCP, TLS and Unix sockets; WebSockets are not in this version. Bounds: 10 s to connect unless
//! the call says otherwise, one read returns at most 1 MiB, the limit `connections` (a half that was handed to the host
//! counts until it ends).

mod host;
mod policy;
#[cfg(test)]
mod tests;

pub use host::Connection;
pub use policy::SCHEMES;
