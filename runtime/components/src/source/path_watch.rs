//! Tells when what stands at a path becomes something else.
//!
//! Every name on the way to it is watched in its folder: those of the path, and those of the links that it leads through.
//! So a rename onto the file is seen, and an editor's, a link that is turned round, the `..data` of a mounted ConfigMap, a
//! folder that is replaced, one that is only made later. A file that is written in place is told when its writer closes it.
//!
//! Cost: one inotify instance and a watch for each folder on the way; events of other names in these folders are read and
//! dropped. Nothing is polled. Refuses file systems that tell nothing (NFS written to by another machine): there is no way
//! to know.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;
use tokio::io::unix::AsyncFd;
use tokio::sync::Notify;
use tokio::task::AbortHandle;

/// Links on the way, as the kernel has it.
const MAX_LINKS: usize = 40;
/// Bytes of events read at once.
const BUFFER: usize = 4096;

/// A watch on a path. It ends when this is dropped.
#[derive(Debug)]
pub struct PathWatch {
    changed: Arc<Notify>,
    task: AbortHandle,
}

impl PathWatch {
    /// Begins to watch. What happens from now on is told.
    pub fn new(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?;
        #[expect(unsafe_code, reason = "the only way that isn't deprecated")]
        // SAFETY: it is owned, so it stays open as long as it is registered.
        let inotify = unsafe { AsyncFd::register(inotify) }?;
        let mut watched = Watched::default();
        watched.follow(&inotify, &path)?;
        let changed = Arc::new(Notify::new());
        let tell = changed.clone();
        let task = tokio::spawn(async move {
            loop {
                match watched.next(&inotify).await {
                    Ok(false) => continue,
                    Ok(true) => {}
                    Err(error) => {
                        tracing::warn!(path = %path.display(), %error, "the file is not watched any more");
                        return;
                    }
                }
                // The way may be another one now. A step that is missing is watched for in the folder where it is.
                if let Err(error) = watched.follow(&inotify, &path) {
                    tracing::warn!(path = %path.display(), %error, "the file is not fully watched");
                }
                tell.notify_one();
            }
        });
        Ok(Self { changed, task: task.abort_handle() })
    }

    /// Ends when something has changed since the last time.
    pub async fn changed(&self) {
        self.changed.notified().await;
    }
}

impl Drop for PathWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The steps to the path, by the watch of their folder.
#[derive(Default)]
struct Watched(HashMap<i32, Vec<Step>>);

struct Step {
    name: OsString,
    path: PathBuf,
    is_last: bool,
}

impl Watched {
    /// Goes the way to the path and watches each step of it; leaves what is no more on the way.
    fn follow(&mut self, inotify: &AsyncFd<OwnedFd>, path: &Path) -> io::Result<()> {
        let mut steps: HashMap<i32, Vec<Step>> = HashMap::new();
        let mut result = Ok(());
        for step in way(path) {
            let Some(folder) = step.path.parent() else { continue };
            let flags = WatchFlags::CLOSE_WRITE
                | WatchFlags::CREATE
                | WatchFlags::MOVED_TO
                | WatchFlags::MOVED_FROM
                | WatchFlags::DELETE
                | WatchFlags::DELETE_SELF
                | WatchFlags::MOVE_SELF
                | WatchFlags::ONLYDIR;
            match inotify::add_watch(inotify, folder, flags) {
                Ok(watch) => steps.entry(watch).or_default().push(step),
                // It went since we looked, which its own folder tells; or it may be crossed but not read.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => {}
                Err(error) => result = Err(error.into()),
            }
        }
        for watch in self.0.keys().filter(|watch| !steps.contains_key(watch)) {
            // The kernel forgets a folder's watch along with the folder.
            let _ = inotify::remove_watch(inotify, *watch);
        }
        if steps.is_empty() && result.is_ok() {
            result = Err(io::Error::new(io::ErrorKind::PermissionDenied, "no folder on the way to it may be read"));
        }
        self.0 = steps;
        result
    }

    /// Waits for events and reads them all. Whether one of them is about a step of the way.
    async fn next(&self, inotify: &AsyncFd<OwnedFd>) -> io::Result<bool> {
        let mut ready = inotify.readable().await?;
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut events = inotify::Reader::new(inotify.get_ref(), &mut buffer);
        let mut concerns = false;
        loop {
            match events.next() {
                Ok(event) => {
                    let name = event.file_name().map(|name| OsStr::from_bytes(name.to_bytes()));
                    concerns |= self.concerns(event.wd(), event.events(), name);
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        ready.clear_ready();
        Ok(concerns)
    }

    fn concerns(&self, watch: i32, events: ReadFlags, name: Option<&OsStr>) -> bool {
        // Events were lost.
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            return true;
        }
        let Some(steps) = self.0.get(&watch) else { return false };
        // The folder itself went.
        let Some(name) = name else { return !events.contains(ReadFlags::IGNORED) };
        steps.iter().filter(|step| step.name == name).any(|step| {
            // A file that is just being made is told when it is closed. One that is there whole at once is a link.
            let is_begun = events.contains(ReadFlags::CREATE) && step.is_last && is_new_file(&step.path);
            !is_begun
        })
    }
}

/// The names on the way, each with the folder that it is really in.
fn way(path: &Path) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut here = PathBuf::from("/");
    let mut links = 0;
    // What is still to be walked, the next one last.
    let mut ahead: Vec<OsString> = parts(path);
    while let Some(name) = ahead.pop() {
        if name == ".." {
            here.pop();
            continue;
        }
        let at = here.join(&name);
        steps.push(Step { name, path: at.clone(), is_last: ahead.is_empty() });
        let Ok(metadata) = at.symlink_metadata() else { break };
        if !metadata.is_symlink() {
            here = at;
            continue;
        }
        links += 1;
        let Ok(target) = at.read_link() else { break };
        if links > MAX_LINKS {
            break;
        }
        if target.is_absolute() {
            here = PathBuf::from("/");
        }
        ahead.extend(parts(&target));
    }
    steps
}

/// A path's parts, the first one last.
fn parts(path: &Path) -> Vec<OsString> {
    let named = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    named.map(|part| part.as_os_str().to_owned()).collect()
}

fn is_new_file(path: &Path) -> bool {
    path.symlink_metadata().is_ok_and(|metadata| metadata.is_file() && metadata.nlink() == 1)
}
