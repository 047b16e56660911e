//! The store in a file beside the runtime (redb).
//!
//! One thread writes: it takes all that waits, commits it as one transaction with one sync, and answers ([`MAX_BATCH`]
//! bounds how much). Under load a sync is thus shared by many writes; alone, a write costs one. Reads go beside it and
//! see what was committed. The file is locked: a second process is refused.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition, WriteTransaction};
use tokio::sync::{mpsc, oneshot};

use super::{Condition, Entry, MAX_BYTES, MAX_KEYS, Store, StoreError, check};

/// `NAMESPACE\0KEY` → version (8 bytes), expiry (8 bytes, seconds since 1970, 0: never), value.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// `version` → the last one given out.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

const HEAD: usize = 16;
const MAX_BATCH: usize = 1_024;
const QUEUE: usize = 4_096;
const CACHE: usize = 4 << 20;

/// Why the file can't be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("{path} is in use by another process: give this one another --state-dir", path = .0.display())]
    InUse(PathBuf),
    /// It can't be opened.
    #[error("{path}: {reason}", path = .path.display())]
    Failed {
        /// The file.
        path: PathBuf,
        /// What redb says.
        reason: String,
    },
}

/// The store in one file.
#[derive(Clone)]
pub struct Embedded {
    database: Arc<Database>,
    writes: mpsc::Sender<Write>,
}

struct Write {
    key: Vec<u8>,
    change: Change,
    condition: Condition,
    done: oneshot::Sender<Result<u64, StoreError>>,
}

enum Change {
    Put { value: Vec<u8>, expires: u64 },
    Delete,
}

fn failed(error: impl std::fmt::Display) -> StoreError {
    StoreError::Failed(error.to_string())
}

fn full_key(namespace: &str, key: &str) -> Vec<u8> {
    [namespace.as_bytes(), b"\0", key.as_bytes()].concat()
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Version, expiry and value of a stored entry that has not expired.
fn decode(stored: &[u8], now: u64) -> Option<(u64, &[u8])> {
    let (head, value) = stored.split_at_checked(HEAD)?;
    let version = u64::from_be_bytes(head.get(..8)?.try_into().ok()?);
    let expires = u64::from_be_bytes(head.get(8..)?.try_into().ok()?);
    (expires == 0 || expires > now).then_some((version, value))
}

impl Embedded {
    /// Opens the file, or makes it, readable by this user alone.
    pub fn open(path: &Path) -> Result<Self, OpenError> {
        let fail = |reason: String| OpenError::Failed { path: path.to_owned(), reason };
        let file = {
            use std::os::unix::fs::OpenOptionsExt;
            std::fs::OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(path)
                .map_err(|error| fail(error.to_string()))?
        };
        let database = Database::builder().set_cache_size(CACHE).create_file(file).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => OpenError::InUse(path.to_owned()),
            other => fail(other.to_string()),
        })?;
        let database = Arc::new(database);
        let mut writer = Writer::start(&database).map_err(|error| fail(error.to_string()))?;
        let (writes, queue) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(queue))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { database, writes })
    }

    async fn write(&self, key: Vec<u8>, change: Change, condition: Condition) -> Result<u64, StoreError> {
        let (done, answer) = oneshot::channel();
        let gone = || StoreError::Failed("the writer has ended".to_owned());
        self.writes.send(Write { key, change, condition, done }).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    fn read<R>(
        &self,
        read: impl FnOnce(redb::ReadOnlyTable<&'static [u8], &'static [u8]>) -> Result<R, redb::StorageError>,
    ) -> Result<R, StoreError> {
        let transaction = self.database.begin_read().map_err(failed)?;
        read(transaction.open_table(ENTRIES).map_err(failed)?).map_err(failed)
    }
}

#[async_trait]
impl Store for Embedded {
    async fn get(&self, namespace: &str, key: &str) -> Result<Option<Entry>, StoreError> {
        let now = seconds(SystemTime::now());
        self.read(|table| {
            let stored = table.get(full_key(namespace, key).as_slice())?;
            Ok(stored.and_then(|stored| {
                let (version, value) = decode(stored.value(), now)?;
                Some(Entry { key: key.to_owned(), value: value.to_vec(), version })
            }))
        })
    }

    async fn put(
        &self,
        namespace: &str,
        key: String,
        value: Vec<u8>,
        condition: Condition,
        expires: Option<SystemTime>,
    ) -> Result<u64, StoreError> {
        check(&key, &value)?;
        // A time to live of less than a second still lives.
        let expires = expires.map_or(0, |at| seconds(at + Duration::from_millis(999)).max(1));
        self.write(full_key(namespace, &key), Change::Put { value, expires }, condition).await
    }

    async fn delete(&self, namespace: &str, key: String, condition: Condition) -> Result<(), StoreError> {
        self.write(full_key(namespace, &key), Change::Delete, condition).await.map(|_| ())
    }

    async fn scan(&self, namespace: &str, prefix: &str, after: &str, max: usize) -> Result<Vec<Entry>, StoreError> {
        let now = seconds(SystemTime::now());
        let head = full_key(namespace, "");
        let prefix = full_key(namespace, prefix);
        let start = if after.is_empty() { prefix.clone() } else { full_key(namespace, after).max(prefix.clone()) };
        self.read(|table| {
            let mut found = Vec::new();
            for stored in table.range(start.as_slice()..)? {
                let (key, stored) = stored?;
                if found.len() == max || !key.value().starts_with(&prefix) {
                    break;
                }
                let own = key.value().get(head.len()..).and_then(|own| std::str::from_utf8(own).ok());
                if let (Some(own), Some((version, value))) = (own, decode(stored.value(), now))
                    && own != after
                {
                    found.push(Entry { key: own.to_owned(), value: value.to_vec(), version });
                }
            }
            Ok(found)
        })
    }
}

#[derive(Clone, Copy, Default)]
struct Use {
    bytes: u64,
    keys: u64,
}

/// The one thread that writes, and what it must know for that.
struct Writer {
    database: Arc<Database>,
    version: u64,
    used: HashMap<Vec<u8>, Use>,
}

fn namespace_of(key: &[u8]) -> Vec<u8> {
    key.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

impl Writer {
    /// Makes the tables, drops what has expired, and counts what is there.
    fn start(database: &Arc<Database>) -> Result<Self, redb::Error> {
        let transaction = database.begin_write()?;
        let mut used: HashMap<Vec<u8>, Use> = HashMap::new();
        let version;
        {
            let now = seconds(SystemTime::now());
            let mut entries = transaction.open_table(ENTRIES)?;
            entries.retain(|_, stored| decode(stored, now).is_some())?;
            for stored in entries.iter()? {
                let (key, stored) = stored?;
                let own = used.entry(namespace_of(key.value())).or_default();
                own.bytes += (key.value().len() + stored.value().len()) as u64;
                own.keys += 1;
            }
            version = transaction.open_table(COUNTERS)?.get("version")?.map_or(0, |stored| stored.value());
        }
        transaction.commit()?;
        Ok(Self { database: database.clone(), version, used })
    }

    fn run(&mut self, mut queue: mpsc::Receiver<Write>) {
        let mut batch = Vec::new();
        while queue.blocking_recv_many(&mut batch, MAX_BATCH) > 0 {
            let before = (self.version, self.used.clone());
            let results = self.commit(&batch);
            if results.is_err() {
                (self.version, self.used) = before;
            }
            let results = results.unwrap_or_else(|error| vec![Err(failed(&error)); batch.len()]);
            for (write, result) in batch.drain(..).zip(results) {
                // Who asked may have gone.
                let _ = write.done.send(result);
            }
        }
    }

    fn commit(&mut self, batch: &[Write]) -> Result<Vec<Result<u64, StoreError>>, redb::Error> {
        let transaction = self.database.begin_write()?;
        let results = batch.iter().map(|write| self.apply(&transaction, write)).collect::<Result<Vec<_>, _>>()?;
        transaction.open_table(COUNTERS)?.insert("version", self.version)?;
        transaction.commit()?;
        Ok(results)
    }

    fn apply(&mut self, transaction: &WriteTransaction, write: &Write) -> Result<Result<u64, StoreError>, redb::Error> {
        let now = seconds(SystemTime::now());
        let mut entries = transaction.open_table(ENTRIES)?;
        let (known, size) = match entries.get(write.key.as_slice())? {
            Some(stored) => {
                (decode(stored.value(), now).map(|(version, _)| version), Some(stored.value().len() + write.key.len()))
            }
            None => (None, None),
        };
        let conflict = || {
            let key = write.key.splitn(2, |byte| *byte == 0).nth(1).unwrap_or_default();
            Err(StoreError::Conflict(String::from_utf8_lossy(key).into_owned()))
        };
        let used = self.used.entry(namespace_of(&write.key)).or_default();
        match &write.change {
            Change::Delete => {
                if matches!(write.condition, Condition::Version(_)) && !write.condition.holds(known) {
                    return Ok(conflict());
                }
                if let Some(size) = size {
                    entries.remove(write.key.as_slice())?;
                    used.bytes -= size as u64;
                    used.keys -= 1;
                }
                Ok(Ok(0))
            }
            Change::Put { value, expires } => {
                if !write.condition.holds(known) {
                    return Ok(conflict());
                }
                let after = Use {
                    bytes: used.bytes - size.unwrap_or(0) as u64 + (write.key.len() + HEAD + value.len()) as u64,
                    keys: used.keys + u64::from(size.is_none()),
                };
                if after.bytes > MAX_BYTES {
                    return Ok(Err(StoreError::Limit { what: "the limit of stored bytes", limit: MAX_BYTES }));
                }
                if after.keys > MAX_KEYS {
                    return Ok(Err(StoreError::Limit { what: "the limit of stored keys", limit: MAX_KEYS }));
                }
                *used = after;
                self.version += 1;
                let mut stored = Vec::with_capacity(HEAD + value.len());
                stored.extend_from_slice(&self.version.to_be_bytes());
                stored.extend_from_slice(&expires.to_be_bytes());
                stored.extend_from_slice(value);
                entries.insert(write.key.as_slice(), stored.as_slice())?;
                Ok(Ok(self.version))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALWAYS: Condition = Condition::Always;

    fn open(folder: &tempfile::TempDir) -> Embedded {
        Embedded::open(&folder.path().join("store.redb")).unwrap()
    }

    #[tokio::test]
    async fn what_was_put_survives_and_versions_go_on() {
        let folder = tempfile::tempdir().unwrap();
        let first = {
            let store = open(&folder);
            store.put("p/n", "a".into(), b"1".to_vec(), Condition::Absent, None).await.unwrap()
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
        let second = store.put("p/n", "a".into(), b"2".to_vec(), Condition::Version(first), None).await.unwrap();
        assert!(second > first);
        let stale = store.put("p/n", "a".into(), b"3".to_vec(), Condition::Version(first), None).await;
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
        store.put("one", "k".into(), b"1".to_vec(), ALWAYS, None).await.unwrap();
        store.put("one2", "k".into(), b"2".to_vec(), ALWAYS, None).await.unwrap();
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
            store.put("p", format!("pod/{n}"), vec![n], ALWAYS, None).await.unwrap();
        }
        store.put("p", "other".into(), vec![9], ALWAYS, None).await.unwrap();
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
        store.put("p", "lease".into(), b"a".to_vec(), ALWAYS, Some(past)).await.unwrap();
        assert_eq!(store.get("p", "lease").await.unwrap(), None);
        store.put("p", "lease".into(), b"b".to_vec(), Condition::Absent, None).await.unwrap();
        assert_eq!(store.get("p", "lease").await.unwrap().unwrap().value, b"b");
    }

    #[tokio::test]
    async fn limits_name_themselves_and_nothing_is_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        for n in 0..63 {
            store.put("p", format!("{n}"), vec![0; 1 << 20], ALWAYS, None).await.unwrap();
        }
        let error = store.put("p", "more".into(), vec![0; 1 << 20], ALWAYS, None).await.unwrap_err();
        assert!(error.to_string().contains("stored bytes"), "{error}");
        assert_eq!(store.get("p", "more").await.unwrap(), None);
        // Another namespace is not concerned, and what is freed can be used again.
        store.put("q", "k".into(), vec![0; 1 << 20], ALWAYS, None).await.unwrap();
        store.delete("p", "0".into(), ALWAYS).await.unwrap();
        store.put("p", "more".into(), vec![0; 1 << 20], ALWAYS, None).await.unwrap();
    }

    #[tokio::test]
    async fn writes_at_once_claim_one_thing_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = open(&folder);
        let puts = (0..50).map(|n| {
            let store = store.clone();
            tokio::spawn(async move { store.put("p", "claim".into(), vec![n], Condition::Absent, None).await })
        });
        let mut won = 0;
        for put in puts.collect::<Vec<_>>() {
            won += usize::from(put.await.unwrap().is_ok());
        }
        assert_eq!(won, 1);
    }
}
