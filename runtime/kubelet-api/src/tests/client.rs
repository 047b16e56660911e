//! A client that shows what certificate it likes, trusts every server, and remembers what it was shown.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::certificates::Pair;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Http1,
    Http2,
}

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub text: String,
}

#[derive(Clone)]
pub struct Client {
    address: SocketAddr,
    config: Arc<ClientConfig>,
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
    protocol: Protocol,
    token: Option<String>,
}

impl Client {
    /// Without credentials.
    pub fn new(address: SocketAddr) -> Self {
        Self::build(address, None, Protocol::Http1)
    }

    /// With a client certificate.
    pub fn with_certificate(address: SocketAddr, pair: &Pair) -> Self {
        Self::build(address, Some(pair), Protocol::Http1)
    }

    pub fn over(self, protocol: Protocol) -> Self {
        let mut config = (*self.config).clone();
        config.alpn_protocols = alpn(protocol);
        Self { protocol, config: Arc::new(config), ..self }
    }

    pub fn with_token(self, token: &str) -> Self {
        Self { token: Some(token.to_owned()), ..self }
    }

    fn build(address: SocketAddr, pair: Option<&Pair>, protocol: Protocol) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let shown = Arc::default();
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap()
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Recorder { provider, shown: Arc::clone(&shown) }));
        let mut config = match pair {
            Some(pair) => builder.with_client_auth_cert(vec![pair.certificate.clone()], pair.key()).unwrap(),
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = alpn(protocol);
        Self { address, config: Arc::new(config), shown, protocol, token: None }
    }

    pub async fn tls(&self) -> std::io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        let name = ServerName::try_from("node.test").unwrap();
        TlsConnector::from(self.config.clone()).connect(name, tcp).await
    }

    /// A connection to send requests on.
    pub async fn connect(&self) -> Connection {
        let io = TokioIo::new(self.tls().await.unwrap());
        let sender = match self.protocol {
            Protocol::Http1 => {
                let (sender, connection) = http1::handshake(io).await.unwrap();
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Protocol::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await.unwrap();
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Connection { sender, token: self.token.clone() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.connect().await.get(path).await
    }

    /// The certificate that the server showed last.
    pub fn shown(&self) -> CertificateDer<'static> {
        self.shown.lock().unwrap().clone().unwrap()
    }
}

fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    }
}

enum Sender {
    Http1(http1::SendRequest<Empty<Bytes>>),
    Http2(http2::SendRequest<Empty<Bytes>>),
}

pub struct Connection {
    sender: Sender,
    token: Option<String>,
}

impl Connection {
    pub async fn send(&mut self, method: Method, path: &str) -> hyper::Result<Response<Incoming>> {
        let mut request = Request::builder().method(method).uri(format!("https://node.test{path}"));
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = request.body(Empty::new()).unwrap();
        match &mut self.sender {
            Sender::Http1(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                sender.send_request(request).await
            }
        }
    }

    /// The head of the answer; the body is read as it is taken.
    pub async fn open(&mut self, path: &str) -> Response<Incoming> {
        self.send(Method::GET, path).await.unwrap()
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        let (head, body) = self.open(path).await.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        Reply { status: head.status, headers: head.headers, text: String::from_utf8(bytes.to_vec()).unwrap() }
    }
}

#[derive(Debug)]
struct Recorder {
    provider: Arc<CryptoProvider>,
    shown: Arc<Mutex<Option<CertificateDer<'static>>>>,
}

impl ServerCertVerifier for Recorder {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        *self.shown.lock().unwrap() = Some(end_entity.clone().into_owned());
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
