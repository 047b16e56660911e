//! A proxy between a node and the API server: counts what is asked, and lets go wrong what a test wants to.
//!
//! It lives on a thread of its own inside the control plane's network namespace, speaks HTTP/2 on both sides, and has the
//! node's identity towards the API server. Which requests go wrong follows from the seed, the request and how often it was
//! made, not from what else goes on.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::net::TcpListener;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use fastrand::Rng;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, header};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::Cluster;
use cut::Cut;

mod cut;

/// Why a request was not passed on, or its answer not.
#[derive(Debug)]
struct Failure(String);

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failure {}

fn failure(error: impl std::fmt::Display) -> Failure {
    Failure(error.to_string())
}

type Body = UnsyncBoxBody<Bytes, Failure>;

/// The address of the control plane in its network namespace.
const ADDRESS: &str = "10.77.0.1";

/// What goes wrong. Shares are 0 to 1.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    /// Chooses which requests.
    pub seed: u64,
    /// Answered with 429 (which asks for a second), 500 or, if it would change something, 409, and not passed on.
    pub refused: f64,
    /// Done, and the answer lost.
    pub lost: f64,
    /// Delayed by at most [`Faults::delay`].
    pub delayed: f64,
    /// How much at most.
    pub delay: Duration,
    /// How long a watch lasts; none: as long as it will.
    pub watches_last: Option<Duration>,
    /// Watches are answered with 500.
    pub no_watches: bool,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Refused(u16),
    Lost,
}

#[derive(Default)]
struct Inner {
    faults: Faults,
    /// How often each request was made.
    made: BTreeMap<String, u64>,
    /// By verb and resource, since the last [`Proxy::reset`].
    counts: BTreeMap<String, usize>,
    /// Answers of the API server and of this proxy, by verb, resource and code.
    answers: BTreeMap<String, usize>,
}

/// A proxy. It ends with this.
pub struct Proxy {
    /// A kubeconfig that leads the node through it, for use inside the namespace.
    pub kubeconfig: PathBuf,
    inner: Arc<Mutex<Inner>>,
    cuts: watch::Sender<u64>,
    _ends: tokio::sync::oneshot::Sender<()>,
}

impl Proxy {
    /// Starts one for a node.
    pub fn start(cluster: &Cluster, node: &str) -> Result<Self> {
        let own = cluster.node_kubeconfig(node)?;
        // A node takes its own address from the way to the API server, which refuses to go to loopback.
        let listener = cluster.listener(ADDRESS)?;
        listener.set_nonblocking(true)?;
        let made = rcgen::generate_simple_self_signed([ADDRESS.to_owned()])?;
        let mut passed_on = Kubeconfig::read_from(&own)?;
        for entry in passed_on.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
            entry.server = Some(format!("https://{}", listener.local_addr()?));
            // Beside the cluster's own authority, by which the node knows the API server when that calls it.
            let cluster = entry.certificate_authority_data.take().unwrap_or_default();
            let both = [BASE64.decode(cluster)?, made.cert.pem().into_bytes()].join(&b'\n');
            entry.certificate_authority_data = Some(BASE64.encode(both));
        }
        let kubeconfig = cluster.folder.join(format!("{node}.proxy.kubeconfig"));
        std::fs::write(&kubeconfig, serde_json::to_vec(&passed_on)?)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let ring = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
        let mut tls = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)?;
        tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];

        let inner = Arc::new(Mutex::new(Inner::default()));
        let (cuts, cut) = watch::channel(0);
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        let namespace = cluster.namespace_file()?;
        let shared = inner.clone();
        std::thread::Builder::new().name("proxy".to_owned()).spawn(move || -> Result<()> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                tokio::select! {
                    served = serve(listener, Arc::new(tls), &own, shared, cut) => served,
                    _ = ended => Ok(()),
                }
            })
        })?;
        Ok(Self { kubeconfig, inner, cuts, _ends: ends })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What goes wrong from now on.
    pub fn set(&self, faults: Faults) {
        self.inner().faults = faults;
    }

    /// Cuts all watches.
    pub fn cut_watches(&self) {
        self.cuts.send_modify(|number| *number += 1);
    }

    /// Counts from now on.
    pub fn reset(&self) {
        let mut inner = self.inner();
        inner.counts.clear();
        inner.answers.clear();
    }

    /// How many requests came, by verb and resource, as `patch pods/status`.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        self.inner().counts.clone()
    }

    /// How many answers there were, by verb, resource and code, as `watch pods 410`.
    pub fn answers(&self) -> BTreeMap<String, usize> {
        self.inner().answers.clone()
    }
}

impl Cluster {
    fn namespace_file(&self) -> Result<File> {
        Ok(File::open(format!("/run/netns/{}", self.netns))?)
    }

    /// A socket of the network namespace, which this process is not in: a namespace is a thread's.
    pub fn listener(&self, address: &'static str) -> Result<TcpListener> {
        let namespace = self.namespace_file()?;
        let made = std::thread::spawn(move || -> Result<TcpListener> {
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))?;
            Ok(TcpListener::bind((address, 0))?)
        });
        made.join().map_err(|_| anyhow!("the thread of the namespace ended"))?
    }
}

async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    kubeconfig: &Path,
    inner: Arc<Mutex<Inner>>,
    cut: watch::Receiver<u64>,
) -> Result<()> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
    let passing = Arc::new(Passing { client: controllers::connect(&config)?, inner, cut });
    let acceptor = TlsAcceptor::from(tls);
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (socket, _) = listener.accept().await.context("the proxy can't accept connections")?;
        socket.set_nodelay(true)?;
        let (acceptor, passing) = (acceptor.clone(), passing.clone());
        tokio::spawn(async move {
            // A node that was killed leaves its connection as it is.
            let Ok(stream) = acceptor.accept(socket).await else { return };
            let service = service_fn(move |request| {
                let passing = passing.clone();
                async move { passing.pass(request).await }
            });
            let mut builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
            builder.http2().max_concurrent_streams(10_000);
            let _ = builder.serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

/// What passing requests on takes.
struct Passing {
    client: Client,
    inner: Arc<Mutex<Inner>>,
    cut: watch::Receiver<u64>,
}

impl Passing {
    async fn pass(&self, request: Request<Incoming>) -> Result<Response<Body>, Failure> {
        let name = name(&request);
        let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
        let (fate, delay, faults) = self.judge(&name, &format!("{} {path}", request.method()));
        tokio::time::sleep(delay).await;
        let watches = name.starts_with("watch ");
        if let Fate::Refused(code) = fate {
            self.answered(&name, code);
            return refusal(code);
        }
        let (head, body) = request.into_parts();
        let mut passed = Request::builder().method(head.method).uri(path);
        for (key, value) in head.headers.iter().filter(|(key, _)| **key != header::HOST && **key != header::CONNECTION)
        {
            passed = passed.header(key, value);
        }
        let body = body.collect().await.map_err(failure)?.to_bytes();
        let passed = passed.body(kube::client::Body::from(body.to_vec())).map_err(failure)?;
        let answer = self.client.send(passed).await.map_err(failure)?;
        self.answered(&name, answer.status().as_u16());
        let (head, body) = answer.into_parts();
        let mut response = Response::builder().status(head.status);
        for (key, value) in head.headers.iter().filter(|(key, _)| **key != header::TRANSFER_ENCODING) {
            response = response.header(key, value);
        }
        let body = if watches {
            Cut::new(body, faults.watches_last, self.cut.clone()).boxed_unsync()
        } else {
            // Whole: it was done, whether the node still waits for it or not.
            let whole = body.collect().await.map_err(failure)?.to_bytes();
            if fate == Fate::Lost {
                return Err(failure("the answer is lost"));
            }
            Full::new(whole).map_err(|never| match never {}).boxed_unsync()
        };
        response.body(body).map_err(failure)
    }

    /// Counts a request, and decides what becomes of it.
    fn judge(&self, name: &str, asked: &str) -> (Fate, Duration, Faults) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner.counts.entry(name.to_owned()).or_default() += 1;
        let faults = inner.faults.clone();
        if faults.refused + faults.lost + faults.delayed == 0.0 && !faults.no_watches {
            return (Fate::Passed, Duration::ZERO, faults);
        }
        let number = inner.made.entry(asked.to_owned()).or_default();
        *number += 1;
        let mut hasher = DefaultHasher::new();
        (faults.seed, asked, *number).hash(&mut hasher);
        let mut rng = Rng::with_seed(hasher.finish());
        let delay = if rng.f64() < faults.delayed { faults.delay.mul_f64(rng.f64()) } else { Duration::ZERO };
        let (drawn, which) = (rng.f64(), rng.usize(..3));
        let changes = !asked.starts_with("GET");
        let fate = if faults.no_watches && name.starts_with("watch ") {
            Fate::Refused(500)
        } else if drawn < faults.refused {
            let codes: &[u16] = if changes { &[429, 500, 409] } else { &[429, 500, 500] };
            Fate::Refused(codes.get(which).copied().unwrap_or(500))
        } else if drawn < faults.refused + faults.lost {
            Fate::Lost
        } else {
            Fate::Passed
        };
        (fate, delay, faults)
    }

    fn answered(&self, name: &str, code: u16) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        *inner.answers.entry(format!("{name} {code}")).or_default() += 1;
    }
}

/// An answer as an API server gives it that can't do what it is asked for.
fn refusal(code: u16) -> Result<Response<Body>, Failure> {
    let (reason, message) = match code {
        409 => ("Conflict", "the object has been modified; please apply your changes to the latest version"),
        429 => ("TooManyRequests", "the server has received too many requests and has asked us to try again later"),
        _ => ("InternalError", "an error on the server has prevented the request from succeeding"),
    };
    let mut status = json!({
        "apiVersion": "v1", "kind": "Status", "status": "Failure", "metadata": {},
        "code": code, "reason": reason, "message": message,
    });
    let mut response = Response::builder().status(code).header(header::CONTENT_TYPE, "application/json");
    if code == 429 {
        status["details"] = json!({ "retryAfterSeconds": 1 });
        response = response.header(header::RETRY_AFTER, "1");
    }
    let text = Value::to_string(&status);
    response.body(Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()).map_err(failure)
}

/// Verb and resource of a request, as the API server names them.
fn name<B>(request: &Request<B>) -> String {
    let path: Vec<&str> = request.uri().path().split('/').filter(|part| !part.is_empty()).collect();
    let rest = match path.as_slice() {
        ["api", _, rest @ ..] | ["apis", _, _, rest @ ..] => rest,
        other => other,
    };
    let (resource, named) = match rest {
        ["namespaces", _, resource] => ((*resource).to_owned(), false),
        ["namespaces", _, resource, _] => ((*resource).to_owned(), true),
        ["namespaces", _, resource, _, part] => (format!("{resource}/{part}"), true),
        [resource] => ((*resource).to_owned(), false),
        [resource, _] => ((*resource).to_owned(), true),
        [resource, _, part] => (format!("{resource}/{part}"), true),
        _ => (request.uri().path().to_owned(), true),
    };
    let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
    let verb = match *request.method() {
        Method::GET if watches => "watch",
        Method::GET if named => "get",
        Method::GET => "list",
        Method::POST => "create",
        Method::PUT => "update",
        Method::PATCH => "patch",
        Method::DELETE => "delete",
        _ => "other",
    };
    format!("{verb} {resource}")
}
