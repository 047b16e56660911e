//! Attempts to get out of the sandbox that take a real component, each a test of its own name, all refused: the others are
//! those of `host-capabilities`.
//!
//! | file      | what is tried                                                                               |
//! |-----------|---------------------------------------------------------------------------------------------|
//! | `handles` | numbers that are no handles, handles of another kind, dropped ones, another call's, too many |
//! | `memory`  | wild pointers, lengths, texts and discriminants, passed and returned; allocators that lie   |
//! | `wasi`    | environment, folders, sockets, names, standard streams, exit, clocks, random numbers        |
//! | `imports` | interfaces and functions that the host does not have, or has otherwise                      |
//!
//! The component is `escaping`. Whatever it tries ends its own call and nothing else: beside it another provider serves, a
//! call of its own that was under way goes on, and its next one works.

mod handles;
mod imports;
mod memory;
mod wasi;

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use host_capabilities::egress::Rule;
use host_capabilities::secrets::{Secrets, Sources};
use provider::{Code, Content, Error, File, Origin, OriginKind, PodConfig, Volume};
use tempfile::TempDir;
use tokio::runtime::Handle;

use crate::lab::{Lab, Loading, pod};

/// The value of its secret.
const CANARY: &str = "canary-of-the-sandbox";

/// A provider that tries to get out, and one beside it.
struct Sandbox {
    own: Lab,
    beside: Lab,
    _folder: TempDir,
}

struct Text;

#[async_trait]
impl Content for Text {
    fn size(&self) -> Option<u64> {
        Some(4)
    }

    fn version(&self) -> String {
        "1".to_owned()
    }

    async fn read(&self) -> provider::Result<Bytes> {
        Ok("text".into())
    }
}

/// A pod that asks for this attempt, with a file.
fn asking(attempt: &str) -> PodConfig {
    let mut pod = pod("uid-1", attempt);
    let origin = Arc::new(Origin::new(OriginKind::ConfigMap, "c", "k"));
    let content = Arc::new(Text);
    let file = File { path: "k".to_owned(), mode: 0o644, user: None, group: None, content, origin };
    pod.sandbox.volumes.push(Volume::Files { name: "files".to_owned(), files: vec![file] });
    pod
}

impl Sandbox {
    async fn new() -> Self {
        Self::limited("").await
    }

    async fn limited(limits: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, CANARY).unwrap();
        let granted = format!("key=file:{}:reveal", path.display()).parse().unwrap();
        let secrets = Arc::new(Secrets::new([granted], &Sources::new(Handle::current())).unwrap());
        let dial = Rule::parse("127.0.0.1:1", &["tcp"], true).unwrap();
        let own = Loading::new("escaping").limits(limits).grants(|grants| {
            grants.secrets = secrets;
            grants.dial.push(dial);
        });
        let (own, beside) = (own.load().await, Loading::new("mock").load().await);
        Self { own, beside, _folder: folder }
    }

    /// What it tells of an attempt.
    async fn tells(&self, attempt: &str) -> String {
        self.own.pods().create(asking(attempt)).await.unwrap().message
    }

    /// An attempt ends its call, and nothing else.
    async fn ends(&self, attempt: &str) -> Error {
        self.ends_with(asking(attempt)).await
    }

    async fn ends_with(&self, pod: PodConfig) -> Error {
        let (under_way, tried) = tokio::join!(self.own.pods().list(None), self.own.pods().create(pod));
        let error = tried.map(|state| state.message).expect_err("it was not refused");
        assert!(error.message.starts_with("pods.create "), "{error}");
        assert!(!error.message.contains('\n') && !error.message.contains(CANARY), "{error}");
        under_way.unwrap();
        self.own.works().await;
        self.beside.works().await;
        error
    }
}

/// An attempt is refused with these words.
async fn refused(attempt: &str, says: &str) {
    let error = Sandbox::new().await.ends(attempt).await;
    assert_eq!(error.code, Code::Internal, "{attempt}: {error}");
    assert!(error.message.contains(says), "{attempt}: {error}");
}

/// Makes a test of each attempt.
macro_rules! attempts {
    ($room:literal: $($name:ident: $attempt:literal => $says:literal;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                crate::escape::refused(concat!($room, " ", $attempt), $says).await;
            }
        )+
    };
}
use attempts;
