//! The traits that a backend is driven through: one of the two kinds, and what a provider may have beside.
//!
//! Every call may be repeated after a crash and is idempotent by pod UID and attempt. A call ends in bounded time: who
//! implements these keeps the limits.

use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;

use crate::{
    Change, ContainerConfig, Credential, Description, Exit, File, Input, Log, LogOptions, Output, PodConfig, PodKey,
    PodRef, PodState, Resources, Result, SandboxConfig, Session, Size, Snapshot, Summary, Target,
};

/// How a backend is driven.
#[derive(Clone, Copy)]
pub enum Kind<'a> {
    /// It runs whole pods.
    Pods(&'a dyn Pods),
    /// It runs containers; the host is the kubelet.
    Containers(&'a dyn Containers),
}

/// A backend. What it lacks is `None`, and may come or go with a new version; its kind stays.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Proves that the backend can be used, and describes the node.
    async fn describe(&self) -> Result<Description>;

    /// How it is driven.
    fn kind(&self) -> Kind<'_>;

    /// Pushes states.
    fn watch(&self) -> Option<&dyn Watch> {
        None
    }

    /// Container logs.
    fn logs(&self) -> Option<&dyn Logs> {
        None
    }

    /// Commands in containers.
    fn exec(&self) -> Option<&dyn Exec> {
        None
    }

    /// Main processes' streams.
    fn attach(&self) -> Option<&dyn Attach> {
        None
    }

    /// Connections into pods.
    fn port_forward(&self) -> Option<&dyn PortForward> {
        None
    }

    /// Use of resources.
    fn stats(&self) -> Option<&dyn Stats> {
        None
    }

    /// Replacing files of running pods.
    fn files(&self) -> Option<&dyn Files> {
        None
    }

    /// Probes run by the backend.
    fn probes(&self) -> Option<&dyn Probes> {
        None
    }

    /// Restarting one container of a whole pod.
    fn restart(&self) -> Option<&dyn Restart> {
        None
    }

    /// Work that belongs to no pod.
    fn background(&self) -> Option<&dyn Background> {
        None
    }
}

/// A backend that runs whole pods.
#[async_trait]
pub trait Pods: Send + Sync {
    /// Makes the backend run the pod; returns its first state. Repeated: the present state.
    async fn create(&self, pod: PodConfig) -> Result<PodState>;

    /// The pod changed at these paths.
    async fn update(&self, pod: PodConfig, changed: Vec<String>) -> Result<()>;

    /// Ends it, by force after `grace`. Over when the containers have ended or `list` no longer has it.
    async fn delete(&self, pod: PodRef, grace: Duration) -> Result<()>;

    /// Removes what is left of a pod that is over.
    async fn forget(&self, pod: PodRef) -> Result<()>;

    /// The state of everything of this node.
    async fn list(&self, cursor: Option<String>) -> Result<Snapshot>;

    /// The state of some pods; one that is not in the answer is gone.
    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>>;
}

/// An image at a backend.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// Its id there.
    pub id: String,
    /// `repository@digest`; empty if it has none.
    pub digest: String,
    /// Its names.
    pub names: Vec<String>,
    /// The user it runs as; empty: root.
    pub user: String,
    /// Bytes.
    pub size: u64,
}

/// A backend that runs containers, with the verbs of the Container Runtime Interface.
#[async_trait]
pub trait Containers: Send + Sync {
    /// Makes the pod's sandbox; returns it ready. Repeated: the present state.
    async fn run_sandbox(&self, sandbox: SandboxConfig) -> Result<PodState>;

    /// Stops what runs in it, and its network.
    async fn stop_sandbox(&self, pod: PodKey, id: String) -> Result<()>;

    /// Removes it with its containers; with `last` its volumes too.
    async fn remove_sandbox(&self, pod: PodKey, id: String, last: bool) -> Result<()>;

    /// The image, if the backend has it.
    async fn image_status(&self, image: String) -> Result<Option<Image>>;

    /// Pulls an image.
    async fn pull_image(&self, pod: PodKey, image: String, credentials: Vec<Credential>) -> Result<Image>;

    /// All images.
    async fn list_images(&self) -> Result<Vec<Image>>;

    /// Removes an image.
    async fn remove_image(&self, id: String) -> Result<()>;

    /// Makes a container in the sandbox of this id, not started; returns its id.
    async fn create_container(&self, pod: SandboxConfig, sandbox: String, container: ContainerConfig)
    -> Result<String>;

    /// Starts it, once: one that runs, or ran and ended, is not started again.
    async fn start_container(&self, pod: PodKey, id: String) -> Result<()>;

    /// Sends the stop signal and returns; with a grace of zero, kills it. Called again with a shorter grace.
    async fn stop_container(&self, pod: PodKey, id: String, grace: Duration) -> Result<()>;

    /// Removes it.
    async fn remove_container(&self, pod: PodKey, id: String) -> Result<()>;

    /// Changes its resources.
    async fn update_container(&self, pod: PodKey, id: String, resources: Resources) -> Result<()>;

    /// The last `max` bytes of its termination message file.
    async fn termination_message(&self, pod: PodKey, id: String, path: String, max: u32) -> Result<Option<Bytes>>;

    /// The state of everything of this node.
    async fn list(&self, cursor: Option<String>) -> Result<Snapshot>;

    /// The state of some pods; one that is not in the answer is gone.
    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>>;
}

/// Pushes states.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Changes from now on, of one pod or of all; after its end, list and open it again.
    async fn open(&self, pod: Option<PodRef>) -> Result<Pin<Box<dyn Stream<Item = Change> + Send>>>;
}

/// Container logs.
#[async_trait]
pub trait Logs: Send + Sync {
    /// Opens the log of a container.
    async fn open(&self, target: Target, options: LogOptions) -> Result<Log>;
}

/// What to run in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecCommand {
    /// Program and arguments.
    pub command: Vec<String>,
    /// With a terminal of this size.
    pub terminal: Option<Size>,
    /// Standard output is wanted.
    pub stdout: bool,
    /// Standard error is wanted.
    pub stderr: bool,
}

/// Commands in running containers.
#[async_trait]
pub trait Exec: Send + Sync {
    /// Starts one.
    async fn open(&self, target: Target, command: ExecCommand, input: Option<Input>) -> Result<Session>;

    /// Gives back what a session holds.
    async fn close(&self, session: &str) -> Result<()>;

    /// Changes the terminal's size.
    async fn resize(&self, session: &str, size: Size) -> Result<()>;

    /// Sends a signal by name without `SIG`.
    async fn signal(&self, session: &str, name: &str) -> Result<()>;

    /// How it ended.
    async fn wait(&self, session: &str) -> Result<Exit>;
}

/// The streams of containers' main processes.
#[async_trait]
pub trait Attach: Send + Sync {
    /// Attaches.
    async fn open(
        &self,
        target: Target,
        terminal: bool,
        stdout: bool,
        stderr: bool,
        input: Option<Input>,
    ) -> Result<Session>;

    /// Gives back what a session holds.
    async fn close(&self, session: &str) -> Result<()>;

    /// Changes the terminal's size.
    async fn resize(&self, session: &str, size: Size) -> Result<()>;
}

/// Connections to ports inside pods.
#[async_trait]
pub trait PortForward: Send + Sync {
    /// Connects.
    async fn open(&self, pod: PodRef, port: u16, input: Input) -> Result<Output>;
}

/// Use of resources.
#[async_trait]
pub trait Stats: Send + Sync {
    /// Use by the node and these pods; one that can't be read is left out.
    async fn read(&self, pods: Vec<PodRef>) -> Result<Summary>;
}

/// Replacing files of running pods.
#[async_trait]
pub trait Files: Send + Sync {
    /// Makes a volume hold exactly these, all at once.
    async fn update(&self, pod: PodRef, volume: String, files: Vec<File>) -> Result<()>;
}

/// Probes run by the backend.
#[async_trait]
pub trait Probes: Send + Sync {
    /// Which, as `KIND/HANDLER`.
    async fn supported(&self) -> Result<Vec<String>>;
}

/// Restarting one container of a whole pod.
#[async_trait]
pub trait Restart: Send + Sync {
    /// Stops it, and starts it as `attempt`.
    async fn restart_container(&self, target: Target, attempt: u32, grace: Duration) -> Result<()>;
}

/// Work that belongs to no pod.
#[async_trait]
pub trait Background: Send + Sync {
    /// Does a piece of it; returns when to be called again.
    async fn run(&self) -> Result<Option<Duration>>;
}
