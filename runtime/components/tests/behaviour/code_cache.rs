//! Compiled code is used again if it is whole, ours, and made for this engine; else it is made anew.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use components::{Bytes, CodeCache, Compiled, Digest, Limits};
use tempfile::TempDir;

use crate::lab::engine;

/// A folder with the code of one small component.
struct Cached {
    folder: TempDir,
    cache: CodeCache,
    component: Bytes,
}

/// What became of the file.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Used,
    MadeAnew,
}

impl Cached {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let cache = CodeCache::open(&folder.path().join("code")).unwrap();
        let component = Bytes { name: "small".to_owned(), bytes: wat::parse_str("(component)").unwrap() };
        let own = Self { folder, cache, component };
        own.compile();
        own
    }

    fn compile(&self) {
        let compiled = Compiled::new(engine(), &self.component, &Limits::default(), Some(&self.cache)).unwrap();
        assert_eq!(compiled.inspection().digest, Digest::of(&self.component.bytes).to_string());
    }

    fn code_folder(&self) -> PathBuf {
        self.folder.path().join("code")
    }

    fn file(&self) -> PathBuf {
        let files: Vec<_> = fs::read_dir(self.code_folder()).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = files.as_slice() else { panic!("{files:?}") };
        file.clone()
    }

    /// Does something to the file, loads the component again, and looks at the file.
    fn after(&self, change: impl FnOnce(&Path)) -> Outcome {
        let file = self.file();
        change(&file);
        let long_ago = SystemTime::now() - Duration::from_secs(3_600);
        File::options().append(true).open(&file).unwrap().set_modified(long_ago).unwrap();
        let before = fs::metadata(&file).unwrap();
        self.compile();
        let after = fs::metadata(self.file()).unwrap();
        assert!(after.modified().unwrap() > long_ago, "its use is noted");
        if before.ino() == after.ino() { Outcome::Used } else { Outcome::MadeAnew }
    }
}

#[test]
fn what_was_compiled_once_is_used_again() {
    let cached = Cached::new();
    let file = fs::metadata(cached.file()).unwrap();
    assert_eq!(file.permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::metadata(cached.code_folder()).unwrap().permissions().mode() & 0o777, 0o700);
    for _ in 0..3 {
        assert_eq!(cached.after(|_| {}), Outcome::Used);
    }
}

#[test]
fn another_component_has_another_file() {
    let cached = Cached::new();
    let other = Bytes { name: "other".to_owned(), bytes: wat::parse_str("(component (component))").unwrap() };
    Compiled::new(engine(), &other, &Limits::default(), Some(&cached.cache)).unwrap();
    assert_eq!(fs::read_dir(cached.code_folder()).unwrap().count(), 2);
}

#[test]
fn a_file_that_is_not_whole_is_made_anew() {
    let cached = Cached::new();
    for length in [0, 10, 80, 200] {
        let cut = cached.after(|file| File::options().write(true).open(file).unwrap().set_len(length).unwrap());
        assert_eq!(cut, Outcome::MadeAnew, "{length} bytes");
        assert_eq!(cached.after(|_| {}), Outcome::Used);
    }
    let flipped = cached.after(|file| {
        let mut bytes = fs::read(file).unwrap();
        let last = bytes.last_mut().unwrap();
        *last ^= 1;
        fs::write(file, bytes).unwrap();
    });
    assert_eq!(flipped, Outcome::MadeAnew);
}

#[test]
fn a_file_that_others_may_have_written_is_made_anew() {
    let cached = Cached::new();
    let mode = |file: &Path, mode| fs::set_permissions(file, fs::Permissions::from_mode(mode)).unwrap();
    assert_eq!(cached.after(|file| mode(file, 0o620)), Outcome::MadeAnew);
    assert_eq!(cached.after(|file| mode(file, 0o602)), Outcome::MadeAnew);
    // Only root can give a file away.
    if rustix::process::geteuid().is_root() {
        let given = cached.after(|file| std::os::unix::fs::chown(file, Some(1), None).unwrap());
        assert_eq!(given, Outcome::MadeAnew);
    }
    assert_eq!(cached.after(|_| {}), Outcome::Used);
    mode(&cached.code_folder(), 0o777);
    assert_eq!(cached.after(|_| {}), Outcome::MadeAnew);
}

/// A file as ours, with this code in it.
fn sealed(code: &[u8]) -> Vec<u8> {
    [b"vk-runtime code 1\n", Digest::of(code).to_string().as_bytes(), code].concat()
}

#[test]
fn code_that_is_no_code_or_for_another_engine_is_made_anew() {
    let cached = Cached::new();
    let other = wasmtime::Engine::new(wasmtime::Config::new().epoch_interruption(false)).unwrap();
    let foreign = other.precompile_component(&cached.component.bytes).unwrap();
    for code in [b"no code".as_slice(), &foreign] {
        assert_eq!(cached.after(|file| fs::write(file, sealed(code)).unwrap()), Outcome::MadeAnew);
        assert_eq!(cached.after(|_| {}), Outcome::Used);
    }
}

#[test]
fn the_files_used_last_are_kept() {
    let cached = Cached::new();
    for n in 0..20 {
        let text = format!("(component (core module (func (drop (i32.const {n})))))");
        let bytes = Bytes { name: n.to_string(), bytes: wat::parse_str(&text).unwrap() };
        Compiled::new(engine(), &bytes, &Limits::default(), Some(&cached.cache)).unwrap();
    }
    assert_eq!(fs::read_dir(cached.code_folder()).unwrap().count(), 16);
}

#[test]
fn a_cache_that_can_not_be_written_costs_time_and_nothing_else() {
    let cached = Cached::new();
    fs::remove_dir_all(cached.code_folder()).unwrap();
    cached.compile();
}
