//! Streams that a guest hands back: the host's own go on without it, its own keep it.

use std::time::Duration;

use futures::StreamExt;
use provider::{Code, Framing};

use crate::lab::{Loading, read, until};

fn whole() -> Vec<u8> {
    "a line of a log\n".repeat(1_000).into_bytes()
}

#[tokio::test]
async fn whoever_made_it_the_reader_gets_all_of_it() {
    let lab = Loading::misbehaving().load().await;
    for kind in ["spliced", "pumped", "ended"] {
        let log = lab.log(kind).await.unwrap();
        assert_eq!(log.output.framing, Framing::Lines);
        let (bytes, end) = read(log).await;
        assert!(bytes == whole(), "{kind}: {} bytes", bytes.len());
        assert_eq!(end, Ok(()), "{kind}");
    }
}

#[tokio::test]
async fn a_stream_of_the_hosts_needs_no_instance() {
    let lab = Loading::misbehaving().limits("sessions=1").load().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        open.push(lab.log("spliced").await.unwrap());
    }
    for log in open {
        assert!(read(log).await.0 == whole());
    }
}

#[tokio::test]
async fn one_that_was_cut_short_says_so() {
    let lab = Loading::misbehaving().load().await;
    let (bytes, end) = read(lab.log("cut").await.unwrap()).await;
    assert!(bytes == whole());
    let error = end.unwrap_err();
    assert_eq!((error.code, error.message.as_str()), (Code::Unavailable, "the backend hung up"));
}

#[tokio::test]
async fn what_the_guest_died_of_is_the_end_of_its_stream() {
    let lab = Loading::misbehaving().limits("cpu=200ms").load().await;
    for (misdeed, code, says) in [
        ("trap", Code::Internal, "logs.open trapped: wasm `unreachable` instruction executed"),
        ("panic", Code::Internal, "these are the words of a panic"),
        ("spin", Code::Limit, "logs.open reached the limit cpu="),
        ("allocate", Code::Limit, "logs.open reached the limit memory=64Mi"),
        ("recurse", Code::Limit, "logs.open reached the end of its stack"),
    ] {
        let (bytes, end) = read(lab.log(misdeed).await.unwrap()).await;
        assert!(bytes == whole(), "{misdeed}: {} bytes", bytes.len());
        let error = end.unwrap_err();
        assert_eq!(error.code, code, "{misdeed}: {error}");
        assert!(error.message.contains(says), "{misdeed}: {error}");
    }
    lab.works().await;
}

#[tokio::test]
async fn a_reader_that_leaves_half_way_frees_the_instance() {
    let lab = Loading::misbehaving().limits("sessions=1,streams=1").load().await;
    for kind in ["endless", "silent", "pumped", "endless"] {
        let mut log = until("the slot", async || lab.log(kind).await.ok()).await;
        if kind != "silent" {
            assert!(!log.output.content.next().await.unwrap().unwrap().is_empty());
        }
    }
}

#[tokio::test]
async fn a_stream_at_its_end_frees_the_instance_though_it_is_held() {
    let lab = Loading::misbehaving().limits("sessions=1").load().await;
    let mut first = lab.log("pumped").await.unwrap();
    while first.output.content.next().await.is_some() {}
    until("the slot", async || lab.log("pumped").await.ok()).await;
}

#[tokio::test]
async fn a_slow_reader_makes_the_guest_wait() {
    let lab = Loading::misbehaving().limits("cpu=200ms").load().await;
    let mut log = lab.log("endless").await.unwrap();
    // Were it not for its reader it would have burned its time by now.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(log.output.content.next().await.unwrap().is_ok());
    lab.works().await;
}

#[tokio::test]
async fn a_stream_may_outlast_what_a_call_may_take() {
    let lab = Loading::misbehaving().limits("wall=200ms").load().await;
    let mut log = lab.log("silent").await.unwrap();
    let waited = tokio::time::timeout(Duration::from_millis(800), log.output.content.next()).await;
    assert!(waited.is_err(), "{waited:?}");
}

#[tokio::test]
async fn much_at_once_comes_in_pieces() {
    let lab = Loading::misbehaving().load().await;
    let mut content = lab.log("huge").await.unwrap().output.content;
    let (mut all, mut largest) = (0, 0);
    while let Some(chunk) = content.next().await {
        let chunk = chunk.unwrap();
        all += chunk.len();
        largest = largest.max(chunk.len());
    }
    assert_eq!(all, 32 << 20);
    assert!(largest <= 64 << 10, "{largest} bytes at once");
}
