//! Who gets the next slot of the pool of instances, which all providers share.
//!
//! Each provider is sure of an equal part; what others don't use of theirs it may have too, down to what they are sure of.
//! So a provider that takes all it can get never makes another wait that asks for no more than its part. A full pool
//! queues, first come first served among the calls of one provider. Cost: a short lock to enter and to leave.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The slots of the process.
pub(crate) struct Pool {
    size: usize,
    state: Mutex<State>,
    freed: Notify,
}

#[derive(Default)]
struct State {
    /// By their number.
    members: BTreeMap<u64, Used>,
    next: u64,
    used: usize,
}

#[derive(Default)]
struct Used {
    slots: usize,
    /// Whether the member itself has gone, and only its calls are left.
    is_gone: bool,
}

/// The part of one provider.
pub(crate) struct Member {
    pool: Arc<Pool>,
    id: u64,
    /// Held by the call that is next.
    turn: tokio::sync::Mutex<()>,
}

/// A slot; it is free again when this is dropped.
pub(crate) struct Slot {
    pool: Arc<Pool>,
    id: u64,
}

impl Pool {
    pub(crate) fn new(size: usize) -> Arc<Self> {
        Arc::new(Self { size, state: Mutex::default(), freed: Notify::new() })
    }

    /// One more provider.
    pub(crate) fn join(self: &Arc<Self>) -> Member {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.members.insert(id, Used::default());
        Member { pool: self.clone(), id, turn: tokio::sync::Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(self: &Arc<Self>, id: u64) -> Option<Slot> {
        let mut state = self.lock();
        let sure = self.size / state.members.values().filter(|own| !own.is_gone).count().max(1);
        let free = self.size.saturating_sub(state.used);
        let own = state.members.get(&id).map_or(0, |own| own.slots);
        let kept = |(other, used): (&u64, &Used)| match *other == id || used.is_gone {
            true => 0,
            false => sure.saturating_sub(used.slots),
        };
        // Below its part the others' parts are not touched: what they have beyond theirs they give back in time.
        let needed = if own < sure { 0 } else { state.members.iter().map(kept).sum() };
        if free <= needed {
            return None;
        }
        state.used += 1;
        state.members.entry(id).or_default().slots += 1;
        Some(Slot { pool: self.clone(), id })
    }
}

impl Member {
    /// A slot, waited for.
    pub(crate) async fn enter(&self) -> Slot {
        if let Ok(_turn) = self.turn.try_lock()
            && let Some(slot) = self.pool.take(self.id)
        {
            return slot;
        }
        let _turn = self.turn.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.pool.freed.notified());
            freed.as_mut().enable();
            if let Some(slot) = self.pool.take(self.id) {
                return slot;
            }
            freed.await;
        }
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        if let Some(own) = state.members.get_mut(&self.id) {
            own.is_gone = true;
            if own.slots == 0 {
                state.members.remove(&self.id);
            }
        }
        drop(state);
        self.pool.freed.notify_waiters();
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.pool.lock();
        state.used = state.used.saturating_sub(1);
        if let Some(own) = state.members.get_mut(&self.id) {
            own.slots = own.slots.saturating_sub(1);
            if own.is_gone && own.slots == 0 {
                state.members.remove(&self.id);
            }
        }
        drop(state);
        self.pool.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn all(member: &Member) -> Vec<Slot> {
        std::iter::from_fn(|| member.enter().now_or_never()).collect()
    }

    #[test]
    fn alone_it_has_all_and_beside_others_what_they_are_not_sure_of() {
        let pool = Pool::new(12);
        let greedy = pool.join();
        assert_eq!(all(&greedy).len(), 12);
        let (good, _idle) = (pool.join(), pool.join());
        let held = all(&greedy);
        assert_eq!(held.len(), 4, "the others are sure of eight");
        assert_eq!(all(&good).len(), 4);
        let own: Vec<Slot> = all(&good).into_iter().take(2).collect();
        assert_eq!(own.len(), 2);
        assert!(all(&greedy).is_empty());
        drop(own);
        assert_eq!(held.len() + all(&greedy).len(), 4);
    }

    #[tokio::test]
    async fn who_comes_later_gets_its_part_as_soon_as_others_give_back() {
        let pool = Pool::new(4);
        let greedy = pool.join();
        let mut held = all(&greedy);
        let good = Arc::new(pool.join());
        assert!(good.enter().now_or_never().is_none());
        let waiting = tokio::spawn({
            let good = good.clone();
            async move { good.enter().await }
        });
        tokio::task::yield_now().await;
        held.pop();
        let _slot = waiting.await.unwrap();
        held.pop();
        assert!(greedy.enter().now_or_never().is_none(), "the last of them is kept for who is below its part");
        assert!(good.enter().now_or_never().is_some());
    }

    #[test]
    fn a_provider_that_is_gone_keeps_nothing_but_its_calls() {
        let pool = Pool::new(4);
        let (one, other) = (pool.join(), pool.join());
        let left = other.enter().now_or_never().unwrap();
        drop(other);
        let held = all(&one);
        assert_eq!(held.len(), 3);
        drop(left);
        assert!(one.enter().now_or_never().is_some());
        assert_eq!(pool.lock().members.len(), 1);
    }
}
