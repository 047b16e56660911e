//! Compiles components in a process of its own, so that a hostile one can't take the node's memory or time.
//!
//! The process is this binary once more, with the hidden command [`COMMAND`]. It takes the component on its standard input
//! and hands machine code out on its standard output, knows no environment and no file, opens none, and ends with us.
//! Code is taken from nobody but that process, and kept in nothing but the [`CodeCache`].
//!
//! Bounds, [`Bounds`]: 1 GiB of memory, 120 s of CPU time, five minutes, 256 MiB of code; four threads; one component at a
//! time, the others wait. What it takes too much of is said in the error. When memory is short on the machine, the kernel
//! ends it first.
//!
//! Cost: about ten milliseconds on top of compiling. Code that the cache has is loaded here, without a process.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{ExitCode, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustix::process::{Resource, Rlimit, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::sync::Semaphore;

use crate::code_cache::CodeCache;
use crate::component::{Compiled, LoadError, check_form};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::limits::Limits;

/// The hidden command of the binary that runs [`worker`].
pub const COMMAND: &str = "compile-worker";
/// Threads that compile: each costs memory, and the node needs its processors for pods.
const THREADS: usize = 4;
/// Bytes of words about what went wrong.
const WORDS: u64 = 4 << 10;
/// The component is refused, and standard error says why.
const REFUSED: u8 = 3;

/// What compiling one component may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory.
    pub memory: u64,
    /// CPU time over all threads; whole seconds.
    pub cpu: Duration,
    /// Time, from when it begins to compile.
    pub wall: Duration,
    /// Bytes of machine code.
    pub code: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { memory: 1 << 30, cpu: Duration::from_secs(120), wall: Duration::from_secs(300), code: 256 << 20 }
    }
}

/// Compiles components, one at a time. Clones share their turns.
#[derive(Clone, Debug)]
pub struct Compiler {
    program: PathBuf,
    bounds: Bounds,
    turns: Arc<Semaphore>,
}

impl Compiler {
    /// Compiles with the running binary, whose `main` calls [`worker`] for [`COMMAND`].
    pub fn new(bounds: Bounds) -> Self {
        // The running one, also when an upgrade has put another in its place.
        Self::with(Path::new("/proc/self/exe"), bounds)
    }

    /// Compiles with this binary, of the same version.
    pub fn with(program: &Path, bounds: Bounds) -> Self {
        Self { program: program.to_owned(), bounds, turns: Arc::new(Semaphore::new(1)) }
    }

    /// Compiles a component that is called `name` in errors, or takes its code from the cache.
    pub async fn compile(
        &self,
        engine: &Engine,
        name: &str,
        bytes: Bytes,
        limits: &Limits,
        cache: Option<&CodeCache>,
    ) -> Result<Compiled, LoadError> {
        check_form(name, &bytes, limits)?;
        let fail = |reason: String| LoadError::Compile { name: name.to_owned(), reason };
        let look = {
            let (engine, cache, bytes) = (engine.clone(), cache.cloned(), bytes.clone());
            move || {
                let digest = Digest::of(&bytes);
                let component = cache.and_then(|cache| cache.load(&engine, &digest));
                (digest, component)
            }
        };
        let size = bytes.len() as u64;
        let (digest, found) = tokio::task::spawn_blocking(look).await.map_err(|error| fail(error.to_string()))?;
        if let Some(component) = found {
            return Ok(Compiled::of(name, component, digest, size));
        }
        let turn = self.turns.acquire().await.map_err(|error| fail(error.to_string()))?;
        let code = tokio::time::timeout(self.bounds.wall, self.run(name, bytes))
            .await
            .map_err(|_| fail(format!("it took longer than {} s", self.bounds.wall.as_secs_f32())))??;
        drop(turn);
        let load = {
            let (engine, cache) = (engine.clone(), cache.cloned());
            move || {
                if let Some(cache) = cache {
                    cache.keep(&engine, &digest, &code);
                }
                engine.load_own(&code)
            }
        };
        let loaded = tokio::task::spawn_blocking(load).await.map_err(|error| fail(error.to_string()))?;
        let component = loaded.map_err(|error| fail(format!("{error:#}")))?;
        Ok(Compiled::of(name, component, digest, size))
    }

    /// Runs the process. When the answer isn't wanted any more, it is ended.
    async fn run(&self, name: &str, bytes: Bytes) -> Result<Vec<u8>, LoadError> {
        let fail = |reason: String| LoadError::Compile { name: name.to_owned(), reason };
        let system = |error: std::io::Error| fail(format!("the process that compiles: {error}"));
        let mut child = Command::new(&self.program)
            .arg(COMMAND)
            .arg(self.bounds.memory.to_string())
            .arg(self.bounds.cpu.as_secs().max(1).to_string())
            .env_clear()
            .env("RAYON_NUM_THREADS", THREADS.min(available()).to_string())
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(system)?;
        let (Some(mut stdin), Some(stdout), Some(stderr)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(fail("the process that compiles has no streams".to_owned()));
        };
        let give = async {
            // One that ended early says why by itself.
            let _ = stdin.write_all(&bytes).await;
            drop(stdin);
        };
        let (mut code, mut words) = (Vec::new(), Vec::new());
        let mut bounded = stdout.take(self.bounds.code.saturating_add(1));
        let mut said = stderr.take(WORDS);
        let ((), taken, heard) = tokio::join!(give, bounded.read_to_end(&mut code), said.read_to_end(&mut words));
        taken.and(heard).map_err(system)?;
        if code.len() as u64 > self.bounds.code {
            return Err(fail(format!("its machine code has more than {} bytes", self.bounds.code)));
        }
        let status = child.wait().await.map_err(system)?;
        if status.success() {
            return Ok(code);
        }
        let words = String::from_utf8_lossy(&words).trim().to_owned();
        if status.code() == Some(i32::from(REFUSED)) {
            return Err(LoadError::NoComponent { name: name.to_owned(), reason: words });
        }
        Err(fail(self.reason(status, &words)))
    }

    fn reason(&self, status: ExitStatus, words: &str) -> String {
        use std::os::unix::process::ExitStatusExt;
        let signal = |signal: Signal| status.signal() == Some(signal.as_raw());
        if signal(Signal::XCPU) {
            format!("it took more than {} s of CPU time", self.bounds.cpu.as_secs())
        } else if words.contains("memory allocation of") || words.contains("Cannot allocate memory") {
            format!("it took more than {} MiB of memory", self.bounds.memory >> 20)
        } else if signal(Signal::KILL) {
            "the process that compiles was killed, as the kernel does when memory is short".to_owned()
        } else {
            format!("the process that compiles ended with {status}: {words}")
        }
    }
}

fn available() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

/// What the process does that [`Compiler`] starts: `COMMAND MEMORY CPU`, in bytes and seconds.
pub fn worker() -> ExitCode {
    let bounds: Vec<u64> = std::env::args().skip(2).filter_map(|number| number.parse().ok()).collect();
    let [memory, cpu] = bounds[..] else {
        return refuse(1, "this command is for vk-runtime's own use");
    };
    if let Err(error) = confine(memory, cpu) {
        return refuse(1, &format!("it can't be confined: {error}"));
    }
    let mut component = Vec::new();
    if let Err(error) = std::io::stdin().read_to_end(&mut component) {
        return refuse(1, &format!("the component can't be read: {error}"));
    }
    let code = match Engine::compiling().and_then(|engine| engine.precompile_component(&component)) {
        Ok(code) => code,
        Err(error) => return refuse(REFUSED, &format!("{error:#}")),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(&code).and_then(|()| out.flush()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refuse(1, &format!("the code can't be handed over: {error}")),
    }
}

fn refuse(code: u8, words: &str) -> ExitCode {
    // There is nobody else to tell.
    let _ = writeln!(std::io::stderr(), "{words}");
    ExitCode::from(code)
}

fn confine(memory: u64, cpu: u64) -> std::io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    rustix::process::nice(5)?;
    std::fs::write("/proc/self/oom_score_adj", "1000")?;
    let limits = [
        (Resource::Data, memory),
        (Resource::Cpu, cpu),
        (Resource::Core, 0),
        (Resource::Fsize, 0),
        // Those that it has, and the few that it needs to ask for processors.
        (Resource::Nofile, 16),
    ];
    for (resource, limit) in limits {
        // A little later than the signal that can be told from others comes the one that can't be caught.
        let maximum = if resource == Resource::Cpu { limit + 2 } else { limit };
        rustix::process::setrlimit(resource, Rlimit { current: Some(limit), maximum: Some(maximum) })?;
    }
    Ok(())
}
