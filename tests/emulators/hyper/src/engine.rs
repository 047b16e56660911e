//! The Podman that runs the containers, by its form of Docker's API.

use std::path::PathBuf;

use anyhow::{Context, Result};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::answer::Refusal;

/// The version of Docker's API that Podman 4 has.
const API: &str = "/v1.41";

/// A Podman.
pub struct Engine {
    /// Its socket.
    pub socket: PathBuf,
}

/// What a request sends.
#[derive(Default)]
pub struct Content {
    /// Its type; empty: nothing is sent.
    pub kind: &'static str,
    /// Bytes.
    pub bytes: Vec<u8>,
    /// The header `X-Registry-Auth`.
    pub registry_auth: String,
}

impl Content {
    /// JSON.
    pub fn json(value: &Value) -> Self {
        Self { kind: "application/json", bytes: value.to_string().into_bytes(), ..Self::default() }
    }
}

impl Engine {
    /// Sends a request; returns the answer's head, its body still to come.
    pub async fn send(&self, method: &str, path: &str, content: Content) -> Result<Response<Incoming>> {
        let stream = UnixStream::connect(&self.socket).await;
        let stream = stream.with_context(|| format!("the engine at {}", self.socket.display()))?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        // Ends with the answer's body; its failure is the body's.
        tokio::spawn(connection);
        let mut request = Request::builder().method(method).uri(format!("{API}{path}")).header("host", "engine");
        if !content.kind.is_empty() {
            request = request.header("content-type", content.kind);
        }
        if !content.registry_auth.is_empty() {
            request = request.header("x-registry-auth", content.registry_auth);
        }
        let request = request.body(Full::new(Bytes::from(content.bytes)))?;
        Ok(sender.send_request(request).await?)
    }

    /// The whole answer of a request that succeeds, or Hyper.sh's words for its failure.
    pub async fn call(&self, method: &str, path: &str, content: Content) -> Result<Bytes, Refusal> {
        let answer = self.send(method, path, content).await.map_err(Refusal::broken)?;
        let status = answer.status().as_u16();
        let body = answer.into_body().collect().await.map_err(Refusal::broken)?.to_bytes();
        if status < 400 { Ok(body) } else { Err(refusal(status, &body)) }
    }

    /// The same, read as JSON.
    pub async fn get(&self, path: &str) -> Result<Value, Refusal> {
        let body = self.call("GET", path, Content::default()).await?;
        serde_json::from_slice(&body).map_err(Refusal::broken)
    }
}

/// Podman answers most failures with 500; Hyper.sh, as Docker, by what it is.
pub fn refusal(status: u16, body: &[u8]) -> Refusal {
    let parsed: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = parsed["message"].as_str().map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let lower = format!("{} {text}", parsed["cause"].as_str().unwrap_or_default()).to_lowercase();
    let says = |words: &[&str]| words.iter().any(|word| lower.contains(word));
    if says(&["no such image", "image not known"]) {
        return Refusal::new(404, format!("No such image: {text}"));
    }
    if says(&["no such container", "no container with name"]) {
        return Refusal::new(404, format!("No such container: {text}"));
    }
    if says(&["already in use", "container state improper", "can only kill running"]) {
        return Refusal::new(409, format!("Conflict. {text}"));
    }
    Refusal::new(status, text)
}
