//! An API server of a test's own: answers requests without a network, and remembers them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, BodyStream, Full, StreamBody};
use kube::client::Body;
use serde_json::{Value, json};

use super::Api;

/// A request as it came.
#[derive(Clone, Debug, PartialEq)]
pub struct Asked {
    pub method: Method,
    /// With the query.
    pub path: String,
    /// Null: it had none, or none that is JSON.
    pub body: Value,
}

impl Asked {
    pub fn is(&self, method: Method, path: &str) -> bool {
        self.method == method && self.path.split('?').next() == Some(path)
    }

    pub fn watches(&self) -> bool {
        self.path.contains("watch=true")
    }
}

/// What is answered: a status code and an object.
pub type Answer = (u16, Value);

/// What a request is answered with.
pub enum Reply {
    Object(u16, Value),
    /// Lines of a watch, as they come.
    Lines(BoxStream<'static, Value>),
}

impl From<Answer> for Reply {
    fn from((code, object): Answer) -> Self {
        Self::Object(code, object)
    }
}

/// What came so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    /// Reasons and messages of the Warnings that were told.
    pub fn warnings(&self) -> Vec<(String, String)> {
        let all = self.all().into_iter().map(|asked| asked.body).filter(|body| body["type"] == "Warning");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        all.map(|body| (text(&body["reason"]), text(&body["message"]))).collect()
    }

    pub fn count(&self, method: &Method, path: &str) -> usize {
        self.all().iter().filter(|asked| asked.is(method.clone(), path)).count()
    }
}

/// An API whose requests `answer` answers. A watch that is a list of lines stays open after them.
pub fn api<R: Into<Reply>>(answer: impl Fn(&Asked) -> R + Send + Sync + 'static) -> (Api, Log) {
    let log = Log::default();
    let (asked_so_far, answer) = (log.clone(), Arc::new(answer));
    let service = tower::service_fn(move |request: Request<Body>| {
        let (log, answer) = (asked_so_far.clone(), answer.clone());
        async move {
            let (head, body) = request.into_parts();
            let bytes = body.collect().await?.to_bytes();
            let asked = Asked {
                method: head.method,
                path: head.uri.path_and_query().map(ToString::to_string).unwrap_or_default(),
                body: serde_json::from_slice(&bytes).unwrap_or_default(),
            };
            log.0.lock().unwrap().push(asked.clone());
            let (code, body) = match answer(&asked).into() {
                Reply::Object(200, Value::Array(lines)) if asked.watches() => {
                    (200, lines_body(futures::stream::iter(lines).chain(futures::stream::pending()).boxed()))
                }
                Reply::Object(code, object) => (code, Full::new(Bytes::from(object.to_string())).boxed_unsync()),
                Reply::Lines(lines) => (200, lines_body(lines)),
            };
            let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
            let response = response.header("content-type", "application/json");
            Ok::<_, tower::BoxError>(response.body(body).unwrap())
        }
    });
    (Api::new(kube::Client::new(service, "default")), log)
}

fn lines_body(lines: BoxStream<'static, Value>) -> UnsyncBoxBody<Bytes, Infallible> {
    StreamBody::new(lines.flat_map(|line| BodyStream::new(Full::from(format!("{line}\n"))))).boxed_unsync()
}

/// A Status, as errors are answered with.
pub fn error(code: u16, reason: &str, message: &str) -> Answer {
    let status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message,
    });
    (code, status)
}

/// A list of these objects.
pub fn list(items: &[Value]) -> Answer {
    (200, json!({ "metadata": { "resourceVersion": "1" }, "items": items }))
}
