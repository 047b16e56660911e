//! Answers: plain text where something is wrong, in the kubelet's words.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use provider::Code;

/// What ends a body before its end; the connection or HTTP/2 stream is then cut, so that the client knows.
pub(crate) type BodyError = Box<dyn std::error::Error + Send + Sync>;
pub(crate) type Body = UnsyncBoxBody<Bytes, BodyError>;
pub(crate) type Response = http::Response<Body>;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
pub(crate) const PLAIN: HeaderValue = HeaderValue::from_static("text/plain");
const PLAIN_UTF8: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
/// The Prometheus text format.
pub(crate) const OPEN_METRICS: HeaderValue =
    HeaderValue::from_static("application/openmetrics-text; version=1.0.0; charset=utf-8");
pub(crate) const PROMETHEUS: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");

pub(crate) fn with_body(status: StatusCode, content_type: HeaderValue, body: Body) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}

pub(crate) fn full(status: StatusCode, content_type: HeaderValue, content: impl Into<Bytes>) -> Response {
    let body = Full::new(content.into()).map_err(|never: Infallible| match never {});
    with_body(status, content_type, body.boxed_unsync())
}

pub(crate) fn text(status: StatusCode, message: impl Into<String>) -> Response {
    full(status, PLAIN_UTF8, message.into())
}

/// Asks the client to come back in `seconds`.
pub(crate) fn later(status: StatusCode, seconds: u64, message: impl Into<String>) -> Response {
    let mut response = text(status, message);
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

/// The answer to an error of the provider. The API server hands on the text of a 400, 500, 501 or 502; that of a 404,
/// 429, 503 or 504 it replaces by words of its own, so those stand only where the words say enough.
pub(crate) fn provider_error(error: &provider::Error) -> Response {
    let status = match error.code {
        Code::NotFound | Code::Invalid => StatusCode::BAD_REQUEST,
        Code::Conflict => StatusCode::CONFLICT,
        Code::Throttled | Code::Limit => {
            let seconds = error.retry_after.map_or(1, |delay| delay.as_secs().max(1));
            return later(StatusCode::TOO_MANY_REQUESTS, seconds, &error.message);
        }
        Code::Unavailable | Code::Unauthorized | Code::Closed => StatusCode::BAD_GATEWAY,
        Code::Unsupported => StatusCode::NOT_IMPLEMENTED,
        Code::Timeout => StatusCode::GATEWAY_TIMEOUT,
        Code::Denied | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
    };
    text(status, &error.message)
}
