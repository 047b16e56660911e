//! Names that resolve to something harmless when they are looked at, and to this machine afterwards.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;

use super::{connect, fetch, get};
use crate::egress::Resolve;
use crate::testing::backend::{Backend, ok, redirect};
use crate::testing::guest::{Guest, grants};

/// Answers differently each time; the last answer stays.
struct Rebinding {
    answers: Vec<Vec<&'static str>>,
    asked: AtomicUsize,
}

impl Rebinding {
    fn new(answers: &[&[&'static str]]) -> Arc<Self> {
        let answers = answers.iter().map(|answer| answer.to_vec()).collect();
        Arc::new(Self { answers, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Resolve for Rebinding {
    async fn resolve(&self, _: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed).min(self.answers.len() - 1);
        Ok(self.answers[turn].iter().map(|address| SocketAddr::new(address.parse().unwrap(), port)).collect())
    }
}

/// Loopback stands for the public address here: a test has no other.
const PUBLIC: &str = "127.0.0.1";
const INSIDE: &str = "127.0.0.2";

fn granted(port: u16) -> crate::Grants {
    let (http, dial) = (format!("http://api.example.com:{port}"), format!("api.example.com:{port}"));
    grants(&[&http], &[&dial], &[PUBLIC])
}

async fn inside(port: u16) -> tokio::net::TcpListener {
    tokio::net::TcpListener::bind((INSIDE, port)).await.unwrap()
}

fn nobody_came(listener: &tokio::net::TcpListener) {
    use futures::FutureExt;
    assert!(listener.accept().now_or_never().is_none(), "somebody connected");
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_at_the_next_connection() {
    let backend =
        Backend::http(|_| format!("{}\r\n", ok("").replace("\r\n\r\n", "\r\nconnection: close\r\n\r\n"))).await;
    let trap = inside(backend.port).await;
    let resolver = Rebinding::new(&[&[PUBLIC], &[INSIDE]]);
    let mut guest = Guest::resolving(granted(backend.port), resolver);
    let url = format!("http://api.example.com:{}/", backend.port);
    fetch(&mut guest, get(&url)).await.unwrap();
    let error = fetch(&mut guest, get(&url)).await.unwrap_err();
    assert_eq!(error.code, "denied", "{}", error.message);
    nobody_came(&trap);
}

#[tokio::test]
async fn what_was_checked_is_what_is_connected_to() {
    let backend = Backend::http(|_| ok("checked")).await;
    let trap = inside(backend.port).await;
    // One resolution a connection: a second answer is never asked for.
    let resolver = Rebinding::new(&[&[PUBLIC], &[INSIDE]]);
    let mut guest = Guest::resolving(granted(backend.port), resolver.clone());
    let response = fetch(&mut guest, get(&format!("http://api.example.com:{}/", backend.port))).await.unwrap();
    assert_eq!(response.body, b"checked");
    assert_eq!(resolver.asked.load(Ordering::Relaxed), 1);
    nobody_came(&trap);
}

#[tokio::test]
async fn a_name_with_an_address_outside_and_one_inside() {
    let backend = Backend::http(|_| ok("outside")).await;
    let trap = inside(backend.port).await;
    for answers in [&[INSIDE, PUBLIC][..], &[PUBLIC, INSIDE], &["169.254.169.254", INSIDE, PUBLIC, "::1"]] {
        let mut guest = Guest::resolving(granted(backend.port), Rebinding::new(&[answers]));
        let response = fetch(&mut guest, get(&format!("http://api.example.com:{}/", backend.port))).await.unwrap();
        assert_eq!(response.body, b"outside");
    }
    nobody_came(&trap);
}

#[tokio::test]
async fn a_name_whose_outside_address_is_dead_so_that_the_inside_one_is_tried() {
    let dead = tokio::net::TcpListener::bind((PUBLIC, 0)).await.unwrap();
    let port = dead.local_addr().unwrap().port();
    drop(dead);
    let trap = inside(port).await;
    let mut guest = Guest::resolving(granted(port), Rebinding::new(&[&[PUBLIC, INSIDE]]));
    let error = fetch(&mut guest, get(&format!("http://api.example.com:{port}/"))).await.unwrap_err();
    assert_eq!(error.code, "unavailable", "{}", error.message);
    assert_eq!(connect(&mut guest, &format!("tcp://api.example.com:{port}")).await.unwrap_err().code, "unavailable");
    nobody_came(&trap);
}

#[tokio::test]
async fn a_name_that_leads_elsewhere_during_a_redirect() {
    let backend = Backend::http(|request| {
        if request.contains(" /next") {
            ok("inside")
        } else {
            redirect(302, "/next").replace("content-length: 0", "content-length: 0\r\nconnection: close")
        }
    })
    .await;
    let trap = inside(backend.port).await;
    let mut guest = Guest::resolving(granted(backend.port), Rebinding::new(&[&[PUBLIC], &[INSIDE]]));
    let error = fetch(&mut guest, get(&format!("http://api.example.com:{}/", backend.port))).await.unwrap_err();
    assert_eq!(error.code, "denied", "{}", error.message);
    nobody_came(&trap);
}

#[tokio::test]
async fn a_raw_connection_to_a_name_that_leads_elsewhere_the_next_time() {
    let backend = Backend::http(|_| ok("")).await;
    let trap = inside(backend.port).await;
    let mut guest = Guest::resolving(granted(backend.port), Rebinding::new(&[&[PUBLIC], &[INSIDE]]));
    let address = format!("tcp://api.example.com:{}", backend.port);
    connect(&mut guest, &address).await.unwrap();
    assert_eq!(connect(&mut guest, &address).await.unwrap_err().code, "denied");
    nobody_came(&trap);
}

#[tokio::test]
async fn a_name_without_an_address_and_one_that_is_an_address() {
    let mut guest = Guest::resolving(granted(8_080), Rebinding::new(&[&[]]));
    let error = fetch(&mut guest, get("http://api.example.com:8080/")).await.unwrap_err();
    assert_eq!(error.code, "unavailable");
    // An address is nobody's name: what the resolver says of it grants nothing.
    let mut guest = Guest::resolving(granted(8_080), Rebinding::new(&[&[PUBLIC]]));
    assert_eq!(fetch(&mut guest, get("http://127.0.0.1:8080/")).await.unwrap_err().code, "denied");
}
