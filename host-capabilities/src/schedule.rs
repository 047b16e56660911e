//! `schedule`: waking the provider's own background work. Always granted.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::Call;
use crate::bindings::vk::host::schedule;

/// When the provider's background work is wanted next; the earliest wish counts.
#[derive(Debug)]
pub struct Schedule {
    next: watch::Sender<Option<Instant>>,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { next: watch::Sender::new(None) }
    }
}

impl Schedule {
    /// Asks for background work within this time.
    pub fn wake(&self, within: Duration) {
        let Some(at) = Instant::now().checked_add(within) else { return };
        self.next.send_if_modified(|next| {
            let earlier = next.is_none_or(|next| at < next);
            if earlier {
                *next = Some(at);
            }
            earlier
        });
    }

    /// Forgets the wish: the work begins now.
    pub fn begin(&self) {
        self.next.send_replace(None);
    }

    /// Follows the wishes.
    pub fn subscribe(&self) -> watch::Receiver<Option<Instant>> {
        self.next.subscribe()
    }
}

impl schedule::Host for Call {
    fn wake(&mut self, within: u64) -> wasmtime::Result<()> {
        self.capabilities.schedule.wake(Duration::from_nanos(within));
        Ok(())
    }
}

#[cfg(test)]
mod tests;
