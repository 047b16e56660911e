//! Connects to the API server: one HTTP/2 connection that all requests and watches share, and one of its own, HTTP/1.1, for
//! each [`Apart`]: on a shared one the server hands every event from one thread to another twice, and it ends a watch that
//! falls behind by some ten events.
//!
//! The server is asked for signs of life while a connection is used ([`ALIVE`]; by HTTP/2, or by TCP), so that a watch on a
//! dead one ends.

use std::time::Duration;

use http::Request;
use hyper_rustls::{FixedServerNameResolver, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client as HyperClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use tower::ServiceBuilder;

/// How often a silent connection is asked whether it lives, and how long it may take to answer.
const ALIVE: Duration = Duration::from_secs(10);
/// Until a connection is there.
const CONNECT: Duration = Duration::from_secs(10);

/// Marks a request that has a connection of its own: a watch on which much comes at once.
#[derive(Clone, Copy)]
pub(super) struct Apart;

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
#[error("the API server at {server} can't be used: {reason}")]
pub struct ClientError {
    /// Its URL.
    server: String,
    /// Why.
    reason: String,
}

/// A client for this configuration (a kubeconfig's, or the one inside a cluster).
pub fn connect(config: &Config) -> Result<Client, ClientError> {
    let fail = |reason: String| ClientError { server: config.cluster_url.to_string(), reason };
    let tls = config.rustls_client_config().map_err(|error| fail(error.to_string()))?;
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    http.set_keepalive(Some(ALIVE));
    http.set_keepalive_interval(Some(ALIVE / 2));
    http.set_keepalive_retries(Some(2));
    http.set_connect_timeout(Some(CONNECT));
    let name = config.tls_server_name.clone().map(|name| {
        rustls::pki_types::ServerName::try_from(name.clone())
            .map_err(|_| fail(format!("`{name}` is no TLS server name")))
    });
    let name = name.transpose()?;
    let connector = || {
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls.clone()).https_or_http();
        match name.clone() {
            Some(name) => connector.with_server_name_resolver(FixedServerNameResolver::new(name)),
            None => connector,
        }
    };
    let mut builder = HyperClient::builder(TokioExecutor::new());
    builder
        .pool_timer(TokioTimer::new())
        .timer(TokioTimer::new())
        .http2_keep_alive_interval(ALIVE)
        .http2_keep_alive_timeout(ALIVE)
        .http2_initial_stream_window_size(1 << 20)
        .http2_initial_connection_window_size(8 << 20);
    let apart = builder.build(connector().enable_http1().wrap_connector(http.clone()));
    let shared = builder.build(connector().enable_all_versions().wrap_connector(http));
    let client = tower::service_fn(move |request: Request<Body>| {
        let client = if request.extensions().get::<Apart>().is_some() { &apart } else { &shared };
        client.request(request)
    });
    let auth = config.auth_layer().map_err(|error| fail(error.to_string()))?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .map_err(tower::BoxError::from)
        .service(client);
    Ok(Client::new(service, config.default_namespace.clone()))
}
