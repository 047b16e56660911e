//! Slots for calls: a bounded number at once, divided so that one kind of work never waits behind another.
//!
//! | lane       | share of `calls` | exports                                             |
//! |------------|------------------|-----------------------------------------------------|
//! | `State`    | 1/6              | `describe`, `list`, `refresh`, `watch.*`, `stats`   |
//! | `Removal`  | 1/4              | `delete`, `forget`, `stop-…`, `remove-…`            |
//! | `Change`   | 1/4              | `create`, `update`, `run-sandbox`, `create-…`, …    |
//! | `Pull`     | 1/12             | `pull-image`                                        |
//! | `Session`  | 1/4              | `logs.open`, `exec.*`, `attach.*`, `port-forward.*` |
//!
//! A full lane queues, first come first served; it never errors. A call leaves its lane with its answer: open streams and
//! instances that a stream keeps have slots of their own, and there a full house is an error at once: who opens a log wants
//! to know.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::limits::{Limits, Reached};

/// Which kind of work a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    State,
    Removal,
    Change,
    Pull,
    Session,
}

/// The slots of one provider.
pub(crate) struct Lanes {
    state: Arc<Semaphore>,
    removal: Arc<Semaphore>,
    change: Arc<Semaphore>,
    pull: Arc<Semaphore>,
    session: Arc<Semaphore>,
    streams: Arc<Semaphore>,
    sessions: Arc<Semaphore>,
    limits: Limits,
}

impl Lanes {
    pub(crate) fn new(limits: &Limits) -> Self {
        let share = |part: usize| Arc::new(Semaphore::new((limits.calls / part).max(1)));
        Self {
            state: share(6),
            removal: share(4),
            change: share(4),
            pull: share(12),
            session: share(4),
            streams: Arc::new(Semaphore::new(limits.streams)),
            sessions: Arc::new(Semaphore::new(limits.sessions)),
            limits: limits.clone(),
        }
    }

    /// Waits for a slot.
    pub(crate) async fn enter(&self, lane: Lane) -> Option<OwnedSemaphorePermit> {
        let semaphore = match lane {
            Lane::State => &self.state,
            Lane::Removal => &self.removal,
            Lane::Change => &self.change,
            Lane::Pull => &self.pull,
            Lane::Session => &self.session,
        };
        // Never closed, so there always is a permit in the end.
        semaphore.clone().acquire_owned().await.ok()
    }

    /// A slot for an open stream, if there is one.
    pub(crate) fn stream(&self) -> Result<OwnedSemaphorePermit, Reached> {
        self.streams.clone().try_acquire_owned().map_err(|_| Reached::Streams(self.limits.streams))
    }

    /// A slot for an instance that its stream keeps, if there is one.
    pub(crate) fn session(&self) -> Result<OwnedSemaphorePermit, Reached> {
        self.sessions.clone().try_acquire_owned().map_err(|_| Reached::Sessions(self.limits.sessions))
    }
}
