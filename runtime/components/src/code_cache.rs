//! Compiled code on disk, so that a start takes milliseconds.
//!
//! A file is named by what it was made of: the component's digest and the engine's version and settings. It begins with a
//! digest of its own content. It is loaded only if it belongs to this user, can be written by no other, lies in a folder of
//! which the same is true, and its digest is right: machine code is trusted as much as the runtime's own binary, and a
//! truncated or foreign file is compiled anew. The folder keeps the [`KEPT`] files that were used last.

use std::fs::{self, DirBuilder, File};
use std::hash::{Hash, Hasher};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use wasmtime::component::Component;

use crate::digest::Digest;
use crate::engine::Engine;

/// Files kept.
const KEPT: usize = 16;
const HEAD: &[u8] = b"vk-runtime code 1\n";
const DIGEST: usize = "sha256:".len() + 64;

/// A folder of compiled code.
#[derive(Clone, Debug)]
pub struct CodeCache {
    folder: PathBuf,
}

impl CodeCache {
    /// A cache in this folder, which is made, readable by this user alone.
    pub fn open(folder: &Path) -> std::io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// The compiled code of a component, if it is there and can be trusted.
    pub(crate) fn load(&self, engine: &Engine, digest: &Digest) -> Option<Component> {
        let path = self.path(engine, digest);
        let code = match self.read(&path) {
            Ok(code) => code,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code is not used: it is made anew");
                return None;
            }
        };
        #[expect(unsafe_code, reason = "see the header: only code that this user wrote, unchanged, comes here")]
        // SAFETY: `read` has checked that this user wrote the file, that nobody else could, and that it is whole.
        let component = unsafe { Component::deserialize(&engine.wasmtime, &code) };
        match component {
            Ok(component) => {
                // The time of use decides which files are kept.
                let _ =
                    File::options().append(true).open(&path).and_then(|f| f.set_modified(std::time::SystemTime::now()));
                Some(component)
            }
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "compiled code is not used: it is made anew");
                None
            }
        }
    }

    /// Keeps the code of a component. A failure costs time at the next start, and is logged.
    pub(crate) fn keep(&self, engine: &Engine, digest: &Digest, code: &[u8]) {
        let path = self.path(engine, digest);
        let kept = self.write(&path, code);
        if let Err(error) = kept {
            tracing::warn!(path = %path.display(), %error, "compiled code can't be kept");
        }
        self.prune();
    }

    fn path(&self, engine: &Engine, digest: &Digest) -> PathBuf {
        let mut hasher = Sha256Hasher(ring::digest::Context::new(&ring::digest::SHA256));
        engine.wasmtime.precompile_compatibility_hash().hash(&mut hasher);
        env!("CARGO_PKG_VERSION").hash(&mut hasher);
        self.folder.join(format!("{}-{:016x}.code", digest.hex(), hasher.finish()))
    }

    fn read(&self, path: &Path) -> std::io::Result<Vec<u8>> {
        let mut file = File::open(path)?;
        let own = rustix::process::geteuid().as_raw();
        for (metadata, name) in [(fs::metadata(&self.folder)?, self.folder.as_path()), (file.metadata()?, path)] {
            if metadata.uid() != own || metadata.mode() & 0o022 != 0 {
                return Err(std::io::Error::other(format!("others may write {}", name.display())));
            }
        }
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        let broken = || std::io::Error::other("it is truncated or not ours");
        let rest = bytes.strip_prefix(HEAD).ok_or_else(broken)?;
        let (digest, code) = rest.split_at_checked(DIGEST).ok_or_else(broken)?;
        if digest != Digest::of(code).to_string().as_bytes() {
            return Err(broken());
        }
        Ok(code.to_vec())
    }

    fn write(&self, path: &Path, code: &[u8]) -> std::io::Result<()> {
        // Made with mode 0600, and in place only when it is whole.
        let mut file = tempfile::NamedTempFile::new_in(&self.folder)?;
        file.write_all(HEAD)?;
        file.write_all(Digest::of(code).to_string().as_bytes())?;
        file.write_all(code)?;
        file.persist(path)?;
        Ok(())
    }

    fn prune(&self) {
        let Ok(entries) = fs::read_dir(&self.folder) else { return };
        let mut files: Vec<_> = entries
            .filter_map(Result::ok)
            .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "code"))
            .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
            .collect();
        files.sort_by(|a, b| b.cmp(a));
        for (_, path) in files.into_iter().skip(KEPT) {
            // Another process may have been faster.
            let _ = fs::remove_file(path);
        }
    }
}

struct Sha256Hasher(ring::digest::Context);

impl Hasher for Sha256Hasher {
    fn write(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    fn finish(&self) -> u64 {
        let digest = self.0.clone().finish();
        digest.as_ref().first_chunk().map_or(0, |first| u64::from_be_bytes(*first))
    }
}
