//! What the host itself knows of a pod, beside what the backend reports.

use std::sync::Arc;

use jiff::Timestamp;

/// What the host's probes say about a container; none: no probe of that kind, or no result yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probe {
    /// The container's name.
    pub container: Arc<str>,
    /// Whether its startup probe has passed.
    pub started: Option<bool>,
    /// Whether its readiness probe passes.
    pub ready: Option<bool>,
}

/// Why a container does not run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// The container's name.
    pub container: Box<str>,
    /// CamelCase: `ErrImagePull`, `CrashLoopBackOff`, …
    pub reason: Box<str>,
    /// A sentence; may be empty.
    pub message: Box<str>,
}

/// What is known of a container's end beside what the backend tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TerminationMessage {
    /// The container's name.
    pub container: Box<str>,
    /// Which start of it.
    pub attempt: u32,
    /// What it left in its termination message file; for one that could not be started, why.
    pub message: Box<str>,
    /// When it could not be started, if it couldn't: it ended with `StartError`, as far as Kubernetes is concerned.
    pub not_started: Option<Timestamp>,
}

/// How far the work on a pod is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Work {
    /// It runs, or is being made to run.
    #[default]
    Running,
    /// It is being stopped: something may still run.
    Terminating,
    /// Nothing runs any more, nor ever will.
    Terminated,
    /// The backend has nothing of it any more.
    Removed,
}

impl Work {
    /// Nothing runs any more, nor ever will.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Terminated | Self::Removed)
    }
}

/// A decision about the whole pod that is not the containers': its phase will be Failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// `status.reason`.
    pub reason: Box<str>,
    /// `status.message`.
    pub message: Box<str>,
    /// Reason and message of the condition `DisruptionTarget`, for an end that is not the pod's own fault.
    pub disruption: Option<(Box<str>, Box<str>)>,
    /// It was never started here, and never will be.
    pub rejected: bool,
}

impl Verdict {
    /// The node does not take the pod (`OutOfcpu`, `NodeAffinity`, …).
    pub fn rejected(reason: impl Into<Box<str>>, message: &str) -> Self {
        Self {
            reason: reason.into(),
            message: format!("Pod was rejected: {message}").into(),
            disruption: None,
            rejected: true,
        }
    }

    /// It was active for longer than `spec.activeDeadlineSeconds`.
    pub fn deadline_exceeded() -> Self {
        Self {
            reason: "DeadlineExceeded".into(),
            message: "Pod was active on the node longer than the specified deadline".into(),
            disruption: None,
            rejected: false,
        }
    }

    /// It is put off the node for want of a resource.
    pub fn evicted(message: impl Into<Box<str>>) -> Self {
        Self::terminated("Evicted", message)
    }

    /// It is ended because the node is.
    pub fn node_shutdown() -> Self {
        Self::terminated("Terminated", "Pod was terminated in response to imminent node shutdown.")
    }

    fn terminated(reason: &str, message: impl Into<Box<str>>) -> Self {
        let message = message.into();
        Self {
            reason: reason.into(),
            disruption: Some(("TerminationByKubelet".into(), message.clone())),
            message,
            rejected: false,
        }
    }
}

/// The time without fractions of a second, as the API server keeps it.
pub(crate) fn whole_seconds(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}
