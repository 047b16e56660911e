//! What is answered: text and JSON in Hyper.sh's forms, and what an engine answers, passed on as it comes.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use serde::Serialize;

/// A body: whole, or still coming.
pub type Body = BoxBody<Bytes, hyper::Error>;
/// An answer.
pub type Answer = Response<Body>;

/// A refusal: a status and a sentence, as Hyper.sh words it.
#[derive(Debug)]
pub struct Refusal {
    /// Status.
    pub status: u16,
    /// Sentence.
    pub text: String,
    /// Seconds after which it may be tried again.
    pub retry_after: Option<u64>,
}

impl Refusal {
    /// A refusal of this status.
    pub fn new(status: u16, text: impl Into<String>) -> Self {
        Self { status, text: text.into(), retry_after: None }
    }

    /// A request that is not as the documents say.
    pub fn bad(text: impl Into<String>) -> Self {
        Self::new(400, text)
    }

    /// Something of the emulator's own went wrong.
    pub fn broken(error: impl std::fmt::Display) -> Self {
        Self::new(500, format!("the emulator: {error:#}"))
    }

    /// As an answer.
    pub fn answer(&self) -> Answer {
        let mut answer = text(self.status, &format!("{}\n", self.text));
        if let Some(seconds) = self.retry_after {
            answer.headers_mut().insert("retry-after", seconds.into());
        }
        answer
    }
}

fn whole(status: u16, content_type: &'static str, body: Bytes) -> Answer {
    let body = Full::new(body).map_err(|never| match never {}).boxed();
    let mut answer = Response::new(body);
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert("content-type", http::HeaderValue::from_static(content_type));
    answer
}

/// Text.
pub fn text(status: u16, text: &str) -> Answer {
    whole(status, "text/plain; charset=utf-8", Bytes::copy_from_slice(text.as_bytes()))
}

/// JSON.
pub fn json(status: u16, value: &impl Serialize) -> Answer {
    whole(status, "application/json", serde_json::to_vec(value).unwrap_or_default().into())
}

/// Nothing.
pub fn empty(status: u16) -> Answer {
    text(status, "")
}
