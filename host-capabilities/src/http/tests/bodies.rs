//! Bodies in both directions: bounds, ends, and streams that never enter the guest.

use super::{fetch, fetched, get, refused, send};
use crate::Grants;
use crate::bindings::vk::host::http::Body;
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::{Guest, collect, grants, read, spooled, take};

fn loopback() -> Grants {
    grants(&["http://127.0.0.1:*"], &[], &[])
}

#[tokio::test]
async fn a_body_over_the_max_is_refused() {
    let backend = Backend::http(|_| ok(&"x".repeat(1000))).await;
    let mut guest = Guest::new(loopback());
    let url = backend.url("/?token=canary");
    let (fits, over) = guest
        .run(async |accessor| (fetch(accessor, get(&url), 1000).await, fetch(accessor, get(&url), 999).await))
        .await;
    assert_eq!(fits.unwrap().body.len(), 1000);
    let error = over.unwrap_err();
    assert_eq!(error.code, "limit");
    assert!(error.message.contains("999 bytes") && !error.message.contains("canary"), "{}", error.message);
}

#[tokio::test]
async fn a_body_that_is_cut_short_says_so() {
    let short = |_: &str| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\nconnection: close\r\n\r\nshort".to_owned();
    let backend = Backend::http(short).await;
    assert_eq!(refused(loopback(), get(backend.url("/"))).await.code, "closed");
    let mut guest = Guest::new(loopback());
    let (bytes, end) = guest
        .run(async |accessor| {
            let response = send(accessor, get(backend.url("/"))).await.unwrap();
            read(accessor, response.body).await
        })
        .await;
    assert_eq!(bytes, b"short");
    assert_eq!(end.unwrap_err().code, "closed");
}

#[tokio::test]
async fn a_body_that_came_whole_says_so() {
    let chunked =
        |_: &str| "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\n\r\n".to_owned();
    let backend = Backend::http(chunked).await;
    let mut guest = Guest::new(loopback());
    let (bytes, end) = guest
        .run(async |accessor| {
            let response = send(accessor, get(backend.url("/"))).await.unwrap();
            read(accessor, response.body).await
        })
        .await;
    assert_eq!(bytes, b"abcdef");
    end.unwrap();
}

#[tokio::test]
async fn a_body_that_stops_coming_is_a_timeout() {
    let stops = |_: &str| "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort".to_owned();
    let backend = Backend::http(stops).await;
    let mut request = get(backend.url("/"));
    request.idle_timeout = Some(20_000_000);
    assert_eq!(refused(loopback(), request).await.code, "timeout");
}

#[tokio::test]
async fn a_head_that_never_comes_is_a_timeout() {
    let backend = Backend::http(|_| String::new()).await;
    let mut request = get(backend.url("/?token=canary"));
    request.timeout = Some(20_000_000);
    let error = refused(loopback(), request).await;
    assert_eq!(error.code, "timeout");
    assert!(error.message.contains("/") && !error.message.contains("canary"), "{}", error.message);
}

#[tokio::test]
async fn a_backend_that_speaks_no_http_or_none_at_all_is_unavailable() {
    let backend = Backend::http(|_| "SSH-2.0-OpenSSH\r\n\r\n".to_owned()).await;
    assert_eq!(refused(loopback(), get(backend.url("/"))).await.code, "unavailable");
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let error = refused(loopback(), get(format!("http://{gone}/"))).await;
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains(&gone.to_string()), "{}", error.message);
    let unknown = grants(&["http://no-such-host.invalid"], &[], &[]);
    let error = refused(unknown, get("http://no-such-host.invalid/")).await;
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("`no-such-host.invalid` can't be resolved"), "{}", error.message);
}

#[tokio::test]
async fn bytes_are_sent_with_their_length_and_streams_in_chunks() {
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::new(loopback());
    guest
        .run(async |accessor| {
            let mut request = get(backend.url("/bytes"));
            request.method = "POST".to_owned();
            request.body = Body::Bytes(b"hello".to_vec());
            fetch(accessor, request, 0).await.unwrap();
            let mut request = get(backend.url("/stream"));
            request.method = "POST".to_owned();
            request.body = Body::Chunks(spooled(accessor, b"world"));
            fetch(accessor, request, 0).await.unwrap();
        })
        .await;
    let seen = backend.seen();
    assert!(seen[0].contains("content-length: 5\r\n") && seen[0].ends_with("\r\n\r\nhello"), "{}", seen[0]);
    assert!(seen[1].contains("transfer-encoding: chunked") && seen[1].contains("world"), "{}", seen[1]);
}

#[tokio::test]
async fn a_response_handed_back_to_the_host_outlives_its_call() {
    let backend = Backend::http(|_| ok("spliced")).await;
    let mut guest = Guest::new(loopback());
    let mut body = guest
        .run(async |accessor| {
            let response = send(accessor, get(backend.url("/"))).await.unwrap();
            take(accessor, response.body.content)
        })
        .await;
    drop(guest);
    assert_eq!(collect(&mut body).await.unwrap(), b"spliced");
}

#[tokio::test]
async fn connections_are_kept_between_requests_of_one_provider_and_shared_with_no_other() {
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::new(loopback());
    for _ in 0..3 {
        guest.run(async |accessor| fetch(accessor, get(backend.url("/")), 0).await).await.unwrap();
    }
    assert_eq!(backend.connections(), 1);
    fetched(loopback(), get(backend.url("/"))).await.unwrap();
    assert_eq!(backend.connections(), 2);
}
