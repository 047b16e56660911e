//! A component in a file.
//!
//! Watched through inotify (see `path_watch`), so a build that ends, a `mv` onto the path and a changed mount of a ConfigMap
//! are seen within milliseconds. A file that changes while it is read is not handed out.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::path_watch::PathWatch;
use super::{Address, Fetched, Policy, Problem, Revision, Size, Source, SourceError};

/// A component in a file.
#[derive(Debug)]
pub struct FileSource {
    address: Address,
    path: PathBuf,
    policy: Policy,
    watch: PathWatch,
}

impl FileSource {
    /// Watches the file from now on, which need not be there yet. To be called on a runtime.
    pub fn new(path: &Path, policy: Policy) -> Result<Self, SourceError> {
        let address = Address::from(path);
        match PathWatch::new(path) {
            Ok(watch) => Ok(Self { address, path: path.to_owned(), policy, watch }),
            Err(error) => Err(SourceError::new(&address, Problem::Watch(error))),
        }
    }
}

#[async_trait]
impl Source for FileSource {
    fn address(&self) -> &Address {
        &self.address
    }

    async fn fetch(&self, known: Option<&Revision>) -> Result<Option<Fetched>, SourceError> {
        let (path, policy, known) = (self.path.clone(), self.policy.clone(), known.cloned());
        // Only fails when the runtime ends.
        let read = tokio::task::spawn_blocking(move || read(&path, &policy, known.as_ref())).await;
        let read = read.unwrap_or_else(|error| Err(Problem::Read(error.into())));
        read.map_err(|problem| SourceError::new(&self.address, problem))
    }

    async fn changed(&self) {
        self.watch.changed().await;
    }
}

fn read(path: &Path, policy: &Policy, known: Option<&Revision>) -> Result<Option<Fetched>, Problem> {
    let fail = |error: std::io::Error| match error.kind() {
        std::io::ErrorKind::NotFound => Problem::NotFound("file"),
        _ => Problem::Read(error),
    };
    let file = std::fs::File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        return Err(Problem::NoComponent("it is no file".to_owned()));
    }
    let revision = revision(&metadata);
    if known == Some(&revision) {
        return Ok(None);
    }
    policy.check_size(metadata.len())?;
    let mut bytes = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or_default());
    (&file).take(policy.size.saturating_add(1)).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > policy.size {
        return Err(Problem::TooLarge { size: Size::More, limit: policy.size });
    }
    if self::revision(&file.metadata().map_err(fail)?) != revision {
        return Err(Problem::Changing);
    }
    let digest = policy.check_digest(&bytes)?;
    Ok(Some(Fetched { bytes: bytes.into(), digest, revision, signer: None }))
}

fn revision(metadata: &std::fs::Metadata) -> Revision {
    Revision(format!(
        "{}:{}:{}:{}.{:09}:{}.{:09}",
        metadata.dev(),
        metadata.ino(),
        metadata.len(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.ctime(),
        metadata.ctime_nsec()
    ))
}
