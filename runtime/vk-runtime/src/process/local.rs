//! The process asked from outside, over plain HTTP: `GET /status` and `GET /metrics` on a socket in the state folder that
//! this user alone may use (mode 0600), and `GET /metrics` on the address that the configuration names.
//!
//! Bound: [`CONNECTIONS`] at once on each, more wait; a request may take [`LONGEST`].

use std::convert::Infallible;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;

use super::Status;
use crate::metrics;

/// The socket's name in the state folder.
pub const SOCKET: &str = "status.sock";
const CONNECTIONS: usize = 16;
const LONGEST: Duration = Duration::from_secs(10);
/// After a connection that can't be taken: too many files are open.
const PAUSE: Duration = Duration::from_millis(100);

/// Something that is asked of the process.
pub enum Question {
    /// What there is to say.
    Status(oneshot::Sender<Box<Status>>),
    /// The page of metrics.
    Metrics(oneshot::Sender<String>),
}

/// The doors to the process; they close when this is dropped.
pub struct Local {
    socket: PathBuf,
    _doors: JoinSet<()>,
}

impl Local {
    /// Opens the socket, and the address for metrics.
    pub async fn open(folder: &Path, metrics: Option<SocketAddr>) -> Result<(Self, mpsc::Receiver<Question>)> {
        let (questions, asked) = mpsc::channel(CONNECTIONS);
        let mut doors = JoinSet::new();
        let socket = folder.join(SOCKET);
        match bind(&socket) {
            Ok(listener) => {
                tracing::info!(socket = %socket.display(), "vk-runtime status asks here");
                let door = Door::new(questions.clone(), true);
                doors.spawn(async move {
                    loop {
                        match listener.accept().await {
                            Ok((stream, _)) => door.enter(stream).await,
                            Err(_) => tokio::time::sleep(PAUSE).await,
                        }
                    }
                });
            }
            // A path that is too long for a socket, for one: nodes run without it.
            Err(error) => {
                tracing::warn!(socket = %socket.display(), %error, "vk-runtime status can't ask this process");
            }
        }
        if let Some(address) = metrics {
            let listener =
                TcpListener::bind(address).await.with_context(|| format!("metrics.listen {address} can't be used"))?;
            let door = Door::new(questions, false);
            doors.spawn(async move {
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => door.enter(stream).await,
                        Err(_) => tokio::time::sleep(PAUSE).await,
                    }
                }
            });
        }
        Ok((Self { socket, _doors: doors }, asked))
    }
}

impl Drop for Local {
    fn drop(&mut self) {
        // One that stays is replaced at the next start.
        let _ = std::fs::remove_file(&self.socket);
    }
}

/// Who has the store has the folder: a socket that is still there is nobody's.
fn bind(path: &Path) -> std::io::Result<UnixListener> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // Nobody else may enter the folder, so nobody is faster.
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

#[derive(Clone)]
struct Door {
    questions: mpsc::Sender<Question>,
    tells_status: bool,
    places: Arc<Semaphore>,
}

impl Door {
    fn new(questions: mpsc::Sender<Question>, tells_status: bool) -> Self {
        Self { questions, tells_status, places: Arc::new(Semaphore::new(CONNECTIONS)) }
    }

    /// Answers on this connection, as soon as there is a place.
    async fn enter(&self, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
        // Never closed.
        let Ok(place) = self.places.clone().acquire_owned().await else { return };
        let door = self.clone();
        tokio::spawn(async move {
            let answer = service_fn(|request| {
                let door = door.clone();
                async move { Ok::<_, Infallible>(door.answer(&request).await) }
            });
            let serving = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(LONGEST)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // Who went away doesn't wait for an answer.
            let _ = tokio::time::timeout(LONGEST * 2, serving).await;
            drop(place);
        });
    }

    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if request.method() != Method::GET {
            return text(StatusCode::METHOD_NOT_ALLOWED, "only GET");
        }
        match request.uri().path() {
            "/status" if self.tells_status => match self.ask(Question::Status).await {
                Some(status) => match serde_json::to_vec(&status) {
                    Ok(body) => page(StatusCode::OK, "application/json", body.into()),
                    Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
                },
                None => text(StatusCode::SERVICE_UNAVAILABLE, "the process is busy"),
            },
            "/metrics" => match self.ask(Question::Metrics).await {
                Some(body) => page(StatusCode::OK, metrics::TYPE, body.into()),
                None => text(StatusCode::SERVICE_UNAVAILABLE, "the process is busy"),
            },
            _ => text(StatusCode::NOT_FOUND, "there are /status (on the socket alone) and /metrics"),
        }
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Question) -> Option<T> {
        let (answer, answered) = oneshot::channel();
        self.questions.send(question(answer)).await.ok()?;
        tokio::time::timeout(LONGEST, answered).await.ok()?.ok()
    }
}

fn text(status: StatusCode, words: &str) -> Response<Full<Bytes>> {
    page(status, "text/plain", format!("{words}\n").into())
}

fn page(status: StatusCode, kind: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
