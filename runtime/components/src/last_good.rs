//! What a provider's versions leave on disk: the one that serves, the last one that proved good, and those that are bad. So
//! a restart needs no source, and does not try again what was taken back.
//!
//! In a folder of the provider's own that only this user may enter: `versions.json`, and a component's bytes in
//! `DIGEST.wasm`. The bytes are held against their digest when they are read: what was changed is not used. Bound: two
//! components, and the [`KEPT`] bad digests that came last.

use std::collections::VecDeque;
use std::fs::{self, DirBuilder};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Bad digests that are remembered.
const KEPT: usize = 32;
const FILE: &str = "versions.json";

/// A version that is not tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Bad {
    /// Its digest.
    pub digest: String,
    /// What was wrong with it.
    pub why: String,
    /// When that was found, RFC 3339.
    pub since: String,
}

/// What the file says.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Known {
    /// Where the components came from: those of another source are none of ours.
    source: String,
    /// The version that serves.
    current: Option<String>,
    /// The last one that proved good.
    good: Option<String>,
    #[serde(default)]
    bad: VecDeque<Bad>,
}

/// The folder, and what it says.
pub(crate) struct LastGood {
    folder: PathBuf,
    known: Known,
}

impl LastGood {
    /// Opens the folder, which is made, with what it says of components from this source.
    pub(crate) fn open(folder: &Path, source: &str) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        let metadata = fs::metadata(folder)?;
        if metadata.uid() != rustix::process::geteuid().as_raw() || metadata.mode() & 0o022 != 0 {
            return Err(std::io::Error::other(format!("others may write {}", folder.display())));
        }
        let path = folder.join(FILE);
        let known = match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(path = %path.display(), %error, "what is known of versions can't be read, and is forgotten");
                Known::default()
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Known::default(),
            Err(error) => return Err(error),
        };
        let known =
            if known.source == source { known } else { Known { source: source.to_owned(), ..Known::default() } };
        Ok(Self { folder: folder.to_owned(), known })
    }

    /// Versions to begin with when there is nothing better, the best first.
    pub(crate) fn candidates(&self) -> Vec<Digest> {
        let mut found: Vec<Digest> = Vec::new();
        for text in [&self.known.current, &self.known.good].into_iter().flatten() {
            if let Ok(digest) = text.parse()
                && !found.contains(&digest)
                && self.bad(&digest).is_none()
            {
                found.push(digest);
            }
        }
        found
    }

    /// The last version that proved good.
    pub(crate) fn good(&self) -> Option<Digest> {
        self.known.good.as_ref().and_then(|text| text.parse().ok())
    }

    /// What is wrong with a version, if that is known.
    pub(crate) fn bad(&self, digest: &Digest) -> Option<&Bad> {
        let text = digest.to_string();
        self.known.bad.iter().find(|bad| bad.digest == text)
    }

    /// All bad versions.
    pub(crate) fn all_bad(&self) -> Vec<Bad> {
        self.known.bad.iter().cloned().collect()
    }

    /// The bytes of a version.
    pub(crate) fn read(&self, digest: &Digest) -> std::io::Result<Bytes> {
        let path = self.path(digest);
        let bytes = fs::read(&path)?;
        let actual = Digest::of(&bytes);
        if actual != *digest {
            return Err(std::io::Error::other(format!("{} was changed: its digest is {actual}", path.display())));
        }
        Ok(bytes.into())
    }

    /// What comes from here from now on is of the same provider.
    pub(crate) fn moved(&mut self, source: &str) -> std::io::Result<()> {
        source.clone_into(&mut self.known.source);
        self.keep()
    }

    /// This version serves now.
    pub(crate) fn serves(&mut self, digest: &Digest, bytes: &[u8]) -> std::io::Result<()> {
        let path = self.path(digest);
        if self.read(digest).is_err() {
            write(&self.folder, &path, bytes)?;
        }
        self.known.current = Some(digest.to_string());
        self.keep()
    }

    /// This version, whose bytes are there, has proved good.
    pub(crate) fn proved(&mut self, digest: &Digest) -> std::io::Result<()> {
        self.known.good = Some(digest.to_string());
        self.keep()
    }

    /// This version is not to be tried again.
    pub(crate) fn condemn(&mut self, digest: &Digest, why: &str) -> std::io::Result<()> {
        let digest = digest.to_string();
        self.known.bad.retain(|bad| bad.digest != digest);
        if self.known.bad.len() == KEPT {
            self.known.bad.pop_front();
        }
        self.known.bad.push_back(Bad { digest, why: why.to_owned(), since: Timestamp::now().to_string() });
        self.keep()
    }

    /// Everything may be tried again.
    pub(crate) fn forgive(&mut self) -> std::io::Result<()> {
        self.known.bad.clear();
        self.keep()
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{}.wasm", digest.hex()))
    }

    fn keep(&self) -> std::io::Result<()> {
        let text = serde_json::to_vec_pretty(&self.known)?;
        write(&self.folder, &self.folder.join(FILE), &text)?;
        self.prune();
        Ok(())
    }

    /// Removes the bytes that nothing refers to.
    fn prune(&self) {
        let wanted: Vec<_> = [&self.known.current, &self.known.good]
            .into_iter()
            .flatten()
            .filter_map(|text| text.parse().ok())
            .map(|digest| self.path(&digest))
            .collect();
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        for path in entries.filter_map(Result::ok).map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "wasm") && !wanted.contains(&path) {
                // What stays costs room, no more.
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Writes a file of mode 0600 that is whole or not there.
fn write(folder: &Path, path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    file.persist(path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: &str = "/components/mock.wasm";

    fn digest(bytes: &[u8]) -> Digest {
        Digest::of(bytes)
    }

    #[test]
    fn what_served_and_what_was_good_outlast_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = LastGood::open(folder.path(), SOURCE).unwrap();
        assert!(state.candidates().is_empty());
        state.serves(&digest(b"one"), b"one").unwrap();
        state.proved(&digest(b"one")).unwrap();
        state.serves(&digest(b"two"), b"two").unwrap();
        let mut state = LastGood::open(folder.path(), SOURCE).unwrap();
        assert_eq!(state.candidates(), [digest(b"two"), digest(b"one")]);
        assert_eq!(state.read(&digest(b"one")).unwrap(), &b"one"[..]);
        state.condemn(&digest(b"two"), "it trapped").unwrap();
        state.serves(&digest(b"three"), b"three").unwrap();
        let state = LastGood::open(folder.path(), SOURCE).unwrap();
        assert_eq!(state.candidates(), [digest(b"three"), digest(b"one")]);
        assert_eq!(state.bad(&digest(b"two")).unwrap().why, "it trapped");
        assert!(state.read(&digest(b"two")).is_err(), "its bytes are kept");
    }

    #[test]
    fn bytes_that_were_changed_are_not_used() {
        let folder = tempfile::tempdir().unwrap();
        let mut state = LastGood::open(folder.path(), SOURCE).unwrap();
        state.serves(&digest(b"one"), b"one").unwrap();
        fs::write(state.path(&digest(b"one")), b"two").unwrap();
        let error = state.read(&digest(b"one")).unwrap_err().to_string();
        assert!(error.contains("was changed"), "{error}");
    }

    #[test]
    fn another_source_has_nothing_of_this_one() {
        let folder = tempfile::tempdir().unwrap();
        LastGood::open(folder.path(), SOURCE).unwrap().serves(&digest(b"one"), b"one").unwrap();
        assert!(LastGood::open(folder.path(), "/other.wasm").unwrap().candidates().is_empty());
        LastGood::open(folder.path(), SOURCE).unwrap().moved("/other.wasm").unwrap();
        assert_eq!(LastGood::open(folder.path(), "/other.wasm").unwrap().candidates(), [digest(b"one")]);
    }

    #[test]
    fn a_folder_that_others_may_write_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
        assert!(LastGood::open(folder.path(), SOURCE).is_err());
    }
}
