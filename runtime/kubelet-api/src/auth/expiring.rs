//! A bounded cache whose entries expire, and that asks once for what many wait for.
//!
//! When it is full, what has expired goes first, then the oldest. An error is not kept: the next caller asks again.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::OnceCell;
use tokio::time::Instant;

type Answer<V> = Arc<OnceCell<(V, Instant)>>;

struct Slot<V> {
    answer: Answer<V>,
    age: u64,
}

pub(crate) struct Expiring<K, V> {
    slots: Mutex<(HashMap<K, Slot<V>>, u64)>,
    capacity: usize,
}

impl<K: Clone + Eq + Hash, V: Clone> Expiring<K, V> {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Mutex::default(), capacity }
    }

    /// The answer for `key`, from `ask` if there is none that still counts. `ask` says how long its answer counts.
    pub(crate) async fn get<E>(&self, key: &K, ask: impl AsyncFnOnce() -> Result<(V, Duration), E>) -> Result<V, E> {
        let answer = self.slot(key);
        let (value, _) = answer
            .get_or_try_init(async || {
                let (value, lifetime) = ask().await?;
                Ok((value, Instant::now() + lifetime))
            })
            .await?;
        Ok(value.clone())
    }

    fn slot(&self, key: &K) -> Answer<V> {
        let now = Instant::now();
        let counts = |answer: &Answer<V>| answer.get().is_none_or(|(_, until)| *until > now);
        let mut guard = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let (slots, next_age) = &mut *guard;
        if let Some(slot) = slots.get(key)
            && counts(&slot.answer)
        {
            return slot.answer.clone();
        }
        if slots.len() >= self.capacity {
            slots.retain(|_, slot| counts(&slot.answer));
        }
        if slots.len() >= self.capacity
            && let Some(oldest) = slots.iter().min_by_key(|(_, slot)| slot.age).map(|(key, _)| key.clone())
        {
            slots.remove(&oldest);
        }
        let answer = Answer::default();
        slots.insert(key.clone(), Slot { answer: answer.clone(), age: *next_age });
        *next_age += 1;
        answer
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_until_it_expires() {
        let cache = Expiring::new(8);
        let asked = AtomicUsize::new(0);
        let ask = async || Ok::<_, ()>((asked.fetch_add(1, Ordering::SeqCst), TTL));
        assert_eq!(cache.get(&"k", ask).await, Ok(0));
        tokio::time::advance(TTL - Duration::from_millis(1)).await;
        assert_eq!(cache.get(&"k", ask).await, Ok(0));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert_eq!(cache.get(&"k", ask).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_at_once_share_one_question() {
        let cache = Expiring::new(8);
        let asked = AtomicUsize::new(0);
        let ask = async || {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok::<_, ()>((asked.fetch_add(1, Ordering::SeqCst), TTL))
        };
        let (first, second) = tokio::join!(cache.get(&"k", ask), cache.get(&"k", ask));
        assert_eq!((first, second, asked.load(Ordering::SeqCst)), (Ok(0), Ok(0), 1));
    }

    #[tokio::test(start_paused = true)]
    async fn an_error_is_not_kept() {
        let cache = Expiring::<_, u8>::new(8);
        assert_eq!(cache.get(&"k", async || Err("down")).await, Err("down"));
        assert_eq!(cache.get(&"k", async || Ok::<_, &str>((1, TTL))).await, Ok(1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_cache_drops_the_oldest() {
        let cache = Expiring::new(2);
        for key in 0..10 {
            assert_eq!(cache.get(&key, async || Ok::<_, ()>((key, TTL))).await, Ok(key));
        }
        assert_eq!(cache.slots.lock().unwrap().0.len(), 2);
        assert_eq!(cache.get(&9, async || Err("must be cached")).await, Ok(9));
        assert_eq!(cache.get(&0, async || Err("gone")).await, Err("gone"));
    }
}
