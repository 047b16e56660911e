//! The store in a file beside the runtime (redb).
//!
//! One thread writes: it takes what waits, commits it as one transaction with one sync, and answers ([`MAX_BATCH`]
//! bounds how much). Under load a sync is thus shared by many writes; alone, a write costs one. A provider that writes more
//! than others lets them go first (`turns`). Reads go beside it and see what was committed. What waits is bounded by the
//! calls and tasks of the providers, each of which waits for its own. The file is locked: a second process is refused. What has expired is not read, and gives its
//! room back when the file is opened or when its namespace is full.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use async_trait::async_trait;
use redb::{Database, ReadableDatabase, ReadableTable, Table, TableDefinition, WriteTransaction};
use tokio::sync::oneshot;

use super::turns::{self, Turn, Turns};
use super::{Condition, Entry, Extent, Store, StoreError, check};
use crate::quota::Limit;

/// `NAMESPACE\0KEY` → version (8 bytes), expiry (8 bytes, seconds since 1970, 0: never), value.
const ENTRIES: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("entries");
/// `version` → the last one given out.
const COUNTERS: TableDefinition<'_, &str, u64> = TableDefinition::new("counters");

const HEAD: usize = 16;
const MAX_BATCH: usize = 1_024;
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
    /// What each namespace holds, as of the last commit.
    extents: Arc<Mutex<HashMap<Vec<u8>, Use>>>,
}

struct Write {
    key: Vec<u8>,
    change: Change,
    condition: Condition,
    done: oneshot::Sender<Result<u64, StoreError>>,
}

enum Change {
    Put { value: Vec<u8>, expires: u64, most: Extent },
    Delete,
}

impl Write {
    const fn bytes(&self) -> usize {
        match &self.change {
            Change::Put { value, .. } => self.key.len() + value.len(),
            Change::Delete => self.key.len(),
        }
    }
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

/// When a stored entry is gone; the end of time if never.
fn expiry_of(stored: &[u8]) -> u64 {
    let bytes = stored.get(8..HEAD).and_then(|expires| expires.first_chunk());
    bytes.map(|bytes| u64::from_be_bytes(*bytes)).filter(|expires| *expires > 0).unwrap_or(u64::MAX)
}

/// Version and value of a stored entry that has not expired.
fn decode(stored: &[u8], now: u64) -> Option<(u64, &[u8])> {
    let (head, value) = stored.split_at_checked(HEAD)?;
    let version = u64::from_be_bytes(head.get(..8)?.try_into().ok()?);
    (expiry_of(stored) > now).then_some((version, value))
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
        let extents = writer.extents.clone();
        let (writes, queue) = mpsc::channel();
        std::thread::Builder::new()
            .name("store".to_owned())
            .spawn(move || writer.run(&queue))
            .map_err(|error| fail(error.to_string()))?;
        Ok(Self { database, writes, extents })
    }

    async fn write(&self, key: Vec<u8>, change: Change, condition: Condition) -> Result<u64, StoreError> {
        let (done, answer) = oneshot::channel();
        let gone = || StoreError::Failed("the writer has ended".to_owned());
        self.writes.send(Write { key, change, condition, done }).map_err(|_| gone())?;
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
        most: Extent,
    ) -> Result<u64, StoreError> {
        check(&key, &value)?;
        // A time to live of less than a second still lives.
        let expires = expires.map_or(0, |at| seconds(at + Duration::from_millis(999)).max(1));
        self.write(full_key(namespace, &key), Change::Put { value, expires, most }, condition).await
    }

    async fn delete(&self, namespace: &str, key: String, condition: Condition) -> Result<(), StoreError> {
        self.write(full_key(namespace, &key), Change::Delete, condition).await.map(|_| ())
    }

    async fn extent(&self, namespace: &str) -> Result<Extent, StoreError> {
        let extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        let used = extents.get(namespace.as_bytes()).copied().unwrap_or_default();
        Ok(Extent { bytes: used.bytes, keys: used.keys })
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

#[derive(Clone, Copy)]
struct Use {
    bytes: u64,
    keys: u64,
    /// When the first of its entries expires, or earlier, seconds since 1970: before that no room can be won.
    expires: u64,
}

impl Default for Use {
    fn default() -> Self {
        Self { bytes: 0, keys: 0, expires: u64::MAX }
    }
}

impl Use {
    fn add(&mut self, key: &[u8], stored: &[u8]) {
        self.bytes += (key.len() + stored.len()) as u64;
        self.keys += 1;
        self.expires = self.expires.min(expiry_of(stored));
    }
}

/// The one thread that writes, and what it must know for that.
struct Writer {
    database: Arc<Database>,
    version: u64,
    used: HashMap<Vec<u8>, Use>,
    extents: Arc<Mutex<HashMap<Vec<u8>, Use>>>,
}

fn namespace_of(key: &[u8]) -> Vec<u8> {
    key.split(|byte| *byte == 0).next().unwrap_or_default().to_vec()
}

/// The provider that a namespace belongs to; see [`super::namespace`].
fn provider_of(key: &[u8]) -> &[u8] {
    key.split(|byte| matches!(byte, b'/' | 0)).next().unwrap_or_default()
}

/// Whose writes these are.
fn providers(waiting: &[Write]) -> Vec<Box<[u8]>> {
    let mut names: Vec<Box<[u8]>> = Vec::new();
    for write in waiting {
        let own = provider_of(&write.key);
        if !names.iter().any(|known| **known == *own) {
            names.push(own.into());
        }
    }
    names
}

/// The writes of these providers that go now, so many bytes of each and one write more at most; and those that stay. Those of
/// one provider keep their order.
fn batch_of(whose: &[Box<[u8]>], most_bytes: usize, waiting: Vec<Write>) -> (Vec<Write>, Vec<Write>) {
    let mut left: HashMap<Box<[u8]>, usize> = whose.iter().map(|own| (own.clone(), most_bytes)).collect();
    waiting.into_iter().partition(|write| match left.get_mut(provider_of(&write.key)) {
        None | Some(0) => false,
        Some(left) => {
            *left = left.saturating_sub(write.bytes());
            true
        }
    })
}

/// Takes what has come, once there is something or this time is over; false: nobody writes any more.
fn waiting_now(queue: &mpsc::Receiver<Write>, waiting: &mut Vec<Write>, longest: Option<Duration>) -> bool {
    let first = match longest {
        None => queue.recv().map_err(|_| RecvTimeoutError::Disconnected),
        Some(longest) => queue.recv_timeout(longest),
    };
    match first {
        Ok(first) => waiting.push(first),
        Err(RecvTimeoutError::Timeout) => return true,
        Err(RecvTimeoutError::Disconnected) => return false,
    }
    waiting.extend(queue.try_iter().take(MAX_BATCH.saturating_sub(waiting.len())));
    true
}

/// Drops what has expired in a namespace, and counts what is left.
fn purge(entries: &mut Table<'_, &[u8], &[u8]>, namespace: &[u8], now: u64) -> Result<Use, redb::StorageError> {
    let from = [namespace, b"\0"].concat();
    let to = [namespace, b"\x01"].concat();
    entries.retain_in(from.as_slice()..to.as_slice(), |_, stored| expiry_of(stored) > now)?;
    let mut left = Use::default();
    for stored in entries.range(from.as_slice()..to.as_slice())? {
        let (key, stored) = stored?;
        left.add(key.value(), stored.value());
    }
    Ok(left)
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
                used.entry(namespace_of(key.value())).or_default().add(key.value(), stored.value());
            }
            version = transaction.open_table(COUNTERS)?.get("version")?.map_or(0, |stored| stored.value());
        }
        transaction.commit()?;
        let extents = Arc::new(Mutex::new(used.clone()));
        Ok(Self { database: database.clone(), version, used, extents })
    }

    fn run(&mut self, queue: &mpsc::Receiver<Write>) {
        let (mut turns, mut waiting) = (Turns::default(), Vec::new());
        while waiting_now(queue, &mut waiting, None) {
            while !waiting.is_empty() {
                match turns.next(providers(&waiting), Instant::now()) {
                    Turn::Wait(longest) => {
                        if !waiting_now(queue, &mut waiting, Some(longest)) {
                            return;
                        }
                    }
                    Turn::Write(whose) => {
                        let batch;
                        (batch, waiting) = batch_of(&whose, turns.most_bytes(), waiting);
                        self.write(batch, &mut turns);
                        waiting.extend(queue.try_iter().take(MAX_BATCH.saturating_sub(waiting.len())));
                    }
                }
            }
        }
    }

    fn write(&mut self, batch: Vec<Write>, turns: &mut Turns) {
        let before = (self.version, self.used.clone());
        let began = Instant::now();
        let results = self.commit(&batch);
        let (now, took) = (Instant::now(), began.elapsed());
        for write in &batch {
            turns.wrote(provider_of(&write.key), turns::cost(write.bytes()), took, now);
        }
        if results.is_err() {
            (self.version, self.used) = before;
        }
        self.tell(&batch);
        let results = results.unwrap_or_else(|error| vec![Err(failed(&error)); batch.len()]);
        for (write, result) in batch.into_iter().zip(results) {
            // Who asked may have gone.
            let _ = write.done.send(result);
        }
    }

    /// Shows what the namespaces of these writes hold now.
    fn tell(&self, batch: &[Write]) {
        let mut extents = self.extents.lock().unwrap_or_else(PoisonError::into_inner);
        for write in batch {
            let namespace = namespace_of(&write.key);
            if let Some(used) = self.used.get(&namespace) {
                extents.insert(namespace, *used);
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
        let namespace = namespace_of(&write.key);
        let used = self.used.entry(namespace.clone()).or_default();
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
            Change::Put { value, expires, most } => {
                if !write.condition.holds(known) {
                    return Ok(conflict());
                }
                let mut stored = Vec::with_capacity(HEAD + value.len());
                stored.extend_from_slice(&(self.version + 1).to_be_bytes());
                stored.extend_from_slice(&expires.to_be_bytes());
                stored.extend_from_slice(value);
                let after = |used: &Use, size: Option<usize>| {
                    let mut after = *used;
                    if let Some(size) = size {
                        after.bytes -= size as u64;
                        after.keys -= 1;
                    }
                    after.add(&write.key, &stored);
                    after
                };
                let mut then = after(used, size);
                if (then.bytes > most.bytes || then.keys > most.keys) && used.expires <= now {
                    *used = purge(&mut entries, &namespace, now)?;
                    then = after(used, known.and(size));
                }
                // What does not grow is let in where a bound was lowered: it may be the way out.
                if then.bytes > most.bytes && then.bytes > used.bytes {
                    return Ok(Err(StoreError::Limit { limit: Limit::StoreBytes, most: most.bytes }));
                }
                if then.keys > most.keys && then.keys > used.keys {
                    return Ok(Err(StoreError::Limit { limit: Limit::StoreKeys, most: most.keys }));
                }
                *used = then;
                self.version += 1;
                entries.insert(write.key.as_slice(), stored.as_slice())?;
                Ok(Ok(self.version))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(namespace: &str, key: &str, bytes: usize) -> Write {
        let change = Change::Put { value: vec![0; bytes], expires: 0, most: Extent { bytes: 0, keys: 0 } };
        Write { key: full_key(namespace, key), change, condition: Condition::Always, done: oneshot::channel().0 }
    }

    fn keys(writes: &[Write]) -> Vec<&[u8]> {
        writes.iter().filter_map(|write| write.key.splitn(2, |byte| *byte == 0).nth(1)).collect()
    }

    #[test]
    fn a_commit_holds_so_much_of_each_provider_and_leaves_the_rest_in_its_order() {
        let waiting =
            vec![write("bulk/a", "1", 60), write("bulk/b", "2", 60), write("bulk/a", "3", 1), write("few", "4", 1)];
        let (batch, left) = batch_of(&[b"bulk".as_slice().into(), b"few".as_slice().into()], 100, waiting);
        assert_eq!((keys(&batch), keys(&left)), (vec![b"1".as_slice(), b"2", b"4"], vec![b"3".as_slice()]));
        let (batch, left) = batch_of(&[b"few".as_slice().into()], usize::MAX, left);
        assert_eq!((batch.len(), keys(&left)), (0, vec![b"3".as_slice()]), "not its turn");
        let (batch, left) = batch_of(&[b"bulk".as_slice().into()], usize::MAX, left);
        assert_eq!((keys(&batch), left.len()), (vec![b"3".as_slice()], 0));
    }
}
