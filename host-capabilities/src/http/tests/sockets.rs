//! Endpoints of their own: a socket, or another host than the URL says. They need the grant to dial.

use super::{fetched, get, refused};
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::grants;

#[tokio::test]
async fn a_socket_needs_a_grant_of_its_exact_path() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let backend = Backend::unix(&path, |_| ok("engine"));
    let path = path.to_str().unwrap();
    let alias = folder.path().join("alias.sock");
    std::os::unix::fs::symlink(path, &alias).unwrap();
    let granted = || grants(&["http://*:*"], &[&format!("unix://{path}")], &[]);
    let asked = |endpoint: &str| {
        let mut request = get("http://engine/v1/info");
        request.endpoint = endpoint.to_owned();
        request
    };
    let name = folder.path().file_name().unwrap().to_str().unwrap();
    for endpoint in [
        "unix:///run/docker.sock".to_owned(),
        format!("unix://{path}2"),
        format!("unix://{path}/"),
        format!("unix://{path}\0"),
        format!("unix:///{path}"),
        format!("unix://{}/../{name}/engine.sock", folder.path().display()),
        format!("unix://{}/./engine.sock", folder.path().display()),
        // A link to it is another path, and who granted one did not grant the other.
        format!("unix://{}", alias.display()),
    ] {
        assert_eq!(refused(granted(), asked(&endpoint)).await.code, "denied", "{endpoint}");
    }
    assert_eq!(backend.connections(), 0);
    let response = fetched(granted(), asked(&format!("unix://{path}"))).await.unwrap();
    assert_eq!(response.body, b"engine");
    assert!(backend.seen()[0].contains("host: engine\r\n"), "{:?}", backend.seen());
    let http_alone = grants(&["http://engine"], &[], &[]);
    assert_eq!(refused(http_alone, asked(&format!("unix://{path}"))).await.code, "denied");
}

#[tokio::test]
async fn a_redirect_of_a_socket_stays_on_the_socket() {
    let inside = Backend::http(|_| ok("")).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("engine.sock");
    let to = inside.url("/stolen");
    let backend =
        Backend::unix(&path, move |request| if request.contains("/stolen") { ok("own") } else { redirect(302, &to) });
    let mut request = get("http://engine/");
    request.endpoint = format!("unix://{}", path.display());
    request.redirects = 3;
    let response = fetched(grants(&[], &[&request.endpoint], &[]), request).await.unwrap();
    assert_eq!(response.body, b"own");
    assert_eq!((backend.seen().len(), inside.connections()), (2, 0));
}

#[tokio::test]
async fn another_host_needs_the_grant_to_dial_and_its_address_too() {
    let backend = Backend::http(|_| ok("agent")).await;
    let asked = |endpoint: String| {
        let mut request = get("http://cell-7.agents.test/pods");
        request.endpoint = endpoint;
        request
    };
    let by_address = format!("tcp://127.0.0.1:{}", backend.port);
    let by_name = format!("tcp://localhost:{}", backend.port);
    for (dial, endpoint) in [
        (vec![], &by_address),
        (vec!["tcp://127.0.0.1:1"], &by_address),
        (vec!["tls://127.0.0.1:*"], &by_address),
        (vec!["*:*"], &by_address),
        (vec!["*:*"], &by_name),
    ] {
        let granted = grants(&["http://*:*"], &dial, &[]);
        assert_eq!(refused(granted, asked(endpoint.clone())).await.code, "denied", "{dial:?}");
    }
    assert_eq!(backend.connections(), 0);
    let response = fetched(grants(&[], &[&by_address], &[]), asked(by_address.clone())).await.unwrap();
    assert_eq!(response.body, b"agent");
    assert!(backend.seen()[0].contains("host: cell-7.agents.test\r\n"), "{:?}", backend.seen());
}

#[tokio::test]
async fn what_is_no_endpoint_is_invalid() {
    for endpoint in
        ["127.0.0.1:80", "tcp://127.0.0.1", "tcp://:80", "tcp://a:0", "tcp://a:x", "tls://a:443", "http://a"]
    {
        let mut request = get("http://engine/");
        request.endpoint = endpoint.to_owned();
        let error = refused(grants(&["http://*:*"], &["*:*"], &[]), request).await;
        assert_eq!(error.code, "invalid", "{endpoint}");
        assert!(error.message.contains(endpoint), "{}", error.message);
    }
}
