//! Traces over OTLP (`http/protobuf`), of the spans with the target [`TRACES`].
//!
//! Off unless an endpoint is given (`--otlp-endpoint`, or OpenTelemetry's own variable); then batches are sent by a thread
//! of their own, at most every 5 s, and at the end of the process. What can't be sent is dropped, and said once. Sampling,
//! batches, headers and the resource follow OpenTelemetry's variables (`OTEL_TRACES_SAMPLER`, `OTEL_BSP_*`,
//! `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_RESOURCE_ATTRIBUTES`, `OTEL_SERVICE_NAME`).
//!
//! Requests of providers carry `traceparent` (W3C Trace Context) only where that was asked for: a backend would learn of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use async_trait::async_trait;
use clap::Args;
use http::{HeaderValue, Uri};
use http_body_util::{BodyExt, Full, Limited};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use provider::TRACES;
use tracing::{Span, Subscriber};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::registry::LookupSpan;

/// What the collector is given to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of its answer that are read.
const MAX_ANSWER: usize = 64 * 1024;
/// What the last batch is given at the end.
const LAST_BATCH_WITHIN: Duration = Duration::from_secs(5);

/// Flags that may stand beside a configuration file: they belong to the place that a process runs in.
#[derive(Debug, Args)]
pub struct TraceArguments {
    /// Send traces of pods' work, calls and requests to this OTLP collector (http/protobuf): http://HOST:4318
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT", help_heading = "Process")]
    otlp_endpoint: Option<String>,
    /// Let backends see which trace a request of a provider belongs to: the header `traceparent`
    #[arg(long, requires = "otlp_endpoint", help_heading = "Process")]
    propagate_traces: bool,
}

impl TraceArguments {
    /// Begins to send them, where that is wanted.
    pub fn start(&self) -> Result<Option<Traces>> {
        // An empty variable is as good as none (OpenTelemetry's specification of variables).
        let endpoint = self.otlp_endpoint.as_deref().filter(|endpoint| !endpoint.is_empty());
        let traces = endpoint.map(Traces::start).transpose()?;
        if traces.is_some() && self.propagate_traces {
            host_capabilities::http::propagate(traceparent);
        }
        Ok(traces)
    }
}

/// Sends traces until it is dropped.
pub struct Traces(SdkTracerProvider);

impl Traces {
    /// Begins to send to the collector at this base URL.
    fn start(endpoint: &str) -> Result<Self> {
        let url = traces_url(endpoint)?;
        let exporter = SpanExporter::builder()
            .with_http()
            .with_http_client(Collector::new()?)
            .with_endpoint(url)
            .build()
            .with_context(|| format!("traces can't be sent to `{endpoint}` (--otlp-endpoint)"))?;
        let mut resource = Resource::builder();
        if std::env::var_os("OTEL_SERVICE_NAME").is_none() {
            resource = resource.with_service_name("vk-runtime");
        }
        let version = opentelemetry::KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
        let resource = resource.with_attribute(version).build();
        Ok(Self(SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource).build()))
    }

    /// Takes the spans that are traces, and no others.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(Targets::new().with_target(TRACES, tracing::Level::INFO))
    }
}

impl Drop for Traces {
    fn drop(&mut self) {
        if let Err(error) = self.0.shutdown_with_timeout(LAST_BATCH_WITHIN) {
            tracing::warn!(%error, "the last traces could not be sent");
        }
    }
}

/// The value of `traceparent` for requests of this span; none if it is no trace.
fn traceparent(span: &Span) -> Option<HeaderValue> {
    let context = span.context();
    let of_span = context.span().span_context().clone();
    let flags = of_span.trace_flags().to_u8();
    let value = format!("00-{}-{}-{flags:02x}", of_span.trace_id(), of_span.span_id());
    if of_span.is_valid() { HeaderValue::from_str(&value).ok() } else { None }
}

/// Where traces go, of what is given for all signals (OpenTelemetry's specification of the OTLP exporter).
fn traces_url(endpoint: &str) -> Result<String> {
    let uri: Uri = endpoint.parse().with_context(|| "the address of --otlp-endpoint is no URL".to_owned())?;
    if !matches!(uri.scheme_str(), Some("http" | "https")) || uri.host().is_none() {
        bail!("--otlp-endpoint is written http://HOST:PORT or https://HOST[:PORT]");
    }
    if uri.authority().is_some_and(|own| own.as_str().contains('@')) || uri.query().is_some() {
        bail!("--otlp-endpoint has neither user nor query: OTEL_EXPORTER_OTLP_HEADERS holds what the collector wants");
    }
    Ok(format!("{}/v1/traces", endpoint.trim_end_matches('/')))
}

type Answer = Result<Response<Bytes>, HttpError>;

/// The collector. Requests are made on the thread that sends batches, which has nothing else to do.
#[derive(Debug)]
struct Collector {
    runtime: tokio::runtime::Runtime,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    failing: AtomicBool,
}

impl Collector {
    fn new() -> Result<Self> {
        let mut roots = rustls::RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build()?,
            client: Client::builder(TokioExecutor::new()).build(connector),
            failing: AtomicBool::new(false),
        })
    }

    async fn send(&self, request: Request<Bytes>) -> Answer {
        let response = self.client.request(request.map(Full::new)).await?;
        let (head, body) = response.into_parts();
        Ok(Response::from_parts(head, Limited::new(body, MAX_ANSWER).collect().await?.to_bytes()))
    }

    /// Says when it begins to fail, and when it works again.
    fn tell(&self, host: &str, answer: &Answer) {
        let failure = match answer {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(format!("it answers {}", response.status())),
            Err(error) => Some(error.to_string()),
        };
        let was_failing = self.failing.swap(failure.is_some(), Ordering::Relaxed);
        match failure {
            Some(error) if !was_failing => tracing::warn!(host, error, "traces can't be sent, and are lost"),
            None if was_failing => tracing::info!(host, "traces are sent again"),
            Some(_) | None => {}
        }
    }
}

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Answer {
        let host = request.uri().host().unwrap_or_default().to_owned();
        let answer = self.runtime.block_on(async {
            match tokio::time::timeout(ANSWER_WITHIN, self.send(request)).await {
                Ok(answer) => answer,
                Err(_) => Err(format!("no answer within {ANSWER_WITHIN:?}").into()),
            }
        });
        self.tell(&host, &answer);
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn traces_go_below_the_endpoint_for_all_signals() {
        for (endpoint, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("https://otel.example/base/", "https://otel.example/base/v1/traces"),
        ] {
            assert_eq!(traces_url(endpoint).unwrap(), url);
        }
    }

    #[test]
    fn an_endpoint_that_is_none_is_refused_without_repeating_it() {
        for endpoint in ["", "collector:4317", "grpc://a:1", "/x", "http://me:hunter2@a", "http://a/?token=hunter2"] {
            let error = format!("{:#}", traces_url(endpoint).unwrap_err());
            assert!(error.contains("--otlp-endpoint") && !error.contains("hunter2"), "{endpoint}: {error}");
        }
    }

    #[test]
    fn no_span_has_no_traceparent() {
        assert_eq!(traceparent(&Span::none()), None);
    }
}
