//! Headers, methods and URLs that would be another request to somebody on the way.

use super::{attempts, fetch, get};
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::{Guest, grants};

/// A request with this header is refused before anybody hears of it, and the refusal does not repeat the value.
async fn header(name: &str, value: &str) {
    let backend = Backend::http(|_| ok("")).await;
    let mut request = get(&backend.url("/"));
    request.headers = vec![(name.to_owned(), value.to_owned())];
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*"], &[], &[]));
    let error = fetch(&mut guest, request).await.unwrap_err();
    assert_eq!(error.code, "invalid", "{error:?}");
    assert!(!error.message.contains(['\r', '\n', '\0']), "{:?}", error.message);
    assert_eq!(backend.connections(), 0);
}

attempts! { header;
    a_line_end_in_a_value: "x-a", "b\r\nhost: metadata.internal";
    a_bare_line_feed_in_a_value: "x-a", "b\nhost: metadata.internal";
    a_bare_carriage_return_in_a_value: "x-a", "b\rhost: metadata.internal";
    a_nul_in_a_value: "x-a", "b\0";
    an_escape_in_a_value: "x-a", "\u{1b}[2J";
    a_line_end_in_a_name: "x-a\r\nhost", "metadata.internal";
    a_colon_in_a_name: "x-a: b\r\nx-c", "d";
    white_space_in_a_name: "x a", "b";
    white_space_before_the_colon: "transfer-encoding ", "chunked";
    a_tab_before_a_name: "\ttransfer-encoding", "chunked";
    a_name_in_another_script: "ｈｏｓｔ", "metadata.internal";
    no_name: "", "b";
    another_host: "Host", "metadata.internal";
    another_host_in_lower_case: "host", "metadata.internal";
    another_length: "Content-Length", "0";
    two_lengths: "content-length", "0, 10";
    another_encoding: "Transfer-Encoding", "chunked";
    an_encoding_in_disguise: "TRANSFER-ENCODING", "xchunked";
    an_accepted_trailer: "TE", "trailers";
    a_trailer: "Trailer", "authorization";
    a_connection_that_hides_headers: "Connection", "authorization, close";
    a_connection_that_stays: "Keep-Alive", "timeout=1000";
    a_connection_of_a_proxy: "Proxy-Connection", "keep-alive";
    credentials_of_a_proxy: "Proxy-Authorization", "Basic x";
    an_answer_of_a_proxy: "Proxy-Authenticate", "Basic";
    an_upgrade: "Upgrade", "websocket";
    an_upgrade_to_http_2: "HTTP2-Settings", "AAMAAABkAAQAAP__";
    an_expectation: "Expect", "100-continue";
    the_pseudo_header_of_the_authority: ":authority", "metadata.internal";
    the_pseudo_header_of_the_path: ":path", "/admin";
    the_pseudo_header_of_the_method: ":method", "CONNECT";
}

/// A request with this method is refused.
async fn method(method: &str) {
    let backend = Backend::http(|_| ok("")).await;
    let rule = format!("GET,POST http://127.0.0.1:{}", backend.port);
    for rule in ["http://127.0.0.1:*", &rule] {
        let mut request = get(&backend.url("/"));
        request.method = method.to_owned();
        let error = fetch(&mut Guest::new(grants(&[rule], &[], &[])), request).await.unwrap_err();
        assert!(matches!(error.code.as_str(), "invalid" | "denied"), "{error:?}");
        assert!(!error.message.contains(['\r', '\n']), "{:?}", error.message);
    }
    assert_eq!(backend.connections(), 0);
}

attempts! { method;
    a_tunnel: "CONNECT";
    no_method: "";
    a_request_in_the_method: "GET /admin HTTP/1.1\r\nhost: metadata.internal\r\n\r\nGET";
    a_line_end_in_the_method: "GET\r\n";
    white_space_in_the_method: "GET ";
    two_methods: "GET,POST";
    a_method_in_another_script: "ＧＥＴ";
}

/// A method that only looks like one that was granted.
#[tokio::test]
async fn a_method_in_another_case_than_was_granted() {
    let backend = Backend::http(|_| ok("")).await;
    for other in ["get", "Get", "gET", "HEAD", "PATCH", "PRI"] {
        let rule = format!("GET http://127.0.0.1:{}", backend.port);
        let mut request = get(&backend.url("/"));
        request.method = other.to_owned();
        let error = fetch(&mut Guest::new(grants(&[&rule], &[], &[])), request).await.unwrap_err();
        assert_eq!(error.code, "denied", "{other}: {error:?}");
    }
    assert_eq!(backend.connections(), 0);
}

/// A request whose URL would end the request's line.
async fn url(path: &str) {
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*"], &[], &[]));
    let error = fetch(&mut guest, get(&backend.url(path))).await.unwrap_err();
    assert_eq!(error.code, "invalid", "{error:?}");
    assert!(!error.message.contains(['\r', '\n', '\0']), "{:?}", error.message);
    assert_eq!(backend.connections(), 0);
}

attempts! { url;
    a_line_end_in_the_path: "/a HTTP/1.1\r\nhost: metadata.internal\r\n\r\n";
    a_line_end_in_the_query: "/?a=b\r\nx-c: d";
    a_space_in_the_path: "/a b";
    a_tab_in_the_path: "/a\tb";
    a_nul_in_the_path: "/a\0b";
    another_script_in_the_path: "/caf\u{e9}";
    a_bidirectional_override_in_the_path: "/\u{202e}txt.exe";
}

#[tokio::test]
async fn a_request_behind_the_body_stays_inside_the_body() {
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*"], &[], &[]));
    let smuggled = "0\r\n\r\nGET /admin HTTP/1.1\r\nhost: metadata.internal\r\n\r\n";
    let mut request = get(&backend.url("/"));
    request.method = "POST".to_owned();
    request.body = crate::bindings::vk::host::http::Body::Bytes(smuggled.as_bytes().to_vec());
    fetch(&mut guest, request).await.unwrap();
    fetch(&mut guest, get(&backend.url("/second"))).await.unwrap();
    let seen = backend.seen();
    assert_eq!(seen.len(), 2, "{seen:?}");
    assert!(seen[0].contains(&format!("content-length: {}\r\n", smuggled.len())), "{}", seen[0]);
    assert!(seen[1].starts_with("GET /second "), "{}", seen[1]);
}

#[tokio::test]
async fn the_target_is_never_written_in_absolute_form() {
    let backend = Backend::http(|_| ok("")).await;
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*"], &[], &[]));
    fetch(&mut guest, get(&backend.url("/http://metadata.internal/"))).await.unwrap();
    fetch(&mut guest, get(&backend.url("//metadata.internal/"))).await.unwrap();
    for seen in backend.seen() {
        assert!(seen.starts_with("GET /") && seen.contains("host: 127.0.0.1:"), "{seen}");
    }
}

#[tokio::test]
async fn an_endpoint_of_its_own_says_no_other_host_in_the_request_than_its_url() {
    let backend = Backend::http(|_| ok("")).await;
    let endpoint = format!("tcp://127.0.0.1:{}", backend.port);
    let mut request = get("http://a.test/");
    request.endpoint = format!("{endpoint}\r\nhost: metadata.internal");
    let mut guest = Guest::new(grants(&["http://*:*"], &[&endpoint], &[]));
    assert_eq!(fetch(&mut guest, request).await.unwrap_err().code, "invalid");
    assert_eq!(backend.connections(), 0);
}
