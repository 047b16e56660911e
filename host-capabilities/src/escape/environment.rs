//! What the host's environment says of proxies and certificates is not for providers: it would lead their requests past
//! the checks.

use std::process::Command;

use super::{fetch, get};
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::{Guest, grants};

/// Set in a process that was started with variables for proxies; its value is the proxy's port.
const PROXY: &str = "HOST_CAPABILITIES_PROXY";

/// Not a test of its own: what [`proxies_of_the_environment_are_not_asked`] starts.
#[tokio::test]
async fn asks_with_a_proxy_in_the_environment() {
    if std::env::var_os(PROXY).is_none() {
        return;
    }
    let backend = Backend::http(|_| ok("direct")).await;
    let mut guest = Guest::new(grants(&["http://127.0.0.1:*", "http://*:*", "https://*:*"], &[], &["127.0.0.0/8"]));
    assert_eq!(fetch(&mut guest, get(&backend.url("/"))).await.unwrap().body, b"direct");
    let named = format!("http://localhost:{}/", backend.port);
    assert_eq!(fetch(&mut guest, get(&named)).await.unwrap().body, b"direct");
    // A proxy would resolve these, and connect to what was never checked.
    for url in ["http://no-such-host.invalid/", "https://no-such-host.invalid/", "http://169.254.169.254/"] {
        fetch(&mut guest, get(url)).await.unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_of_the_environment_are_not_asked() {
    let proxy = Backend::http(|_| ok("from the proxy")).await;
    let url = format!("http://127.0.0.1:{}", proxy.port);
    let mut own = Command::new(std::env::current_exe().unwrap());
    own.args(["--exact", "escape::environment::asks_with_a_proxy_in_the_environment"])
        .env(PROXY, proxy.port.to_string());
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        own.env(name, &url).env(name.to_lowercase(), &url);
    }
    own.env_remove("NO_PROXY").env_remove("no_proxy").env("REQUEST_METHOD", "GET");
    let output = tokio::task::spawn_blocking(move || own.output().unwrap()).await.unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    assert_eq!(proxy.connections(), 0);
}
