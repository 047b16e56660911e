//! Logs over HTTPS: refusals, streaming, back-pressure, and their ends.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, Stream, StreamExt};
use http::StatusCode;
use http_body_util::BodyExt;
use provider::{ByteStream, Code, Error, Framing, LogOption, LogStreams, Result};
use tokio::sync::mpsc;

use super::client::Protocol;
use super::doubles::{Backend, Fixture, Pods, ended, eventually, log, reference, running};
use crate::ContainerState;

const APP: &str = "/containerLogs/ns/web/app";

/// A provider's stream, fed by hand; whether it was dropped.
pub fn feed() -> (mpsc::Sender<Result<Bytes>>, ByteStream, impl Fn() -> bool) {
    let (sender, receiver) = mpsc::channel(1);
    let dropped = Arc::new(AtomicBool::new(false));
    let content = Fed { receiver, dropped: dropped.clone() };
    (sender, Box::pin(content), move || dropped.load(Ordering::SeqCst))
}

struct Fed {
    receiver: mpsc::Receiver<Result<Bytes>>,
    dropped: Arc<AtomicBool>,
}

impl Stream for Fed {
    type Item = Result<Bytes>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.receiver.poll_recv(context)
    }
}

impl Drop for Fed {
    fn drop(&mut self) {
        self.dropped.store(true, Ordering::SeqCst);
    }
}

/// A provider whose only log is this stream, which it follows.
fn followed(content: ByteStream) -> Backend {
    let content = Mutex::new(Some(content));
    Backend::with_logs(move |_, _| Ok(log(Framing::Raw, &[LogOption::Follow], content.lock().unwrap().take().unwrap())))
}

fn frame(stream: u8, payload: &str) -> Vec<u8> {
    let mut frame = vec![stream, 0, 0, 0];
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload.as_bytes());
    frame
}

#[tokio::test]
async fn a_log_that_can_not_be_is_refused_in_the_kubelets_words() {
    let server = Fixture::start(Backend::with_log_bytes(Framing::Raw, "hello\n")).await;
    let client = server.master();
    for (path, status, text) in [
        ("/containerLogs/ns/none/app", 404, r#"pod "none" does not exist"#),
        ("/containerLogs/other/web/app", 404, r#"pod "web" does not exist"#),
        ("/containerLogs/ns/web/none", 404, r#"container "none" not found in pod "web""#),
        ("/containerLogs/ns/web/new", 400, r#"container "new" in pod "web" is not available"#),
        (
            "/containerLogs/ns/web/app?previous=true",
            400,
            r#"previous terminated container "app" in pod "web" not found"#,
        ),
        (
            "/containerLogs/ns/web/app?tailLines=x",
            400,
            r#"{"message":"Unable to decode query. tailLines: \"x\" is not a whole number of 64 bits"}"#,
        ),
        (
            "/containerLogs/ns/web/app?tailLines=1&stream=Stdout",
            422,
            r#"{"message":"Invalid request. `tailLines` and specific `stream` are mutually exclusive for now"}"#,
        ),
    ] {
        let reply = client.get(path).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (status, text), "{path}");
    }
    server.pods.set_state(ContainerState::Waiting { reason: "ContainerCreating".into() }, None);
    let reply = client.get(APP).await;
    assert_eq!(reply.status, StatusCode::BAD_REQUEST);
    assert_eq!(reply.text, r#"container "app" in pod "web" is waiting to start: ContainerCreating"#);
}

#[tokio::test]
async fn the_provider_is_asked_for_the_run_and_the_options() {
    let server = Fixture::start(Backend::with_logs(|_, options| {
        let applied = [LogOption::Tail, LogOption::Since, LogOption::Timestamps, LogOption::Streams];
        let line = if options.timestamps { "2026-01-01T00:00:00Z hello\n" } else { "hello\n" };
        Ok(log(Framing::Raw, &applied, super::doubles::bytes_once(line.into())))
    }))
    .await;
    server.pods.set_state(running(), Some("engine://before"));
    let client = server.master();
    let query = "previous=true&tailLines=3&timestamps=true&sinceTime=2025-01-01T00:00:00.000000007Z&follow=true";
    let reply = client.get(&format!("{APP}?{query}")).await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, "2026-01-01T00:00:00.000000000Z hello\n"));
    assert_eq!(reply.headers["content-type"], "text/plain");
    assert_eq!(client.get(&format!("{APP}?stream=Stderr")).await.text, "hello\n");
    let asked = server.backend.logs_asked.lock().unwrap();
    let (target, options) = &asked[0];
    assert_eq!(target.pod, reference());
    assert_eq!((target.container.as_str(), target.id.as_str()), ("app", "engine://before"));
    assert!(options.previous && options.timestamps);
    assert!(!options.follow, "a run that has ended is not followed");
    assert_eq!(options.tail, Some(3));
    assert_eq!(options.since.unwrap().to_string(), "2025-01-01T00:00:00.000000007Z");
    assert_eq!((&*asked[1].0.id, asked[1].1.streams), ("engine://now", LogStreams::Stderr));
}

#[tokio::test]
async fn errors_of_the_provider_have_their_status() {
    for (code, status) in [
        (Code::NotFound, 400),
        (Code::Invalid, 400),
        (Code::Throttled, 429),
        (Code::Unavailable, 502),
        (Code::Unsupported, 501),
        (Code::Timeout, 504),
        (Code::Internal, 500),
    ] {
        let server = Fixture::start(Backend::with_logs(move |_, _| Err(Error::new(code, "says the backend")))).await;
        let reply = server.master().get(APP).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (status, "says the backend"), "{code}");
    }
}

#[tokio::test]
async fn what_needs_times_that_there_are_none_of_is_refused() {
    let server = Fixture::start(Backend::with_log_bytes(Framing::Raw, "hello\n")).await;
    for (query, option) in
        [("timestamps=1", "timestamps"), ("sinceSeconds=5", "sinceTime or sinceSeconds"), ("follow=1", "follow")]
    {
        let reply = server.master().get(&format!("{APP}?{query}")).await;
        let expected = format!("the provider does not tell the times of log lines, which {option} needs");
        assert_eq!((reply.status, reply.text), (StatusCode::NOT_IMPLEMENTED, expected), "{query}");
    }
}

#[tokio::test]
async fn streams_are_told_apart_and_bytes_are_counted() {
    let content = [frame(1, "out 1\n"), frame(2, "err 1\n"), frame(1, "out 2\n"), frame(2, "err 2")].concat();
    let server = Fixture::start(Backend::with_log_bytes(Framing::Docker, content)).await;
    let client = server.master();
    for (query, text) in [
        ("", "out 1\nerr 1\nout 2\nerr 2"),
        ("stream=Stdout", "out 1\nout 2\n"),
        ("stream=Stderr", "err 1\nerr 2"),
        ("stream=All&tailLines=2", "out 2\nerr 2"),
        ("tailLines=0", ""),
        ("tailLines=99", "out 1\nerr 1\nout 2\nerr 2"),
        ("limitBytes=8", "out 1\ner"),
        ("limitBytes=8&tailLines=2", "out 2\ner"),
        ("limitBytes=8&stream=Stderr", "err 1\ner"),
        ("limitBytes=1000", "out 1\nerr 1\nout 2\nerr 2"),
    ] {
        let reply = client.get(&format!("{APP}?{query}")).await;
        assert_eq!((reply.status.as_u16(), reply.text.as_str()), (200, text), "{query}");
    }
}

#[tokio::test]
async fn a_log_is_followed_piece_by_piece_until_it_ends() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (sender, content, _) = feed();
        let server = Fixture::start(followed(content)).await;
        let response = server.master().over(protocol).connect().await.open(&format!("{APP}?follow=true")).await;
        assert_eq!(response.status(), StatusCode::OK, "the head comes before the first line");
        let mut body = response.into_body();
        for piece in ["one\n", "tw", "o\n"] {
            sender.send(Ok(piece.into())).await.unwrap();
            let frame = tokio::time::timeout(Duration::from_secs(2), body.frame()).await.expect("flushed at once");
            assert_eq!(frame.unwrap().unwrap().into_data().unwrap(), piece);
        }
        drop(sender);
        assert_eq!(body.collect().await.expect("a good end").to_bytes(), "", "{protocol:?}");
    }
}

#[tokio::test]
async fn a_client_that_goes_takes_the_providers_stream_with_it() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for silent in [true, false] {
            let (sender, content, gone) = feed();
            let server = Fixture::start(followed(content)).await;
            let mut connection = server.master().over(protocol).connect().await;
            let body = connection.open(&format!("{APP}?follow=true")).await.into_body();
            if !silent {
                sender.send(Ok("hello\n".into())).await.unwrap();
            }
            assert!(!gone());
            drop(body);
            drop(connection);
            eventually("the stream is dropped", &gone).await;
        }
    }
}

#[tokio::test]
async fn enough_bytes_end_the_request_and_the_providers_stream() {
    let (sender, content, gone) = feed();
    let server = Fixture::start(followed(content)).await;
    let mut connection = server.master().connect().await;
    let body = connection.open(&format!("{APP}?follow=true&limitBytes=5")).await.into_body();
    sender.send(Ok("hel".into())).await.unwrap();
    sender.send(Ok("lo world".into())).await.unwrap();
    assert_eq!(body.collect().await.unwrap().to_bytes(), "hello");
    assert!(gone());
}

#[tokio::test]
async fn a_slow_client_slows_the_provider_down() {
    const PIECE: usize = 64 * 1024;
    const PIECES: usize = 1600;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let taken = Arc::new(AtomicUsize::new(0));
        let content = {
            let taken = taken.clone();
            stream::iter(0..PIECES).map(move |_| {
                taken.fetch_add(1, Ordering::SeqCst);
                Ok(Bytes::from(vec![b'x'; PIECE]))
            })
        };
        let server = Fixture::start(followed(content.boxed())).await;
        let mut connection = server.master().over(protocol).connect().await;
        let mut body = connection.open(APP).await.into_body();
        body.frame().await.unwrap().unwrap();
        tokio::time::sleep(Duration::from_millis(500)).await;
        let ahead = taken.load(Ordering::SeqCst) * PIECE;
        assert!(
            ahead < 16 << 20,
            "{protocol:?}: {ahead} bytes were read of which the client took no more than a piece"
        );
        let rest = body.collect().await.unwrap().to_bytes();
        assert!(rest.len() > PIECE * (PIECES - 20), "{protocol:?}: all of it comes in the end");
        assert_eq!(taken.load(Ordering::SeqCst), PIECES);
    }
}

#[tokio::test]
async fn a_log_that_breaks_is_cut_off_and_not_ended() {
    let garbage = [frame(1, "good\n"), b"garbage that is no frame".to_vec()].concat();
    let lost = || stream::iter([Ok(Bytes::from("good\n")), Err(Error::new(Code::Closed, "the engine went away"))]);
    for backend in [
        Backend::with_log_bytes(Framing::Docker, garbage),
        Backend::with_logs(move |_, _| Ok(log(Framing::Raw, &[], lost().boxed()))),
    ] {
        let server = Fixture::start(backend).await;
        for protocol in [Protocol::Http1, Protocol::Http2] {
            let mut connection = server.master().over(protocol).connect().await;
            let mut body = connection.open(APP).await.into_body();
            let first = body.frame().await.unwrap().unwrap().into_data().unwrap();
            assert_eq!(first, "good\n", "{protocol:?}: what was good is shown");
            assert!(body.collect().await.is_err(), "{protocol:?}: the client can tell that this is not all");
        }
    }
}

#[tokio::test]
async fn a_framing_that_is_none_for_logs_is_an_error() {
    let server = Fixture::start(Backend::with_log_bytes(Framing::Zip, "PK")).await;
    let reply = server.master().get(APP).await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.text, "the provider's log is framed as Zip, which is no framing for logs");
}

#[tokio::test]
async fn a_log_too_many_is_told_so() {
    let backend = Backend::with_logs(|_, _| Ok(log(Framing::Raw, &[LogOption::Follow], stream::pending().boxed())));
    let server = Fixture::configured(backend, Pods::running(), |config| config.limits.log_streams = 1).await;
    let client = server.master().over(Protocol::Http2);
    let mut connection = client.connect().await;
    let body = connection.open(&format!("{APP}?follow=true")).await.into_body();
    let reply = connection.get(APP).await;
    assert_eq!(reply.status, StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(reply.text, "1 logs are being read already, which is the most at a time");
    assert_eq!(connection.get("/healthz").await.status, StatusCode::OK, "all else is served");
    drop(body);
    let mut again = StatusCode::TOO_MANY_REQUESTS;
    for _ in 0..100 {
        again = connection.open(&format!("{APP}?follow=true")).await.status();
        if again == StatusCode::OK {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(again, StatusCode::OK, "there is room again");
}

#[tokio::test]
async fn a_stream_that_outlives_its_container_is_ended() {
    let (sender, content, gone) = feed();
    let server = Fixture::start(followed(content)).await;
    let mut connection = server.master().connect().await;
    let body = connection.open(&format!("{APP}?follow=true")).await.into_body();
    sender.send(Ok("last words\n".into())).await.unwrap();
    server.pods.set_state(ended(), None);
    assert_eq!(body.collect().await.unwrap().to_bytes(), "last words\n");
    assert!(gone());
}
