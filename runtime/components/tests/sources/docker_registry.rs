//! Debian's `docker-registry` on loopback, with or without TLS and basic authentication; and a client of a few lines that
//! writes into it whatever a test wants.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use components::Digest;
use tempfile::TempDir;

/// `htpasswd -nbB puller pass:word`
const USERS: &str = "puller:$2y$05$qqzWXOE9x7hLc4co3byDouEiwxwLPOmWho8u/JNK7whmDMZt8zqye\n";

/// A registry of a test's own. It ends with the test.
pub struct DockerRegistry {
    pub host: String,
    /// Its certificate, PEM, if it has one.
    pub certificate: Vec<u8>,
    child: Child,
    _folder: TempDir,
}

impl DockerRegistry {
    pub fn start() -> Self {
        Self::with(false, false)
    }

    /// `is_tls`: with a certificate of its own making; `asks`: lets nobody in but `puller`.
    pub fn with(is_tls: bool, asks: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let host = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let mut config = format!(
            "version: 0.1\nlog: {{ level: error }}\nstorage: {{ filesystem: {{ rootdirectory: {} }} }}\nhttp:\n  addr: {host}\n",
            at("data")
        );
        let mut certificate = Vec::new();
        if is_tls {
            let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
            certificate = made.cert.pem().into_bytes();
            std::fs::write(at("cert.pem"), &certificate).unwrap();
            std::fs::write(at("key.pem"), made.signing_key.serialize_pem()).unwrap();
            config += &format!("  tls: {{ certificate: {}, key: {} }}\n", at("cert.pem"), at("key.pem"));
        }
        if asks {
            std::fs::write(at("users"), USERS).unwrap();
            config += &format!("auth: {{ htpasswd: {{ realm: test, path: {} }} }}\n", at("users"));
        }
        std::fs::write(at("config.yml"), config).unwrap();
        let child = Command::new("docker-registry")
            .args(["serve", &at("config.yml")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|error| panic!("docker-registry, which tests/setup installs: {error}"));
        let registry = Self { host, certificate, child, _folder: folder };
        let deadline = Instant::now() + Duration::from_secs(30);
        while TcpStream::connect(&registry.host).is_err() {
            assert!(Instant::now() < deadline, "docker-registry does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        registry
    }

    /// Writes a blob.
    pub fn put_blob(&self, repository: &str, bytes: &[u8]) {
        let begun = self.ask("POST", &format!("/v2/{repository}/blobs/uploads/"), "", &[]);
        let location = begun.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap();
        let path = location.trim().split_once(&self.host).unwrap().1;
        let done = self.ask("PUT", &format!("{path}&digest={}", Digest::of(bytes)), "application/octet-stream", bytes);
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }

    /// Writes a manifest, whose type it says itself.
    pub fn put_manifest(&self, repository: &str, reference: &str, bytes: &[u8]) {
        let read: serde_json::Value = serde_json::from_slice(bytes).unwrap();
        let path = format!("/v2/{repository}/manifests/{reference}");
        let done = self.ask("PUT", &path, read["mediaType"].as_str().unwrap(), bytes);
        assert!(done.starts_with("HTTP/1.1 201"), "{done}");
    }

    /// Reads a manifest.
    pub fn manifest(&self, repository: &str, reference: &str) -> serde_json::Value {
        let answer = self.ask("GET", &format!("/v2/{repository}/manifests/{reference}"), "", &[]);
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    /// Reads a blob that is text.
    pub fn blob(&self, repository: &str, digest: &str) -> String {
        let answer = self.ask("GET", &format!("/v2/{repository}/blobs/{digest}"), "", &[]);
        answer.split_once("\r\n\r\n").unwrap().1.to_owned()
    }

    fn ask(&self, method: &str, path: &str, kind: &str, body: &[u8]) -> String {
        let mut stream = TcpStream::connect(&self.host).unwrap();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nAccept: application/vnd.oci.image.manifest.v1+json\r\n\r\n",
            self.host,
            body.len()
        )
        .unwrap();
        stream.write_all(body).unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn fixture(name: &str) -> Vec<u8> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sources/fixtures")).join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
