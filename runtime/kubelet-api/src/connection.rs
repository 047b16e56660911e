//! One connection: handshake, HTTP/2 or HTTP/1.1, and its end.
//!
//! A handshake may take ten seconds, a request's head as long as the server's setting says. A connection that has
//! nothing to do is closed after 45 to 90 seconds; a peer that is gone is noticed within about a minute.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use http::header::CONNECTION;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ServerConfig;
use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, interval_at, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::respond::{self, Response};
use crate::service::Service;

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// A connection that was idle at two of these in a row is closed.
const IDLE_TICK: Duration = Duration::from_secs(45);
/// How often a silent peer is asked whether it is there, and how long it has to answer.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Requests at once on an HTTP/2 connection.
const MAX_STREAMS: u32 = 250;
/// Bytes of an HTTP/2 stream that wait for the client.
const MAX_SEND_BUFFER: usize = 128 * 1024;
const MAX_HEADERS: u32 = 64 * 1024;
/// A connection too many gets this long to hear that it is.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(5);

/// What all connections of a server share.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) service: Arc<Service>,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) header_timeout: Duration,
    pub(crate) stopping: watch::Receiver<bool>,
}

/// Serves a connection until it ends, or until the server stops and it has nothing more to do.
pub(crate) async fn serve(context: Context, tcp: TcpStream, peer: SocketAddr, _permit: OwnedSemaphorePermit) {
    keep_alive(&tcp);
    let Some(tls) = shake_hands(context.tls, tcp, peer).await else { return };
    let certificates = Arc::new(tls.get_ref().1.peer_certificates().map(<[_]>::to_vec).unwrap_or_default());
    let activity = Activity::default();
    let service = {
        let (service, activity) = (context.service, activity.clone());
        service_fn(move |request: Request<Incoming>| {
            let (service, certificates, in_flight) = (service.clone(), certificates.clone(), activity.request());
            async move { Ok::<_, Infallible>(service.serve(request, &certificates, in_flight).await) }
        })
    };
    let ended = if is_http2(&tls) {
        let connection = http2_builder().serve_connection(TokioIo::new(tls), service);
        drive(connection, http2::Connection::graceful_shutdown, activity, context.stopping).await
    } else {
        let connection = http1_builder(context.header_timeout).serve_connection(TokioIo::new(tls), service);
        let connection = connection.with_upgrades();
        drive(connection, http1::UpgradeableConnection::graceful_shutdown, activity, context.stopping).await
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "connection ended");
    }
}

/// Requests of a connection.
#[derive(Clone, Default)]
struct Activity {
    served: Arc<AtomicU64>,
    in_flight: Arc<()>,
}

impl Activity {
    /// A request has come; it is in flight as long as this is held.
    fn request(&self) -> Arc<()> {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.in_flight.clone()
    }

    /// How many have come, if none is in flight.
    fn idle_since(&self) -> Option<u64> {
        // One is ours, one the service's.
        (Arc::strong_count(&self.in_flight) <= 2).then(|| self.served.load(Ordering::Relaxed))
    }
}

/// Waits for a connection's end, and tells it when to come to one.
async fn drive<C: Future<Output = hyper::Result<()>>>(
    connection: C,
    graceful_shutdown: fn(Pin<&mut C>),
    activity: Activity,
    mut stopping: watch::Receiver<bool>,
) -> hyper::Result<()> {
    let mut connection = pin!(connection);
    let mut ending = false;
    let mut idle_before = None;
    let mut ticks = interval_at(Instant::now() + IDLE_TICK, IDLE_TICK);
    loop {
        tokio::select! {
            ended = connection.as_mut() => return ended,
            _ = stopping.wait_for(|stopping| *stopping), if !ending => ending = true,
            _ = ticks.tick(), if !ending => {
                let idle_now = activity.idle_since();
                ending = idle_now.is_some() && idle_now == idle_before;
                idle_before = idle_now;
                if !ending {
                    continue;
                }
            }
        }
        graceful_shutdown(connection.as_mut());
    }
}

/// Tells a client that there are too many, on its first request.
pub(crate) async fn refuse(
    context: Context,
    tcp: TcpStream,
    peer: SocketAddr,
    limit: usize,
    _permit: OwnedSemaphorePermit,
) {
    let refusal = async {
        let Some(tls) = shake_hands(context.tls, tcp, peer).await else { return };
        let service = service_fn(move |_: Request<Incoming>| async move { Ok::<_, Infallible>(too_many(limit)) });
        // It ends when the client goes, or with the time-out.
        let _ = if is_http2(&tls) {
            http2_builder().serve_connection(TokioIo::new(tls), service).await
        } else {
            http1_builder(context.header_timeout).serve_connection(TokioIo::new(tls), service).await
        };
    };
    let _ = timeout(REFUSAL_TIMEOUT, refusal).await;
}

fn too_many(limit: usize) -> Response {
    let message = format!("{limit} connections are open already, which is the most at a time");
    let mut response = respond::later(StatusCode::SERVICE_UNAVAILABLE, 1, message);
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

async fn shake_hands(tls: Arc<ServerConfig>, tcp: TcpStream, peer: SocketAddr) -> Option<TlsStream<TcpStream>> {
    match timeout(HANDSHAKE_TIMEOUT, TlsAcceptor::from(tls).accept(tcp)).await {
        Ok(Ok(stream)) => Some(stream),
        Ok(Err(error)) => {
            tracing::debug!(%peer, %error, "TLS handshake failed");
            None
        }
        Err(_) => {
            tracing::debug!(%peer, "TLS handshake took too long");
            None
        }
    }
}

fn is_http2(tls: &TlsStream<TcpStream>) -> bool {
    tls.get_ref().1.alpn_protocol() == Some(b"h2")
}

fn http1_builder(header_timeout: Duration) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(header_timeout);
    builder
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(MAX_SEND_BUFFER)
        .max_header_list_size(MAX_HEADERS);
    builder
}

/// A client that vanished is noticed, also while a log is silent.
fn keep_alive(tcp: &TcpStream) {
    let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE).with_interval(Duration::from_secs(10)).with_retries(3);
    let result = tcp.set_nodelay(true).and_then(|()| SockRef::from(tcp).set_tcp_keepalive(&keep_alive));
    if let Err(error) = result {
        tracing::debug!(%error, "socket options could not be set");
    }
}
