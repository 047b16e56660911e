//! Where a backend may send a request on to: nowhere that the guest could not have asked itself.

use std::time::Duration;

use super::{fetch, fetched, get, refused, with_headers};
use crate::bindings::vk::host::http::Body;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants, spooled};

#[tokio::test]
async fn without_leave_to_follow_the_redirect_is_the_answer() {
    let backend = Backend::http(|_| redirect(302, "/next")).await;
    let response = fetched(grants(&["http://127.0.0.1:*"], &[], &[]), get(backend.url("/"))).await.unwrap();
    assert_eq!(response.head.status, 302);
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn a_redirect_is_followed_inside_the_rules() {
    let backend =
        Backend::http(|request| if request.starts_with("GET /next") { ok("there") } else { redirect(302, "/next") })
            .await;
    let mut request = get(backend.url("/"));
    request.redirects = 3;
    let response = fetched(grants(&["http://127.0.0.1:*"], &[], &[]), request).await.unwrap();
    assert_eq!((response.head.url, response.body), (backend.url("/next"), b"there".to_vec()));
}

#[tokio::test]
async fn a_redirect_out_of_the_rules_is_denied() {
    let inside = Backend::http(|_| ok("inside")).await;
    let port = inside.port;
    for to in [
        // Another port, another address, another form of it, another name, another scheme.
        format!("http://127.0.0.1:{port}/"),
        format!("//127.0.0.1:{port}/"),
        format!("http://localhost:{port}/"),
        format!("http://2130706433:{port}/"),
        format!("http://[::1]:{port}/"),
        "http://169.254.169.254/latest/meta-data/".to_owned(),
        "http://[::ffff:169.254.169.254]/latest/meta-data/".to_owned(),
        "https://10.0.0.1/".to_owned(),
        "/outside/the/prefix".to_owned(),
        "/api/..%2foutside".to_owned(),
    ] {
        let location = to.clone();
        let backend = Backend::http(move |_| redirect(307, &location)).await;
        let own = format!("http://127.0.0.1:{}/api", backend.port);
        let mut request = get(backend.url("/api"));
        request.redirects = 5;
        let error = refused(grants(&[&own, "http://*:*", "https://*:*"], &[], &[]), request).await;
        assert_eq!(error.code, "denied", "{to}: {}", error.message);
    }
    for to in ["ftp://127.0.0.1/", "file:///etc/passwd", "http://user:canary@127.0.0.1/"] {
        let backend = Backend::http(move |_| redirect(302, to)).await;
        let mut request = get(backend.url("/"));
        request.redirects = 5;
        let error = refused(grants(&["http://127.0.0.1:*"], &[], &[]), request).await;
        assert_eq!(error.code, "invalid", "{to}");
        assert!(!error.message.contains("canary"), "{}", error.message);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn redirects_end() {
    let backend = Backend::http(|_| redirect(302, "/again")).await;
    let mut request = get(backend.url("/"));
    request.redirects = 255;
    let response = fetched(grants(&["http://127.0.0.1:*"], &[], &[]), request).await.unwrap();
    assert_eq!(response.head.status, 302);
    assert_eq!(backend.seen().len(), 11);
}

#[tokio::test]
async fn the_time_to_the_head_counts_over_all_redirects() {
    let backend = Backend::http(|_| {
        std::thread::sleep(Duration::from_millis(30));
        redirect(302, "/again")
    })
    .await;
    let mut request = get(backend.url("/"));
    request.redirects = 10;
    request.timeout = Some(100_000_000);
    assert_eq!(refused(grants(&["http://127.0.0.1:*"], &[], &[]), request).await.code, "timeout");
}

#[tokio::test]
async fn credentials_stay_with_the_origin_they_were_made_for() {
    let other = Backend::http(|_| ok("")).await;
    let to = other.url("/");
    let backend =
        Backend::http(
            move |request| if request.starts_with("GET /same") { redirect(302, &to) } else { redirect(302, "/same") },
        )
        .await;
    let mut request = with_headers(
        get(backend.url("/")),
        &[
            ("Authorization", "Bearer canary"),
            ("Cookie", "canary"),
            ("X-Registry-Auth", "canary"),
            ("X-Amz-Security-Token", "canary"),
            ("Accept", "text/plain"),
        ],
    );
    request.redirects = 5;
    fetched(grants(&["http://127.0.0.1:*"], &[], &[]), request).await.unwrap();
    assert!(backend.seen()[1].contains("canary"), "the same origin keeps them");
    let seen = other.seen().remove(0);
    assert!(!seen.contains("canary"), "{seen}");
    assert!(seen.contains("accept: text/plain"), "{seen}");
}

#[tokio::test]
async fn the_method_and_body_change_as_the_status_says() {
    let cases = [
        (301, "POST", "GET", false),
        (302, "POST", "GET", false),
        (303, "PUT", "GET", false),
        (303, "HEAD", "HEAD", true),
        (307, "POST", "POST", true),
        (308, "PUT", "PUT", true),
        (302, "PUT", "PUT", true),
    ];
    for (status, method, then, keeps) in cases {
        let backend =
            Backend::http(move |request| if request.contains(" /next ") { ok("") } else { redirect(status, "/next") })
                .await;
        let mut request = with_headers(get(backend.url("/")), &[("content-type", "text/plain")]);
        request.method = method.to_owned();
        request.redirects = 1;
        if method != "HEAD" {
            request.body = Body::Bytes(b"body".to_vec());
        }
        fetched(grants(&["http://127.0.0.1:*"], &[], &[]), request).await.unwrap();
        let seen = backend.seen().pop().unwrap();
        assert!(seen.starts_with(&format!("{then} /next ")), "{status} {method}: {seen}");
        assert_eq!(seen.contains("content-type"), keeps, "{status} {method}: {seen}");
        assert_eq!(seen.ends_with("body"), keeps && method != "HEAD", "{status} {method}: {seen}");
    }
}

#[tokio::test]
async fn a_limited_method_is_asked_again_for_the_next_request() {
    let backend = Backend::http(|_| redirect(303, "/next")).await;
    let rule = format!("POST http://127.0.0.1:{}", backend.port);
    let mut request = get(backend.url("/"));
    request.method = "POST".to_owned();
    request.redirects = 1;
    let error = refused(grants(&[&rule], &[], &[]), request).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("GET"), "{}", error.message);
}

#[tokio::test]
async fn a_stream_that_was_sent_is_not_sent_again() {
    let backend =
        Backend::http(|request| if request.contains(" /next ") { ok("") } else { redirect(307, "/next") }).await;
    let url = backend.url("/");
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*"], &[], &[]));
    let response = guest
        .run(async |accessor| {
            let mut request = get(url);
            request.method = "POST".to_owned();
            request.redirects = 1;
            request.body = Body::Chunks(spooled(accessor, b"once"));
            fetch(accessor, request, 1024).await
        })
        .await
        .unwrap();
    assert_eq!(response.head.status, 307);
    assert_eq!(backend.seen().len(), 1);
}
