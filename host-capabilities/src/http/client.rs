//! The pools of connections of one provider, one for each endpoint.

use std::collections::HashMap;
use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::combinators::BoxBody;
use hyper::rt::{Executor, ReadBufCursor};
use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::client::legacy::{self, Client};
use hyper_util::rt::{TokioIo, TokioTimer};
use provider::Code;
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;
use tower_service::Service;

use super::policy::Endpoint;
use crate::egress::{ConnectError, Egress};
use crate::error::{Error, error};
use crate::quota::{CloseIdle, Metered};
use crate::tls::{Chosen, Profiles};

/// Idle connections that are kept for each host.
pub const IDLE_PER_HOST: usize = 16;
/// Endpoints of their own that have a pool at once.
const MAX_ENDPOINTS: usize = 64;
/// How long they are kept.
pub const IDLE_FOR: Duration = Duration::from_secs(60);

pub(super) type RequestBody = BoxBody<Bytes, std::io::Error>;
type Pool = Client<HttpsConnector<Connector>, RequestBody>;

/// The requests of one provider: its rules, and its connections.
pub struct Http {
    pub(crate) rules: Arc<Egress>,
    pub(super) dial: Arc<Egress>,
    tls: Arc<Profiles>,
    pools: Arc<Pools>,
}

/// Connections that nobody uses now are in here.
#[derive(Default)]
struct Pools(Mutex<HashMap<Place, Pool>>);

/// Where connections go, and by which version of which TLS profile.
type Place = (Endpoint, Option<(String, u64)>);

impl CloseIdle for Pools {
    fn close_idle(&self) {
        // A connection in use lives on without its pool.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

/// How long a request waits for its turn.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

impl Http {
    /// Requests by the first rules; endpoints of their own by the second.
    pub fn new(rules: Arc<Egress>, dial: Arc<Egress>, tls: Arc<Profiles>) -> Self {
        let pools: Arc<Pools> = Arc::default();
        let idle: Arc<dyn CloseIdle> = pools.clone();
        rules.quotas().closes_idle(&idle);
        Self { rules, dial, tls, pools }
    }

    /// Sends one request, without looking at rules or redirects, and returns when the head of the response is there.
    pub(super) async fn exchange(
        &self,
        endpoint: &Endpoint,
        tls: &str,
        request: http::Request<RequestBody>,
    ) -> Result<http::Response<hyper::body::Incoming>, Error> {
        let quotas = self.rules.quotas();
        quotas.requests.turn(1, LONGEST_WAIT).await.map_err(|reached| reached.of("http"))?;
        let chosen = self.tls.choose(tls).await?;
        let pool = self.pool(endpoint, chosen);
        pool.request(request).await.map_err(|failure| explain(&failure))
    }

    fn pool(&self, endpoint: &Endpoint, tls: Chosen) -> Pool {
        let mut pools = self.pools.0.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (endpoint.clone(), tls.version);
        if let Some(pool) = pools.get(&place) {
            return pool.clone();
        }
        let egress = if *endpoint == Endpoint::Url { &self.rules } else { &self.dial };
        let builder = HttpsConnectorBuilder::new().with_tls_config((*tls.config).clone()).https_or_http();
        let builder = match tls.server_name {
            Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => builder,
        };
        let connector = builder
            .enable_http1()
            .enable_http2()
            .wrap_connector(Connector { egress: egress.clone(), endpoint: endpoint.clone() });
        let pool = Client::builder(OnHandle(egress.io().clone()))
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_timer(TokioTimer::new())
            .build(connector);
        if pools.len() > MAX_ENDPOINTS {
            // What is in use lives on without its pool.
            pools.retain(|known, _| *known == (Endpoint::Url, None));
        }
        // Those of earlier versions of the profile are not used again.
        if let (_, Some((name, version))) = &place {
            pools.retain(|(_, known), _| known.as_ref().is_none_or(|(own, of)| own != name || of == version));
        }
        pools.insert(place, pool.clone());
        pool
    }
}

/// Runs the connections' own tasks on the host's runtime, whatever thread a call is on.
#[derive(Clone)]
struct OnHandle(Handle);

impl<F> Executor<F> for OnHandle
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[derive(Clone)]
pub(super) struct Connector {
    egress: Arc<Egress>,
    endpoint: Endpoint,
}

impl Service<http::Uri> for Connector {
    type Response = Socket;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Socket, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: http::Uri) -> Self::Future {
        let Self { egress, endpoint } = self.clone();
        Box::pin(async move {
            match endpoint {
                Endpoint::Unix(path) => egress.connect_unix(&path).await.map(|s| Socket::Unix(TokioIo::new(s))),
                Endpoint::Tcp(host, port) => egress.connect(&host, port).await.map(|s| Socket::Tcp(TokioIo::new(s))),
                Endpoint::Url => {
                    let host = uri.host().unwrap_or_default().trim_matches(['[', ']']).trim_end_matches('.');
                    let port = uri.port_u16().unwrap_or(if uri.scheme_str() == Some("https") { 443 } else { 80 });
                    egress.connect(&host.to_ascii_lowercase(), port).await.map(|s| Socket::Tcp(TokioIo::new(s)))
                }
            }
        })
    }
}

pub(super) enum Socket {
    Tcp(TokioIo<Metered<TcpStream>>),
    Unix(TokioIo<Metered<UnixStream>>),
}

impl Connection for Socket {
    fn connected(&self) -> Connected {
        Connected::new()
    }
}

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Self::Tcp(socket) => Pin::new(socket).$method($($argument),*),
            Self::Unix(socket) => Pin::new(socket).$method($($argument),*),
        }
    };
}

impl hyper::rt::Read for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_read, cx, buf)
    }
}

impl hyper::rt::Write for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<std::io::Result<usize>> {
        delegate!(self, poll_write, cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}

/// The error at the bottom says most.
pub(super) fn explain(failure: &legacy::Error) -> Error {
    let mut cause: &(dyn StdError + 'static) = failure;
    while let Some(deeper) = cause.source() {
        if let Some(refused) = cause.downcast_ref::<ConnectError>() {
            return connect_error(refused);
        }
        cause = deeper;
    }
    match cause.downcast_ref::<ConnectError>() {
        Some(refused) => connect_error(refused),
        None if failure.is_connect() => error(Code::Unavailable, format!("http: no connection: {cause}")),
        None => error(Code::Unavailable, format!("http: {cause}")),
    }
}

/// What a failed connection means to a provider.
pub(crate) fn connect_error(failure: &ConnectError) -> Error {
    let code = match failure {
        ConnectError::Address { .. } => Code::Denied,
        ConnectError::Limit { .. } => Code::Limit,
        ConnectError::Resolve { .. } | ConnectError::Connect { .. } => Code::Unavailable,
    };
    error(code, failure.to_string())
}

/// No body.
pub(super) fn empty() -> RequestBody {
    use http_body_util::BodyExt;
    http_body_util::Empty::new().map_err(|never: Infallible| match never {}).boxed()
}

/// These bytes.
pub(super) fn full(bytes: Bytes) -> RequestBody {
    use http_body_util::BodyExt;
    http_body_util::Full::new(bytes).map_err(|never: Infallible| match never {}).boxed()
}
