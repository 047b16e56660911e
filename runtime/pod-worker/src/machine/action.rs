//! What a machine asks for, and what it is told when that was done.

use std::borrow::Cow;
use std::time::Duration;

use jiff::Timestamp;

use crate::host::{TerminationMessage, Waiting, Work};

/// What is to become of the pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// It runs, and ends by itself.
    Run,
    /// It is brought to an end: graceful up to this time, then by force. An earlier time later on shortens it. What is
    /// left of it stays for `kubectl logs`.
    Terminate {
        /// The time; one that has passed kills.
        until: Timestamp,
    },
    /// The same, and then nothing is left of it: its last status is written, or nobody asks for it.
    Remove {
        /// The time; one that has passed kills.
        until: Timestamp,
    },
}

/// Something to be done with the backend. Actions of one step are independent of each other. Each is reported back with
/// [`Machine::finished`](super::Machine::finished), whatever came of it, and may be repeated after a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make the pod's sandbox. Done: [`Outcome::Id`].
    RunSandbox {
        /// Which one.
        attempt: u32,
    },
    /// Stop what is left in it, and its network.
    StopSandbox {
        /// Which one.
        attempt: u32,
        /// The backend's id.
        id: Box<str>,
    },
    /// Remove it with all its containers.
    RemoveSandbox {
        /// Which one.
        attempt: u32,
        /// The backend's id; empty if it is not there (any more).
        id: Box<str>,
        /// The pod is over: its volumes go too.
        last: bool,
    },
    /// See whether the backend has the container's image. Done: [`Outcome::Image`].
    CheckImage {
        /// The container's name.
        container: Box<str>,
    },
    /// Pull the container's image. Done: [`Outcome::Image`].
    PullImage {
        /// The container's name.
        container: Box<str>,
    },
    /// Make a container, not started. Done: [`Outcome::Id`].
    CreateContainer {
        /// Its name.
        container: Box<str>,
        /// Which start of it.
        attempt: u32,
        /// The id of the sandbox it goes into.
        sandbox: Box<str>,
        /// To be kept on the container, for [`Start::spec_hash`](crate::observation::Start::spec_hash).
        spec_hash: u32,
    },
    /// Start a container.
    StartContainer {
        /// Its name.
        container: Box<str>,
        /// Which start of it.
        attempt: u32,
        /// The backend's id.
        id: Box<str>,
    },
    /// Send a container its stop signal; with no time left, kill it. Done when that is sent: its end is observed. Comes
    /// again with no time when the time is over, or with less if the grace period became shorter, also while the first
    /// one is still under way.
    StopContainer {
        /// Its name.
        container: Box<str>,
        /// Which start of it.
        attempt: u32,
        /// The backend's id.
        id: Box<str>,
        /// How long it has to end by itself.
        grace: Duration,
    },
    /// Remove a container that has ended.
    RemoveContainer {
        /// Its name.
        container: Box<str>,
        /// Which start of it.
        attempt: u32,
        /// The backend's id.
        id: Box<str>,
    },
    /// Read what a container that ended left in its termination message file. Done: [`Outcome::Message`].
    ReadTerminationMessage {
        /// Its name.
        container: Box<str>,
        /// Which start of it.
        attempt: u32,
        /// The backend's id.
        id: Box<str>,
        /// The file.
        path: Box<str>,
        /// If the file is empty, the end of the log: at most 80 lines and 2 KiB.
        or_log: bool,
    },
}

/// Bytes that are read of a termination message file.
pub const TERMINATION_MESSAGE_LIMIT: u32 = 4096;

/// An image that the backend has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    /// The user it runs as, `USER[:GROUP]`; empty: root.
    pub user: Box<str>,
    /// Bytes.
    pub size: u64,
}

/// What came of an action that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing but that.
    Done,
    /// The backend's id of what was made.
    Id(Box<str>),
    /// The image; none: the backend does not have it.
    Image(Option<Image>),
    /// The message; may be empty.
    Message(Box<str>),
}

/// Why an action was not done. Every action is tried again, after a while.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Failure {
    /// CamelCase, in the kubelet's words (`CreateContainerConfigError`, `FailedMount`, `RegistryUnavailable`); empty: the
    /// kubelet's word for a failure of this action. `StartError` for a start: its command can't be run, which counts as a
    /// run that ended with 128.
    pub reason: Box<str>,
    /// One sentence for a person. Never a secret.
    pub message: Box<str>,
    /// Not to be tried again before this time has passed.
    pub retry_after: Option<Duration>,
}

impl Failure {
    /// A failure of which nothing but a sentence is known.
    pub fn new(message: impl Into<Box<str>>) -> Self {
        Self { message: message.into(), ..Self::default() }
    }
}

/// What an Event on the pod is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// `Warning`, not `Normal`.
    pub warning: bool,
    /// `reason`.
    pub reason: Cow<'static, str>,
    /// `message`.
    pub message: String,
    /// `involvedObject.fieldPath`; empty: the pod as a whole.
    pub field_path: String,
}

/// What is to be done now, and what is to be told.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// To be done, at once and side by side.
    pub actions: Vec<Action>,
    /// When to take the next step, if nothing happens before.
    pub wake_at: Option<Timestamp>,
    /// The observation is older than what is known: ask the backend, with the present
    /// [`revision`](super::Machine::revision), and compute no status before the answer.
    pub refresh: bool,
    /// How far the work is.
    pub work: Work,
    /// Why containers don't run.
    pub waiting: Vec<Waiting>,
    /// What is known of ends: termination messages that were read, starts that could not be.
    pub messages: Vec<TerminationMessage>,
    /// To be told.
    pub events: Vec<Event>,
}
