//! Secrets that the host fills into requests: where they go, where they don't, and what a guest gets to see of them.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use wasmtime::component::{Accessor, Resource};

use super::{fetch, get, send, with_headers};
use crate::bindings::vk::host::http::{Body, Request};
use crate::bindings::vk::host::secrets::{HostSecret, HostWithStore};
use crate::secrets::Secret;
use crate::testing::authority::Authority;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, collect, grants, read, secrets, spooled, take};
use crate::testing::lines::Lines;
use crate::{Call, CallData, Grants};

const VALUE: &str = "canary/va lue+4711";

/// A guest that may send requests to anywhere on loopback, with a secret bound to `hosts`.
fn guest(value: &str, hosts: &str) -> (tempfile::NamedTempFile, Guest) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), value).unwrap();
    let own = secrets(&[format!("key=file:{}:inject,{hosts}", file.path().display())]);
    let rest = grants(&["http://127.0.0.1:*", "http://localhost:*", "https://localhost:*"], &["127.0.0.1:*"], &[]);
    (file, Guest::new(Grants { secrets: own.secrets, ..rest }))
}

async fn open(accessor: &Accessor<Call, CallData>) -> Resource<Secret> {
    let names = vec!["key".to_owned()];
    <CallData as HostWithStore<_>>::open(accessor, names).await.unwrap().unwrap().remove(0)
}

async fn placeholder(accessor: &Accessor<Call, CallData>, encoding: &str) -> String {
    let secret = open(accessor).await;
    accessor.with(|mut access| access.get().placeholder(secret, encoding.to_owned())).unwrap().unwrap()
}

fn post(url: String, body: Body) -> Request {
    Request { method: "POST".to_owned(), body, ..get(url) }
}

#[tokio::test]
async fn a_secret_is_filled_into_headers_query_and_body() {
    let backend = Backend::http(|_| ok("fine")).await;
    let (_file, mut guest) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/a");
    guest
        .run(async |accessor| {
            let [plain, form, json, base64] = [
                placeholder(accessor, "plain").await,
                placeholder(accessor, "form").await,
                placeholder(accessor, "json").await,
                placeholder(accessor, "base64").await,
            ];
            let body = format!("{{\"a\":\"{json}\",\"b\":\"{json}\"}}");
            let request = post(format!("{url}?sig=%2F{form}&x=1"), Body::Bytes(body.into_bytes()));
            let request = with_headers(request, &[("x-key", &format!("k {plain}.")), ("x-b", &base64)]);
            assert_eq!(fetch(accessor, request, 100).await.unwrap().body, b"fine");
        })
        .await;
    let seen = backend.seen().remove(0);
    let body = format!("{{\"a\":\"{VALUE}\",\"b\":\"{VALUE}\"}}");
    for part in [
        "POST /a?sig=%2Fcanary%2Fva+lue%2B4711&x=1 ",
        &format!("x-key: k {VALUE}.\r\n"),
        &format!("x-b: {}\r\n", STANDARD.encode(VALUE)),
        &format!("content-length: {}\r\n", body.len()),
    ] {
        assert!(seen.contains(part), "{part} in {seen}");
    }
    assert!(seen.ends_with(&body), "{seen}");
}

#[tokio::test]
async fn the_encoding_basic_is_of_user_and_password() {
    let backend = Backend::http(|_| ok("")).await;
    let bound = format!("http://127.0.0.1:{}", backend.port);
    let (_file, mut own) = guest("user:pass", &bound);
    let url = backend.url("/");
    own.run(async |accessor| {
        let basic = format!("Basic {}", placeholder(accessor, "basic").await);
        fetch(accessor, with_headers(get(url), &[("authorization", &basic)]), 10).await.unwrap();
    })
    .await;
    assert!(backend.seen()[0].contains("authorization: Basic dXNlcjpwYXNz\r\n"));
    let (_file, mut own) = guest("no colon", &bound);
    own.run(async |accessor| {
        let secret = open(accessor).await;
        let made = accessor.with(|mut access| access.get().placeholder(secret, "basic".to_owned())).unwrap();
        assert_eq!(made.unwrap_err().code, "invalid");
    })
    .await;
}

/// The body of a request that was sent in chunks.
fn dechunked(request: &str) -> String {
    let (_, mut rest) = request.split_once("\r\n\r\n").unwrap();
    let mut body = String::new();
    while let Some((size, chunks)) = rest.split_once("\r\n") {
        let (chunk, behind) = chunks.split_at(usize::from_str_radix(size, 16).unwrap());
        body.push_str(chunk);
        rest = behind.trim_start_matches("\r\n");
    }
    body
}

#[tokio::test]
async fn a_stream_is_filled_across_the_borders_of_its_pieces() {
    let backend = Backend::http(|_| ok("")).await;
    let (_file, mut guest) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    let sent = guest
        .run(async |accessor| {
            let plain = placeholder(accessor, "plain").await;
            let text =
                format!("vk-secret-not one, {plain}{plain} and vk-secret-{plain} and its beginning {}", &plain[..30]);
            let filling = accessor.with(|mut access| {
                let destination = crate::secrets::Destination::Url {
                    scheme: "http",
                    host: "127.0.0.1",
                    port: backend.port,
                    path: "/",
                };
                access.get().placeholders.towards(destination)
            });
            let whole = text.replace(&plain, VALUE);
            for size in 1..text.len() {
                let pieces: Vec<_> =
                    text.as_bytes().chunks(size).map(|piece| Ok(bytes::Bytes::copy_from_slice(piece))).collect();
                let mut filled = filling.stream(Box::pin(futures::stream::iter(pieces)));
                match collect(&mut filled).await {
                    Ok(filled) => assert_eq!(String::from_utf8(filled).unwrap(), whole, "in pieces of {size}"),
                    Err(error) => unreachable!("{error}"),
                }
            }
            fetch(accessor, post(url, Body::Chunks(spooled(accessor, text.as_bytes()))), 10).await.unwrap();
            whole
        })
        .await;
    assert_eq!(dechunked(&backend.seen()[0]), sent);
}

#[tokio::test]
async fn elsewhere_the_placeholder_is_sent_as_it_is() {
    let bound = Backend::http(|_| ok("")).await;
    let other = Backend::http(|_| ok("")).await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}/v1", bound.port));
    // Another port, another path, another name, and another way to the same server.
    let urls =
        [other.url("/v1"), bound.url("/v2"), bound.url("/v1/..%2fv2"), format!("http://localhost:{}/v1", bound.port)];
    own.run(async |accessor| {
        let plain = placeholder(accessor, "plain").await;
        let sends = |url: String| {
            let request = post(format!("{url}?k={plain}"), Body::Bytes(plain.clone().into_bytes()));
            with_headers(request, &[("authorization", &plain)])
        };
        for url in urls {
            fetch(accessor, sends(url), 10).await.unwrap();
        }
        let mut request = sends(bound.url("/v1"));
        request.endpoint = format!("tcp://127.0.0.1:{}", other.port);
        fetch(accessor, request, 10).await.unwrap();
    })
    .await;
    let seen: Vec<String> = bound.seen().into_iter().chain(other.seen()).collect();
    assert_eq!(seen.len(), 5);
    for seen in seen {
        assert!(!seen.contains("canary") && !seen.contains("4711"), "{seen}");
        assert_eq!(seen.matches("vk-secret-").count(), 3, "{seen}");
    }
}

#[tokio::test]
async fn an_endpoint_of_its_own_is_bound_by_itself() {
    let backend = Backend::http(|_| ok("")).await;
    let (_file, mut own) = guest(VALUE, &format!("tcp://127.0.0.1:{}", backend.port));
    let (port, url) = (backend.port, backend.url("/"));
    own.run(async |accessor| {
        let form = placeholder(accessor, "form").await;
        let mut request = with_headers(get("http://any.test/"), &[("x-key", &form)]);
        request.endpoint = format!("tcp://127.0.0.1:{port}");
        fetch(accessor, request, 10).await.unwrap();
        fetch(accessor, with_headers(get(url), &[("x-key", &form)]), 10).await.unwrap();
    })
    .await;
    assert!(backend.seen()[0].contains("4711") && !backend.seen()[1].contains("4711"));
}

#[tokio::test]
async fn a_redirect_elsewhere_takes_no_secret_along() {
    let other = Backend::http(|_| ok("")).await;
    let to = other.url("/");
    let backend =
        Backend::http(
            move |request| {
                if request.starts_with("POST /same") { redirect(307, &to) } else { redirect(307, "/same") }
            },
        )
        .await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    own.run(async |accessor| {
        let plain = placeholder(accessor, "plain").await;
        let mut request = post(url, Body::Bytes(format!("a {plain}").into_bytes()));
        request = with_headers(request, &[("x-key", &plain), ("x-other", "kept")]);
        request.redirects = 5;
        fetch(accessor, request, 10).await.unwrap();
    })
    .await;
    let same = &backend.seen()[1];
    assert!(same.contains(&format!("x-key: {VALUE}")) && same.ends_with(&format!("a {VALUE}")), "{same}");
    let seen = other.seen().remove(0);
    assert!(!seen.contains("canary") && !seen.contains("x-key"), "{seen}");
    assert!(seen.contains("x-other: kept") && seen.contains("a vk-secret-"), "{seen}");
}

#[tokio::test]
async fn a_secret_in_a_redirect_is_not_carried_to_another_host() {
    let other = Backend::http(|_| ok("")).await;
    let to = other.url("/?q=canary%2Fva%20lue%2B4711");
    let backend = Backend::http(move |_| redirect(302, &to)).await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    let error = own
        .run(async |accessor| {
            let form = placeholder(accessor, "form").await;
            let mut request = get(format!("{url}?q={form}"));
            request.redirects = 1;
            fetch(accessor, request, 10).await.unwrap_err()
        })
        .await;
    assert_eq!(error.code, "denied");
    assert!(!error.message.contains("4711"), "{}", error.message);
    assert_eq!(other.connections(), 0);
}

#[tokio::test]
async fn what_a_server_echoes_is_starred_out() {
    let lines = Lines::capture();
    let backend = Backend::http(|request| {
        let text = request.split("\r\n\r\n").nth(1).unwrap_or_default().to_owned();
        let basic = STANDARD.encode(format!("user:{text}"));
        let url = URL_SAFE_NO_PAD.encode(format!("xy{text}zz"));
        let hex: String = text.bytes().map(|b| format!("{b:02x}")).collect();
        let body = format!("<{text}|{basic}|{url}|{hex}|canary%2Fva%20lue%2B4711|canary\\/va lue+4711>");
        format!(
            "HTTP/1.1 200 OK\r\nx-echo: a {text} b\r\nlocation: /?k=canary%2Fva+lue%2B4711\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        )
    })
    .await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    own.run(async |accessor| {
        let plain = placeholder(accessor, "plain").await;
        let request = || post(url.clone(), Body::Bytes(plain.clone().into_bytes()));
        let fetched = fetch(accessor, request(), 10_000).await.unwrap();
        let head = format!("{:?}", fetched.head);
        assert!(!head.contains("4711") && !head.contains("canary"), "{head}");
        assert!(head.contains("a ****************** b"), "{head}");
        let length = fetched.head.headers.iter().find(|(name, _)| name == "content-length").unwrap().1.clone();
        assert_eq!(length, fetched.body.len().to_string());
        let response = send(accessor, request()).await.unwrap();
        let (streamed, ended) = read(accessor, response.body).await;
        ended.unwrap();
        assert_eq!(streamed, fetched.body);
        // Handed to the host, as a log is.
        let response = send(accessor, request()).await.unwrap();
        let handed = collect(&mut take(accessor, response.body.content)).await.unwrap();
        assert_eq!(handed, fetched.body);
        let text = String::from_utf8(fetched.body).unwrap();
        let parts: Vec<&str> = text.trim_matches(['<', '>']).split('|').collect();
        assert_eq!(parts.len(), 6);
        for (part, hidden) in parts.iter().zip([18, 23, 23, 36, 24, 19]) {
            assert_eq!(part.matches('*').count(), hidden, "{part}");
        }
        assert!(!text.contains("canary") && !text.contains("4711"), "{text}");
    })
    .await;
    assert!(!lines.text().contains("4711"), "{}", lines.text());
}

#[tokio::test]
async fn a_value_is_starred_out_of_later_answers_too() {
    let backend = Backend::http(|_| ok(&format!("stored: {VALUE}"))).await;
    let (_file, own) = guest(VALUE, "http://stores.test");
    let url = backend.url("/");
    let mut first = own;
    first.run(async |accessor| drop(placeholder(accessor, "plain").await)).await;
    // Another call, without a placeholder, of another host.
    let mut second = Guest::of(first.capabilities.clone());
    let body = second.run(async |accessor| fetch(accessor, get(url), 100).await.unwrap().body).await;
    assert_eq!(String::from_utf8(body).unwrap(), "stored: ******************");
}

#[tokio::test]
async fn no_compression_hides_an_echo() {
    let backend = Backend::http(|request| {
        assert!(request.contains("accept-encoding: identity\r\n") && !request.contains("gzip"), "{request}");
        "HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc".to_owned()
    })
    .await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    let error = own
        .run(async |accessor| {
            let plain = placeholder(accessor, "plain").await;
            let request = with_headers(get(url), &[("x-key", &plain), ("accept-encoding", "gzip, br")]);
            fetch(accessor, request, 100).await.unwrap_err()
        })
        .await;
    assert_eq!(error.code, "unsupported");
    assert!(error.message.contains("compressed"), "{}", error.message);
}

#[tokio::test]
async fn a_placeholder_is_worth_nothing_in_another_call_and_differs_each_time() {
    let backend = Backend::http(|_| ok("")).await;
    let (_file, mut own) = guest(VALUE, &format!("http://127.0.0.1:{}", backend.port));
    let (first, again) =
        own.run(async |accessor| (placeholder(accessor, "plain").await, placeholder(accessor, "plain").await)).await;
    assert_ne!(first, again);
    assert!(first.len() >= 34 && first.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b)), "{first}");
    let url = backend.url("/");
    let mut next = Guest::of(own.capabilities.clone());
    next.run(async |accessor| fetch(accessor, with_headers(get(url), &[("x-key", &first)]), 10).await.unwrap()).await;
    assert!(backend.seen()[0].contains(&format!("x-key: {first}")));
}

#[tokio::test]
async fn what_does_not_fit_is_an_error_that_does_not_show_it() {
    let backend = Backend::http(|_| ok("")).await;
    let (_file, mut own) = guest("canary 4711\r\nx-more: 1", &format!("http://127.0.0.1:{}", backend.port));
    let url = backend.url("/");
    own.run(async |accessor| {
        let plain = placeholder(accessor, "plain").await;
        let header = fetch(accessor, with_headers(get(url.clone()), &[("x-key", &plain)]), 10).await.unwrap_err();
        let query = fetch(accessor, get(format!("{url}?k={plain}")), 10).await.unwrap_err();
        let many = plain.repeat(300_000);
        let body = fetch(accessor, post(url, Body::Bytes(many.into_bytes())), 10).await.unwrap_err();
        assert_eq!([&header.code, &query.code, &body.code], ["invalid", "invalid", "limit"]);
        for error in [header, query, body] {
            assert!(!error.message.contains("canary") && !error.message.contains("4711"), "{}", error.message);
        }
    })
    .await;
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn a_secret_to_fill_in_is_neither_read_nor_signed_with() {
    let (_file, mut own) = guest(VALUE, "https://api.test");
    own.run(async |accessor| {
        let secret = open(accessor).await;
        accessor.with(|mut access| {
            let call = access.get();
            let borrow = || Resource::new_borrow(secret.rep());
            let errors = [
                call.reveal(borrow()).unwrap().unwrap_err(),
                call.sign(borrow(), "hmac-sha256".to_owned(), Vec::new()).unwrap().unwrap_err(),
                call.derive(borrow(), "hmac-sha256".to_owned(), Vec::new(), Vec::new()).unwrap().err().unwrap(),
            ];
            for error in errors {
                assert_eq!(error.code, "denied");
                assert!(error.message.contains("--secret=key=SOURCE:"), "{}", error.message);
            }
        });
    })
    .await;
}

#[tokio::test]
async fn a_secret_is_filled_in_behind_tls() {
    let tls = Authority::trusted().server(&["localhost"], &["http/1.1"]);
    let backend = Backend::https(tls, |_| ok("")).await;
    let (_file, mut own) = guest(VALUE, &format!("localhost:{}", backend.port));
    let url = format!("https://localhost:{}/", backend.port);
    own.run(async |accessor| {
        let bearer = format!("Bearer {}", placeholder(accessor, "base64").await);
        fetch(accessor, with_headers(get(url), &[("authorization", &bearer)]), 10).await.unwrap();
    })
    .await;
    assert!(backend.seen()[0].contains(&STANDARD.encode(VALUE)));
}

#[tokio::test]
async fn providers_of_one_process_share_neither_secrets_nor_placeholders() {
    let backend = Backend::http(|_| ok(VALUE)).await;
    let bound = format!("http://127.0.0.1:{}", backend.port);
    let (_file, mut one) = guest(VALUE, &bound);
    let (_other_file, mut two) = guest("another value", &bound);
    let url = backend.url("/");
    let of_one = one.run(async |accessor| placeholder(accessor, "plain").await).await;
    let seen = two
        .run(async |accessor| {
            placeholder(accessor, "plain").await;
            fetch(accessor, with_headers(get(url), &[("x-key", &of_one)]), 100).await.unwrap().body
        })
        .await;
    assert!(backend.seen()[0].contains(&format!("x-key: {of_one}")));
    // What one of them must not see is nothing to the other.
    assert_eq!(seen, VALUE.as_bytes());
    assert!(!Arc::ptr_eq(&one.capabilities.secrets, &two.capabilities.secrets));
}
