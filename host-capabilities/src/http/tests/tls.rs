//! Requests behind TLS: whom the host believes, and in which protocol it speaks.

use std::convert::Infallible;

use bytes::Bytes;
use http_body_util::Full;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use super::{fetched, get, refused};
use crate::testing::authority::Authority;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::grants;

#[tokio::test]
async fn a_server_that_the_systems_authorities_know_is_believed() {
    let tls = Authority::trusted().server(&["localhost"], &["http/1.1"]);
    let backend = Backend::https(tls, |_| ok("safe")).await;
    let origin = format!("https://localhost:{}", backend.port);
    let response = fetched(grants(&[&origin], &[], &[]), get(&origin)).await.unwrap();
    assert_eq!(response.body, b"safe");
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_gets_no_request() {
    let tls = Authority::new().server(&["localhost"], &[]);
    let backend = Backend::https(tls, |_| ok("")).await;
    let origin = format!("https://localhost:{}", backend.port);
    let error = refused(grants(&[&origin], &[], &[]), get(&origin)).await;
    assert_eq!(error.code, "unavailable");
    assert!(error.message.contains("certificate"), "{}", error.message);
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn a_certificate_of_another_name_is_refused() {
    let tls = Authority::trusted().server(&["other.test"], &[]);
    let backend = Backend::https(tls, |_| ok("")).await;
    let origin = format!("https://localhost:{}", backend.port);
    let error = refused(grants(&[&origin], &[], &[]), get(&origin)).await;
    assert_eq!(error.code, "unavailable");
    assert!(backend.seen().is_empty());
}

#[tokio::test]
async fn the_name_verified_is_the_urls_also_with_an_endpoint_of_its_own() {
    let tls = Authority::trusted().server(&["cell-7.agents.test"], &[]);
    let backend = Backend::https(tls, |_| ok("cell")).await;
    let endpoint = format!("tcp://127.0.0.1:{}", backend.port);
    let asked = |url: &str| {
        let mut request = get(url);
        request.endpoint = endpoint.clone();
        request
    };
    let granted = || grants(&[], &[&endpoint], &[]);
    let response = fetched(granted(), asked("https://cell-7.agents.test/pods")).await.unwrap();
    assert_eq!(response.body, b"cell");
    assert_eq!(refused(granted(), asked("https://cell-8.agents.test/pods")).await.code, "unavailable");
}

#[tokio::test]
async fn a_redirect_from_https_to_http_needs_its_own_grant() {
    let plain = Backend::http(|_| ok("")).await;
    let to = format!("http://localhost:{}/", plain.port);
    let backend = Backend::https(Authority::trusted().server(&["localhost"], &[]), move |_| redirect(302, &to)).await;
    let mut request = get(format!("https://localhost:{}/", backend.port));
    request.redirects = 1;
    let error = refused(grants(&["https://localhost:*"], &[], &[]), request).await;
    assert_eq!(error.code, "denied");
    assert_eq!(plain.connections(), 0);
}

#[tokio::test]
async fn plain_http_to_a_tls_port_is_no_request() {
    let backend = Backend::https(Authority::trusted().server(&["localhost"], &[]), |_| ok("")).await;
    let origin = format!("http://localhost:{}", backend.port);
    assert_eq!(refused(grants(&[&origin], &[], &[]), get(&origin)).await.code, "unavailable");
}

#[tokio::test]
async fn http2_is_spoken_where_the_server_offers_it() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let origin = format!("https://localhost:{}", listener.local_addr().unwrap().port());
    let acceptor = TlsAcceptor::from(Authority::trusted().server(&["localhost"], &["h2", "http/1.1"]));
    let server = tokio::spawn(async move {
        let (socket, _) = listener.accept().await.unwrap();
        let socket = acceptor.accept(socket).await.unwrap();
        let answer = service_fn(async |request: hyper::Request<hyper::body::Incoming>| {
            let said = format!("{:?} {}", request.version(), request.uri());
            Ok::<_, Infallible>(hyper::Response::new(Full::new(Bytes::from(said))))
        });
        let connection = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(socket), answer);
        // The client goes away when the test is done.
        let _ = connection.await;
    });
    let url = format!("{origin}/a?b='c'");
    let response = fetched(grants(&[&origin], &[], &[]), get(&url)).await.unwrap();
    assert_eq!(String::from_utf8(response.body).unwrap(), format!("HTTP/2.0 {url}"));
    server.abort();
}
