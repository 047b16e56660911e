//! What a request leaves in traces, and what it must not.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use http::Method;
use provider::Framing;
use tracing::Level;
use tracing_subscriber::fmt::format::FmtSpan;

use super::certificates::Ca;
use super::client::{Client, Protocol};
use super::doubles::{Backend, Fixture, eventually};

#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Written {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All that is written at the finest level, by this crate and those it stands on.
fn record() -> (Written, tracing::subscriber::DefaultGuard) {
    let written = Written::default();
    let writer = written.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(Level::TRACE)
        .with_span_events(FmtSpan::CLOSE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    (written, tracing::subscriber::set_default(subscriber))
}

#[tokio::test]
async fn a_request_has_a_span_with_its_route_and_user() {
    let (written, _guard) = record();
    let server = Fixture::start(Backend::with_log_bytes(Framing::Raw, "hello\n")).await;
    assert_eq!(server.master().get("/containerLogs/ns/web/app?tailLines=1").await.text, "hello\n");
    eventually("the span is closed", || written.text().contains("close")).await;
    let text = written.text();
    let served = text.lines().find(|line| line.contains("request served")).unwrap_or_else(|| panic!("{text}"));
    for part in [
        "node=\"node-1\"",
        "method=GET",
        "route=\"/containerLogs/{namespace}/{pod}/{container}\"",
        "user=\"kube-apiserver\"",
        "status=200",
        "bytes=6",
        "duration_ms=",
    ] {
        assert!(served.contains(part), "no {part} in {served}");
    }
}

#[tokio::test]
async fn secrets_leave_no_trace() {
    let (written, _guard) = record();
    let server = Fixture::start(Backend::with_log_bytes(Framing::Raw, "log-canary\n")).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let foreign = Ca::new("foreign").client("jane", "system:masters");
        for client in [server.master(), Client::new(server.address), Client::with_certificate(server.address, &foreign)]
        {
            let client = client.over(protocol).with_token("token-canary");
            client.get("/containerLogs/ns/web/app?x=query-canary").await;
            client.get("/path-canary/x").await;
            let mut connection = client.connect().await;
            connection.send(Method::POST, "/exec/ns/web/app?command=query-canary").await.unwrap();
        }
    }
    let text = written.text();
    assert!(text.contains("request served"), "something is recorded");
    let leaks: Vec<_> = text.lines().filter(|line| line.contains("canary")).collect();
    assert!(leaks.is_empty(), "{leaks:#?}");
}
