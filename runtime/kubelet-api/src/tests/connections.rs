//! Connections: protocols, certificates that change, bounds, and the end of a server.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http_body_util::BodyExt;
use provider::Framing;
use rustls::client::verify_server_name;
use rustls::pki_types::ServerName;
use rustls::server::ParsedCertificate;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::certificates::Ca;
use super::client::{Client, Protocol};
use super::doubles::{Backend, Fixture, NODE, Pods, log};
use super::logs_served::feed;
use crate::{BindError, Config, Identity, Node, Server};

const LOGS: &str = "/containerLogs/ns/web/app?follow=true";

#[tokio::test]
async fn both_protocols_are_offered() {
    let server = Fixture::start(Backend::default()).await;
    for (protocol, name) in [(Protocol::Http1, &b"http/1.1"[..]), (Protocol::Http2, b"h2")] {
        let tls = server.master().over(protocol).tls().await.unwrap();
        assert_eq!(tls.get_ref().1.alpn_protocol(), Some(name));
    }
}

#[tokio::test]
async fn a_self_signed_certificate_is_for_the_node() {
    let server = Fixture::start(Backend::default()).await;
    let client = server.master();
    client.get("/healthz").await;
    let shown = client.shown();
    let parsed = ParsedCertificate::try_from(&shown).unwrap();
    for (name, valid) in [(NODE, true), ("127.0.0.1", true), ("10.0.0.1", false), ("other", false)] {
        let name = ServerName::try_from(name).unwrap();
        assert_eq!(verify_server_name(&parsed, &name).is_ok(), valid, "{name:?}");
    }
}

#[tokio::test]
async fn the_certificate_is_swapped_under_open_connections() {
    let server = Fixture::start(Backend::default()).await;
    let client = server.master();
    let mut open = client.connect().await;
    let first = client.shown();
    let next = Ca::new("serving").server("node.test");
    server.credentials.set_identity(next.identity()).unwrap();
    assert_eq!(open.get("/healthz").await.status, 200, "an open connection goes on");
    assert_eq!(client.shown(), first);
    assert_eq!(client.get("/healthz").await.status, 200);
    assert_eq!(client.shown(), next.certificate, "a new one sees the new certificate");
    assert_eq!(open.get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_port_in_use_is_named_with_its_setting() {
    let server = Fixture::start(Backend::default()).await;
    let config = Config::new("node-2", server.address, Identity::self_signed("node-2", &[], &[]).unwrap());
    let node = Node { provider: server.backend.clone(), pods: server.pods.clone(), metrics: None, health: vec![] };
    let error = Server::bind(config, node).await.err().unwrap();
    assert!(matches!(error, BindError::InUse { .. }));
    let expected = format!(
        "node \"node-2\": port {} of 127.0.0.1 is in use by another process; choose another kubelet port \
         (`--kubelet-port`, 0 for any)",
        server.address.port()
    );
    assert_eq!(error.to_string(), expected);
}

#[tokio::test]
async fn several_nodes_live_side_by_side() {
    let (one, two) = (Fixture::start(Backend::default()).await, Fixture::start(Backend::default()).await);
    assert_ne!(one.address, two.address);
    assert_eq!(one.master().get("/healthz").await.status, 200);
    let of_the_other = Client::with_certificate(two.address, &one.ca.client("jane", "system:masters"));
    assert_eq!(of_the_other.get("/healthz").await.status, 401);
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = Fixture::configured(Backend::default(), Pods::running(), |config| config.limits.connections = 2).await;
    let client = server.master();
    let mut first = client.connect().await;
    assert_eq!(first.get("/healthz").await.status, 200);
    let second = client.connect().await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let reply = client.clone().over(protocol).get("/healthz").await;
        assert_eq!(reply.status, 503);
        assert_eq!(reply.headers["retry-after"], "1");
        assert_eq!(reply.text, "2 connections are open already, which is the most at a time");
    }
    assert_eq!(first.get("/healthz").await.status, 200, "those that are open are served");
    drop(second);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(client.get("/healthz").await.status, 200, "there is room again");
}

#[tokio::test]
async fn a_request_that_never_comes_is_not_waited_for() {
    let server = Fixture::configured(Backend::default(), Pods::running(), |config| {
        config.limits.header_timeout = Duration::from_millis(200);
    })
    .await;
    for start in ["", "GET /healthz HTTP/1.1\r\n"] {
        let mut tls = server.master().tls().await.unwrap();
        tls.write_all(start.as_bytes()).await.unwrap();
        let began = Instant::now();
        let mut answer = Vec::new();
        let _ = tls.read_to_end(&mut answer).await;
        assert!(began.elapsed() < Duration::from_secs(3), "{start:?}");
    }
}

#[tokio::test]
async fn what_is_no_tls_is_dropped() {
    let server = Fixture::start(Backend::default()).await;
    let mut tcp = tokio::net::TcpStream::connect(server.address).await.unwrap();
    tcp.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = tcp.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP"));
    assert_eq!(server.master().get("/healthz").await.status, 200);
}

#[tokio::test]
async fn a_stopping_server_finishes_requests_and_cuts_off_logs() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let (sender, content, gone) = feed();
        let content = std::sync::Mutex::new(Some(content));
        let backend = Backend::with_logs(move |_, _| {
            let follow = [provider::LogOption::Follow];
            Ok(log(Framing::Raw, &follow, content.lock().unwrap().take().unwrap()))
        });
        let mut server = Fixture::start(backend).await;
        let client = server.master().over(protocol);
        let mut body = client.connect().await.open(LOGS).await.into_body();
        sender.send(Ok("hello\n".into())).await.unwrap();
        assert_eq!(body.frame().await.unwrap().unwrap().into_data().unwrap(), "hello\n");
        server.stop();
        let began = Instant::now();
        assert!(body.frame().await.is_none_or(|frame| frame.is_err()), "{protocol:?}: the log is cut off");
        server.stopped().await;
        assert!(began.elapsed() < Duration::from_secs(2), "{protocol:?}: nothing is waited for");
        assert!(gone());
        assert!(client.tls().await.is_err(), "nobody listens any more");
    }
}

#[tokio::test]
async fn a_server_that_is_dropped_drops_everything() {
    let (sender, content, gone) = feed();
    let content = std::sync::Mutex::new(Some(content));
    let backend = Backend::with_logs(move |_, _| Ok(log(Framing::Raw, &[], content.lock().unwrap().take().unwrap())));
    let ca = Ca::new("client-ca");
    let mut config = Config::new(NODE, "127.0.0.1:0".parse().unwrap(), Identity::self_signed(NODE, &[], &[]).unwrap());
    config.client_ca = Some(ca.client_ca());
    let node = Node { provider: Arc::new(backend), pods: Pods::running(), metrics: None, health: vec![] };
    let server = Server::bind(config, node).await.unwrap();
    let client = Client::with_certificate(server.address(), &ca.client("jane", "system:masters"));
    let task = tokio::spawn(server.run(std::future::pending()));
    let body = client.connect().await.open("/containerLogs/ns/web/app").await.into_body();
    sender.send(Ok("hello\n".into())).await.unwrap();
    task.abort();
    super::doubles::eventually("the backend's stream is dropped", &gone).await;
    drop(body);
}
