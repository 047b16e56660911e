//! `http` as a guest sees it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{Stream, StreamExt, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, BodyStream, StreamBody};
use hyper::body::{Body as _, Frame, Incoming};
use provider::{ByteStream, Code};
use wasmtime::component::Accessor;

use super::client::{RequestBody, empty, full};
use super::policy::{Endpoint, authority, check, headers, parse_endpoint, parse_url, shown, target};
use super::redirect;
use crate::bindings::vk::host::http as wit;
use crate::error::{Error, error};
use crate::http::Http;
use crate::stream::{self, HostStream};
use crate::{Call, CallData};

/// Until the response's head, if the request does not say.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Most redirects of one request.
const MAX_REDIRECTS: u8 = 10;
/// Most bytes that `fetch` holds.
const MAX_FETCH: u64 = 64 << 20;

/// A request whose body is the host's to send.
struct Outgoing {
    method: Method,
    url: url::Url,
    /// Path and query as they are sent.
    target: String,
    headers: http::HeaderMap,
    body: Body,
    endpoint: Endpoint,
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
    /// The body to send now; what is left can be sent again after a redirect, or not.
    fn take(&mut self) -> (RequestBody, bool) {
        match std::mem::replace(self, Self::None) {
            Self::None => (empty(), true),
            Self::Bytes(bytes) => {
                *self = Self::Bytes(bytes.clone());
                (full(bytes), true)
            }
            Self::Stream(stream) => {
                let frames = stream.map_ok(Frame::data).map_err(std::io::Error::other);
                (BodyExt::boxed(StreamBody::new(SyncStream(std::sync::Mutex::new(frames)))), false)
            }
        }
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
    fn read(request: wit::Request, body: Body) -> Result<Self, Error> {
        if !request.tls.is_empty() {
            let message = format!("http: there is no TLS profile `{}` in the configuration", request.tls);
            return Err(error(Code::Invalid, message));
        }
        let method = Method::from_bytes(request.method.as_bytes())
            .ok()
            .filter(|method| *method != Method::CONNECT)
            .ok_or_else(|| error(Code::Invalid, format!("http: `{}` is no method", request.method)))?;
        let url = parse_url(&request.url)?;
        Ok(Self {
            method,
            target: target(&request.url, &url)?,
            url,
            headers: headers(request.headers)?,
            body,
            endpoint: parse_endpoint(&request.endpoint)?,
            redirects: request.redirects.min(MAX_REDIRECTS),
            timeout: request.timeout.map_or(DEFAULT_TIMEOUT, Duration::from_nanos),
            idle_timeout: request.idle_timeout.map(Duration::from_nanos),
        })
    }
}

impl Http {
    /// Sends a request, follows its redirects, and returns the head with the URL that answered.
    async fn send(&self, mut out: Outgoing) -> Result<(wit::Head, Response<Incoming>), Error> {
        let mut left = out.redirects;
        let started = Instant::now();
        loop {
            check(&self.rules, &self.dial, out.method.as_str(), &out.url, &out.endpoint)?;
            let (body, can_repeat) = out.body.take();
            let request = build(&out, body)?;
            let timeout = out.timeout.saturating_sub(started.elapsed());
            let exchange = tokio::time::timeout(timeout, self.exchange(&out.endpoint, request)).await;
            let response = exchange.map_err(|_| {
                let message =
                    format!("http: {} {} had no answer within {:?}", out.method, shown(&out.url), out.timeout);
                error(Code::Timeout, message)
            })??;
            match redirect::next(response.status(), response.headers(), &out.url, &out.method) {
                Some(next) if left > 0 && (can_repeat || !next.keeps_body) => {
                    left -= 1;
                    if !next.keeps_body {
                        out.body = Body::None;
                        out.headers.remove(http::header::CONTENT_TYPE);
                    }
                    redirect::strip(&mut out.headers, &out.url, &next.url);
                    out.url = parse_url(next.url.as_str())?;
                    out.target = target(next.url.as_str(), &out.url)?;
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
                    return Ok((head, response));
                }
            }
        }
    }
}

fn build(out: &Outgoing, body: RequestBody) -> Result<Request<RequestBody>, Error> {
    let invalid = |reason: String| error(Code::Invalid, format!("http: {}: {reason}", shown(&out.url)));
    let mut request = Request::new(body);
    *request.method_mut() = out.method.clone();
    let uri = format!("{}{}", &out.url[..url::Position::BeforePath], out.target);
    *request.uri_mut() = uri.parse().map_err(|failure| invalid(format!("{failure}")))?;
    *request.headers_mut() = out.headers.clone();
    // Some servers want a length of a method that usually has a body (RFC 9110, section 8.6).
    if request.body().is_end_stream() && matches!(out.method, Method::POST | Method::PUT | Method::PATCH) {
        request.headers_mut().insert(http::header::CONTENT_LENGTH, http::HeaderValue::from(0));
    }
    if authority(&out.url).is_none() {
        return Err(invalid("it has no host".to_owned()));
    }
    Ok(request)
}

/// The response's data; trailers are dropped.
fn content(response: Response<Incoming>, idle: Option<Duration>) -> ByteStream {
    let frames = BodyStream::new(response.into_body());
    Box::pin(futures::stream::unfold(Some(frames), move |frames| async move {
        let mut frames = frames?;
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
                    Ok(data) => return Some((Ok(data), Some(frames))),
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

impl wit::Host for Call {}

impl<T: Send + 'static> wit::HostWithStore<T> for CallData {
    async fn send(
        accessor: &Accessor<T, Self>,
        mut request: wit::Request,
    ) -> wasmtime::Result<Result<wit::Response, Error>> {
        let body = take_body(accessor, &mut request)?;
        let own = accessor.with(|mut access| access.get().capabilities.clone());
        let out = match Outgoing::read(request, body) {
            Ok(out) => out,
            Err(error) => return Ok(Err(error)),
        };
        let idle = out.idle_timeout;
        match own.http.send(out).await {
            Err(error) => Ok(Err(error)),
            Ok((head, response)) => accessor.with(|mut access| {
                let body = HostStream::new(content(response, idle)).into_source(&mut access)?;
                Ok(Ok(wit::Response { head, body }))
            }),
        }
    }

    async fn fetch(
        accessor: &Accessor<T, Self>,
        mut request: wit::Request,
        max: u64,
    ) -> wasmtime::Result<Result<wit::FullResponse, Error>> {
        let body = take_body(accessor, &mut request)?;
        let own = accessor.with(|mut access| access.get().capabilities.clone());
        let fetched = async {
            let out = Outgoing::read(request, body)?;
            let idle = out.idle_timeout;
            let (head, response) = own.http.send(out).await?;
            let body = collect(content(response, idle), max.min(MAX_FETCH), &head.url).await?;
            Ok(wit::FullResponse { head, body })
        };
        Ok(fetched.await)
    }
}

async fn collect(mut content: ByteStream, max: u64, url: &str) -> Result<Vec<u8>, Error> {
    let mut body = Vec::new();
    while let Some(chunk) = content.next().await {
        let chunk = chunk.map_err(crate::error::from_provider)?;
        if (body.len() + chunk.len()) as u64 > max {
            let url = url.split('?').next().unwrap_or_default();
            let message = format!("http: the response of {url} is larger than the {max} bytes that were asked for");
            return Err(error(Code::Limit, message));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
