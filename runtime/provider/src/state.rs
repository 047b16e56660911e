//! What a provider reports: the backend's object for a pod, and its containers.

use std::time::Duration;

use jiff::Timestamp;

use crate::{Error, PodKey, PodRef, Resources};

/// The state of one start of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ContainerPhase {
    /// Not there yet.
    Waiting,
    /// There, never started.
    Created,
    /// Running.
    Running,
    /// Ended.
    Exited,
    /// The backend does not say.
    Unknown,
}

impl ContainerPhase {
    /// Reads the contract's word; one that is not known is [`ContainerPhase::Unknown`].
    pub fn parse(word: &str) -> Self {
        match word {
            "waiting" => Self::Waiting,
            "created" => Self::Created,
            "running" => Self::Running,
            "exited" => Self::Exited,
            _ => Self::Unknown,
        }
    }
}

/// One start of one container.
#[derive(Clone, Debug, PartialEq)]
pub struct ContainerState {
    /// Its name in the pod.
    pub name: String,
    /// Which start; the highest is the container's present state and its restart count.
    pub attempt: u32,
    /// The backend's id with its scheme; empty while there is none.
    pub id: String,
    /// Its state.
    pub phase: ContainerPhase,
    /// Why it waits, or how it ended; empty: chosen by the exit code.
    pub reason: String,
    /// A sentence; for one that ended its termination message.
    pub message: String,
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
    /// The image as asked for.
    pub image: String,
    /// The image that runs.
    pub image_id: String,
    /// With native probes: whether it is ready.
    pub ready: Option<bool>,
    /// With native probes: whether its startup probe has passed.
    pub started: Option<bool>,
    /// What is in force.
    pub resources: Option<Resources>,
}

impl ContainerState {
    /// A start of `name` of which nothing but its phase is known.
    pub fn new(name: impl Into<String>, attempt: u32, phase: ContainerPhase) -> Self {
        Self {
            name: name.into(),
            attempt,
            id: String::new(),
            phase,
            reason: String::new(),
            message: String::new(),
            created_at: None,
            started_at: None,
            finished_at: None,
            exit_code: None,
            signal: 0,
            image: String::new(),
            image_id: String::new(),
            ready: None,
            started: None,
            resources: None,
        }
    }
}

/// The state of the backend's object for a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ObjectState {
    /// Accepted, waits for room.
    Queued,
    /// Has room, is being made ready.
    Starting,
    /// Running.
    Running,
    /// Stopped for now, will go on by itself.
    Suspended,
    /// Over; the containers' ends tell how.
    Ended,
    /// Over and failed, whatever the containers' ends say.
    Failed,
    /// Came to nothing or is gone, while the pod is not over.
    Lost,
    /// Being removed.
    Deleting,
    /// Exists; its state could not be read.
    Unknown,
}

impl ObjectState {
    /// Reads the contract's word; one that is not known is [`ObjectState::Unknown`].
    pub fn parse(word: &str) -> Self {
        match word {
            "queued" => Self::Queued,
            "starting" => Self::Starting,
            "running" => Self::Running,
            "suspended" => Self::Suspended,
            "ended" => Self::Ended,
            "failed" => Self::Failed,
            "lost" => Self::Lost,
            "deleting" => Self::Deleting,
            _ => Self::Unknown,
        }
    }
}

/// The backend's object for a pod, and its containers.
#[derive(Clone, Debug, PartialEq)]
pub struct PodState {
    /// Whose.
    pub key: PodKey,
    /// Which attempt it is.
    pub attempt: u32,
    /// The backend's id; empty where only containers are left of it.
    pub id: String,
    /// The object's own state.
    pub state: ObjectState,
    /// CamelCase; shown where there is nothing better to say.
    pub reason: String,
    /// The backend's own words.
    pub message: String,
    /// Why the backend takes it away before its end, or is about to; empty: it does not.
    pub disruption: String,
    /// When the backend will end it, if it says so.
    pub ends_at: Option<Timestamp>,
    /// Addresses of the pod, the primary one first.
    pub ips: Vec<String>,
    /// Addresses of the machine it runs on, where that is not the node's own.
    pub host_ips: Vec<String>,
    /// When the backend accepted it.
    pub created_at: Option<Timestamp>,
    /// Its containers, in any order.
    pub containers: Vec<ContainerState>,
    /// The object is known here, but not its containers.
    pub partial: bool,
    /// Repeat `create` after this time.
    pub again: Option<Duration>,
    /// More about it for people, by name.
    pub details: Vec<(String, String)>,
    /// With [`ObjectState::Lost`]: why. Otherwise: it could not be read, what is here is old or missing.
    pub error: Option<Error>,
}

impl PodState {
    /// An object of which nothing but its state is known.
    pub const fn new(key: PodKey, attempt: u32, state: ObjectState) -> Self {
        Self {
            key,
            attempt,
            id: String::new(),
            state,
            reason: String::new(),
            message: String::new(),
            disruption: String::new(),
            ends_at: None,
            ips: Vec::new(),
            host_ips: Vec::new(),
            created_at: None,
            containers: Vec::new(),
            partial: false,
            again: None,
            details: Vec::new(),
            error: None,
        }
    }

    /// How to name it to the provider.
    pub fn to_ref(&self) -> PodRef {
        PodRef { key: self.key.clone(), attempt: self.attempt, id: self.id.clone() }
    }
}

/// The state of everything of a node.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Snapshot {
    /// Objects of this cluster and node.
    pub pods: Vec<PodState>,
    /// Ask again with this for the rest.
    pub next: Option<String>,
    /// False: pods that are not in it are unknown, not gone.
    pub complete: bool,
}

/// A change that a provider saw by itself.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// The pod's state now.
    State(Box<PodState>),
    /// The pod changed; ask.
    Touched(PodKey),
    /// The pod is gone from the backend.
    Gone(PodKey),
    /// Something changed; list.
    Anything,
}
