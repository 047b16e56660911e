//! Keeps a provider at the version that its source has: fetch, compile, compare with the grants, try, swap; and takes back
//! what does badly.
//!
//! | what is found                                          | then                                                      |
//! |--------------------------------------------------------|-----------------------------------------------------------|
//! | the source fails                                       | the version that serves goes on; asked again after 1 s, doubled up to 5 min, or when the source says that something changed |
//! | a version can't be compiled, asks for more than is granted, or can't describe a node | refused; the version that serves goes on |
//! | a version goes beyond the [`Tolerance`] while it is new | taken back to the last good one, and its digest is not tried again until it changes |
//! | a new version does well to the end of that time        | it is the last good one                                   |
//! | at a start the source fails, or has a bad version      | the version that served last serves again                 |
//!
//! Everything is told as a [`Change`]. What must outlast a restart is on disk, in a folder of the provider's own.
//! Cost: a task that sleeps.

mod status;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use host_capabilities::Capabilities;
use jiff::Timestamp;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::change::{Change, Refusal};
use crate::code_cache::CodeCache;
use crate::compile::Compiler;
use crate::component::{self, Compiled, LoadError};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::health::Tolerance;
use crate::last_good::LastGood;
use crate::limits::Limits;
use crate::program::Program;
use crate::source::{Source, SourceError};

pub use status::{RefusedStatus, SourceStatus, Status};

/// The first pause after a failure of the source, and the longest.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(300)];

/// Hears of changes. Called on a thread that others wait for: what takes long goes elsewhere.
pub type Listener = Arc<dyn Fn(&Change) + Send + Sync>;

/// What a supervisor works with.
pub struct Settings {
    /// The engine.
    pub engine: Engine,
    /// Compiles. None: in this process, where a hostile component could take its memory and time.
    pub compiler: Option<Compiler>,
    /// Keeps what was compiled.
    pub cache: Option<CodeCache>,
    /// A folder for this provider alone, which is made.
    pub folder: PathBuf,
    /// What is borne of a new version.
    pub tolerance: Tolerance,
}

/// Why a provider can't be started: neither its source nor the disk has a version that can serve.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder can't be used.
    #[error("the folder {} can't be used: {error}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// The system's words.
        error: std::io::Error,
    },
    /// The source has none.
    #[error(transparent)]
    Source(#[from] SourceError),
    /// What it has can't be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// A provider that is kept at the version that its source has. Dropped, it leaves the program as it is.
pub struct Supervisor {
    program: Arc<Program>,
    shared: Arc<Mutex<Shared>>,
    orders: mpsc::UnboundedSender<Order>,
    _task: AbortOnDropHandle<()>,
}

enum Order {
    Reconsider,
    Source(Arc<dyn Source>),
}

/// What the task and who asks for the status share.
struct Shared {
    state: LastGood,
    source: SourceStatus,
    refused: Option<RefusedStatus>,
    new_until: Option<String>,
}

impl Supervisor {
    /// Loads what the source has, or else what served last, and keeps it up to date from then on. `capabilities` are those
    /// of any node that it will serve.
    pub async fn start(
        settings: Settings,
        source: Arc<dyn Source>,
        limits: Limits,
        capabilities: &Arc<Capabilities>,
        listener: Listener,
    ) -> Result<Self, StartError> {
        let address = source.address().to_string();
        let state = LastGood::open(&settings.folder, &address)
            .map_err(|error| StartError::Folder { path: settings.folder.clone(), error })?;
        let start = Start { settings: &settings, limits: &limits, capabilities, state: &state, listener: &listener };
        let begun = start.program(source.as_ref()).await?;
        let Begun { program, bytes, status, failures, refused } = begun;
        let digest = program.digest();
        let shared = Shared { state, source: status, refused, new_until: None };
        let shared = Arc::new(Mutex::new(shared));
        let (orders, ordered) = mpsc::unbounded_channel();
        let mut task = Task {
            settings,
            source,
            program: program.clone(),
            shared: shared.clone(),
            listener,
            ordered,
            new_until: None,
            failures,
            again: (failures > 0).then(|| Instant::now() + pause(failures)),
            noted: None,
        };
        task.serves(digest, &bytes);
        let task = AbortOnDropHandle::new(tokio::spawn(task.run()));
        Ok(Self { program, shared, orders, _task: task })
    }

    /// The program.
    pub const fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// Forgets what was refused and what was bad, and asks the source anew: for when grants or limits have changed.
    pub fn reconsider(&self) {
        // Who does not hear is gone.
        let _ = self.orders.send(Order::Reconsider);
    }

    /// Takes versions from here from now on.
    pub fn set_source(&self, source: Arc<dyn Source>) {
        let _ = self.orders.send(Order::Source(source));
    }

    /// All that there is to say.
    pub fn status(&self) -> Status {
        let program = self.program.status();
        let shared = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        Status {
            program,
            source: shared.source.clone(),
            new_until: shared.new_until.clone(),
            good: shared.state.good().map(|digest| digest.to_string()),
            refused: shared.refused.clone(),
            bad: shared.state.all_bad(),
        }
    }
}

impl Settings {
    async fn compile(&self, name: &str, bytes: Bytes, limits: &Limits) -> Result<Compiled, LoadError> {
        if let Some(compiler) = &self.compiler {
            return compiler.compile(&self.engine, name, bytes, limits, self.cache.as_ref()).await;
        }
        let (engine, cache, limits) = (self.engine.clone(), self.cache.clone(), limits.clone());
        let bytes = component::Bytes { name: name.to_owned(), bytes: bytes.into() };
        let compiled = tokio::task::spawn_blocking(move || Compiled::new(&engine, &bytes, &limits, cache.as_ref()));
        match compiled.await {
            Ok(compiled) => compiled,
            Err(error) => Err(LoadError::Compile { name: name.to_owned(), reason: error.to_string() }),
        }
    }
}

/// The start.
struct Start<'a> {
    settings: &'a Settings,
    limits: &'a Limits,
    capabilities: &'a Arc<Capabilities>,
    state: &'a LastGood,
    listener: &'a Listener,
}

/// A provider that was started.
struct Begun {
    program: Arc<Program>,
    bytes: Bytes,
    status: SourceStatus,
    /// How often the source has failed.
    failures: u32,
    /// What the source has, if that can't be loaded.
    refused: Option<RefusedStatus>,
}

impl Start<'_> {
    async fn program(&self, source: &dyn Source) -> Result<Begun, StartError> {
        let mut status = SourceStatus::of(source);
        let mut refused = None;
        let failed = match source.fetch(None).await {
            Ok(Some(fetched)) => {
                status.answered(&fetched.revision, fetched.signer.clone());
                match self.state.bad(&fetched.digest) {
                    // There may be nothing better than a bad version.
                    Some(bad) if !self.state.candidates().is_empty() => {
                        let known = Change::Known { digest: fetched.digest, why: bad.why.clone() };
                        let why = known.to_string();
                        tell(self.listener, self.capabilities.name(), &known);
                        (None, why)
                    }
                    _ => match self.load(&status.address, fetched.bytes.clone()).await {
                        Ok(program) => {
                            tell(self.listener, program.name(), &Change::Loaded { digest: program.digest() });
                            return Ok(Begun { program, bytes: fetched.bytes, status, failures: 0, refused });
                        }
                        Err(error) => {
                            let why = error.to_string();
                            refused = Some(RefusedStatus::now(&fetched.digest, Refusal::from(&error)));
                            (Some(StartError::Load(error)), why)
                        }
                    },
                }
            }
            // It knows nothing that something could be equal to.
            Ok(None) => (None, format!("{} has nothing", status.address)),
            Err(error) => {
                let why = error.to_string();
                status.error = Some(why.clone());
                (Some(StartError::Source(error)), why)
            }
        };
        let (error, why) = failed;
        for digest in self.state.candidates() {
            let bytes = match self.state.read(&digest) {
                Ok(bytes) => bytes,
                Err(error) => {
                    tracing::warn!(provider = self.capabilities.name(), %digest, %error, "a version that served can't be read");
                    continue;
                }
            };
            match self.load(&status.address, bytes.clone()).await {
                Ok(program) => {
                    tell(self.listener, program.name(), &Change::UsedLast { digest, why });
                    let failures = u32::from(status.error.is_some());
                    return Ok(Begun { program, bytes, status, failures, refused });
                }
                Err(error) => {
                    tracing::warn!(provider = self.capabilities.name(), %digest, %error, "a version that served can't be loaded");
                }
            }
        }
        Err(error.unwrap_or_else(|| {
            LoadError::Unusable {
                name: status.address.clone(),
                reason: format!("{why}, and no version that served can be used"),
            }
            .into()
        }))
    }

    async fn load(&self, name: &str, bytes: Bytes) -> Result<Arc<Program>, LoadError> {
        let compiled = self.settings.compile(name, bytes, self.limits).await?;
        Program::load(&self.settings.engine, compiled, self.limits.clone(), self.capabilities).await
    }
}

fn tell(listener: &Listener, provider: &str, change: &Change) {
    if change.is_warning() {
        tracing::warn!(provider, reason = change.reason(), "{change}");
    } else {
        tracing::info!(provider, reason = change.reason(), "{change}");
    }
    listener(change);
}

/// What follows the source.
struct Task {
    settings: Settings,
    source: Arc<dyn Source>,
    program: Arc<Program>,
    shared: Arc<Mutex<Shared>>,
    listener: Listener,
    ordered: mpsc::UnboundedReceiver<Order>,
    /// Until when the version that serves may be taken back.
    new_until: Option<Instant>,
    /// How often the source has failed since it last answered.
    failures: u32,
    /// When it is asked again.
    again: Option<Instant>,
    /// The digest of which it was said that it can't serve, or that it does badly: once is enough.
    noted: Option<Digest>,
}

impl Task {
    async fn run(mut self) {
        loop {
            tokio::select! {
                () = self.source.changed() => self.look().await,
                () = at(self.again) => self.look().await,
                () = at(self.new_until) => self.grown(),
                () = self.program.failed.notified() => self.judge().await,
                order = self.ordered.recv() => match order {
                    Some(Order::Reconsider) => {
                        self.noted = None;
                        self.shared().refused = None;
                        self.keep("what was bad", |shared| shared.state.forgive());
                        self.forget_revision();
                        self.look().await;
                    }
                    Some(Order::Source(source)) => {
                        self.source = source;
                        self.failures = 0;
                        let status = SourceStatus::of(self.source.as_ref());
                        self.keep("the address of its components", |shared| shared.state.moved(&status.address));
                        self.shared().source = status;
                        self.look().await;
                    }
                    None => return,
                },
            }
        }
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, change: &Change) {
        tell(&self.listener, self.program.name(), change);
    }

    /// Writes to disk. A failure costs what could be had from there, and is said.
    fn keep(&self, what: &str, write: impl FnOnce(&mut Shared) -> std::io::Result<()>) {
        if let Err(error) = write(&mut self.shared()) {
            tracing::warn!(provider = self.program.name(), %error, "{what} can't be written to {}", self.settings.folder.display());
        }
    }

    fn forget_revision(&self) {
        self.shared().source.revision = None;
    }

    /// This version serves from now on.
    fn serves(&mut self, digest: Digest, bytes: &[u8]) {
        self.keep("the version that serves", |shared| shared.state.serves(&digest, bytes));
        let is_good = self.shared().state.good() == Some(digest);
        self.set_new(!is_good);
    }

    fn set_new(&mut self, is_new: bool) {
        let within = self.settings.tolerance.within;
        self.new_until = is_new.then(|| Instant::now() + within);
        let until = Timestamp::now().checked_add(jiff::SignedDuration::try_from(within).unwrap_or_default());
        self.shared().new_until = until.ok().filter(|_| is_new).map(|until| until.to_string());
    }

    /// Asks the source, and takes what is new.
    async fn look(&mut self) {
        let known = self.shared().source.revision.clone();
        let (source, program) = (self.source.clone(), self.program.clone());
        let mut fetch = std::pin::pin!(source.fetch(known.as_ref()));
        // A source may take its time, and a bad version has none.
        let fetched = loop {
            tokio::select! {
                fetched = &mut fetch => break fetched,
                () = program.failed.notified() => self.judge().await,
            }
        };
        match fetched {
            Ok(fetched) => {
                self.again = None;
                if self.failures > 0 {
                    self.failures = 0;
                    self.tell(&Change::SourceRecovered);
                }
                let Some(fetched) = fetched else {
                    let mut shared = self.shared();
                    shared.source.error = None;
                    shared.source.answered = Some(Timestamp::now().to_string());
                    return;
                };
                self.shared().source.answered(&fetched.revision, fetched.signer.clone());
                self.take(fetched.digest, fetched.bytes).await;
            }
            Err(error) => {
                // What can't pass by itself changes when the source says so; that it does is not relied on.
                self.failures = if error.is_passing() { self.failures.saturating_add(1) } else { LAST };
                self.again = Some(Instant::now() + pause(self.failures));
                let why = error.to_string();
                let is_new = self.shared().source.error.replace(why.clone()).as_ref() != Some(&why);
                if is_new {
                    self.tell(&Change::SourceFailing { why, again: longest(self.failures) });
                }
            }
        }
    }

    /// Takes a version, if it is another and one that can serve.
    async fn take(&mut self, digest: Digest, bytes: Bytes) {
        if digest == self.program.digest() {
            self.shared().refused = None;
            return;
        }
        let bad = self.shared().state.bad(&digest).map(|bad| bad.why.clone());
        if let Some(why) = bad {
            if self.noted.replace(digest) != Some(digest) {
                self.tell(&Change::Known { digest, why });
            }
            return;
        }
        if self.shared().refused.as_ref().is_some_and(|refused| refused.digest == digest.to_string()) {
            return;
        }
        // What has served so far is good enough to go back to where there is nothing better.
        let is_good = self.program.verdict(&self.settings.tolerance).is_none()
            && (self.new_until.is_none() || self.shared().state.good().is_none());
        match self.swap(bytes.clone()).await {
            Ok(change) => {
                self.shared().refused = None;
                if let Change::Swapped { before, .. } = &change
                    && is_good
                {
                    self.keep("the last good version", |shared| shared.state.proved(before));
                }
                self.noted = None;
                self.serves(digest, &bytes);
                self.tell(&change);
            }
            Err(error) => {
                let refusal = Refusal::from(&error);
                if matches!(error, LoadError::Unusable { .. } | LoadError::Describe { .. }) {
                    self.keep("a bad version", |shared| shared.state.condemn(&digest, &refusal.why));
                }
                let serving = self.program.digest();
                self.shared().refused = Some(RefusedStatus::now(&digest, refusal.clone()));
                self.tell(&Change::Refused { digest, serving, refusal });
            }
        }
    }

    async fn swap(&self, bytes: Bytes) -> Result<Change, LoadError> {
        let name = self.shared().source.address.clone();
        let compiled = self.settings.compile(&name, bytes, &self.program.limits()).await?;
        let swapped = self.program.swap(compiled).await?;
        Ok(Change::Swapped { before: swapped.before, digest: swapped.now, lost: swapped.lost, gained: swapped.gained })
    }

    /// A call went wrong: too many?
    async fn judge(&mut self) {
        if self.new_until.is_none() {
            return;
        }
        let Some(why) = self.program.verdict(&self.settings.tolerance) else { return };
        let bad = self.program.digest();
        let good = self.shared().state.good().filter(|good| *good != bad);
        let gone_back = match good {
            None => Err("there is no version to go back to".to_owned()),
            Some(good) => self.go_back(good).await.map(|bytes| (good, bytes)),
        };
        match gone_back {
            Ok((good, bytes)) => {
                self.keep("a bad version", |shared| shared.state.condemn(&bad, &why));
                self.noted = Some(bad);
                self.serves(good, &bytes);
                self.tell(&Change::RolledBack { bad, digest: good, why });
            }
            Err(but) => {
                if self.noted.replace(bad) != Some(bad) {
                    self.tell(&Change::Failing { digest: bad, why, but });
                }
            }
        }
    }

    async fn go_back(&self, good: Digest) -> Result<Bytes, String> {
        let read = self.shared().state.read(&good);
        let bytes = read.map_err(|error| format!("version {} can't be read: {error}", good.short()))?;
        let swapped = self.swap(bytes.clone()).await;
        swapped.map_err(|error| format!("version {} can't serve any more: {error}", good.short()))?;
        Ok(bytes)
    }

    /// The version that serves is not new any more.
    fn grown(&mut self) {
        if self.program.verdict(&self.settings.tolerance).is_some() {
            // There was none to go back to; this one is not what others are taken back to.
            self.set_new(true);
            return;
        }
        let digest = self.program.digest();
        self.set_new(false);
        self.keep("the last good version", |shared| shared.state.proved(&digest));
        self.tell(&Change::Proved { digest });
    }
}

/// Failures after which the pause is the longest.
const LAST: u32 = 10;

/// The longest that the pause after so many failures can be.
fn longest(failures: u32) -> Duration {
    let [first, last] = PAUSES;
    first.saturating_mul(1 << failures.saturating_sub(1).min(LAST)).min(last)
}

/// Between half of it and all of it: those who failed together don't come again together.
fn pause(failures: u32) -> Duration {
    longest(failures).mul_f64(0.5 + fastrand::f64() / 2.0)
}

/// Waits until then; for ever, if there is no such time.
async fn at(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest() {
        let seconds: Vec<_> = (1..=11).map(|failures| longest(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(longest(LAST), PAUSES[1]);
        for failures in 1..20 {
            let pause = pause(failures);
            assert!(pause >= longest(failures) / 2 && pause <= longest(failures));
        }
    }
}
