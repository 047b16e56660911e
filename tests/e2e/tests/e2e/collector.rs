//! A collector of traces: takes OTLP over HTTP as the specification has it, and keeps what it got.

use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Result, anyhow};
use e2e::{Cluster, eventually};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;

/// A collector inside the cluster's network namespace. It ends with its test's runtime.
pub struct Collector {
    /// Its base URL.
    pub url: String,
    bodies: Arc<Mutex<Vec<Bytes>>>,
}

impl Collector {
    pub fn start(cluster: &Cluster) -> Result<Self> {
        let listener = cluster.listener("127.0.0.1")?;
        listener.set_nonblocking(true)?;
        let url = format!("http://{}", listener.local_addr()?);
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let kept = bodies.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                let kept = kept.clone();
                let service = service_fn(move |request| take(request, kept.clone()));
                tokio::spawn(
                    hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(socket), service),
                );
            }
        });
        Ok(Self { url, bodies })
    }

    /// All that it got, as it came.
    pub fn raw(&self) -> Vec<u8> {
        self.bodies.lock().unwrap_or_else(PoisonError::into_inner).concat()
    }

    /// All spans so far.
    pub fn spans(&self) -> Result<Vec<Span>> {
        let bodies = self.bodies.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut spans = Vec::new();
        for body in bodies {
            for own in ExportTraceServiceRequest::decode(body)?.resource_spans {
                let resource = own.resource.map_or_else(Vec::new, |resource| resource.attributes);
                assert_eq!(attribute(&resource, "service.name").as_deref(), Some("vk-runtime"));
                spans.extend(own.scope_spans.into_iter().flat_map(|own| own.spans));
            }
        }
        Ok(spans)
    }

    /// Waits for a span that fits.
    pub async fn span(&self, what: &str, fits: impl Fn(&Span) -> bool) -> Result<Span> {
        let found = eventually(what, 30, async || Ok(self.spans()?.into_iter().find(&fits))).await;
        found.map_err(|error| {
            let names = self.spans().map(|spans| spans.into_iter().map(|span| span.name).collect::<Vec<_>>());
            anyhow!("{error}; there are {names:?}")
        })
    }
}

async fn take(request: Request<Incoming>, kept: Arc<Mutex<Vec<Bytes>>>) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    assert_eq!((head.method.as_str(), head.uri.path()), ("POST", "/v1/traces"));
    assert_eq!(head.headers["content-type"], "application/x-protobuf");
    if let Ok(body) = body.collect().await {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push(body.to_bytes());
    }
    Ok(Response::new(Full::default()))
}

/// An attribute's value, as text.
pub fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    use any_value::Value;
    let found = attributes.iter().find(|own| own.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match found {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        Value::BoolValue(own) => own.to_string(),
        other => format!("{other:?}"),
    })
}
