//! What may not be asked for: hosts, ports, schemes, paths, methods and addresses that no rule grants.

use super::{fetched, get, refused};
use crate::Grants;
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::grants;

#[tokio::test]
async fn nothing_is_granted_by_default() {
    let backend = Backend::http(|_| ok("")).await;
    let error = refused(Grants::default(), get(backend.url("/"))).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains(&format!("--allow-http=http://127.0.0.1:{}", backend.port)), "{}", error.message);
    assert_eq!(backend.connections(), 0);
}

#[tokio::test]
async fn another_scheme_host_or_port_is_denied() {
    let granted = || grants(&["https://api.example.com", "http://*.example.org:8080"], &[], &[]);
    for url in [
        "http://api.example.com/",
        "https://api.example.com:8443/",
        "https://example.com/",
        "https://api.example.com.evil.test/",
        "https://xapi.example.com/",
        "http://example.org:8080/",
        "http://aexample.org:8080/",
        "http://a.example.org/",
    ] {
        assert_eq!(refused(granted(), get(url)).await.code, "denied", "{url}");
    }
}

#[tokio::test]
async fn methods_and_prefixes_limit_a_rule() {
    let backend = Backend::http(|_| ok("yes")).await;
    let rule = format!("GET,HEAD http://127.0.0.1:{}/v1", backend.port);
    let granted = || grants(&[&rule], &[], &[]);
    assert_eq!(fetched(granted(), get(backend.url("/v1/pods?watch=1"))).await.unwrap().body, b"yes");
    for path in ["/", "/v10", "/v2/pods", "/v1/..%2fadmin", "/v1/%2e%2e%5cadmin", "/V1/pods"] {
        assert_eq!(refused(granted(), get(backend.url(path))).await.code, "denied", "{path}");
    }
    for method in ["POST", "DELETE", "get", "PROPFIND"] {
        let mut request = get(backend.url("/v1"));
        request.method = method.to_owned();
        assert_eq!(refused(granted(), request).await.code, "denied", "{method}");
    }
    assert_eq!(backend.seen().len(), 1);
}

#[tokio::test]
async fn what_is_no_request_is_invalid() {
    let everything = || grants(&["http://*:*", "https://*:*"], &[], &[]);
    for method in ["", "CONNECT", "GET /x HTTP/1.1\r\nhost: evil", "G ET"] {
        let mut request = get("http://api.example.com/");
        request.method = method.to_owned();
        assert_eq!(refused(everything(), request).await.code, "invalid", "{method:?}");
    }
    for url in [
        "",
        "/v1/pods",
        "ftp://api.example.com/",
        "file:///etc/passwd",
        "unix:///run/docker.sock",
        "http://",
        "http://user:hunter2@api.example.com/",
        "http://api.example.com/a b",
        "http://api.example.com/a\r\nhost: evil",
        "http://api.example.com/\u{e9}",
        "http://api.example.com/v1/../v2",
        "http://api.example.com/v1/%2e%2E/v2",
        "http://api.example.com\\@evil.test/",
        "http:/api.example.com/v1",
        "http://api.example.com/?a=\"b\"",
    ] {
        let error = refused(everything(), get(url)).await;
        assert_eq!(error.code, "invalid", "{url:?}");
        assert!(!error.message.contains(['\r', '\n']), "{:?}", error.message);
    }
    let mut request = get("http://api.example.com/");
    request.tls = "corporate".to_owned();
    let error = refused(everything(), request).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("`corporate`"), "{}", error.message);
}

#[tokio::test]
async fn errors_hold_no_query_and_no_password() {
    let everything = || grants(&["http://*:*"], &[], &[]);
    for url in [
        "http://api.example.com:0x/?token=canary",
        "ftp://user:canary@api.example.com/?token=canary",
        "http://user:canary@api.example.com/",
        "http://user:canary@",
        "user:canary@host",
        "https://api.example.com/?token=canary#canary",
        "http://api.example.com/../?token=canary",
        "http://127.0.0.1/?token=canary",
    ] {
        let error = refused(everything(), get(url)).await;
        assert!(!error.message.contains("canary"), "{url}: {}", error.message);
    }
}

#[tokio::test]
async fn special_addresses_are_denied_to_rules_for_names() {
    // The URL's host is an address in all of these, however it is written; the star grants names.
    let everything = || grants(&["http://*:*", "https://*:*"], &[], &[]);
    for host in [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "0.0.0.0",
        "169.254.169.254",
        "2852039166",
        "0xa9.0xfe.0xa9.0xfe",
        "10.0.0.1",
        "192.168.0.1",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::a9fe:a9fe]",
        "[fd00:ec2::254]",
        "[fe80::1]",
    ] {
        assert_eq!(refused(everything(), get(format!("http://{host}/"))).await.code, "denied", "{host}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_inside_is_denied_by_its_address() {
    let backend = Backend::http(|_| ok("")).await;
    let url = format!("http://localhost:{}/", backend.port);
    let error = refused(grants(&["http://*:*"], &[], &[]), get(&url)).await;
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("not a public address"), "{}", error.message);
    // A rule for one port of localhost opens no other.
    let error = refused(grants(&["http://*:*", "http://localhost:1"], &[], &[]), get(&url)).await;
    assert_eq!(error.code, "denied");
    assert_eq!(backend.connections(), 0);
    fetched(grants(&["http://*:*"], &[], &["127.0.0.0/8"]), get(&url)).await.unwrap();
    let named = format!("http://localhost:{}", backend.port);
    fetched(grants(&[&named], &[], &[]), get(&url)).await.unwrap();
}

#[tokio::test]
async fn an_address_is_reached_through_a_rule_that_names_it() {
    let backend = Backend::http(|_| ok("in")).await;
    for rule in ["http://127.0.0.1:*", "http://[127.0.0.0/8]:*", "http://[::ffff:127.0.0.1]:*"] {
        for host in ["127.0.0.1", "2130706433", "[::ffff:127.0.0.1]"] {
            let url = format!("http://{host}:{}/", backend.port);
            assert_eq!(fetched(grants(&[rule], &[], &[]), get(url)).await.unwrap().body, b"in", "{rule} {host}");
        }
    }
    // The range alone grants no host: it says where granted names may lead.
    assert_eq!(refused(grants(&[], &[], &["127.0.0.0/8"]), get(backend.url("/"))).await.code, "denied");
}
