//! `http`: outgoing requests.
//!
//! Default: none is granted. Connections are pooled by the host, apart for each provider, and outlast calls: at most
//! [`client::IDLE_PER_HOST`] idle ones a host for [`client::IDLE_FOR`]. Bounds of a request: 30 s to the response's head
//! unless it says otherwise, redirects included; 256 KiB of headers; 10 redirects; of `fetch`: the `max` it names,
//! and the limit `response-size`; of a streamed body: `stream-size`. A request waits up to 5 s for its turn (the limit
//! `requests`), and as long for its connection (`connections`).

mod client;
mod host;
mod inject;
mod policy;
mod redirect;
#[cfg(test)]
mod tests;
mod trace;

pub use client::Http;
pub(crate) use client::connect_error;
pub use policy::SCHEMES;
pub use trace::propagate;
