//! Paths, methods, and answers where something is missing.

use std::sync::Arc;

use http::{Method, StatusCode};

use super::client::Client;
use super::doubles::{Backend, Check, Fixture, NODE, Numbers, Pods};
use crate::{AllowList, Authorization, Config, HealthCheck, Identity, Metrics, Node, Server};

#[tokio::test]
async fn unknown_paths_and_methods_are_refused() {
    let server = Fixture::start(Backend::default()).await;
    let client = server.master();
    for path in ["/", "/podsx", "//pods", "/stats/../pods", "/containerLogs/ns/web", "/configz", "/%ff"] {
        let reply = client.get(path).await;
        assert_eq!((reply.status, reply.text.as_str()), (StatusCode::NOT_FOUND, "404: Page Not Found"), "{path}");
    }
    let response = client.connect().await.send(Method::POST, "/pods").await.unwrap();
    assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(response.headers()["allow"], "GET");
}

#[tokio::test]
async fn what_the_provider_lacks_is_named() {
    let server = Fixture::start(Backend::default()).await;
    let client = server.master();
    for (path, export) in [
        ("/containerLogs/ns/web/app", "logs"),
        ("/stats/summary", "stats"),
        ("/metrics/resource", "stats"),
        ("/exec/ns/web/app?command=ls&output=1", "exec"),
        ("/exec/ns/web/uid-1/app", "exec"),
        ("/attach/ns/web/app", "attach"),
        ("/portForward/ns/web", "port-forward"),
    ] {
        let reply = client.get(path).await;
        let expected = format!("the provider has no `{export}` export");
        assert_eq!((reply.status, reply.text), (StatusCode::NOT_IMPLEMENTED, expected), "{path}");
    }
}

#[tokio::test]
async fn pods_are_listed() {
    let server = Fixture::start(Backend::default()).await;
    let reply = server.master().get("/pods").await;
    assert_eq!(reply.headers["content-type"], "application/json");
    let list: serde_json::Value = serde_json::from_str(&reply.text).unwrap();
    assert_eq!(list["kind"], "PodList");
    assert_eq!(list["items"][0]["metadata"]["name"], "web");
    let reply = server.master().get("/runningpods/").await;
    assert_eq!((reply.status, reply.text.as_str()), (StatusCode::BAD_GATEWAY, "the engine is down"));
}

/// Answers without a server's help: what `/healthz` and `/metrics` say with these parts.
async fn ask(health: Vec<Arc<dyn HealthCheck>>, metrics: Option<Arc<dyn Metrics>>, path: &str) -> (StatusCode, String) {
    let identity = Identity::self_signed(NODE, &[], &[]).unwrap();
    let mut config = Config::new(NODE, "127.0.0.1:0".parse().unwrap(), identity);
    config.anonymous = true;
    config.authorization =
        Authorization::Listed(AllowList { users: ["system:anonymous".to_owned()].into(), groups: Default::default() });
    let node = Node { provider: Arc::new(Backend::default()), pods: Pods::running(), metrics, health };
    let server = Server::bind(config, node).await.unwrap();
    let client = Client::new(server.address());
    tokio::select! {
        () = server.run(std::future::pending()) => unreachable!("it runs for ever"),
        reply = client.get(path) => (reply.status, reply.text),
    }
}

#[tokio::test]
async fn health_is_worded_as_kubernetes_does() {
    let well = || vec![Arc::new(Check("syncloop", Ok(()))) as Arc<dyn HealthCheck>];
    let ill = || vec![Arc::new(Check("syncloop", Err("stuck for 3m"))) as Arc<dyn HealthCheck>];
    let verbose = "[+]ping ok\n[+]syncloop ok\nhealthz check passed\n";
    let failed = "[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n";
    let excluded = "[+]ping ok\n[+]syncloop excluded: ok\n\
                    warn: some health checks cannot be excluded: no matches for \"x\"\nhealthz check passed\n";
    for (checks, path, status, text) in [
        (well(), "/healthz", 200, "ok"),
        (well(), "/healthz?verbose", 200, verbose),
        (well(), "/healthz/ping", 200, "ok"),
        (well(), "/healthz/syncloop", 200, "ok"),
        (well(), "/healthz/other", 404, "404: Page Not Found"),
        (ill(), "/healthz", 500, failed),
        (ill(), "/healthz/syncloop", 500, "internal server error: stuck for 3m\n"),
        (ill(), "/healthz?verbose=1&exclude=syncloop&exclude=x", 200, excluded),
    ] {
        let (got_status, got_text) = ask(checks, None, path).await;
        assert_eq!((got_status.as_u16(), got_text.as_str()), (status, text), "{path}");
    }
}

#[tokio::test]
async fn the_process_tells_its_own_metrics_or_says_it_has_none() {
    assert_eq!(ask(vec![], Some(Arc::new(Numbers)), "/metrics").await.1, "# TYPE vk_up gauge\nvk_up 1\n");
    assert_eq!(ask(vec![], None, "/metrics").await.0, StatusCode::NOT_IMPLEMENTED);
}
