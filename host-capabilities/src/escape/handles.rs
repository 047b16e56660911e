//! Handles that a call does not have. A guest that uses one breaks the contract, and its call ends.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use provider::Content;
use wasmtime::component::Resource;

use crate::bindings::vk::host::{blobs, dial, secrets};
use crate::blobs::Blob;
use crate::dial::Connection;
use crate::secrets::Secret;
use crate::testing::guest::{Guest, secrets as granted};
use crate::{Call, CallData, Grants};

struct Text;

#[async_trait]
impl Content for Text {
    fn size(&self) -> Option<u64> {
        None
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    async fn read(&self) -> Result<Bytes, provider::Error> {
        Ok("canary".into())
    }
}

fn blob(guest: &mut Guest) -> Resource<Blob> {
    guest.store.data_mut().push_blob(Blob { content: Arc::new(Text), sensitive: false }).unwrap()
}

async fn secret(guest: &mut Guest) -> Resource<Secret> {
    let opened = guest
        .run(async |accessor| <CallData as secrets::HostWithStore<Call>>::open(accessor, vec!["key".to_owned()]).await)
        .await;
    opened.unwrap().unwrap().remove(0)
}

fn with_secret() -> (tempfile::TempDir, Grants) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, "canary").unwrap();
    (folder, granted(&[format!("key=file:{}:reveal", path.display())]))
}

async fn reads(guest: &mut Guest, rep: u32) -> wasmtime::Result<Vec<u8>> {
    let read = guest.run(async |accessor| {
        <CallData as blobs::HostBlobWithStore<Call>>::read(accessor, Resource::new_borrow(rep), 0, 100).await
    });
    Ok(read.await?.unwrap())
}

fn reveals(guest: &mut Guest, rep: u32) -> wasmtime::Result<Vec<u8>> {
    Ok(secrets::HostSecret::reveal(guest.store.data_mut(), Resource::new_borrow(rep))?.unwrap())
}

#[tokio::test]
async fn numbers_that_were_never_given_out() {
    let mut guest = Guest::new(Grants::default());
    for rep in [0, 1, 2, 7, 1_000, u32::MAX - 1, u32::MAX] {
        assert!(reveals(&mut guest, rep).is_err(), "{rep}");
        assert!(reads(&mut guest, rep).await.is_err(), "{rep}");
        let connection: Resource<Connection> = Resource::new_borrow(rep);
        assert!(dial::HostConnection::protocol(guest.store.data_mut(), connection).is_err(), "{rep}");
        let sign = secrets::HostSecret::sign(
            guest.store.data_mut(),
            Resource::new_borrow(rep),
            "hmac-sha256".to_owned(),
            Vec::new(),
        );
        assert!(sign.is_err(), "{rep}");
    }
}

#[tokio::test]
async fn a_handle_of_another_call_of_the_same_provider() {
    let (_folder, grants) = with_secret();
    let mut one = Guest::new(grants);
    let (first, second) = (secret(&mut one).await, blob(&mut one));
    let mut other = Guest::of(one.capabilities.clone());
    assert!(reveals(&mut other, first.rep()).is_err());
    assert!(reads(&mut other, second.rep()).await.is_err());
    assert_eq!(reveals(&mut one, first.rep()).unwrap(), b"canary");
}

#[tokio::test]
async fn a_handle_of_another_provider() {
    let (_folder, grants) = with_secret();
    let mut victim = Guest::new(grants);
    let handle = secret(&mut victim).await;
    let mut own = Guest::new(Grants::default());
    assert!(reveals(&mut own, handle.rep()).is_err());
}

#[tokio::test]
async fn a_blobs_handle_used_as_a_secret() {
    let mut guest = Guest::new(Grants::default());
    let handle = blob(&mut guest);
    assert!(reveals(&mut guest, handle.rep()).is_err());
    assert!(dial::HostConnection::protocol(guest.store.data_mut(), Resource::new_borrow(handle.rep())).is_err());
}

#[tokio::test]
async fn a_secrets_handle_used_as_a_blob() {
    let (_folder, grants) = with_secret();
    let mut guest = Guest::new(grants);
    let handle = secret(&mut guest).await;
    assert!(reads(&mut guest, handle.rep()).await.is_err());
    let unread = dial::HostConnection::unread(guest.store.data_mut(), Resource::new_borrow(handle.rep()), vec![0]);
    assert!(unread.is_err());
}

#[tokio::test]
async fn a_handle_that_was_dropped() {
    let mut guest = Guest::new(Grants::default());
    let handle = blob(&mut guest);
    let rep = handle.rep();
    blobs::HostBlob::drop(guest.store.data_mut(), handle).unwrap();
    assert!(reads(&mut guest, rep).await.is_err());
    assert!(blobs::HostBlob::drop(guest.store.data_mut(), Resource::new_own(rep)).is_err(), "twice");
}

#[tokio::test]
async fn more_handles_than_a_call_may_have() {
    let mut guest = Guest::new(Grants::default());
    let refused = (0..20_000)
        .find_map(|_| guest.store.data_mut().push_blob(Blob { content: Arc::new(Text), sensitive: false }).err());
    assert!(refused.is_some());
}
