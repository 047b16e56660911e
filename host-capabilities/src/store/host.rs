//! `store` and `cache` as a guest sees them.

use std::sync::Arc;
use std::time::Duration;

use wasmtime::component::Accessor;

use super::{Condition, Entry, Extent, StoreError, expiry};
use crate::audit::{Used, key_prefix};
use crate::bindings::vk::host::{cache, store};
use crate::call::task;
use crate::error::Error;
use crate::log::Logger;
use crate::quota::Limit;
use crate::{Call, CallData, Capabilities};

/// Most entries of one scan.
const MAX_SCAN: u32 = 10_000;

impl From<store::Condition> for Condition {
    fn from(condition: store::Condition) -> Self {
        match condition {
            store::Condition::Always => Self::Always,
            store::Condition::Absent => Self::Absent,
            store::Condition::Version(version) => Self::Version(version),
        }
    }
}

impl From<Entry> for store::Entry {
    fn from(entry: Entry) -> Self {
        Self { key: entry.key, value: entry.value, version: entry.version }
    }
}

impl Capabilities {
    /// Brings what is known of the store's use up to date.
    pub(crate) async fn measure_store(&self) {
        if let Ok(extent) = self.store.extent(&self.namespace).await {
            self.quotas.store_bytes.set_used(extent.bytes);
            self.quotas.store_keys.set_used(extent.keys);
        }
    }

    async fn put(
        &self,
        key: String,
        value: Vec<u8>,
        condition: Condition,
        time_to_live: Option<u64>,
    ) -> Result<u64, Error> {
        let quotas = &self.quotas;
        let size = (key.len() + value.len()) as u64;
        // A write waits for the disk, and many may wait at once.
        let _held = quotas.held_bytes.take(size).map_err(|reached| reached.of("store"))?;
        let _turn = quotas.write(value.len()).await;
        let most = Extent { bytes: quotas.store_bytes.maximum(), keys: quotas.store_keys.maximum() };
        let put = self.store.put(&self.namespace, key, value, condition, expiry(time_to_live), most).await;
        match &put {
            Ok(_) => {
                quotas.store_bytes.count(size);
                quotas.store_keys.count(1);
                self.measure_store().await;
            }
            Err(StoreError::Limit { limit: Limit::StoreKeys, .. }) => drop(quotas.store_keys.refuse()),
            Err(StoreError::Limit { .. }) => drop(quotas.store_bytes.refuse()),
            Err(_) => {}
        }
        Ok(put?)
    }
}

impl store::Host for Call {}

/// What a call of the store stands on.
fn own<T: Send>(accessor: &Accessor<T, CallData>) -> (Arc<Capabilities>, Logger) {
    accessor.with(|mut access| {
        let call = access.get();
        (call.capabilities.clone(), call.logger.clone())
    })
}

impl<T: Send> store::HostWithStore<T> for CallData {
    async fn get(accessor: &Accessor<T, Self>, key: String) -> wasmtime::Result<Result<Option<store::Entry>, Error>> {
        let _task = task(accessor)?;
        let (own, logger) = own(accessor);
        let got: Result<Option<Entry>, Error> = own.store.get(&own.namespace, &key).await.map_err(Into::into);
        logger.used(got.as_ref().err(), || Used {
            bytes_in: got.as_ref().ok().map(|entry| entry.as_ref().map_or(0, |entry| entry.value.len() as u64)),
            ..Used::new("store", "get", key_prefix(&key))
        });
        Ok(got.map(|entry| entry.map(Into::into)))
    }

    async fn put(
        accessor: &Accessor<T, Self>,
        key: String,
        value: Vec<u8>,
        condition: store::Condition,
        time_to_live: Option<u64>,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let _task = task(accessor)?;
        let (own, logger) = own(accessor);
        let (about, size) = (key_prefix(&key), value.len() as u64);
        let put = own.put(key, value, condition.into(), time_to_live).await;
        logger.used(put.as_ref().err(), || Used { bytes_out: Some(size), ..Used::new("store", "put", about) });
        Ok(put)
    }

    async fn delete(
        accessor: &Accessor<T, Self>,
        key: String,
        condition: store::Condition,
    ) -> wasmtime::Result<Result<(), Error>> {
        let _task = task(accessor)?;
        let (own, logger) = own(accessor);
        let about = key_prefix(&key);
        let _turn = own.quotas.write(0).await;
        let deleted: Result<(), Error> =
            own.store.delete(&own.namespace, key, condition.into()).await.map_err(Into::into);
        logger.used(deleted.as_ref().err(), || Used::new("store", "delete", about));
        Ok(deleted)
    }

    async fn scan(
        accessor: &Accessor<T, Self>,
        prefix: String,
        after: String,
        max: u32,
    ) -> wasmtime::Result<Result<Vec<store::Entry>, Error>> {
        let _task = task(accessor)?;
        let (own, logger) = own(accessor);
        let found = own.store.scan(&own.namespace, &prefix, &after, max.min(MAX_SCAN) as usize).await;
        let found: Result<Vec<Entry>, Error> = found.map_err(Into::into);
        logger.used(found.as_ref().err(), || Used {
            bytes_in: found.as_ref().ok().map(|found| found.iter().map(|entry| entry.value.len() as u64).sum()),
            ..Used::new("store", "scan", key_prefix(&prefix))
        });
        Ok(found.map(|entries| entries.into_iter().map(Into::into).collect()))
    }
}

impl cache::Host for Call {
    fn get(&mut self, key: String) -> wasmtime::Result<Option<store::Entry>> {
        self.logger.used(None, || Used::new("cache", "get", key_prefix(&key)));
        Ok(self.capabilities.cache.get(&key).map(Into::into))
    }

    fn put(
        &mut self,
        key: String,
        value: Vec<u8>,
        condition: store::Condition,
        time_to_live: u64,
    ) -> wasmtime::Result<Result<u64, Error>> {
        let (about, size) = (key_prefix(&key), value.len() as u64);
        let put = self.capabilities.cache.put(key, value, condition.into(), Duration::from_nanos(time_to_live));
        let put: Result<u64, Error> = put.map_err(Into::into);
        self.logger.used(put.as_ref().err(), || Used { bytes_out: Some(size), ..Used::new("cache", "put", about) });
        Ok(put)
    }

    fn delete(&mut self, key: String, condition: store::Condition) -> wasmtime::Result<Result<(), Error>> {
        let deleted: Result<(), Error> = self.capabilities.cache.delete(&key, condition.into()).map_err(Into::into);
        self.logger.used(deleted.as_ref().err(), || Used::new("cache", "delete", key_prefix(&key)));
        Ok(deleted)
    }
}
