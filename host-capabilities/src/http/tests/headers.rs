//! What a guest may say in a request's head, and what arrives of it.

use super::{fetched, get, refused, with_headers};
use crate::Grants;
use crate::bindings::vk::host::http::Body;
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::grants;

fn loopback() -> Grants {
    grants(&["http://127.0.0.1:*"], &[], &[])
}

#[tokio::test]
async fn headers_of_the_connection_are_the_hosts_to_set() {
    let backend = Backend::http(|_| ok("")).await;
    for (name, value) in [
        ("Host", "metadata.internal"),
        ("HOST", "metadata.internal"),
        ("Content-Length", "0"),
        ("Transfer-Encoding", "chunked"),
        ("transfer-encoding", "identity"),
        ("Connection", "x-secret"),
        ("Keep-Alive", "1"),
        ("Proxy-Connection", "keep-alive"),
        ("Proxy-Authorization", "Basic x"),
        ("TE", "trailers"),
        ("Trailer", "x"),
        ("Upgrade", "websocket"),
        ("HTTP2-Settings", "x"),
        ("Expect", "100-continue"),
    ] {
        let error = refused(loopback(), with_headers(get(backend.url("/")), &[(name, value)])).await;
        assert_eq!(error.code, "invalid", "{name}");
        assert!(error.message.contains(&format!("`{name}`")), "{}", error.message);
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn no_header_can_end_its_line() {
    let backend = Backend::http(|_| ok("")).await;
    for (name, value) in [
        ("x-a", "b\r\nhost: evil"),
        ("x-a", "b\nhost: evil"),
        ("x-a", "b\rc"),
        ("x-a", "b\0"),
        ("x-a\r\nhost", "evil"),
        ("x-a: b\r\nhost", "evil"),
        (":authority", "evil"),
        ("x a", "b"),
        ("", "b"),
    ] {
        let error = refused(loopback(), with_headers(get(backend.url("/")), &[(name, value)])).await;
        assert_eq!(error.code, "invalid", "{name:?}: {value:?}");
        assert!(!error.message.contains(['\r', '\n', '\0']), "{:?}", error.message);
        assert!(!error.message.contains("evil"), "a value is nobody's to read: {}", error.message);
    }
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn the_size_and_number_of_headers_is_bounded() {
    let backend = Backend::http(|_| ok("")).await;
    let mut many = get(backend.url("/"));
    many.headers = (0..40_000).map(|_| ("a".to_owned(), String::new())).collect();
    let mut large = get(backend.url("/"));
    large.headers = vec![("x-a".to_owned(), "v".repeat(300 * 1024))];
    for request in [many, large] {
        let error = refused(loopback(), request).await;
        assert_eq!(error.code, "limit");
        assert!(error.message.contains("the limit is 262144"), "{}", error.message);
    }
}

#[tokio::test]
async fn a_request_arrives_as_it_was_written() {
    let backend = Backend::http(|_| ok("")).await;
    let url = backend.url("/a%2Fb;c=1/d~e!$&'()*+,=:@?q='1'&r=%7B%22a%22%3A1%7D&s=a+b%20c/?&empty=#fragment");
    let request = with_headers(get(url), &[("X-One", "1"), ("x-one", "2"), ("Authorization", "Bearer t")]);
    fetched(loopback(), request).await.unwrap();
    let seen = backend.seen().remove(0);
    let head: Vec<&str> = seen.split("\r\n").collect();
    assert_eq!(head[0], "GET /a%2Fb;c=1/d~e!$&'()*+,=:@?q='1'&r=%7B%22a%22%3A1%7D&s=a+b%20c/?&empty= HTTP/1.1");
    for line in ["x-one: 1", "x-one: 2", "authorization: Bearer t", &format!("host: 127.0.0.1:{}", backend.port)] {
        assert!(head.contains(&line), "{line}: {seen}");
    }
    let url = backend.url("?only=query");
    fetched(loopback(), get(url)).await.unwrap();
    assert!(backend.seen()[1].starts_with("GET /?only=query HTTP/1.1\r\n"), "{:?}", backend.seen());
}

#[tokio::test]
async fn methods_that_usually_have_a_body_say_when_they_have_none() {
    let backend = Backend::http(|_| ok("")).await;
    for (method, body, says) in [
        ("POST", Body::None, true),
        ("PUT", Body::None, true),
        ("PATCH", Body::Bytes(Vec::new()), true),
        ("GET", Body::None, false),
        ("DELETE", Body::None, false),
    ] {
        let mut request = get(backend.url("/"));
        request.method = method.to_owned();
        request.body = body;
        fetched(loopback(), request).await.unwrap();
        let seen = backend.seen().pop().unwrap();
        assert_eq!(seen.contains("content-length: 0\r\n"), says, "{seen}");
    }
}

#[tokio::test]
async fn the_responses_head_comes_whole() {
    let backend = Backend::http(|_| {
        "HTTP/1.1 418 Teapot\r\nX-Odd: caf\u{e9}\r\nSet-Cookie: a\r\nSet-Cookie: b\r\ncontent-length: 0\r\n\r\n"
            .to_owned()
    })
    .await;
    let head = fetched(loopback(), get(backend.url("/x"))).await.unwrap().head;
    assert_eq!((head.status, head.url), (418, backend.url("/x")));
    let cookies: Vec<_> = head.headers.iter().filter(|(name, _)| name == "set-cookie").collect();
    assert_eq!(cookies.len(), 2);
    assert!(head.headers.contains(&("x-odd".to_owned(), "caf\u{e9}".to_owned())), "{:?}", head.headers);
}
