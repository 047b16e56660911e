//! Contents as a guest reads them, and what it may give the host to hold.

use async_trait::async_trait;

use super::*;
use crate::Grants;
use crate::bindings::vk::host::blobs::{HostBlob, HostBlobWithStore, HostWithStore};
use crate::testing::guest::{Guest, read, spooled, take};

/// Bytes, or a failure to get them.
struct Bytewise(Result<Bytes, provider::Error>);

#[async_trait]
impl Content for Bytewise {
    fn size(&self) -> Option<u64> {
        self.0.as_ref().ok().map(|bytes| bytes.len() as u64)
    }

    fn version(&self) -> String {
        "v1".to_owned()
    }

    async fn read(&self) -> Result<Bytes, provider::Error> {
        self.0.clone()
    }
}

fn blob(guest: &mut Guest, content: Result<Bytes, provider::Error>) -> Resource<Blob> {
    guest.store.data_mut().push_blob(Blob { content: Arc::new(Bytewise(content)), sensitive: false }).unwrap()
}

fn borrow(blob: &Resource<Blob>) -> Resource<Blob> {
    Resource::new_borrow(blob.rep())
}

#[tokio::test]
async fn a_content_is_read_piece_by_piece_to_its_end() {
    let mut guest = Guest::new(Grants::default());
    let own = blob(&mut guest, Ok(Bytes::from_static(b"0123456789")));
    let call = guest.store.data_mut();
    assert_eq!((call.size(borrow(&own)).unwrap(), call.version(borrow(&own)).unwrap()), (Some(10), "v1".to_owned()));
    assert_eq!(call.placeholder(borrow(&own), "plain".to_owned()).unwrap().unwrap_err().code, "unsupported");
    guest
        .run(async |accessor| {
            for (offset, max, bytes) in
                [(0, 4, "0123"), (4, 100, "456789"), (10, 1, ""), (11, 1, ""), (u64::MAX, u32::MAX, ""), (3, 0, "")]
            {
                let read = <CallData as HostBlobWithStore<_>>::read(accessor, borrow(&own), offset, max).await;
                assert_eq!(read.unwrap().unwrap(), bytes.as_bytes(), "{offset} {max}");
            }
        })
        .await;
}

#[tokio::test]
async fn one_read_returns_no_more_than_its_bound() {
    let mut guest = Guest::new(Grants::default());
    let own = blob(&mut guest, Ok(Bytes::from(vec![7; MAX_READ as usize + 1])));
    let bytes =
        guest.run(async |accessor| <CallData as HostBlobWithStore<_>>::read(accessor, own, 0, u32::MAX).await).await;
    assert_eq!(bytes.unwrap().unwrap().len(), MAX_READ as usize);
}

#[tokio::test]
async fn a_content_that_is_gone_is_an_error_and_no_short_content() {
    let mut guest = Guest::new(Grants::default());
    let own = blob(&mut guest, Err(provider::Error::new(Code::NotFound, "the ConfigMap `web` is gone")));
    guest
        .run(async |accessor| {
            let read_at = <CallData as HostBlobWithStore<_>>::read(accessor, borrow(&own), 0, 10).await.unwrap();
            assert_eq!(read_at.unwrap_err().code, "not-found");
            let source = accessor
                .with(|access| <CallData as HostBlobWithStore<_>>::chunks(access, borrow(&own)))
                .unwrap()
                .unwrap();
            let (bytes, end) = read(accessor, source).await;
            assert!(bytes.is_empty());
            assert_eq!(end.unwrap_err().code, "not-found");
        })
        .await;
}

#[tokio::test]
async fn a_stream_of_the_hosts_is_read_by_the_guest_or_taken_back_whole() {
    let mut guest = Guest::new(Grants::default());
    let content = Bytes::from((0..200_000_u32).map(|n| n as u8).collect::<Vec<_>>());
    let own = blob(&mut guest, Ok(content.clone()));
    let mut rest = guest
        .run(async |accessor| {
            let chunks = || accessor.with(|access| <CallData as HostBlobWithStore<_>>::chunks(access, borrow(&own)));
            let (bytes, end) = read(accessor, chunks().unwrap().unwrap()).await;
            assert_eq!(bytes, content);
            end.unwrap();
            take(accessor, chunks().unwrap().unwrap().content)
        })
        .await;
    drop(guest);
    assert_eq!(crate::testing::guest::collect(&mut rest).await.unwrap(), content);
}

#[tokio::test]
async fn what_a_call_spools_is_bounded_in_sum() {
    let mut guest = Guest::new(Grants::default());
    guest
        .run(async |accessor| {
            spooled(accessor, &vec![0; MAX_SPOOL - 1]);
            let mut kept = take(accessor, spooled(accessor, b"x"));
            let over = accessor.with(|access| <CallData as HostWithStore<_>>::spool(access, b"y".to_vec())).unwrap();
            let error = over.err().unwrap();
            assert_eq!(error.code, "limit");
            assert!(error.message.contains("blobs.spool") && error.message.contains("16777216"), "{}", error.message);
            assert_eq!(crate::testing::guest::collect(&mut kept).await.unwrap(), b"x");
        })
        .await;
}

#[tokio::test]
async fn the_number_of_handles_is_bounded() {
    let mut guest = Guest::new(Grants::default());
    let content: Arc<dyn Content> = Arc::new(Bytewise(Ok(Bytes::new())));
    let call = guest.store.data_mut();
    let pushed = (0..20_000).map_while(|_| call.push_blob(Blob { content: content.clone(), sensitive: false }).ok());
    assert_eq!(pushed.count(), 10_000);
}
