//! Profiles against a real TLS server that asks for client certificates.

use std::path::Path;
use std::sync::{Arc, Mutex};

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::runtime::Handle;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::bindings::vk::host::dial::{self, Options};
use crate::bindings::vk::host::http::Request;
use crate::error::Error;
use crate::secrets::Sources;
use crate::testing::authority::Authority;
use crate::testing::guest::{Guest, grants};
use crate::testing::request::{self, get};
use crate::{CallData, Grants};

/// A server of the name `engine.test` that takes clients of its own authority alone. It answers one request and ends the
/// connection.
struct Server {
    authority: Authority,
    port: u16,
    /// The certificates that clients came with.
    clients: Arc<Mutex<Vec<CertificateDer<'static>>>>,
}

impl Server {
    async fn start() -> Self {
        let authority = Authority::new();
        let key = KeyPair::generate().unwrap();
        let own = authority.sign(CertificateParams::new(["engine.test".to_owned()]).unwrap(), &key);
        let mut roots = RootCertStore::empty();
        roots.add(authority.certificate()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider.clone()).build().unwrap();
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![own.der().clone()], PrivatePkcs8KeyDer::from(key.serialize_der()).into())
            .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let clients: Arc<Mutex<Vec<_>>> = Arc::default();
        let (seen, acceptor) = (clients.clone(), TlsAcceptor::from(Arc::new(config)));
        tokio::spawn(async move {
            loop {
                let (socket, _) = listener.accept().await.unwrap();
                // A client that we don't know, or that doesn't know us, goes away.
                let Ok(mut socket) = acceptor.accept(socket).await else { continue };
                let client = socket.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned();
                seen.lock().unwrap().push(client);
                let _ = socket.read(&mut [0; 4096]).await;
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\nsafe";
                let _ = socket.write_all(answer).await;
                let _ = socket.shutdown().await;
            }
        });
        Self { authority, port, clients }
    }

    /// Writes a client's certificate and key, and the authority's certificate.
    fn identify(&self, folder: &Path) -> CertificateDer<'static> {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::new(Vec::new()).unwrap();
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let certificate = self.authority.sign(parameters, &key);
        std::fs::write(folder.join("ca.pem"), self.authority.pem()).unwrap();
        put(folder, "client.pem", &certificate.pem());
        put(folder, "client.key", &key.serialize_pem());
        certificate.der().clone()
    }

    fn seen(&self) -> usize {
        self.clients.lock().unwrap().len()
    }
}

/// Replaces a file at once.
fn put(folder: &Path, name: &str, content: &str) {
    std::fs::write(folder.join("next"), content).unwrap();
    std::fs::rename(folder.join("next"), folder.join(name)).unwrap();
}

fn guest(profiles: &[String]) -> Guest {
    let profiles = profiles.iter().map(|written| written.parse().unwrap());
    let tls = Profiles::new(profiles, &Sources::new(Handle::current())).unwrap();
    Guest::new(Grants { tls: tls.into(), ..grants(&["https://127.0.0.1:*"], &["127.0.0.1:*"], &[]) })
}

fn profile(name: &str, folder: &Path, server_name: &str) -> String {
    let folder = folder.display();
    format!("{name}=ca:{folder}/ca.pem,cert:file:{folder}/client.pem,key:{folder}/client.key{server_name}")
}

async fn fetch(guest: &mut Guest, port: u16, tls: &str) -> Result<Vec<u8>, Error> {
    let request = Request { tls: tls.to_owned(), ..get(format!("https://127.0.0.1:{port}/")) };
    request::fetch(guest, request).await.map(|response| response.body)
}

async fn connect(guest: &mut Guest, port: u16, options: Options) -> Result<Vec<u8>, Error> {
    guest
        .run(async |accessor| {
            let address = format!("tls://127.0.0.1:{port}");
            let connected = <CallData as dial::HostWithStore<_>>::connect(accessor, address, options).await.unwrap();
            let connection = connected?;
            let borrow = || wasmtime::component::Resource::new_borrow(connection.rep());
            <CallData as dial::HostConnectionWithStore<_>>::write(accessor, borrow(), b"hello".to_vec())
                .await
                .unwrap()?;
            <CallData as dial::HostConnectionWithStore<_>>::read(accessor, borrow(), 1000).await.unwrap()
        })
        .await
}

fn options(tls: &str, server_name: &str) -> Options {
    Options {
        server_name: server_name.to_owned(),
        tls: tls.to_owned(),
        headers: Vec::new(),
        protocols: Vec::new(),
        timeout: None,
    }
}

#[tokio::test]
async fn a_profile_identifies_the_client_and_knows_the_server() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let client = server.identify(folder.path());
    let mut guest = guest(&[
        profile("engine", folder.path(), ",server-name:engine.test"),
        profile("other", folder.path(), ",server-name:other.test"),
        format!("anonymous=ca:{}/ca.pem,server-name:engine.test", folder.path().display()),
    ]);
    assert_eq!(fetch(&mut guest, server.port, "engine").await.unwrap(), b"safe");
    assert!(connect(&mut guest, server.port, options("engine", "")).await.unwrap().starts_with(b"HTTP/1.1 200"));
    // The operator's name for the server, not the guest's.
    connect(&mut guest, server.port, options("engine", "elsewhere.test")).await.unwrap();
    assert_eq!(*server.clients.lock().unwrap(), [client.clone(), client.clone(), client]);
    for (profile, code) in
        [("", "unavailable"), ("other", "unavailable"), ("anonymous", "unavailable"), ("none", "denied")]
    {
        let error = fetch(&mut guest, server.port, profile).await.unwrap_err();
        assert_eq!(error.code, code, "{profile}: {}", error.message);
    }
    let error = connect(&mut guest, server.port, options("none", "")).await.unwrap_err();
    assert_eq!(error.code, "denied");
    assert!(error.message.contains("--tls none="), "{}", error.message);
    assert_eq!(server.seen(), 3);
}

#[tokio::test]
async fn without_a_name_of_its_own_the_guests_or_the_address_is_verified() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    server.identify(folder.path());
    let mut guest = guest(&[profile("engine", folder.path(), "")]);
    connect(&mut guest, server.port, options("engine", "engine.test")).await.unwrap();
    assert_eq!(connect(&mut guest, server.port, options("engine", "")).await.unwrap_err().code, "unavailable");
    assert_eq!(fetch(&mut guest, server.port, "engine").await.unwrap_err().code, "unavailable");
}

#[tokio::test]
async fn a_renewed_identity_is_used_from_the_next_connection_on() {
    let lines = crate::testing::lines::Lines::capture();
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let first = server.identify(folder.path());
    let mut guest = guest(&[profile("engine", folder.path(), ",server-name:engine.test")]);
    fetch(&mut guest, server.port, "engine").await.unwrap();
    let (certificate, key) =
        ["client.pem", "client.key"].map(|name| std::fs::read_to_string(folder.path().join(name)).unwrap()).into();
    let second = server.identify(folder.path());
    let next_key = std::fs::read_to_string(folder.path().join("client.key")).unwrap();
    // Replaced one after the other: in between the last pair is used, and that is said once.
    put(folder.path(), "client.key", &key);
    for _ in 0..2 {
        fetch(&mut guest, server.port, "engine").await.unwrap();
    }
    put(folder.path(), "client.key", &next_key);
    fetch(&mut guest, server.port, "engine").await.unwrap();
    assert_eq!(*server.clients.lock().unwrap(), [first.clone(), first.clone(), first, second]);
    let text = lines.text();
    assert_eq!(text.matches("can't be used, the last is kept").count(), 1, "{text}");
    for secret in [&key, &next_key, &certificate] {
        assert!(!text.contains(secret.lines().nth(1).unwrap()), "{text}");
    }
}

#[tokio::test]
async fn what_is_no_certificate_is_named_and_not_shown() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start().await;
    server.identify(folder.path());
    for (name, content, says, code) in [
        ("ca.pem", "canary-4711", "CA is no certificate", "invalid"),
        ("client.key", "canary-4711", "key is no private key", "invalid"),
        ("client.pem", "", "source is empty", "not-found"),
    ] {
        let kept = std::fs::read_to_string(folder.path().join(name)).unwrap();
        put(folder.path(), name, content);
        let mut guest = guest(&[profile("engine", folder.path(), "")]);
        let error = fetch(&mut guest, server.port, "engine").await.unwrap_err();
        assert_eq!(error.code, code, "{}", error.message);
        assert!(error.message.contains(says) && error.message.contains("`engine`"), "{}", error.message);
        assert!(!error.message.contains("4711"), "{}", error.message);
        put(folder.path(), name, &kept);
    }
}

#[test]
fn what_is_wrong_with_a_profile_is_said() {
    for (text, says) in [
        ("a", "NAME=ca:SOURCE"),
        ("a=", "NAME=ca:SOURCE"),
        ("a b=ca:/x", "the name is made of"),
        ("a=cert:/x", "go together"),
        ("a=key:/x", "go together"),
        ("a=ca:x", "ca: the source is written"),
        ("a=ca:vault:x", "`vault` is none of"),
        ("a=ca:/x,ca:/y", "there twice"),
        ("a=server-name:a b", "no TLS server name"),
    ] {
        let error = text.parse::<TlsProfile>().unwrap_err().to_string();
        assert!(error.contains(says), "{text}: {error}");
    }
    let own: TlsProfile =
        "a=ca:/x,y.pem,cert:kube:ns/n/tls.crt,key:exec:/bin/k a,b,server-name:c.test".parse().unwrap();
    assert_eq!(own.ca.unwrap().to_string(), "file:/x,y.pem");
    assert_eq!(own.certificate.unwrap().to_string(), "kube:ns/n/tls.crt");
    assert_eq!(own.server_name.as_deref(), Some("c.test"));
}
