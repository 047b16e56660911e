//! Requests over [`crate::host::http`]: JSON in and out, query strings, and statuses turned into errors with the
//! backend's own words.
//!
//! ```no_run
//! # async fn demo() -> vk_provider_sdk::Result<()> {
//! use vk_provider_sdk::http::Request;
//! let answer = Request::get("https://api.example.com/v1/groups").query("state", "running").fetch().await?.ok()?;
//! let groups: serde_json::Value = answer.json()?;
//! # Ok(()) }
//! ```

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::host::http as wit;
use crate::host::types::Source;
use crate::streams::{Reader, StreamReader};
use crate::{Error, Result, code, time};

/// Bytes that [`Request::fetch`] accepts if it isn't told otherwise.
const MAX_BODY: u64 = 16 << 20;
/// Bytes of an error's body that are looked at.
const MAX_ERROR_BODY: usize = 64 * 1024;
/// Characters of a backend's message that are passed on.
const MAX_MESSAGE: usize = 1024;

/// A request that is being made.
pub struct Request {
    own: wit::Request,
    max: u64,
}

impl Request {
    /// A request to an absolute URL.
    pub fn new(method: &str, url: impl Into<String>) -> Self {
        Self {
            own: wit::Request {
                method: method.to_owned(),
                url: url.into(),
                headers: Vec::new(),
                body: wit::Body::None,
                endpoint: String::new(),
                tls: String::new(),
                redirects: 0,
                timeout: None,
                idle_timeout: None,
            },
            max: MAX_BODY,
        }
    }

    /// A GET.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new("GET", url)
    }

    /// A POST.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new("POST", url)
    }

    /// A PUT.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new("PUT", url)
    }

    /// A DELETE.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new("DELETE", url)
    }

    /// Adds a query parameter; its value is percent-encoded.
    #[must_use]
    pub fn query(mut self, name: &str, value: &str) -> Self {
        let separator = if self.own.url.contains('?') { '&' } else { '?' };
        self.own.url.push(separator);
        self.own.url.push_str(name);
        self.own.url.push('=');
        encode(&mut self.own.url, value);
        self
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.own.headers.push((name.to_owned(), value.into()));
        self
    }

    /// Sends these bytes.
    #[must_use]
    pub fn body(mut self, content_type: &str, bytes: Vec<u8>) -> Self {
        self.own.body = wit::Body::Bytes(bytes);
        self.header("content-type", content_type)
    }

    /// Sends this as JSON.
    pub fn json(self, value: &impl Serialize) -> Result<Self> {
        Ok(self.body("application/json", serde_json::to_vec(value)?))
    }

    /// Sends what a stream holds; one of the host's is carried on without entering the guest.
    #[must_use]
    pub fn stream(mut self, content_type: &str, content: StreamReader<u8>) -> Self {
        self.own.body = wit::Body::Chunks(content);
        self.header("content-type", content_type)
    }

    /// Connects to `unix:///PATH` or `tcp://HOST:PORT` instead of the URL's host.
    #[must_use]
    pub fn endpoint(mut self, endpoint: &str) -> Self {
        endpoint.clone_into(&mut self.own.endpoint);
        self
    }

    /// Uses a TLS profile of the host's configuration.
    #[must_use]
    pub fn tls(mut self, profile: &str) -> Self {
        profile.clone_into(&mut self.own.tls);
        self
    }

    /// Waits so many nanoseconds for the response's headers.
    #[must_use]
    pub const fn timeout(mut self, nanos: u64) -> Self {
        self.own.timeout = Some(nanos);
        self
    }

    /// Lets so many nanoseconds pass between two pieces of the response's body.
    #[must_use]
    pub const fn idle_timeout(mut self, nanos: u64) -> Self {
        self.own.idle_timeout = Some(nanos);
        self
    }

    /// Has [`Request::fetch`] accept so many bytes.
    #[must_use]
    pub const fn max(mut self, bytes: u64) -> Self {
        self.max = bytes;
        self
    }

    /// The URL so far.
    pub fn url(&self) -> &str {
        &self.own.url
    }

    /// The method.
    pub fn method(&self) -> &str {
        &self.own.method
    }

    /// A header that was set so far; its name in lower case.
    pub fn header_value(&self, name: &str) -> Option<&str> {
        self.own.headers.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// The headers that were set so far.
    pub fn headers(&self) -> &[(String, String)] {
        &self.own.headers
    }

    /// The bytes of the body; none where it is a stream.
    pub fn content(&self) -> Option<&[u8]> {
        match &self.own.body {
            wit::Body::None => Some(&[]),
            wit::Body::Bytes(bytes) => Some(bytes),
            wit::Body::Chunks(_) => None,
        }
    }

    /// Sends it, and returns the whole response, whatever its status.
    pub async fn fetch(self) -> Result<Answer> {
        let response = wit::fetch(self.own, self.max).await?;
        Ok(Answer { status: response.head.status, headers: response.head.headers, body: response.body })
    }

    /// Sends it, and returns once the headers are there; the body is still the host's.
    pub async fn send(self) -> Result<Streaming> {
        let response = wit::send(self.own).await?;
        Ok(Streaming { status: response.head.status, headers: response.head.headers, body: response.body })
    }
}

/// A whole response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        header(&self.headers, name)
    }

    /// The body, read as JSON.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T> {
        Ok(serde_json::from_slice(&self.body)?)
    }

    /// Itself, if the status is 2xx; else [`Answer::error`].
    pub fn ok(self) -> Result<Self> {
        if is_success(self.status) { Ok(self) } else { Err(self.error()) }
    }

    /// The error that this status stands for, with the backend's message.
    pub fn error(&self) -> Error {
        let mut error = Error::new(code_of(self.status), message(self.status, &self.body));
        error.retry_after = self.header("retry-after").and_then(retry_after);
        error
    }
}

/// A response whose body is still to come.
pub struct Streaming {
    /// Its status.
    pub status: u16,
    /// Its headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Its body, to be read with [`crate::streams`] or handed back.
    pub body: Source,
}

impl Streaming {
    /// Itself, if the status is 2xx; else [`Answer::error`].
    pub async fn ok(self) -> Result<Self> {
        if is_success(self.status) { Ok(self) } else { Err(self.into_answer().await.error()) }
    }

    /// The answer with the beginning of its body: what there is to say about a failure.
    pub async fn into_answer(self) -> Answer {
        let body = Reader::new(self.body).beginning(MAX_ERROR_BODY).await;
        Answer { status: self.status, headers: self.headers, body }
    }
}

/// Whether a status is 2xx.
pub const fn is_success(status: u16) -> bool {
    matches!(status, 200..300)
}

/// The code that a status stands for at most backends.
pub const fn code_of(status: u16) -> &'static str {
    match status {
        404 | 410 => code::NOT_FOUND,
        401 | 403 => code::UNAUTHORIZED,
        408 | 504 => code::TIMEOUT,
        409 | 412 | 423 => code::CONFLICT,
        429 => code::THROTTLED,
        501 => code::UNSUPPORTED,
        400..=499 => code::INVALID,
        502 | 503 => code::UNAVAILABLE,
        _ => code::INTERNAL,
    }
}

/// What a backend says of a failure: `message`, `error.message`, `error` or `cause` of a JSON body, or the body itself.
pub fn message(status: u16, body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<serde_json::Value>(body).ok();
    let json = parsed.as_ref().and_then(|body| {
        let error = &body["error"];
        [&body["message"], &error["message"], error, &body["cause"]].into_iter().find_map(serde_json::Value::as_str)
    });
    let text = String::from_utf8_lossy(body.get(..MAX_ERROR_BODY).unwrap_or(body));
    let text = json.unwrap_or(&text).trim();
    if text.is_empty() {
        return format!("the backend answered {status}");
    }
    text.chars().take(MAX_MESSAGE).collect()
}

/// Percent-encodes all but unreserved characters (RFC 3986) and appends it.
pub fn encode(to: &mut String, text: impl AsRef<[u8]>) {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    for byte in text.as_ref().iter().copied() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            to.push(char::from(byte));
        } else {
            to.push('%');
            to.push(char::from(HEX[usize::from(byte >> 4)]));
            to.push(char::from(HEX[usize::from(byte & 15)]));
        }
    }
}

fn header<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
}

/// `Retry-After` in seconds; dates are not read.
fn retry_after(value: &str) -> Option<u64> {
    value.trim().parse::<u64>().ok()?.checked_mul(time::SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, body: &str) -> Answer {
        Answer { status, headers: vec![("retry-after".into(), "7".into())], body: body.into() }
    }

    #[test]
    fn query_values_are_encoded_and_joined() {
        let request =
            Request::get("http://engine/list").query("filters", r#"{"label":["a=b c"]}"#).query("all", "true");
        assert_eq!(request.url(), "http://engine/list?filters=%7B%22label%22%3A%5B%22a%3Db%20c%22%5D%7D&all=true");
    }

    #[test]
    fn the_backends_own_words_become_the_message() {
        for (body, message) in [
            (r#"{"cause":"no such pod","message":"no pod with name x","response":404}"#, "no pod with name x"),
            (r#"{"error":{"code":"QuotaExceeded","message":"no more"}}"#, "no more"),
            (r#"{"error":"gone"}"#, "gone"),
            ("plain text\n", "plain text"),
            ("", "the backend answered 404"),
        ] {
            assert_eq!(answer(404, body).error().message, message);
        }
    }

    #[test]
    fn statuses_say_what_to_do_next() {
        assert!(answer(404, "").error().is(code::NOT_FOUND));
        assert!(answer(403, "").error().is(code::UNAUTHORIZED));
        assert!(answer(422, "").error().is(code::INVALID));
        assert!(answer(500, "").error().is(code::INTERNAL));
        let throttled = answer(429, "").error();
        assert!(throttled.is(code::THROTTLED));
        assert_eq!(throttled.retry_after, Some(7 * time::SECOND));
        assert!(answer(204, "").ok().is_ok());
    }
}
