//! What a backend has of a pod: its object (a sandbox, a container group, a job) and every known start of every
//! container.
//!
//! Made of what a provider reports, and small: ten thousand are kept at once. Strings that many pods share are
//! reference-counted, so that whoever makes observations can share them.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

/// All that a backend has of one pod.
///
/// It must be whole: what is not in it is taken for gone. Whoever got a partial answer fills it up with what it had
/// before, or sets [`ObjectState::Unknown`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// [`Machine::revision`](crate::machine::Machine::revision) as it was before the backend was asked. 0 where no
    /// machine is involved.
    pub revision: u32,
    /// The backend's objects: none, one, or more while one replaces another.
    pub objects: Vec<Object>,
    /// Starts of containers, in any order.
    pub starts: Vec<Start>,
}

impl Observation {
    /// The object that counts: the one of the highest attempt.
    pub fn object(&self) -> Option<&Object> {
        self.objects.iter().max_by_key(|object| object.attempt)
    }

    /// The starts of a container, in any order.
    pub fn starts_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Start> {
        self.starts.iter().filter(move |start| &*start.name == name)
    }

    /// A container's last start.
    pub fn latest<'a>(&'a self, name: &'a str) -> Option<&'a Start> {
        self.starts_of(name).max_by_key(|start| start.attempt)
    }

    /// A container's last start that came to be: the last one that is more than announced.
    pub(crate) fn latest_made<'a>(&'a self, name: &'a str) -> Option<&'a Start> {
        self.starts_of(name).filter(|start| start.phase != Phase::Waiting).max_by_key(|start| start.attempt)
    }

    /// The last end of a container before the start `attempt`.
    pub(crate) fn end_before<'a>(&'a self, name: &'a str, attempt: u32) -> Option<&'a Start> {
        self.starts_of(name)
            .filter(|start| start.phase == Phase::Exited && start.attempt < attempt)
            .max_by_key(|start| start.attempt)
    }
}

/// The state of the backend's object for a pod.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// Accepted, waits for room.
    Queued,
    /// Has room, is being made ready.
    Starting,
    /// Running; a sandbox that containers can be put into.
    Running,
    /// Stopped for now, will go on by itself.
    Suspended,
    /// Over; the containers' ends tell how. A sandbox: stopped.
    Ended,
    /// Over and failed, whatever the containers' ends say.
    Failed,
    /// Came to nothing or is gone, while the pod is not over.
    Lost,
    /// Being removed.
    Deleting,
    /// Exists; its state could not be read. What is not told of its containers stays as it was.
    #[default]
    Unknown,
}

impl ObjectState {
    /// It exists, and nothing of it runs any more, nor will.
    pub const fn has_stopped(self) -> bool {
        matches!(self, Self::Ended | Self::Failed)
    }
}

/// The backend's object for a pod.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Object {
    /// Which attempt it is: 0, and one more each time one is replaced.
    pub attempt: u32,
    /// The backend's id; empty where only containers are left of it.
    pub id: Box<str>,
    /// Its state.
    pub state: ObjectState,
    /// CamelCase; shown on the pod where there is nothing better to say.
    pub reason: Box<str>,
    /// The backend's own words.
    pub message: Box<str>,
    /// Why the backend takes it away before its end, or is about to, CamelCase; empty: it does not.
    pub disruption: Box<str>,
    /// Addresses of the pod.
    pub ips: Vec<IpAddr>,
    /// Addresses of the machine it runs on, where that is not the node's own.
    pub host_ips: Vec<IpAddr>,
    /// When the backend accepted it.
    pub created_at: Option<Timestamp>,
}

impl Object {
    /// An object of which nothing but its state is known.
    pub fn new(attempt: u32, id: impl Into<Box<str>>, state: ObjectState) -> Self {
        Self { attempt, id: id.into(), state, ..Self::default() }
    }
}

/// The state of one start of a container.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Phase {
    /// Not there yet.
    Waiting,
    /// There, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The backend does not say.
    #[default]
    Unknown,
}

/// Compute resources in force. CPU in thousandths of a core, memory in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resources {
    /// CPU request.
    pub cpu_request: Option<u64>,
    /// CPU limit.
    pub cpu_limit: Option<u64>,
    /// Memory request.
    pub memory_request: Option<u64>,
    /// Memory limit.
    pub memory_limit: Option<u64>,
}

/// One start of one container.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Start {
    /// The container's name.
    pub name: Arc<str>,
    /// Which start, from 0: the highest is the container's present state and its restart count.
    pub attempt: u32,
    /// [`Object::attempt`] of the object that it is in.
    pub object: u32,
    /// The backend's id with its scheme; empty while there is none.
    pub id: Box<str>,
    /// Its state.
    pub phase: Phase,
    /// Why it waits, or how it ended; empty: chosen by the exit code.
    pub reason: Box<str>,
    /// A sentence; for one that ended its termination message.
    pub message: Box<str>,
    /// When made.
    pub created_at: Option<Timestamp>,
    /// When started.
    pub started_at: Option<Timestamp>,
    /// When ended.
    pub finished_at: Option<Timestamp>,
    /// Exit code; none while not ended or not known.
    pub exit_code: Option<i32>,
    /// The signal that ended it; 0: none or unknown.
    pub signal: i32,
    /// The image as asked for; empty: not told.
    pub image: Arc<str>,
    /// The image that runs; empty: not told.
    pub image_id: Arc<str>,
    /// Whether it is ready, where the backend runs its probes.
    pub ready: Option<bool>,
    /// Whether its startup probe has passed, where the backend runs its probes.
    pub started: Option<bool>,
    /// Resources in force, where the backend tells.
    pub resources: Option<Box<Resources>>,
    /// [`spec_hash`](crate::spec_hash) of the definition it was made from; none: not known, and never compared.
    pub spec_hash: Option<u32>,
}

impl Start {
    /// A start of `name` of which nothing but its phase is known.
    pub fn new(name: impl Into<Arc<str>>, attempt: u32, phase: Phase) -> Self {
        Self { name: name.into(), attempt, phase, ..Self::default() }
    }

    /// The exit code of one that ended: as told, or by its signal, or what stands for an unknown one.
    pub(crate) fn code(&self) -> i32 {
        match self.exit_code {
            Some(code) => code,
            None if self.signal > 0 => 128_i32.saturating_add(self.signal),
            None => UNKNOWN_EXIT_CODE,
        }
    }

    /// Ended in failure; running out of memory is one whatever the code says.
    pub(crate) fn failed(&self) -> bool {
        self.code() != 0 || &*self.reason == "OOMKilled"
    }
}

/// The exit code of a container whose end nobody saw.
pub(crate) const UNKNOWN_EXIT_CODE: i32 = 137;
