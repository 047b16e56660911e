//! Where certificates and keys lie between starts.
//!
//! `kubelet-client-current.pem` and `kubelet-server-current.pem` hold a chain and its key, as the kubelet's files of these
//! names do; `….key.tmp` the key of a request that was not answered yet. Files are for their owner alone (0600, the folder
//! 0700) and are replaced as a whole: one that is there is complete, also after a crash.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use super::{IdentityError, Pair, Purpose};

/// A folder of certificates of one node.
#[derive(Clone, Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder, made if it is not there.
    pub fn open(path: &Path) -> Result<Self, IdentityError> {
        let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
        made.map_err(|error| failed(path, "made", error))?;
        Ok(Self(path.to_owned()))
    }

    /// Where the client certificate lies, for a kubeconfig that names it.
    pub fn client_file(&self) -> PathBuf {
        self.current(&Purpose::Client)
    }

    fn current(&self, purpose: &Purpose) -> PathBuf {
        self.0.join(format!("kubelet-{}-current.pem", purpose.word()))
    }

    fn pending(&self, purpose: &Purpose) -> PathBuf {
        self.0.join(format!("kubelet-{}.key.tmp", purpose.word()))
    }

    /// The pair that is there.
    pub(super) fn pair(&self, purpose: &Purpose) -> Result<Option<Pair>, IdentityError> {
        let path = self.current(purpose);
        let Some(text) = read(&path)? else { return Ok(None) };
        let at = text.find("-----BEGIN PRIVATE KEY-----").unwrap_or(text.len());
        let (chain, key) = text.split_at(at);
        let pair = Pair::new(chain, Zeroizing::new(key.to_owned()));
        pair.map(Some).map_err(|error| IdentityError::Unusable {
            what: format!("file {}", path.display()),
            reason: error.to_string(),
        })
    }

    /// Keeps a pair; the key of the request that it answers is not needed any more.
    pub(super) fn keep(&self, purpose: &Purpose, pair: &Pair) -> Result<(), IdentityError> {
        let text = Zeroizing::new(format!("{}\n{}", pair.chain().trim_end(), pair.key()));
        self.replace(&self.current(purpose), text.as_bytes())?;
        self.forget_key(purpose)
    }

    /// The key of a request that was not answered yet.
    pub(super) fn key(&self, purpose: &Purpose) -> Result<Option<Zeroizing<String>>, IdentityError> {
        read(&self.pending(purpose))
    }

    pub(super) fn keep_key(&self, purpose: &Purpose, key: &str) -> Result<(), IdentityError> {
        self.replace(&self.pending(purpose), key.as_bytes())
    }

    pub(super) fn forget_key(&self, purpose: &Purpose) -> Result<(), IdentityError> {
        let path = self.pending(purpose);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(failed(&path, "removed", error)),
            _ => Ok(()),
        }
    }

    /// Writes a file that is there as a whole or not at all.
    pub(super) fn replace(&self, path: &Path, bytes: &[u8]) -> Result<(), IdentityError> {
        let fail = |error| failed(path, "written", error);
        let mut name = path.as_os_str().to_owned();
        name.push(".new");
        let new = PathBuf::from(name);
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new).map_err(fail)?;
        file.write_all(bytes).and_then(|()| file.sync_all()).map_err(fail)?;
        fs::rename(&new, path).map_err(fail)?;
        // The rename is to outlast a crash too.
        let folder = path.parent().unwrap_or(Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(fail)
    }
}

fn read(path: &Path) -> Result<Option<Zeroizing<String>>, IdentityError> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(Some(Zeroizing::new(text))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(failed(path, "read", error)),
    }
}

fn failed(path: &Path, what: &'static str, error: std::io::Error) -> IdentityError {
    IdentityError::File { path: path.display().to_string(), what, error }
}
