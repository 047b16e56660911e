//! When pods want to be looked at again: one timer for all of them.
//!
//! A pod that asks for an earlier time leaves its later entry behind, which then wakes it once in vain.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::Notify;

use super::index::{Cell, Index};
use crate::clock;

/// No sleep is longer, so that a clock that was set is noticed.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Plan,
    Report,
}

struct Entry {
    at: Timestamp,
    number: u64,
    what: What,
    cell: Weak<Cell>,
}

impl PartialEq for Entry {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl Eq for Entry {}

impl PartialOrd for Entry {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Entry {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

#[derive(Default)]
struct Heap {
    entries: BinaryHeap<Reverse<Entry>>,
    /// What the clock was set by when it was looked at last.
    set_by: SignedDuration,
    /// It was set while there were entries.
    was_set: bool,
    number: u64,
}

impl Heap {
    /// Before each entry that is made, too: a clock that was set there and back shows in what was noted in between.
    fn look_at_clock(&mut self) {
        let set_by = clock::set_by();
        self.was_set |= std::mem::replace(&mut self.set_by, set_by) != set_by;
    }
}

/// The timer of a node's pods.
#[derive(Default)]
pub(super) struct Timer {
    heap: Mutex<Heap>,
    earlier: Notify,
}

impl Timer {
    pub fn plan(&self, cell: &Arc<Cell>, at: Timestamp) {
        self.push(cell, at, What::Plan);
    }

    pub fn report(&self, cell: &Arc<Cell>, at: Timestamp) {
        self.push(cell, at, What::Report);
    }

    fn push(&self, cell: &Arc<Cell>, at: Timestamp, what: What) {
        if !cell.wants(at, what == What::Report) {
            return;
        }
        let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
        heap.look_at_clock();
        heap.number += 1;
        let number = heap.number;
        let first = heap.was_set || heap.entries.peek().is_none_or(|Reverse(first)| at < first.at);
        heap.entries.push(Reverse(Entry { at, number, what, cell: Arc::downgrade(cell) }));
        drop(heap);
        if first {
            self.earlier.notify_one();
        }
    }

    /// Sleeps until the next time, and queues whose time has come.
    pub async fn wait(&self, index: &Index) {
        let sleep = {
            let heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
            heap.entries.peek().map(|Reverse(first)| {
                Duration::try_from(first.at.duration_since(clock::now())).unwrap_or(Duration::ZERO)
            })
        };
        let sleep = sleep.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            () = self.earlier.notified() => {}
        }
        let now = clock::now();
        // When the clock was set all of them say anew what they wait for.
        let was_set = {
            let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
            heap.look_at_clock();
            std::mem::take(&mut heap.was_set)
        };
        loop {
            let due = {
                let mut heap = self.heap.lock().unwrap_or_else(PoisonError::into_inner);
                match heap.entries.peek() {
                    Some(Reverse(first)) if first.at <= now || was_set => heap.entries.pop(),
                    _ => None,
                }
            };
            let Some(Reverse(due)) = due else { return };
            let Some(cell) = due.cell.upgrade() else { continue };
            cell.woken(due.at, due.what == What::Report);
            match due.what {
                What::Plan => index.plan(&cell),
                What::Report => index.report(&cell),
            }
        }
    }
}
