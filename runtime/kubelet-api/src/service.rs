//! One request: who makes it, whether they may, what it leads to, and a span that tells of it.
//!
//! The span has the method, the route's template, the user, the status, and with the body's end the duration and bytes.
//! Neither path nor query are in it: a query may hold a command line.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::ALLOW;
use http::request::Parts;
use http::{HeaderValue, Request, StatusCode};
use hyper::body::{Frame, Incoming, SizeHint};
use provider::{Error, Provider};
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::auth::Gate;
use crate::health::{self, Checks};
use crate::logs::Logs;
use crate::pods::{self, NodePods};
use crate::respond::{self, Body, BodyError, OPEN_METRICS, Response};
use crate::route::{self, Route};
use crate::stats::Stats;

/// Tells the process' own metrics.
pub trait Metrics: Send + Sync {
    /// All of them, in the text format OpenMetrics 1.0.
    fn text(&self) -> String;
}

/// What answers requests.
pub(crate) struct Service {
    pub(crate) gate: Gate,
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) pods: Arc<dyn NodePods>,
    pub(crate) metrics: Option<Arc<dyn Metrics>>,
    pub(crate) health: Checks,
    pub(crate) logs: Logs,
    pub(crate) stats: Stats,
}

impl Service {
    /// Answers a request of a connection whose client showed these certificates, leaf first. `in_flight` is held until
    /// the answer's body has ended.
    pub(crate) async fn serve(
        &self,
        request: Request<Incoming>,
        certificates: &[CertificateDer<'static>],
        in_flight: Arc<()>,
    ) -> Response {
        let started = Instant::now();
        let (request, _) = request.into_parts();
        let path = route::decode(request.uri.path());
        let route = path.as_deref().and_then(Route::find);
        let span = tracing::info_span!(
            "kubelet_api",
            node = self.gate.node(),
            method = %request.method,
            route = route.map_or("unknown", Route::template),
            user = Empty,
            status = Empty,
            duration_ms = Empty,
            bytes = Empty,
        );
        let answer = self.answer(&request, path.as_deref(), route, certificates);
        let response = answer.instrument(span.clone()).await;
        span.record("status", response.status().as_u16());
        response.map(|body| Body::new(Traced { body, span, started, bytes: 0, cut: false, _in_flight: in_flight }))
    }

    async fn answer(
        &self,
        request: &Parts,
        path: Option<&str>,
        route: Option<Route<'_>>,
        certificates: &[CertificateDer<'static>],
    ) -> Response {
        let user = match self.gate.authenticate(request, certificates).await {
            Ok(user) => user,
            Err(response) => return response,
        };
        Span::current().record("user", user.name.as_str());
        if let Err(response) = self.gate.authorize(&user, request, path.unwrap_or_default()).await {
            return response;
        }
        let Some(route) = route else { return not_found() };
        let methods = route.methods();
        if !methods.is_empty() && !methods.contains(&request.method) {
            let mut response = respond::text(StatusCode::METHOD_NOT_ALLOWED, "405: Method Not Allowed");
            let allowed = if methods.len() == 1 { "GET" } else { "GET, POST" };
            response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return response;
        }
        self.dispatch(route, request.uri.query()).await
    }

    async fn dispatch(&self, route: Route<'_>, query: Option<&str>) -> Response {
        match route {
            Route::Health => health::all(&self.health, query).await,
            Route::HealthCheck { name } => health::one(&self.health, name).await.unwrap_or_else(not_found),
            Route::Pods => pods::list(self.pods.bound()).await,
            Route::RunningPods => pods::list(self.pods.running()).await,
            Route::ContainerLogs { namespace, pod, container } => {
                self.logs.serve(namespace, pod, container, query.unwrap_or_default()).await
            }
            Route::StatsSummary => self.stats.summary(query.unwrap_or_default()).await,
            Route::ResourceMetrics => self.stats.resource_metrics().await,
            Route::Metrics => match &self.metrics {
                Some(metrics) => respond::full(StatusCode::OK, OPEN_METRICS, metrics.text()),
                None => respond::text(StatusCode::NOT_IMPLEMENTED, "this process keeps no metrics of its own"),
            },
            Route::Exec => unserved("exec", self.provider.exec().is_some()),
            Route::Attach => unserved("attach", self.provider.attach().is_some()),
            Route::PortForward => unserved("port-forward", self.provider.port_forward().is_some()),
        }
    }
}

/// Streams over SPDY/3.1 and WebSocket are not served yet.
fn unserved(export: &str, exported: bool) -> Response {
    if !exported {
        return respond::provider_error(&Error::lacks(export));
    }
    let message = format!("{export} is not in this version: it needs SPDY/3.1 or WebSocket streaming");
    respond::text(StatusCode::NOT_IMPLEMENTED, message)
}

fn not_found() -> Response {
    respond::text(StatusCode::NOT_FOUND, "404: Page Not Found")
}

/// A body whose end ends the request's span.
struct Traced {
    body: Body,
    span: Span,
    started: Instant,
    bytes: u64,
    cut: bool,
    _in_flight: Arc<()>,
}

impl hyper::body::Body for Traced {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let this = &mut *self;
        let _entered = this.span.enter();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => this.bytes += frame.data_ref().map_or(0, |data| data.remaining() as u64),
            Some(Err(_)) => this.cut = true,
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        let duration = self.started.elapsed();
        self.span.record("duration_ms", duration.as_secs_f64() * 1e3);
        self.span.record("bytes", self.bytes);
        tracing::debug!(parent: &self.span, cut = self.cut, "request served");
    }
}
