//! What one provider may use of the host, all of its nodes together.
//!
//! | limit           | default  | what it bounds                                              | over it                    |
//! |-----------------|----------|-------------------------------------------------------------|----------------------------|
//! | `requests`      | 2000/s   | requests sent, redirects included                           | waits up to 5 s, then `limit` |
//! | `bytes-out`     | 256Mi/s  | bytes written to sockets, of requests and raw connections   | the socket waits           |
//! | `bytes-in`      | 256Mi/s  | bytes read from them                                        | the socket waits           |
//! | `connections`   | 1024     | open sockets, idle ones of the pool included                | waits up to 5 s, then `limit` |
//! | `response-size` | 64Mi     | the body of one `fetch`                                     | `limit`                    |
//! | `stream-size`   | none     | one streamed body; a log that is followed has no end        | the stream ends with `limit` |
//! | `held-bytes`    | 256Mi    | bytes that the host holds: bodies to send and being fetched, spooled contents, writes under way | `limit` |
//! | `tasks`         | 4096     | host functions that wait, of one call                       | the call ends with `limit` |
//! | `log-bytes`     | 64Ki/s   | log lines                                                   | dropped and counted        |
//! | `events`        | 5/s      | Events                                                      | dropped and counted        |
//! | `store-bytes`   | 64Mi     | keys and values in `store`, for each node                   | `limit`                    |
//! | `store-keys`    | 100000   | keys in `store`, for each node                              | `limit`                    |
//! | `cache-bytes`   | 16Mi     | keys and values in `cache`, for each node                   | the oldest gives way, then `limit` |
//!
//! A rate lets a burst pass: of one second, of four for the log, of ten for Events. All of them may be changed while the
//! provider runs ([`Quotas::adjust`]); what is above a lowered bound stays until it is given back. Cost: an atomic or a
//! short lock for each use. There is no limit on processes: nothing starts any in this version.

mod gauge;
mod limit;
mod metrics;
mod room;
mod socket;
mod throughput;

use std::sync::atomic::AtomicUsize;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

pub use gauge::{Gauge, Reached, Usage};
pub use limit::{BoundError, Bounds, Limit, Size, parse_bytes};
pub use metrics::LimitMetrics;
pub use room::{Held, Room};
pub use socket::Metered;
pub use throughput::Throughput;

/// The limits of one provider, and what is used of each; shared by all of its nodes.
pub struct Quotas {
    provider: Arc<str>,
    /// Requests.
    pub requests: Throughput,
    /// Bytes to sockets.
    pub bytes_out: Throughput,
    /// Bytes from sockets.
    pub bytes_in: Throughput,
    /// Open sockets.
    pub connections: Arc<Room>,
    /// The largest body of a `fetch`.
    pub response_size: Arc<Gauge>,
    /// The largest streamed body.
    pub stream_size: Arc<Gauge>,
    /// Bytes in the host's memory.
    pub held_bytes: Arc<Room>,
    /// Waiting host functions of a call.
    pub tasks: Arc<Gauge>,
    /// Log lines.
    pub log_bytes: Throughput,
    /// Events.
    pub events: Throughput,
    /// Bytes of a namespace in the store.
    pub store_bytes: Arc<Gauge>,
    /// Keys of a namespace in the store.
    pub store_keys: Arc<Gauge>,
    /// Bytes of a namespace in the cache.
    pub cache_bytes: Arc<Gauge>,
    others: Mutex<Vec<Arc<Gauge>>>,
    idle: Mutex<Vec<Weak<dyn CloseIdle>>>,
    /// Writes to the store that are under way: one provider's don't fill the queue of all.
    writes: Semaphore,
    /// Records of the audit log that wait to be written.
    pub(crate) audited: Arc<AtomicUsize>,
}

/// Keeps connections that nobody uses now, and can give them up.
pub trait CloseIdle: Send + Sync {
    /// Closes them.
    fn close_idle(&self);
}

/// How long a connection waits for its place among those that are open.
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What the writes under way of one provider may weigh; a small one weighs 1.
const WRITES: usize = 256;
/// Bytes of a write that weigh 1.
const WEIGHT: usize = 16 << 10;

impl std::fmt::Debug for Quotas {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Quotas").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Quotas {
    /// Nothing used yet.
    pub fn new(provider: &str, bounds: &Bounds) -> Arc<Self> {
        let gauge = |limit: Limit| Arc::new(Gauge::new(limit.name(), limit.what(), limit.unit(), bounds.get(limit)));
        let rate = |limit: Limit, burst: u32| Throughput::new(gauge(limit), burst);
        Arc::new(Self {
            provider: provider.into(),
            requests: rate(Limit::Requests, 1),
            bytes_out: rate(Limit::BytesOut, 1),
            bytes_in: rate(Limit::BytesIn, 1),
            connections: Room::new(gauge(Limit::Connections)),
            response_size: gauge(Limit::ResponseSize),
            stream_size: gauge(Limit::StreamSize),
            held_bytes: Room::new(gauge(Limit::HeldBytes)),
            tasks: gauge(Limit::Tasks),
            log_bytes: rate(Limit::LogBytes, 4),
            events: rate(Limit::Events, 10),
            store_bytes: gauge(Limit::StoreBytes),
            store_keys: gauge(Limit::StoreKeys),
            cache_bytes: gauge(Limit::CacheBytes),
            others: Mutex::default(),
            idle: Mutex::default(),
            writes: Semaphore::new(WRITES),
            audited: Arc::default(),
        })
    }

    /// The provider's name.
    pub const fn provider(&self) -> &Arc<str> {
        &self.provider
    }

    /// Sets new bounds; they hold from the next use on.
    pub fn adjust(&self, bounds: &Bounds) {
        for (limit, gauge) in Limit::ALL.into_iter().zip(self.own()) {
            gauge.set_maximum(bounds.get(limit));
        }
        self.connections.changed();
        self.held_bytes.changed();
    }

    /// A place among the open connections. When there is none, those that nobody uses give way.
    pub(crate) async fn place(&self) -> Result<Held, Reached> {
        if let Some(place) = self.connections.try_take(1) {
            return Ok(place);
        }
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).clone();
        idle.iter().filter_map(Weak::upgrade).for_each(|own| own.close_idle());
        self.connections.wait(1, LONGEST_WAIT).await
    }

    /// Whose idle connections give way.
    pub(crate) fn closes_idle(&self, own: &Arc<dyn CloseIdle>) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.retain(|known| known.strong_count() > 0);
        idle.push(Arc::downgrade(own));
    }

    /// The turn of a write of so many bytes to the store.
    pub(crate) async fn write(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let weight = 1 + (bytes / WEIGHT).min(WRITES - 1);
        // Never closed, so there always is a permit in the end.
        self.writes.acquire_many(u32::try_from(weight).unwrap_or(1)).await.ok()
    }

    /// Shows a limit that another part of the runtime keeps, beside these.
    pub fn show(&self, gauge: Arc<Gauge>) {
        self.others.lock().unwrap_or_else(PoisonError::into_inner).push(gauge);
    }

    /// What is used of each limit.
    pub fn usage(&self) -> Vec<Usage> {
        for rate in [&self.requests, &self.bytes_out, &self.bytes_in, &self.log_bytes, &self.events] {
            rate.refresh();
        }
        let others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
        others.iter().chain(self.own()).map(|gauge| gauge.usage()).collect()
    }

    /// The gauges, in the order of [`Limit::ALL`].
    fn own(&self) -> [&Arc<Gauge>; Limit::ALL.len()] {
        [
            self.requests.gauge(),
            self.bytes_out.gauge(),
            self.bytes_in.gauge(),
            self.connections.gauge(),
            &self.response_size,
            &self.stream_size,
            self.held_bytes.gauge(),
            &self.tasks,
            self.log_bytes.gauge(),
            self.events.gauge(),
            &self.store_bytes,
            &self.store_keys,
            &self.cache_bytes,
        ]
    }
}

#[cfg(test)]
mod tests;
