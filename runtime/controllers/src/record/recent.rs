//! The pods that were parsed last.
//!
//! Of all others only the text is kept. Bound: [`KEPT`] bytes of text, of all nodes of the process; cost: a lock for each
//! pod that is parsed.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::Record;

/// Text of the pods that stay parsed, bytes: some hundred pods, or one that is larger than that. Parsed it is ten times
/// that.
pub(super) const KEPT: usize = 512 * 1024;

static RECENT: Mutex<Recent> = Mutex::new(Recent { records: VecDeque::new(), length: 0 });

/// Oldest first, each with its length.
struct Recent {
    records: VecDeque<(Weak<Record>, usize)>,
    length: usize,
}

/// It was parsed just now.
pub(super) fn parsed(record: &Arc<Record>) {
    let mut recent = RECENT.lock().unwrap_or_else(PoisonError::into_inner);
    recent.length += record.len();
    recent.records.push_back((Arc::downgrade(record), record.len()));
    while recent.length > KEPT
        && recent.records.len() > 1
        && let Some((oldest, length)) = recent.records.pop_front()
    {
        recent.length -= length;
        if let Some(oldest) = oldest.upgrade() {
            oldest.rest();
        }
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
    }
}
