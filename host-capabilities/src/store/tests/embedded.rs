//! The store in a file.

use std::time::{Duration, SystemTime};

use super::{ALWAYS, Condition, Embedded, Entry, OpenError, Store, StoreError, open};
use crate::store::{Extent, MAX_KEY, MAX_VALUE};

/// The default limits.
const MOST: Extent = Extent { bytes: 64 << 20, keys: 100_000 };

#[tokio::test]
async fn what_was_put_survives_and_versions_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let first = {
        let store = open(&folder);
        store.put("p/n", "a".into(), b"1".to_vec(), Condition::Absent, None, MOST).await.unwrap()
    };
    // The writer lets the file go once the last handle is dropped.
    let store = loop {
        match Embedded::open(&folder.path().join("store.redb")) {
            Ok(store) => break store,
            Err(OpenError::InUse(_)) => tokio::task::yield_now().await,
            Err(other) => unreachable!("{other}"),
        }
    };
    assert_eq!(store.get("p/n", "a").await.unwrap().unwrap().value, b"1");
    let second = store.put("p/n", "a".into(), b"2".to_vec(), Condition::Version(first), None, MOST).await.unwrap();
    assert!(second > first);
    let stale = store.put("p/n", "a".into(), b"3".to_vec(), Condition::Version(first), None, MOST).await;
    assert_eq!(stale, Err(StoreError::Conflict("a".into())));
}

#[tokio::test]
async fn a_second_process_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&folder);
    let error = Embedded::open(&folder.path().join("store.redb")).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
}

#[tokio::test]
async fn namespaces_are_apart() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.put("one", "k".into(), b"1".to_vec(), ALWAYS, None, MOST).await.unwrap();
    store.put("one2", "k".into(), b"2".to_vec(), ALWAYS, None, MOST).await.unwrap();
    assert_eq!(store.get("two", "k").await.unwrap(), None);
    let found = store.scan("one", "", "", 10).await.unwrap();
    assert_eq!(found.len(), 1);
    store.delete("one2", "k".into(), ALWAYS).await.unwrap();
    assert!(store.get("one", "k").await.unwrap().is_some());
}

#[tokio::test]
async fn a_scan_goes_on_after_a_key() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for n in 0..5 {
        store.put("p", format!("pod/{n}"), vec![n], ALWAYS, None, MOST).await.unwrap();
    }
    store.put("p", "other".into(), vec![9], ALWAYS, None, MOST).await.unwrap();
    let keys = |entries: Vec<Entry>| entries.into_iter().map(|entry| entry.key).collect::<Vec<_>>();
    assert_eq!(keys(store.scan("p", "pod/", "", 2).await.unwrap()), ["pod/0", "pod/1"]);
    assert_eq!(keys(store.scan("p", "pod/", "pod/1", 10).await.unwrap()), ["pod/2", "pod/3", "pod/4"]);
    assert_eq!(keys(store.scan("p", "", "", 10).await.unwrap()).len(), 6);
}

#[tokio::test]
async fn expired_entries_are_not_there_and_can_be_claimed() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    store.put("p", "lease".into(), b"a".to_vec(), ALWAYS, Some(past), MOST).await.unwrap();
    assert_eq!(store.get("p", "lease").await.unwrap(), None);
    store.put("p", "lease".into(), b"b".to_vec(), Condition::Absent, None, MOST).await.unwrap();
    assert_eq!(store.get("p", "lease").await.unwrap().unwrap().value, b"b");
}

#[tokio::test]
async fn limits_name_themselves_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for n in 0..63 {
        store.put("p", format!("{n}"), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap();
    }
    let error = store.put("p", "more".into(), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap_err();
    assert!(error.to_string().contains("the limit store-bytes=64Mi"), "{error}");
    assert_eq!(store.get("p", "more").await.unwrap(), None);
    // Another namespace is not concerned, and what is freed can be used again.
    store.put("q", "k".into(), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap();
    store.delete("p", "0".into(), ALWAYS).await.unwrap();
    store.put("p", "more".into(), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap();
}

#[tokio::test]
async fn writes_at_once_claim_one_thing_once() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let puts = (0..50).map(|n| {
        let store = store.clone();
        tokio::spawn(async move { store.put("p", "claim".into(), vec![n], Condition::Absent, None, MOST).await })
    });
    let mut won = 0;
    for put in puts.collect::<Vec<_>>() {
        won += usize::from(put.await.unwrap().is_ok());
    }
    assert_eq!(won, 1);
}

#[tokio::test]
async fn keys_and_values_over_their_size_are_refused_and_named() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let put = |key: String, size: usize| store.put("p", key, vec![0; size], ALWAYS, None, MOST);
    for (key, size, says) in [
        (String::new(), 0, "a key has 1 to 512 bytes, this one 0"),
        ("k".repeat(MAX_KEY + 1), 0, "this one 513"),
        ("\u{e9}".repeat(MAX_KEY / 2 + 1), 0, "this one 514"),
        ("large".to_owned(), MAX_VALUE + 1, "the value of `large` has 1048577 bytes"),
    ] {
        let error = put(key, size).await.unwrap_err();
        assert!(matches!(error, StoreError::Invalid(_)) && error.to_string().contains(says), "{error}");
    }
    put("k".repeat(MAX_KEY), MAX_VALUE).await.unwrap();
    assert_eq!(store.scan("p", "", "", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_version_never_comes_back() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let first = store.put("p", "k".into(), b"a".to_vec(), Condition::Absent, None, MOST).await.unwrap();
    store.delete("p", "k".into(), Condition::Version(first)).await.unwrap();
    let second = store.put("p", "k".into(), b"a".to_vec(), Condition::Absent, None, MOST).await.unwrap();
    assert!(second > first);
    for stale in [
        store.put("p", "k".into(), b"b".to_vec(), Condition::Version(first), None, MOST).await.err(),
        store.put("p", "k".into(), b"b".to_vec(), Condition::Absent, None, MOST).await.err(),
        store.delete("p", "k".into(), Condition::Version(first)).await.err(),
        store
            .delete("p", "other".into(), Condition::Version(first))
            .await
            .err()
            .map(|_| StoreError::Conflict("k".into())),
    ] {
        assert_eq!(stale, Some(StoreError::Conflict("k".into())));
    }
    assert_eq!(store.get("p", "k").await.unwrap().unwrap().value, b"a");
    store.delete("p", "never".into(), ALWAYS).await.unwrap();
}

#[tokio::test]
async fn many_writers_under_one_version_lose_no_write() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    store.put("p", "n".into(), vec![0], ALWAYS, None, MOST).await.unwrap();
    let add = |store: Embedded| async move {
        loop {
            let entry = store.get("p", "n").await.unwrap().unwrap();
            let next = vec![entry.value[0] + 1];
            match store.put("p", "n".into(), next, Condition::Version(entry.version), None, MOST).await {
                Ok(_) => return,
                Err(StoreError::Conflict(_)) => {}
                Err(other) => unreachable!("{other}"),
            }
        }
    };
    futures::future::join_all((0..20).map(|_| tokio::spawn(add(store.clone())))).await;
    assert_eq!(store.get("p", "n").await.unwrap().unwrap().value, [20]);
}

#[tokio::test]
async fn the_number_of_keys_is_bounded_and_what_expired_gives_room() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    let many =
        (0..MOST.keys).map(|n| store.put("p", format!("{n:06}"), Vec::new(), ALWAYS, (n < 10).then_some(past), MOST));
    for put in futures::future::join_all(many).await {
        put.unwrap();
    }
    // Ten of them are gone already, and are dropped when their room is needed.
    for n in 0..10 {
        store.put("p", format!("more/{n}"), Vec::new(), Condition::Absent, None, MOST).await.unwrap();
    }
    let error = store.put("p", "more".into(), Vec::new(), ALWAYS, None, MOST).await.unwrap_err();
    assert!(error.to_string().contains("the limit store-keys=100000"), "{error}");
    store.put("p", "more/0".into(), b"again".to_vec(), ALWAYS, None, MOST).await.unwrap();
    store.put("q", "k".into(), Vec::new(), ALWAYS, None, MOST).await.unwrap();
    assert_eq!(store.scan("p", "0000", "", 100).await.unwrap().len(), 90);
}

#[tokio::test]
async fn an_expired_entry_gives_way_to_itself() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    for n in 0..63 {
        store.put("p", format!("{n}"), vec![0; 1 << 20], ALWAYS, Some(past), MOST).await.unwrap();
    }
    for _ in 0..3 {
        for n in 0..63 {
            store.put("p", format!("{n}"), vec![0; 1 << 20], Condition::Absent, Some(past), MOST).await.unwrap();
        }
    }
    store.put("p", "63".into(), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap();
    for n in 64..126 {
        store.put("p", format!("{n}"), vec![0; 1 << 20], ALWAYS, None, MOST).await.unwrap();
    }
    assert!(store.put("p", "over".into(), vec![0; 1 << 20], ALWAYS, None, MOST).await.is_err());
}

#[tokio::test]
async fn a_key_with_a_nul_stays_in_its_namespace() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for key in ["\0", "a\0b", "/../other/c/n", "\u{10ffff}", "\0\0key"] {
        store.put("p/c/n", key.into(), b"own".to_vec(), Condition::Absent, None, MOST).await.unwrap();
        assert_eq!(store.get("p/c/n", key).await.unwrap().unwrap().key, key);
    }
    assert_eq!(store.scan("p/c/n", "", "", 10).await.unwrap().len(), 5);
    for other in ["p/c", "p", "", "other/c/n", "p/c/n/", "p/c/n2"] {
        assert_eq!(store.scan(other, "", "", 10).await.unwrap(), [], "{other}");
    }
}

#[tokio::test]
async fn what_a_namespace_holds_is_known_exactly_and_after_a_restart_too() {
    let folder = tempfile::tempdir().unwrap();
    let extent = {
        let store = open(&folder);
        assert_eq!(store.extent("p").await.unwrap(), Extent { bytes: 0, keys: 0 });
        for n in 0..5 {
            store.put("p", format!("{n}"), vec![0; 1_000], ALWAYS, None, MOST).await.unwrap();
        }
        store.put("p", "0".into(), vec![0; 10], ALWAYS, None, MOST).await.unwrap();
        store.delete("p", "1".into(), ALWAYS).await.unwrap();
        store.delete("p", "no such".into(), ALWAYS).await.unwrap();
        store.put("q", "other".into(), vec![0; 1_000], ALWAYS, None, MOST).await.unwrap();
        store.extent("p").await.unwrap()
    };
    // Each takes its namespace, a separator, its own key, and 16 bytes beside its value.
    assert_eq!(extent, Extent { bytes: 3_010 + 4 * (3 + 16), keys: 4 });
    let store = reopen(&folder).await;
    assert_eq!(store.extent("p").await.unwrap(), extent);
    let most = Extent { keys: 4, ..MOST };
    assert!(store.put("p", "more".into(), Vec::new(), ALWAYS, None, most).await.is_err());
    // What a lowered bound finds above it may still be written again and deleted.
    let least = Extent { bytes: 10, keys: 1 };
    store.put("p", "0".into(), vec![0; 10], ALWAYS, None, least).await.unwrap();
    store.put("p", "0".into(), vec![0; 5], ALWAYS, None, least).await.unwrap();
    let error = store.put("p", "0".into(), vec![0; 6], ALWAYS, None, least).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "store: reached the limit store-bytes=10 (keys and values in the store of one node); --limit store-bytes=VALUE \
         raises it"
    );
    store.delete("p", "0".into(), ALWAYS).await.unwrap();
}

/// Opens the file again; the writer lets it go once the last handle is dropped.
async fn reopen(folder: &tempfile::TempDir) -> Embedded {
    loop {
        match Embedded::open(&folder.path().join("store.redb")) {
            Ok(store) => return store,
            Err(OpenError::InUse(_)) => tokio::task::yield_now().await,
            Err(error) => unreachable!("{error}"),
        }
    }
}
