//! The file of the audit log.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Readable and writable by its owner alone.
const PERMISSIONS: u32 = 0o600;

/// The file can't be used.
#[derive(Debug, thiserror::Error)]
#[error("the audit log {} can't be written: {reason}", path.display())]
pub struct AuditFileError {
    path: PathBuf,
    reason: String,
}

impl AuditFileError {
    pub(super) fn new(path: &Path, error: &std::io::Error) -> Self {
        Self { path: path.to_owned(), reason: error.to_string() }
    }
}

/// A file that is appended to, wherever its path leads now.
#[derive(Debug)]
pub(super) struct AuditFile {
    path: PathBuf,
    file: File,
}

fn open(path: &Path) -> std::io::Result<File> {
    let file = OpenOptions::new().append(true).create(true).mode(PERMISSIONS).open(path)?;
    let metadata = file.metadata()?;
    // A pipe or a terminal is as its owner made it.
    if metadata.is_file() && metadata.permissions().mode() & 0o777 != PERMISSIONS {
        file.set_permissions(std::fs::Permissions::from_mode(PERMISSIONS))?;
    }
    Ok(file)
}

impl AuditFile {
    pub(super) fn open(path: &Path) -> Result<Self, AuditFileError> {
        let file = open(path).map_err(|error| AuditFileError::new(path, &error))?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Appends these lines; opens the path again first if it is no more the file that was opened.
    pub(super) fn write(&mut self, lines: &[u8]) -> std::io::Result<()> {
        let own = self.file.metadata()?;
        let is_same = |there: &std::fs::Metadata| (there.dev(), there.ino()) == (own.dev(), own.ino());
        if !std::fs::metadata(&self.path).is_ok_and(|there| is_same(&there)) {
            self.file = open(&self.path)?;
        }
        self.file.write_all(lines)
    }
}
