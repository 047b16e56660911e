//! `http` as a guest sees it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use provider::{ByteStream, Code};
use tracing::Instrument;
use wasmtime::component::Accessor;

use super::client::{RequestBody, empty, full};
use super::inject::{Injection, searched};
use super::policy::{Endpoint, authority, check, headers, parse_endpoint, parse_url, shown, shown_text, target};
use super::{redirect, trace};
use crate::audit::Used;
use crate::bindings::vk::host::http as wit;
use crate::call::task;
use crate::error::{Error, error, from_provider};
use crate::http::Http;
use crate::log::{Logger, plain};
use crate::quota::{Held, Quotas};
use crate::secrets::{Filling, Search};
use crate::stream::{self, HostStream};
use crate::{Call, CallData, Capabilities};

/// Until the response's head, if the request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const MAX_REDIRECTS: u8 = 10;

/// A request whose body is the host's to send.
struct Outgoing {
    method: Method,
    url: url::Url,
    /// Path and query as they are sent.
    target: String,
    headers: http::HeaderMap,
    body: Body,
    endpoint: Endpoint,
    /// Name of the TLS profile.
    tls: String,
    injection: Injection,
    logger: Logger,
    redirects: u8,
    timeout: Duration,
    idle_timeout: Option<Duration>,
}

enum Body {
    None,
    Bytes(Bytes),
    Stream(ByteStream),
}

impl Body {
    /// Its bytes, where they are known before it is sent.
    fn size(&self) -> Option<u64> {
        match self {
            Self::None => Some(0),
            Self::Bytes(bytes) => Some(bytes.len() as u64),
            Self::Stream(_) => None,
        }
    }

    /// The body to send now; what is left can be sent again after a redirect, or not.
    fn take(&mut self, filling: &Arc<Filling>) -> Result<(RequestBody, bool), Error> {
        Ok(match std::mem::replace(self, Self::None) {
            Self::None => (empty(), true),
            Self::Bytes(bytes) => {
                *self = Self::Bytes(bytes.clone());
                (full(filling.bytes(bytes).map_err(from_provider)?), true)
            }
            Self::Stream(stream) => {
                let frames = filling.stream(stream).map_ok(Frame::data).map_err(std::io::Error::other);
                (BodyExt::boxed(StreamBody::new(SyncStream(std::sync::Mutex::new(frames)))), false)
            }
        })
    }
}

/// A body must be shareable between threads; a stream that is only ever polled by its owner is, behind a lock that nobody
/// else takes.
struct SyncStream<S>(std::sync::Mutex<S>);

impl<S: Stream + Unpin> Stream for SyncStream<S> {
    type Item = S::Item;

    fn poll_next(
        self: std::pin::Pin<&mut Self>,
        cx: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Self::Item>> {
        self.get_mut().0.get_mut().unwrap_or_else(std::sync::PoisonError::into_inner).poll_next_unpin(cx)
    }
}

impl Outgoing {
    fn read(request: wit::Request, body: Body, injection: Injection, logger: Logger) -> Result<Self, Error> {
        let own = logger.clone();
        let asked = own.is_audited().then(|| (request.method.clone(), shown_text(&request.url)));
        Self::check(request, body, injection, logger).inspect_err(|error| {
            if let Some((method, url)) = asked {
                own.used(Some(error), || Used::new("http", &method, url));
            }
        })
    }

    fn check(request: wit::Request, body: Body, injection: Injection, logger: Logger) -> Result<Self, Error> {
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| error(Code::Invalid, format!("http: `{}` is no method", plain(request.method.clone()))))?;
        let url = parse_url(&request.url)?;
        Ok(Self {
            method,
            target: target(&request.url, &url)?,
            url,
            headers: headers(request.headers)?,
            body,
            tls: request.tls,
            injection,
            logger,
            endpoint: parse_endpoint(&request.endpoint)?,
            redirects: request.redirects.min(MAX_REDIRECTS),
            timeout: request.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_nanos),
            idle_timeout: request.idle_timeout.map(Duration::from_nanos),
        })
    }
}

/// A response whose body is still to come.
struct Answer {
    head: wit::Head,
    response: Response<Incoming>,
    /// What the guest must not see of its body.
    search: Option<Arc<Search>>,
}

impl Answer {
    fn into_content(self, idle: Option<Duration>, quotas: &Arc<Quotas>) -> (wit::Head, ByteStream) {
        (self.head, searched(self.search, content(self.response, idle, quotas)))
    }
}

impl Http {
    /// Sends a request, follows its redirects, and returns the head with the URL that answered.
    async fn send(&self, mut out: Outgoing) -> Result<Answer, Error> {
        let answered = self.follow(&mut out).await;
        answered.map_err(|error| out.injection.error(error))
    }

    /// Sends the request as it is now; tells whether it could be sent again.
    async fn ask(&self, out: &mut Outgoing, started: Instant, sent: u8) -> Result<(Response<Incoming>, bool), Error> {
        check(&self.rules, &self.dial, out.method.as_str(), &out.url, &out.endpoint)?;
        let filling = out.injection.towards(&out.url, &out.endpoint);
        let (body, can_repeat) = out.body.take(&filling)?;
        let mut request = build(out, body, &filling)?;
        let span = trace::span(&out.method, &out.url, sent, &out.logger);
        trace::tell(&span, request.headers_mut());
        let timeout = out.timeout.saturating_sub(started.elapsed());
        let exchange = self.exchange(&out.endpoint, &out.tls, request).instrument(span.clone());
        let exchange = tokio::time::timeout(timeout, exchange).await;
        let exchanged = exchange.unwrap_or_else(|_| {
            let message = format!("http: {} {} had no answer within {:?}", out.method, shown(&out.url), out.timeout);
            Err(error(Code::Timeout, message))
        });
        trace::ended(&span, &exchanged);
        Ok((exchanged?, can_repeat))
    }

    async fn follow(&self, out: &mut Outgoing) -> Result<Answer, Error> {
        let mut left = out.redirects;
        let started = Instant::now();
        loop {
            let bytes = out.body.size();
            let asked = self.ask(out, started, out.redirects - left).await;
            let status = asked.as_ref().ok().map(|(response, _)| response.status().as_u16());
            out.logger.used(asked.as_ref().err(), || Used {
                status,
                bytes_out: bytes,
                ..Used::new("http", out.method.as_str(), audited(&out.url, &out.endpoint))
            });
            let (response, can_repeat) = asked?;
            match redirect::next(response.status(), response.headers(), &out.url, &out.method) {
                Some(next) if left > 0 && (can_repeat || !next.keeps_body) => {
                    left -= 1;
                    if !next.keeps_body {
                        out.body = Body::None;
                        out.headers.remove(http::header::CONTENT_TYPE);
                    }
                    redirect::strip(&mut out.headers, &out.url, &next.url);
                    out.injection.follow(&out.url, &next.url, &out.endpoint, &mut out.headers)?;
                    let read = parse_url(next.url.as_str())
                        .and_then(|url| Ok((target(next.url.as_str(), &url)?, url)))
                        .inspect_err(|error| {
                            out.logger
                                .used(Some(error), || Used::new("http", "redirect", shown_text(next.url.as_str())));
                        });
                    (out.target, out.url) = read?;
                    out.method = next.method;
                }
                _ => {
                    let head = wit::Head {
                        status: response.status().as_u16(),
                        headers: response
                            .headers()
                            .iter()
                            .map(|(name, value)| {
                                (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
                            })
                            .collect(),
                        url: out.url.to_string(),
                    };
                    let (head, search) = out.injection.seen(head, &response)?;
                    return Ok(Answer { head, response, search });
                }
            }
        }
    }
}

/// Where a request goes, for the audit log.
fn audited(url: &url::Url, endpoint: &Endpoint) -> String {
    match endpoint {
        Endpoint::Url => shown(url),
        Endpoint::Unix(path) => format!("{} by unix://{path}", shown(url)),
        Endpoint::Tcp(host, port) => format!("{} by tcp://{host}:{port}", shown(url)),
    }
}

fn build(out: &Outgoing, body: RequestBody, filling: &Filling) -> Result<Request<RequestBody>, Error> {
    let invalid = |reason: String| error(Code::Invalid, format!("http: {}: {reason}", shown(&out.url)));
    let mut request = Request::new(body);
    *request.method_mut() = out.method.clone();
    let target = out.injection.target(&out.target, filling)?;
    let uri = format!("{}{target}", &out.url[..url::Position::BeforePath]);
    *request.uri_mut() = uri.parse().map_err(|failure| invalid(format!("{failure}")))?;
    *request.headers_mut() = out.injection.headers(&out.headers, filling)?;
    // Some servers want a length of a method that usually has a body (RFC 9110, section 8.6).
    if request.body().is_end_stream() && matches!(out.method, Method::POST | Method::PUT | Method::PATCH) {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(0));
    }
    if authority(&out.url).is_none() {
        return Err(invalid("it has no host".to_owned()));
    }
    Ok(request)
}

/// The response's data, under the limit `stream-size`; trailers are dropped.
fn content(response: Response<Incoming>, idle: Option<Duration>, quotas: &Arc<Quotas>) -> ByteStream {
    let quotas = quotas.clone();
    let frames = BodyStream::new(response.into_body());
    Box::pin(futures::stream::unfold(Some((frames, 0, quotas)), move |state| async move {
        let (mut frames, size, quotas) = state?;
        loop {
            let next = match idle {
                Some(idle) => match tokio::time::timeout(idle, frames.next()).await {
                    Ok(next) => next,
                    Err(_) => {
                        let message = format!("http: nothing came of the response's body within {idle:?}");
                        return Some((Err(provider::Error::new(Code::Timeout, message)), None));
                    }
                },
                None => frames.next().await,
            };
            match next? {
                Ok(frame) => match frame.into_data() {
                    Ok(data) if data.is_empty() => {}
                    Ok(data) => {
                        let size = size + data.len() as u64;
                        if size > quotas.stream_size.maximum() {
                            let message = format!("http: {}", quotas.stream_size.refuse());
                            return Some((Err(provider::Error::new(Code::Limit, message)), None));
                        }
                        quotas.stream_size.set_used(size);
                        quotas.stream_size.count(data.len() as u64);
                        return Some((Ok(data), Some((frames, size, quotas))));
                    }
                    Err(_trailers) => {}
                },
                Err(failure) => {
                    let message = format!("http: the response's body was cut short: {failure}");
                    return Some((Err(provider::Error::new(Code::Closed, message)), None));
                }
            }
        }
    }))
}

/// Takes the body out of a request: a stream of the host's is sent without the guest, one of the guest's is received as it
/// writes it.
fn take_body<T: Send + 'static>(
    accessor: &Accessor<T, CallData>,
    request: &mut wit::Request,
) -> wasmtime::Result<Body> {
    Ok(match std::mem::replace(&mut request.body, wit::Body::None) {
        wit::Body::None => Body::None,
        wit::Body::Bytes(bytes) => Body::Bytes(bytes.into()),
        wit::Body::Chunks(reader) => {
            Body::Stream(accessor.with(|mut access| match stream::take(reader, &mut access) {
                Ok(own) => Ok(own.into_stream()),
                Err(reader) => stream::receive(reader, &mut access),
            })?)
        }
    })
}

/// The memory that a request's body takes while it is sent.
fn hold(body: &Body, quotas: &Quotas) -> Result<Option<Held>, Error> {
    match body {
        Body::Bytes(bytes) => {
            let held = quotas.held_bytes.take(bytes.len() as u64);
            held.map(Some).map_err(|reached| reached.of("http"))
        }
        Body::None | Body::Stream(_) => Ok(None),
    }
}

impl Call {
    /// What a request stands on.
    fn sending(&self) -> (Arc<Capabilities>, Injection, Logger) {
        let injection = Injection::new(self.placeholders.clone(), self.capabilities.secrets.clone());
        (self.capabilities.clone(), injection, self.logger.clone())
    }
}

impl wit::Host for Call {}

impl<T: Send + 'static> wit::HostWithStore<T> for CallData {
    async fn send(
        accessor: &Accessor<T, Self>,
        mut request: wit::Request,
    ) -> wasmtime::Result<Result<wit::Response, Error>> {
        let _task = task(accessor)?;
        let body = take_body(accessor, &mut request)?;
        let (own, injection, logger) = accessor.with(|mut access| access.get().sending());
        let read =
            hold(&body, &own.quotas).and_then(|held| Ok((held, Outgoing::read(request, body, injection, logger)?)));
        let (_held, out) = match read {
            Ok(read) => read,
            Err(error) => return Ok(Err(error)),
        };
        let idle = out.idle_timeout;
        match own.http.send(out).await {
            Err(error) => Ok(Err(error)),
            Ok(answer) => accessor.with(|mut access| {
                let (head, content) = answer.into_content(idle, &own.quotas);
                let body = HostStream::new(content).into_source(&mut access)?;
                Ok(Ok(wit::Response { head, body }))
            }),
        }
    }

    async fn fetch(
        accessor: &Accessor<T, Self>,
        mut request: wit::Request,
        max: u64,
    ) -> wasmtime::Result<Result<wit::FullResponse, Error>> {
        let _task = task(accessor)?;
        let body = take_body(accessor, &mut request)?;
        let (own, injection, logger) = accessor.with(|mut access| access.get().sending());
        let reader = logger.clone();
        let fetched = async {
            let _held = hold(&body, &own.quotas)?;
            let out = Outgoing::read(request, body, injection, logger)?;
            let idle = out.idle_timeout;
            let (head, content) = own.http.send(out).await?.into_content(idle, &own.quotas);
            let body = collect(content, max, &head.url, &own.quotas).await;
            reader.used(body.as_ref().err(), || Used {
                bytes_in: body.as_ref().ok().map(|body| body.len() as u64),
                ..Used::new("http", "body", shown_text(&head.url))
            });
            let body = body?;
            Ok(wit::FullResponse { head, body })
        };
        Ok(fetched.await)
    }
}

async fn collect(mut content: ByteStream, max: u64, url: &str, quotas: &Quotas) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    let mut held = quotas.held_bytes.take(0).map_err(|reached| reached.of("http"))?;
    while let Some(chunk) = content.next().await {
        let chunk = chunk.map_err(from_provider)?;
        let size = (body.len() + chunk.len()) as u64;
        if size > max {
            let url = url.split('?').next().unwrap_or_default();
            let message = format!("http: the response of {url} is larger than the {max} bytes that were asked for");
            return Err(error(Code::Limit, message));
        }
        quotas.response_size.fits(size).map_err(|reached| reached.of("http"))?;
        held.grow(chunk.len() as u64).map_err(|reached| reached.of("http"))?;
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
