//! A registry that answers what a test says, byte for byte, and counts what it is asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use components::Digest;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// What is answered.
#[derive(Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// What `Content-Length` says; none: nothing, the end of the connection is the end.
    pub length: Option<usize>,
    /// What comes after the body.
    pub after: After,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum After {
    End,
    Silence,
    /// Zeros without end.
    Zeros,
}

impl Reply {
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        Self { status: 200, headers: Vec::new(), length: Some(body.len()), body, after: After::End }
    }

    pub fn status(status: u16) -> Self {
        Self { status, ..Self::ok("") }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// The registry. Routes are `METHOD PATH`; what has none is not found.
pub struct FakeRegistry {
    pub host: String,
    routes: Arc<Mutex<HashMap<String, Reply>>>,
    asked: Arc<Mutex<Vec<String>>>,
    _task: AbortOnDropHandle<()>,
}

impl FakeRegistry {
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let host = listener.local_addr().unwrap().to_string();
        let (routes, asked) = (Arc::<Mutex<HashMap<String, Reply>>>::default(), Arc::<Mutex<Vec<String>>>::default());
        let (own_routes, own_asked) = (routes.clone(), asked.clone());
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, own_routes.clone(), own_asked.clone()));
            }
        });
        Self { host, routes, asked, _task: AbortOnDropHandle::new(task) }
    }

    pub fn on(&self, route: &str, reply: Reply) {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner).insert(route.to_owned(), reply);
    }

    /// How often paths that hold this were asked for.
    pub fn count(&self, part: &str) -> usize {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        asked.iter().filter(|route| route.contains(part)).count()
    }

    /// What each request said about who it is of.
    pub fn said(&self, part: &str) -> bool {
        self.count(part) > 0
    }

    /// An artifact `hyper:1` with this one layer.
    pub fn artifact(&self, media_type: &str, layer: &[u8], size: usize) {
        self.artifact_with(media_type, &Digest::of(layer).to_string(), size);
        self.on(&format!("GET /v2/hyper/blobs/{}", Digest::of(layer)), Reply::ok(layer));
    }

    /// The same, of which the layer isn't there yet.
    pub fn artifact_with(&self, media_type: &str, digest: &str, size: usize) {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.wasm.config.v0+json", "digest": digest, "size": 2 },
            "layers": [{ "mediaType": media_type, "digest": digest, "size": size }],
        });
        self.on("GET /v2/hyper/manifests/1", Reply::ok(manifest.to_string()));
    }
}

async fn answer(mut stream: TcpStream, routes: Arc<Mutex<HashMap<String, Reply>>>, asked: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    let mut chunk = [0; 4096];
    while !head.windows(4).any(|window| window == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => return,
            Ok(count) => head.extend_from_slice(&chunk[..count]),
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let route = head.lines().next().unwrap().trim_end_matches(" HTTP/1.1").to_owned();
    let authorization = head.lines().find(|line| line.to_ascii_lowercase().starts_with("authorization:"));
    asked.lock().unwrap_or_else(PoisonError::into_inner).push(format!("{route} {}", authorization.unwrap_or_default()));
    let reply = routes.lock().unwrap_or_else(PoisonError::into_inner).get(&route).cloned();
    let reply = reply.unwrap_or_else(|| Reply::status(404));
    let mut text = format!("HTTP/1.1 {} Status\r\nConnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        text += &format!("{name}: {value}\r\n");
    }
    if let Some(length) = reply.length {
        text += &format!("Content-Length: {length}\r\n");
    }
    text += "\r\n";
    // Who reads no further closes the connection.
    let _ = stream.write_all(text.as_bytes()).await;
    let _ = stream.write_all(&reply.body).await;
    match reply.after {
        After::End => {}
        After::Silence => {
            let _ = stream.read(&mut chunk).await;
        }
        After::Zeros => while stream.write_all(&[0; 65536]).await.is_ok() {},
    }
}
