//! A component in a file.
//!
//! Watched through inotify (see `path_watch`), so a build that ends, a `mv` onto the path and a changed mount of a ConfigMap
//! are seen within milliseconds. A file that changes while it is read is not handed out. Where signatures are wanted, the
//! one of `PATH` is in `PATH.sigstore.json`, and watched too.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use async_trait::async_trait;

use super::path_watch::PathWatch;
use super::signature::BESIDE;
use super::{Address, Fetched, Policy, Problem, Revision, Size, Source, SourceError};

/// Bytes of a signature.
const BUNDLE: u64 = 1 << 20;

/// A component in a file.
#[derive(Debug)]
pub struct FileSource {
    address: Address,
    path: PathBuf,
    policy: Policy,
    watch: PathWatch,
    /// Of its signature, if one is wanted.
    beside: Option<PathWatch>,
}

impl FileSource {
    /// Watches the file from now on, which need not be there yet. To be called on a runtime.
    pub fn new(path: &Path, policy: Policy) -> Result<Self, SourceError> {
        let address = Address::from(path);
        let watch =
            |path: &Path| PathWatch::new(path).map_err(|error| SourceError::new(&address, Problem::Watch(error)));
        let own = watch(path)?;
        let beside = policy.signatures.are_required().then(|| watch(&beside(path))).transpose()?;
        Ok(Self { path: path.to_owned(), policy, watch: own, beside, address })
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
        match &self.beside {
            Some(beside) => tokio::select! {
                () = self.watch.changed() => {}
                () = beside.changed() => {}
            },
            None => self.watch.changed().await,
        }
    }
}

fn read(path: &Path, policy: &Policy, known: Option<&Revision>) -> Result<Option<Fetched>, Problem> {
    let (file, revision) = open(path)?;
    let beside = beside(path);
    let bundle = if policy.signatures.are_required() { open(&beside).ok() } else { None };
    let joined = policy.signatures.join(revision.clone(), bundle.as_ref().map(|(_, revision)| revision));
    if known == Some(&joined) {
        return Ok(None);
    }
    let bytes = whole(&file, &revision, policy.size)?;
    let digest = policy.check_digest(&bytes)?;
    let bundle = bundle.map(|(file, revision)| whole(&file, &revision, BUNDLE)).transpose()?;
    let signer = policy.signatures.check_beside(&bytes, bundle.as_deref(), &beside.display().to_string())?;
    Ok(Some(Fetched { bytes: bytes.into(), digest, revision: joined, signer }))
}

/// Where a file's signature is.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(BESIDE);
    name.into()
}

fn open(path: &Path) -> Result<(File, Revision), Problem> {
    let file = File::open(path).map_err(unread)?;
    let metadata = file.metadata().map_err(unread)?;
    if !metadata.is_file() {
        return Err(Problem::NoComponent("it is no file".to_owned()));
    }
    Ok((file, revision(&metadata)))
}

/// The whole file, if it stays what it was.
fn whole(file: &File, before: &Revision, limit: u64) -> Result<Vec<u8>, Problem> {
    let size = file.metadata().map_err(unread)?.len();
    if size > limit {
        return Err(Problem::TooLarge { size: Size::Bytes(size), limit });
    }
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
    file.take(limit.saturating_add(1)).read_to_end(&mut bytes).map_err(unread)?;
    if bytes.len() as u64 > limit {
        return Err(Problem::TooLarge { size: Size::More, limit });
    }
    if revision(&file.metadata().map_err(unread)?) != *before {
        return Err(Problem::Changing);
    }
    Ok(bytes)
}

fn unread(error: std::io::Error) -> Problem {
    match error.kind() {
        std::io::ErrorKind::NotFound => Problem::NotFound("file"),
        _ => Problem::Read(error),
    }
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
