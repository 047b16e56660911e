//! Answers that send the request elsewhere.

use super::{attempts, fetch, get};
use crate::bindings::vk::host::http::Body;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants};

/// A redirect with this status to another port of the same host, which only a rule for addresses would open.
async fn elsewhere(status: u16, method: &str) {
    let inside = Backend::http(|_| ok("inside")).await;
    let to = inside.url("/latest/meta-data/");
    let backend = Backend::http(move |_| redirect(status, &to)).await;
    let own = format!("http://127.0.0.1:{}", backend.port);
    let mut request = get(&backend.url("/"));
    request.method = method.to_owned();
    if method != "GET" {
        request.body = Body::Bytes(b"body".to_vec());
    }
    let mut guest = Guest::new(grants(&[&own, "http://*:*", "https://*:*"], &[], &[]));
    let answered = fetch(&mut guest, request).await;
    // A status that is no redirect is the answer.
    match answered {
        Ok(response) => assert_eq!(response.head.status, status),
        Err(error) => assert_eq!(error.code, "denied", "{}", error.message),
    }
    assert_eq!(inside.connections(), 0);
}

attempts! { elsewhere;
    by_300: 300, "GET";
    by_301: 301, "GET";
    by_301_of_a_post: 301, "POST";
    by_302: 302, "GET";
    by_302_of_a_post: 302, "POST";
    by_303: 303, "GET";
    by_303_of_a_put: 303, "PUT";
    by_304: 304, "GET";
    by_305_to_a_proxy: 305, "GET";
    by_306: 306, "GET";
    by_307: 307, "GET";
    by_307_of_a_post: 307, "POST";
    by_308: 308, "GET";
    by_308_of_a_delete: 308, "DELETE";
    by_201_with_a_location: 201, "POST";
}

/// A redirect that names this.
async fn to(location: &str) {
    let inside = Backend::http(|_| ok("inside")).await;
    let location = location.replace("INSIDE", &inside.port.to_string());
    let backend = Backend::http(
        move |request| {
            if request.starts_with("GET /start") { redirect(302, &location) } else { ok("own") }
        },
    )
    .await;
    let own = format!("http://127.0.0.1:{}/start", backend.port);
    let mut guest = Guest::new(grants(&[&own, "http://*:*", "https://*:*"], &[], &[]));
    match fetch(&mut guest, get(&backend.url("/start"))).await {
        // One that can't be read is the answer.
        Ok(response) => assert_eq!(response.head.status, 302),
        Err(error) => assert!(matches!(error.code.as_str(), "denied" | "invalid"), "{error:?}"),
    }
    assert_eq!((inside.connections(), backend.seen().len()), (0, 1));
}

attempts! { to;
    to_the_metadata_service: "http://169.254.169.254/";
    to_the_metadata_service_by_number: "http://2852039166/";
    to_the_metadata_service_by_v6: "http://[::ffff:a9fe:a9fe]/";
    to_another_port: "http://127.0.0.1:INSIDE/";
    to_another_port_without_a_scheme: "//127.0.0.1:INSIDE/";
    to_another_form_of_the_host: "http://0x7f000001:INSIDE/";
    to_another_name_of_the_host: "http://localhost:INSIDE/";
    to_another_scheme_of_the_host: "https://127.0.0.1:INSIDE/";
    to_a_path_that_is_not_granted: "/admin";
    to_a_path_above: "/start/../admin";
    to_a_path_above_in_disguise: "/start/..%2fadmin";
    to_a_path_by_backslashes: "\\\\127.0.0.1:INSIDE\\";
    to_a_host_behind_user_information: "http://api.example.com@127.0.0.1:INSIDE/";
    to_a_file: "file:///etc/passwd";
    to_a_socket: "unix:///run/docker.sock";
    to_a_script: "javascript:alert(1)";
}

#[tokio::test]
async fn through_a_chain_that_begins_inside_the_rules() {
    let inside = Backend::http(|_| ok("inside")).await;
    let last = inside.url("/");
    let backend = Backend::http(move |request| {
        let step =
            request.split(' ').nth(1).and_then(|path| path.trim_start_matches('/').parse::<u8>().ok()).unwrap_or(0);
        if step < 5 { redirect(302, &format!("/{}", step + 1)) } else { redirect(302, &last) }
    })
    .await;
    let own = format!("http://127.0.0.1:{}", backend.port);
    let error = fetch(&mut Guest::new(grants(&[&own], &[], &[])), get(&backend.url("/0"))).await.unwrap_err();
    assert_eq!(error.code, "denied", "{}", error.message);
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn a_refresh_header_or_an_alternative_service_leads_nowhere() {
    let inside = Backend::http(|_| ok("inside")).await;
    let (to, port) = (inside.url("/"), inside.port);
    let backend = Backend::http(move |_| {
        format!(
            "HTTP/1.1 200 OK\r\nrefresh: 0; url={to}\r\nalt-svc: http/1.1=\":{port}\"\r\ncontent-location: {to}\r\n\
             link: <{to}>; rel=preload\r\ncontent-length: 0\r\n\r\n"
        )
    })
    .await;
    let own = format!("http://127.0.0.1:{}", backend.port);
    let mut guest = Guest::new(grants(&[&own], &[], &[]));
    for _ in 0..2 {
        assert_eq!(fetch(&mut guest, get(&backend.url("/"))).await.unwrap().head.status, 200);
    }
    assert_eq!(inside.connections(), 0);
}
