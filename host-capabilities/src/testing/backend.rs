//! A backend on loopback or a socket: it keeps each request as it came over the wire, and answers as the test says.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

type Answer = Arc<dyn Fn(&str) -> String + Send + Sync>;

/// A server; it ends with the test.
pub(crate) struct Backend {
    /// On 127.0.0.1; 0 for a socket.
    pub(crate) port: u16,
    seen: Arc<Mutex<Vec<String>>>,
    connections: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

/// A response with a body.
pub(crate) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len())
}

/// A response that sends the client on.
pub(crate) fn redirect(status: u16, location: &str) -> String {
    format!("HTTP/1.1 {status} Elsewhere\r\nlocation: {location}\r\ncontent-length: 0\r\n\r\n")
}

impl Backend {
    /// Plain, on 127.0.0.1. `answer` gets the request's bytes and returns the response's; an empty one is never sent.
    pub(crate) async fn http(answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::tcp(None, Arc::new(answer)).await
    }

    /// Behind TLS.
    pub(crate) async fn https(tls: Arc<ServerConfig>, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        Self::tcp(Some(tls.into()), Arc::new(answer)).await
    }

    async fn tcp(tls: Option<TlsAcceptor>, answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (seen, connections) = <(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>)>::default();
        let (own, count) = (seen.clone(), connections.clone());
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let (seen, answer, tls) = (own.clone(), answer.clone(), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(socket, &seen, &answer).await,
                        // A client that doesn't trust us goes away.
                        Some(tls) => {
                            if let Ok(socket) = tls.accept(socket).await {
                                serve(socket, &seen, &answer).await;
                            }
                        }
                    }
                });
            }
        });
        Self { port, seen, connections, task }
    }

    /// On a socket.
    pub(crate) fn unix(path: &Path, answer: impl Fn(&str) -> String + Send + Sync + 'static) -> Self {
        let listener = UnixListener::bind(path).unwrap();
        let (seen, connections) = <(Arc<Mutex<Vec<String>>>, Arc<AtomicUsize>)>::default();
        let (own, count, answer) = (seen.clone(), connections.clone(), Arc::new(answer) as Answer);
        let task = tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let (seen, answer) = (own.clone(), answer.clone());
                tokio::spawn(async move { serve(socket, &seen, &answer).await });
            }
        });
        Self { port: 0, seen, connections, task }
    }

    /// The requests that came, head and body as they were sent.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.seen.lock().unwrap().clone()
    }

    /// How often somebody connected.
    pub(crate) fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Its URL by address.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }
}

impl Drop for Backend {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut socket: impl AsyncRead + AsyncWrite + Unpin, seen: &Mutex<Vec<String>>, answer: &Answer) {
    let mut buffer = Vec::new();
    loop {
        let end = loop {
            if let Some(end) = request_end(&buffer) {
                break end;
            }
            let mut chunk = [0; 8192];
            match socket.read(&mut chunk).await {
                Ok(0) | Err(_) => return,
                Ok(count) => buffer.extend_from_slice(&chunk[..count]),
            }
        };
        let request = String::from_utf8(buffer.drain(..end).collect()).unwrap();
        seen.lock().unwrap().push(request.clone());
        let response = answer(&request);
        if response.is_empty() {
            std::future::pending::<()>().await;
        }
        if socket.write_all(response.as_bytes()).await.is_err() {
            return;
        }
        let whole = response.contains("content-length") || response.contains("chunked");
        if !whole || response.contains("connection: close") {
            let _ = socket.shutdown().await;
            return;
        }
    }
}

/// Where the first request ends, if it is there whole.
fn request_end(bytes: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(bytes);
    let head = text.find("\r\n\r\n")? + 4;
    let lower = text[..head].to_ascii_lowercase();
    if lower.contains("transfer-encoding: chunked") {
        return text[head..].find("0\r\n\r\n").map(|at| head + at + 5);
    }
    let length = lower.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
    let whole = head + length.map_or(0, |length| length.parse::<usize>().unwrap());
    (bytes.len() >= whole).then_some(whole)
}
