//! So much at once: connections, bytes in memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Gauge, Reached};

/// A bounded amount that is taken and given back. Cost: an atomic.
#[derive(Debug)]
pub struct Room {
    gauge: Arc<Gauge>,
    freed: Notify,
}

/// A part of a room; given back when it is dropped.
#[derive(Debug)]
pub struct Held {
    room: Arc<Room>,
    units: u64,
}

impl Room {
    pub(super) fn new(gauge: Arc<Gauge>) -> Arc<Self> {
        Arc::new(Self { gauge, freed: Notify::new() })
    }

    pub(super) const fn gauge(&self) -> &Arc<Gauge> {
        &self.gauge
    }

    /// Takes so much, if there is room.
    pub fn take(self: &Arc<Self>, units: u64) -> Result<Held, Reached> {
        match self.try_take(units) {
            Some(held) => Ok(held),
            None => Err(self.gauge.refuse()),
        }
    }

    pub(super) fn try_take(self: &Arc<Self>, units: u64) -> Option<Held> {
        self.gauge.take(units).then(|| Held { room: self.clone(), units })
    }

    /// Takes so much, and waits for room if there is none, but no longer than this.
    pub async fn wait(self: &Arc<Self>, units: u64, longest: Duration) -> Result<Held, Reached> {
        if let Some(held) = self.try_take(units) {
            return Ok(held);
        }
        let waiting = Waiting { gauge: &self.gauge, began: Instant::now() };
        let taken = tokio::time::timeout(longest, async {
            loop {
                let mut freed = std::pin::pin!(self.freed.notified());
                freed.as_mut().enable();
                if let Some(held) = self.try_take(units) {
                    return held;
                }
                freed.await;
            }
        });
        let taken = taken.await;
        drop(waiting);
        taken.map_err(|_| self.gauge.refuse())
    }

    pub(super) fn changed(&self) {
        self.freed.notify_waiters();
    }

    /// In use now.
    pub fn used(&self) -> u64 {
        self.gauge.used()
    }
}

/// A wait for room: it counts also where who waited goes away.
struct Waiting<'a> {
    gauge: &'a Gauge,
    began: Instant,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gauge.waited(self.began.elapsed());
    }
}

impl Held {
    /// Takes more, if there is room.
    pub fn grow(&mut self, units: u64) -> Result<(), Reached> {
        if !self.room.gauge.take(units) {
            return Err(self.room.gauge.refuse());
        }
        self.units += units;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.room.gauge.give(self.units);
        self.room.freed.notify_waiters();
    }
}
