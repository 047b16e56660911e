//! Pairs in memory.

use std::time::Duration;

use crate::quota::{Bounds, Quotas};
use crate::store::{Cache, Condition, StoreError};

const LONG: Duration = Duration::from_secs(3600);

fn empty() -> Cache {
    Cache::new(Quotas::new("mock", &Bounds::default()).cache_bytes.clone())
}

#[test]
fn a_claim_is_given_once() {
    let cache = empty();
    let version = cache.put("cell/1".into(), b"a".to_vec(), Condition::Absent, LONG).unwrap();
    let again = cache.put("cell/1".into(), b"b".to_vec(), Condition::Absent, LONG);
    assert_eq!(again, Err(StoreError::Conflict("cell/1".into())));
    assert!(cache.delete("cell/1", Condition::Version(version + 1)).is_err());
    cache.delete("cell/1", Condition::Version(version)).unwrap();
    cache.put("cell/1".into(), b"b".to_vec(), Condition::Absent, LONG).unwrap();
}

#[test]
fn what_has_expired_is_not_there() {
    let cache = empty();
    cache.put("token".into(), b"x".to_vec(), Condition::Absent, Duration::ZERO).unwrap();
    assert_eq!(cache.get("token"), None);
    cache.put("token".into(), b"y".to_vec(), Condition::Absent, LONG).unwrap();
    assert_eq!(cache.get("token").unwrap().value, b"y");
}

#[test]
fn the_oldest_gives_way_and_a_claim_never_does() {
    let cache = empty();
    cache.put("claim".into(), vec![0; 1 << 20], Condition::Absent, LONG).unwrap();
    for n in 0..20 {
        cache.put(format!("value/{n}"), vec![0; 1 << 20], Condition::Always, LONG).unwrap();
    }
    assert!(cache.get("claim").is_some());
    assert!(cache.get("value/0").is_none());
    assert!(cache.get("value/19").is_some());
    let full = empty();
    let refused = (0..20).find_map(|n| full.put(format!("{n}"), vec![0; 1 << 20], Condition::Absent, LONG).err());
    assert!(matches!(refused, Some(StoreError::Limit { .. })));
}

#[test]
fn a_value_that_grows_takes_no_more_than_there_is() {
    let cache = empty();
    for n in 0..15 {
        cache.put(format!("{n:02}"), vec![0; 1 << 20], Condition::Absent, LONG).unwrap();
    }
    // The oldest value that may give way is the one that grows.
    cache.put("own".into(), vec![0; 1 << 19], Condition::Always, LONG).unwrap();
    let error = cache.put("own".into(), vec![0; 1 << 20], Condition::Always, LONG).unwrap_err();
    assert!(error.to_string().contains("cache-bytes=16Mi"), "{error}");
    assert_eq!(cache.get("own").unwrap().value.len(), 1 << 19);
}

#[test]
fn a_write_over_the_bound_changes_nothing() {
    let cache = empty();
    for n in 0..15 {
        cache.put(format!("claim/{n}"), vec![0; 1 << 20], Condition::Absent, LONG).unwrap();
    }
    cache.put("value".into(), vec![0; 1000], Condition::Always, LONG).unwrap();
    assert!(cache.put("more".into(), vec![0; 1 << 20], Condition::Always, LONG).is_err());
    assert!(cache.get("value").is_some());
}

#[test]
fn what_has_expired_gives_way_first_claim_or_not() {
    let cache = empty();
    for n in 0..15 {
        cache.put(format!("claim/{n}"), vec![0; 1 << 20], Condition::Absent, Duration::ZERO).unwrap();
    }
    cache.put("value".into(), vec![0; 1000], Condition::Always, LONG).unwrap();
    cache.put("more".into(), vec![0; 1 << 20], Condition::Always, LONG).unwrap();
    assert!(cache.get("value").is_some());
}

#[test]
fn versions_and_sizes_are_checked() {
    let cache = empty();
    let version = cache.put("k".into(), b"a".to_vec(), Condition::Always, LONG).unwrap();
    let next = cache.put("k".into(), b"b".to_vec(), Condition::Version(version), LONG).unwrap();
    assert!(next > version);
    let stale = cache.put("k".into(), b"c".to_vec(), Condition::Version(version), LONG);
    assert_eq!(stale, Err(StoreError::Conflict("k".into())));
    cache.delete("k", Condition::Always).unwrap();
    assert!(cache.put("k".into(), b"d".to_vec(), Condition::Version(next), LONG).is_err());
    for (key, size) in [(String::new(), 0), ("k".repeat(513), 0), ("k".to_owned(), (1 << 20) + 1)] {
        let refused = cache.put(key, vec![0; size], Condition::Always, LONG);
        assert!(matches!(refused, Err(StoreError::Invalid(_))));
    }
}
