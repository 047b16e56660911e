//! Tar archives in memory: how files travel to backends that take them by their API. Owners and modes are kept; paths are
//! relative to where the archive is unpacked, and may be of any length.

use std::io::Read;

use tar::{Builder, EntryType, Header};

use crate::{Error, Result};

/// Mode and owner of an entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// Owner.
    pub user: u32,
    /// Group.
    pub group: u32,
}

impl Owner {
    /// Root's, with this mode.
    pub const fn root(mode: u32) -> Self {
        Self { mode, user: 0, group: 0 }
    }
}

/// An archive that is being written.
pub struct Archive {
    builder: Builder<Vec<u8>>,
    modified: u64,
}

impl Archive {
    /// An empty one; its entries are of this time, seconds since 1970.
    pub fn new(modified: u64) -> Self {
        Self { builder: Builder::new(Vec::new()), modified }
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, owner: Owner) -> Result<()> {
        self.entry(path, EntryType::Directory, owner, &[])
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, owner: Owner, content: &[u8]) -> Result<()> {
        self.entry(path, EntryType::Regular, owner, content)
    }

    /// Adds a symbolic link.
    pub fn link(&mut self, path: &str, target: &str) -> Result<()> {
        let mut header = self.header(EntryType::Symlink, Owner::root(0o777), 0);
        self.builder.append_link(&mut header, path, target).map_err(|error| failed(path, &error))
    }

    /// The bytes.
    pub fn finish(self) -> Result<Vec<u8>> {
        self.builder.into_inner().map_err(|error| failed("", &error))
    }

    fn entry(&mut self, path: &str, kind: EntryType, owner: Owner, content: &[u8]) -> Result<()> {
        let mut header = self.header(kind, owner, content.len() as u64);
        self.builder.append_data(&mut header, path, content).map_err(|error| failed(path, &error))
    }

    fn header(&self, kind: EntryType, owner: Owner, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(owner.mode);
        header.set_uid(u64::from(owner.user));
        header.set_gid(u64::from(owner.group));
        header.set_mtime(self.modified);
        header.set_size(size);
        header
    }
}

/// The content of the first file in an archive; none if there is no file in it.
pub fn first_file(archive: &[u8]) -> Result<Option<Vec<u8>>> {
    let unreadable = |error: std::io::Error| Error::internal(format!("the archive can't be read: {error}"));
    let mut archive = tar::Archive::new(archive);
    for entry in archive.entries().map_err(unreadable)? {
        let mut entry = entry.map_err(unreadable)?;
        if entry.header().entry_type() == EntryType::Regular {
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(unreadable)?;
            return Ok(Some(content));
        }
    }
    Ok(None)
}

fn failed(path: &str, error: &std::io::Error) -> Error {
    Error::invalid(format!("`{path}` can't be put into an archive: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_owner_mode_time_and_long_names() {
        let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
        let mut archive = Archive::new(1_795_253_717);
        archive.folder("..1", Owner { mode: 0o2775, user: 0, group: 2000 }).unwrap();
        archive.file(&long, Owner { mode: 0o440, user: 1000, group: 2000 }, b"value").unwrap();
        archive.link("..data", "..1").unwrap();
        let bytes = archive.finish().unwrap();
        let mut read = tar::Archive::new(&bytes[..]);
        let seen: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                let header = entry.header();
                (
                    entry.path().unwrap().to_string_lossy().into_owned(),
                    header.mode().unwrap(),
                    header.uid().unwrap(),
                    header.gid().unwrap(),
                    header.mtime().unwrap(),
                )
            })
            .collect();
        assert_eq!(seen[0], ("..1".to_owned(), 0o2775, 0, 2000, 1_795_253_717));
        assert_eq!(seen[1], (long, 0o440, 1000, 2000, 1_795_253_717));
        assert_eq!(seen[2].0, "..data");
        assert_eq!(first_file(&bytes).unwrap().unwrap(), b"value");
    }

    #[test]
    fn a_path_that_leaves_the_folder_is_refused() {
        let error = Archive::new(0).file("../etc/passwd", Owner::root(0o644), b"").unwrap_err();
        assert!(error.is("invalid"), "{error:?}");
    }

    #[test]
    fn an_archive_without_a_file_has_no_first_one() {
        let mut archive = Archive::new(0);
        archive.folder("a", Owner::root(0o755)).unwrap();
        assert_eq!(first_file(&archive.finish().unwrap()).unwrap(), None);
        assert!(first_file(b"no archive").is_err());
    }
}
