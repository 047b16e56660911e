//! An API server of a test's own: answers requests without a network, and remembers them.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
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

/// What came so far.
#[derive(Clone, Default)]
pub struct Log(Arc<Mutex<Vec<Asked>>>);

impl Log {
    pub fn all(&self) -> Vec<Asked> {
        self.0.lock().unwrap().clone()
    }

    pub fn count(&self, method: &Method, path: &str) -> usize {
        self.all().iter().filter(|asked| asked.is(method.clone(), path)).count()
    }
}

/// An API whose requests `answer` answers. A watch is a list of lines; it stays open after them.
pub fn api(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Api, Log) {
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
            let (code, object) = answer(&asked);
            let response = Response::builder().status(StatusCode::from_u16(code).unwrap());
            let response = response.header("content-type", "application/json");
            let stays_open = asked.watches() && code == 200;
            let text = match &object {
                Value::Array(lines) if stays_open => lines.iter().map(|line| format!("{line}\n")).collect(),
                _ => object.to_string(),
            };
            Ok::<_, tower::BoxError>(response.body(response_body(text, stays_open)).unwrap())
        }
    });
    (Api::new(kube::Client::new(service, "default")), log)
}

/// A body that says this and then, of a watch, nothing any more.
fn response_body(text: String, stays_open: bool) -> BoxBody<Bytes, Infallible> {
    let text = Full::new(Bytes::from(text));
    if stays_open { text.with_trailers(std::future::pending()).boxed() } else { text.boxed() }
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
