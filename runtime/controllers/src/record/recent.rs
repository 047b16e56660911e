//! The pods that were parsed last.
//!
//! Of all others only the text is kept, and of these once they have not been worked on for [`RESTS`]. Bound: [`KEPT`] bytes
//! of text, of all nodes of the process; cost: a lock for each pod that is parsed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use super::Record;

/// Text of the pods that stay parsed, bytes: some hundred pods, or one that is larger than that. Parsed it is ten times
/// that.
pub(super) const KEPT: usize = 1536 * 1024;
const RESTS: Duration = Duration::from_secs(5);

static RECENT: Mutex<Recent> = Mutex::new(Recent { records: VecDeque::new(), length: 0 });

/// Oldest first, each with its length and when it was parsed.
struct Recent {
    records: VecDeque<(Weak<Record>, usize, Instant)>,
    length: usize,
}

impl Recent {
    fn lock() -> MutexGuard<'static, Self> {
        RECENT.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drop_oldest(&mut self) {
        if let Some((oldest, length, _)) = self.records.pop_front() {
            self.length -= length;
            if let Some(oldest) = oldest.upgrade() {
                oldest.rest();
            }
        }
    }
}

/// It was parsed just now.
pub(super) fn parsed(record: &Arc<Record>) {
    let mut recent = Recent::lock();
    recent.length += record.len();
    recent.records.push_back((Arc::downgrade(record), record.len(), Instant::now()));
    while recent.length > KEPT && recent.records.len() > 1 {
        recent.drop_oldest();
    }
}

/// To be called now and then: what nobody works on any more need not stay parsed.
pub(crate) fn rest() {
    rest_at(Instant::now());
}

fn rest_at(now: Instant) {
    let mut recent = Recent::lock();
    while recent.records.front().is_some_and(|(.., parsed)| now.duration_since(*parsed) >= RESTS) {
        recent.drop_oldest();
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::FromWatch;

    #[test]
    fn a_pod_is_parsed_once_until_many_others_were() {
        let record = |name: usize| {
            let pod = json!({
                "metadata": { "name": format!("p{name}"), "namespace": "default", "uid": format!("u{name}") },
                "spec": { "containers": [{ "name": "c", "image": "i".repeat(KEPT / 100) }] },
            });
            Arc::new(Record::read(&serde_json::value::to_raw_value(&pod).unwrap()).unwrap())
        };
        let first = record(0);
        // Other tests of the process parse pods, too, and may have this one forgotten in between.
        let is_kept = || Arc::ptr_eq(&first.parse().unwrap(), &first.parse().unwrap());
        assert!((0..100).any(|_| is_kept()), "it is parsed each time");
        let parsed = first.parse().unwrap();
        let others: Vec<_> = (1..200).map(record).collect();
        let seen: Vec<_> = others.iter().map(|other| Arc::downgrade(&other.parse().unwrap())).collect();
        assert!(!Arc::ptr_eq(&parsed, &first.parse().unwrap()));
        let kept = seen.iter().filter(|parsed| parsed.upgrade().is_some()).count();
        assert!(kept <= 100, "{kept} stay parsed");
        drop(parsed);
        rest_at(Instant::now() + RESTS);
        assert!(seen.iter().all(|parsed| parsed.upgrade().is_none()), "some stay parsed for good");
    }
}
