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
}

/// The part of `calls` that each lane has, in the order of the table.
const PARTS: [usize; 5] = [6, 4, 4, 12, 4];

fn share(limits: &Limits, part: usize) -> usize {
    (limits.calls / part).max(1)
}

fn resize(slots: &Arc<Semaphore>, before: usize, after: usize) {
    if after >= before {
        slots.add_permits(after - before);
        return;
    }
    let mut excess = before - after;
    excess -= slots.forget_permits(excess);
    if excess > 0 {
        let slots = slots.clone();
        tokio::spawn(async move {
            let all = u32::try_from(excess).unwrap_or(u32::MAX);
            if let Ok(given_back) = slots.acquire_many(all).await {
                given_back.forget();
            }
        });
    }
}

impl Lanes {
    pub(crate) fn new(limits: &Limits) -> Self {
        let [state, removal, change, pull, session] = PARTS.map(|part| Arc::new(Semaphore::new(share(limits, part))));
        Self {
            state,
            removal,
            change,
            pull,
            session,
            streams: Arc::new(Semaphore::new(limits.streams)),
            sessions: Arc::new(Semaphore::new(limits.sessions)),
        }
    }

    /// A slot, waited for where there is none, and whether it was.
    pub(crate) async fn enter(&self, lane: Lane) -> (Option<OwnedSemaphorePermit>, bool) {
        let semaphore = match lane {
            Lane::State => &self.state,
            Lane::Removal => &self.removal,
            Lane::Change => &self.change,
            Lane::Pull => &self.pull,
            Lane::Session => &self.session,
        };
        match semaphore.clone().try_acquire_owned() {
            Ok(permit) => (Some(permit), false),
            // Never closed, so there always is a permit in the end.
            Err(_) => (semaphore.clone().acquire_owned().await.ok(), true),
        }
    }

    /// A slot for an open stream, if there is one.
    pub(crate) fn stream(&self, limits: &Limits) -> Result<OwnedSemaphorePermit, Reached> {
        self.streams.clone().try_acquire_owned().map_err(|_| Reached::Streams(limits.streams))
    }

    /// A slot for an instance that its stream keeps, if there is one.
    pub(crate) fn session(&self, limits: &Limits) -> Result<OwnedSemaphorePermit, Reached> {
        self.sessions.clone().try_acquire_owned().map_err(|_| Reached::Sessions(limits.sessions))
    }

    /// Makes slots for these limits out of those for the limits before. What is more than there now are goes as it is given
    /// back.
    pub(crate) fn resize(&self, before: &Limits, after: &Limits) {
        for (lane, part) in [&self.state, &self.removal, &self.change, &self.pull, &self.session].into_iter().zip(PARTS)
        {
            resize(lane, share(before, part), share(after, part));
        }
        resize(&self.streams, before.streams, after.streams);
        resize(&self.sessions, before.sessions, after.sessions);
    }

    /// How many slots are taken: by calls, by streams, by instances that their stream keeps.
    pub(crate) fn used(&self, limits: &Limits) -> [usize; 3] {
        let lanes = [&self.state, &self.removal, &self.change, &self.pull, &self.session].into_iter().zip(PARTS);
        let calls = lanes.map(|(lane, part)| share(limits, part).saturating_sub(lane.available_permits())).sum();
        let taken = |all: usize, slots: &Semaphore| all.saturating_sub(slots.available_permits());
        [calls, taken(limits.streams, &self.streams), taken(limits.sessions, &self.sessions)]
    }
}
