//! The span of a request, one for each redirect, up to the head of its response ([`provider::TRACES`]).
//!
//! Says no secret: its URL has neither user nor query nor fragment, and what the provider was shown is masked in it.
//! `traceparent` is sent only where [`propagate`] was called, for a backend learns of the trace by it.

use std::sync::OnceLock;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use provider::TRACES;
use tracing::Span;
use tracing::field::Empty;
use url::Url;

use super::policy::shown;
use crate::error::Error;
use crate::log::Logger;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// What `traceparent` says of a span.
type Context = fn(&Span) -> Option<HeaderValue>;

static PROPAGATED: OnceLock<Context> = OnceLock::new();

/// From now on requests of all providers say which span they belong to, as `context` words it (W3C Trace Context).
pub fn propagate(context: Context) {
    // Of several the first counts: it is the process' one.
    let _ = PROPAGATED.set(context);
}

/// The span of the request number `sent`, counted from 0.
pub(super) fn span(method: &Method, url: &Url, sent: u8, logger: &Logger) -> Span {
    tracing::info_span!(
        target: TRACES,
        "http",
        otel.name = method.as_str(),
        otel.kind = "client",
        otel.status_code = Empty,
        http.request.method = method.as_str(),
        http.request.resend_count = (sent > 0).then_some(u64::from(sent)),
        http.response.status_code = Empty,
        url.full = logger.mask(without_user(url)),
        server.address = url.host_str(),
        server.port = url.port_or_known_default(),
        "error.type" = Empty,
    )
}

fn without_user(url: &Url) -> String {
    let mut plain = url.clone();
    // A URL without a host has neither.
    let _ = plain.set_username("").and_then(|()| plain.set_password(None));
    shown(&plain)
}

/// Adds what the request says of its span, where that is wanted and the provider does not say it itself.
pub(super) fn tell(span: &Span, headers: &mut HeaderMap) {
    if let Some(context) = PROPAGATED.get()
        && !headers.contains_key(TRACEPARENT)
        && let Some(value) = context(span)
    {
        headers.insert(TRACEPARENT, value);
    }
}

/// What came of it.
pub(super) fn ended<B>(span: &Span, result: &Result<http::Response<B>, Error>) {
    match result {
        Ok(response) => {
            let status = response.status();
            span.record("http.response.status_code", status.as_u16());
            if status.is_client_error() || status.is_server_error() {
                span.record("otel.status_code", "error");
                span.record("error.type", status.as_str());
            }
        }
        Err(error) => {
            span.record("otel.status_code", "error");
            span.record("error.type", error.code.as_str());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_says_no_user_password_query_or_fragment() {
        let url = Url::parse("https://me:hunter2@api.test:8443/v1/pods?token=hunter2#hunter2").unwrap();
        assert_eq!(without_user(&url), "https://api.test:8443/v1/pods");
    }
}
