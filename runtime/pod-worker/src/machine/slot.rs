//! What a machine remembers of one container, because the backend can't tell.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::ContainerStatus;

use super::Machine;
use super::action::Failure;
use super::round::Round;
use super::trace::Trace;
use crate::delay::{self, Wait};
use crate::host::TerminationMessage;
use crate::image::spec_hash;
use crate::observation::{Phase, Start};
use crate::pod::ContainerView;

/// How long `ErrImagePull` is shown before it becomes `ImagePullBackOff`.
const PULL_ERROR_SHOWN: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct Slot {
    /// Its attempts.
    pub trace: Trace,
    /// A container that no observation shows yet.
    pub made: Option<Box<Made>>,
    /// The image of this definition.
    pub image: ImageState,
    /// An attempt that was made and would not start.
    pub dead: Option<u32>,
    /// An attempt that was started, and whether an observation has denied it once.
    pub started: Option<(u32, bool)>,
    /// It was stopped in order to be started again, whatever the policy says.
    pub replaces: bool,
    /// Why it can't be started.
    pub trouble: Option<Box<Trouble>>,
    /// When an attempt was first seen in the phase that it is in.
    pub noticed: Option<Box<Noticed>>,
    /// When one was last known not to have ended.
    pub alive: Option<Timestamp>,
    /// The attempt whose termination message was asked for.
    pub read: Option<u32>,
    /// What it said, as long as the pod's status does not.
    pub message: Option<Box<(u32, Box<str>)>>,
    /// The last two attempts whose command could not be run, since one did run.
    pub not_started: Vec<TerminationMessage>,
}

/// When an attempt was first seen in a phase.
#[derive(Debug)]
pub(super) struct Noticed {
    attempt: u32,
    phase: Phase,
    pub at: Timestamp,
}

/// A container that was made since the last observation.
#[derive(Debug)]
pub(super) struct Made {
    pub attempt: u32,
    pub id: Box<str>,
    pub spec_hash: Option<u32>,
    pub running: bool,
}

/// What is known of the image of a definition with this hash.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum ImageState {
    #[default]
    Unknown,
    Missing(u32),
    Ready(u32),
}

/// How a container stands, as far as that can be said now.
#[derive(Clone, Copy, Debug)]
pub(super) enum Present<'a> {
    /// There is none.
    Absent,
    /// Made, not started: attempt and hash of the definition.
    Created(u32, Option<u32>),
    /// Runs: hash of the definition and the start; it is missing where no observation shows it yet.
    Running(Option<u32>, Option<&'a Start>),
    /// Ended.
    Exited(&'a Start),
    /// The backend does not say.
    Unknown(&'a Start),
    /// The next observation will tell.
    Unsure,
}

impl Slot {
    /// An observation that shows a container as not started that was started is old, or the backend lost it on the way:
    /// one more look decides. Returns whether that look is needed.
    pub(super) fn denies(&mut self, latest: Option<&Start>) -> bool {
        let Some(latest) = latest else { return false };
        match (latest.phase, &mut self.started) {
            (Phase::Running | Phase::Exited, _) => {
                self.started = Some((latest.attempt, false));
                self.dead = None;
                false
            }
            (Phase::Created, Some((attempt, denied))) if *attempt == latest.attempt => {
                if *denied {
                    self.dead = Some(*attempt);
                    self.started = None;
                    return false;
                }
                *denied = true;
                true
            }
            _ => false,
        }
    }

    /// Remembers since when an attempt has been in its phase.
    pub(super) fn note(&mut self, latest: Option<&Start>, now: Timestamp) {
        let ended = latest.filter(|start| matches!(start.phase, Phase::Exited | Phase::Unknown));
        let is_noticed = |noticed: &Noticed| {
            ended.is_some_and(|start| (start.attempt, start.phase) == (noticed.attempt, noticed.phase))
        };
        if !self.noticed.as_deref().is_some_and(is_noticed) {
            self.noticed = ended.map(|start| Box::new(Noticed { attempt: start.attempt, phase: start.phase, at: now }));
        }
        if latest.is_some_and(|start| matches!(start.phase, Phase::Created | Phase::Running)) {
            self.alive = Some(now);
        }
        if latest.is_some_and(|start| start.phase == Phase::Running) {
            self.trouble = None;
            self.image = ImageState::Unknown;
            self.not_started = Vec::new();
        }
    }

    /// An attempt could not be started.
    pub(super) fn not_started(&mut self, told: TerminationMessage) {
        let from = self.not_started.len().saturating_sub(1);
        self.not_started.drain(..from);
        self.not_started.push(told);
        self.made = None;
        self.trouble = None;
        self.image = ImageState::Unknown;
        self.replaces = false;
    }

    /// Since when the attempt has been as it is; a time that is still to come is a clock that was set back.
    pub(super) fn since(&mut self, now: Timestamp) -> Timestamp {
        self.noticed.as_mut().map_or(now, |noticed| {
            noticed.at = noticed.at.min(now);
            noticed.at
        })
    }

    /// When the attempt ended, by our clock: the backend's may be another one, so it only decides between when it was last
    /// known to live and when its end was seen.
    pub(super) fn ended_at(&mut self, ended: &Start, now: Timestamp) -> Timestamp {
        let seen = self.since(now);
        let told = ended.finished_at.unwrap_or(seen);
        self.alive.map_or(told, |alive| told.max(alive)).min(seen)
    }

    /// How the container stands.
    pub(super) fn present<'a>(&self, latest: Option<&'a Start>, seen: u32) -> Present<'a> {
        let as_seen = || match latest {
            None => Present::Absent,
            Some(start) => match start.phase {
                Phase::Waiting => Present::Absent,
                Phase::Created => Present::Created(start.attempt, start.spec_hash),
                Phase::Running => Present::Running(start.spec_hash, Some(start)),
                Phase::Exited => Present::Exited(start),
                Phase::Unknown => Present::Unknown(start),
            },
        };
        if seen >= self.trace.fresh {
            return as_seen();
        }
        // An end is an end, however old the observation; the rest may have changed since.
        match (&self.made, latest) {
            (Some(made), Some(start)) if start.attempt >= made.attempt && start.phase == Phase::Exited => as_seen(),
            (Some(made), _) if made.running => Present::Running(made.spec_hash, None),
            (Some(made), _) => Present::Created(made.attempt, made.spec_hash),
            (None, Some(start)) if Some(start.attempt) >= self.trace.known && start.phase == Phase::Exited => as_seen(),
            (None, _) => Present::Unsure,
        }
    }
}

/// The attempt that comes after what a status tells of.
pub(super) fn next_attempt(status: &ContainerStatus) -> u32 {
    let count = u32::try_from(status.restart_count).unwrap_or(0);
    let began = status.state.as_ref().is_some_and(|state| state.running.is_some() || state.terminated.is_some());
    // The start that a waiting container had last is counted already if nobody saw its end.
    let ended = status.last_state.as_ref().and_then(|state| state.terminated.as_ref());
    let counted = ended.is_none_or(|end| end.container_id.is_none());
    if began || !counted { count.saturating_add(1) } else { count }
}

/// The attempt that a status tells to run.
pub(super) fn running_attempt(status: &ContainerStatus) -> Option<u32> {
    let runs = status.state.as_ref().is_some_and(|state| state.running.is_some());
    u32::try_from(status.restart_count).ok().filter(|_| runs)
}

/// What a failure was about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Pull,
    Container,
    Sandbox,
}

/// A call that failed, and is to be made again.
#[derive(Debug)]
pub(super) struct Trouble {
    kind: Kind,
    /// How often in a row.
    failures: u32,
    /// The definition that it failed with.
    pub spec_hash: u32,
    /// As it is shown.
    pub reason: Box<str>,
    pub message: Box<str>,
    /// When to show it as `ImagePullBackOff`.
    backs_off: Option<Wait>,
    /// None: not before the definition changes.
    pub retry: Option<Wait>,
}

impl Trouble {
    /// A failure at `at`, the first one or one more after `before`. `reason` stands in for one that is not told.
    pub(super) fn new(
        kind: Kind,
        spec_hash: u32,
        at: Timestamp,
        failure: &Failure,
        reason: &str,
        before: Option<&Self>,
    ) -> Self {
        let before = before.filter(|before| before.kind == kind && before.spec_hash == spec_hash);
        let failures = before.map_or(0, |before| before.failures).saturating_add(1);
        let delay = if kind == Kind::Pull { delay::pull(failures) } else { delay::retry(failures) };
        let reason = if failure.reason.is_empty() { reason } else { &*failure.reason };
        Self {
            kind,
            failures,
            spec_hash,
            reason: reason.into(),
            message: failure.message.clone(),
            backs_off: (kind == Kind::Pull)
                .then(|| Wait::new(at, if failures == 1 { PULL_ERROR_SHOWN } else { Duration::ZERO })),
            retry: Some(Wait::new(at, delay.max(failure.retry_after.unwrap_or_default()))),
        }
    }

    /// A failure that only another definition can cure.
    pub(super) fn for_good(spec_hash: u32, reason: &str, message: String) -> Self {
        Self {
            kind: Kind::Container,
            failures: 1,
            spec_hash,
            reason: reason.into(),
            message: message.into(),
            backs_off: None,
            retry: None,
        }
    }

    /// What a status tells of a failure, tried again at once; none if it tells of none.
    pub(super) fn adopted(container: &ContainerView<'_>, reason: &str, message: &str) -> Option<Self> {
        let kind = match reason {
            "" | "ContainerCreating" | "PodInitializing" | "CrashLoopBackOff" => return None,
            "ErrImagePull" | "ImagePullBackOff" | "RegistryUnavailable" | "SignatureValidationFailed" => Kind::Pull,
            "ErrImageNeverPull"
            | "InvalidImageName"
            | "ImageInspectError"
            | "CreateContainerConfigError"
            | "CreateContainerError"
            | "RunContainerError" => Kind::Container,
            _ => Kind::Sandbox,
        };
        Some(Self {
            kind,
            failures: 1,
            spec_hash: if kind == Kind::Sandbox { 0 } else { spec_hash(container.name, container.image) },
            reason: reason.into(),
            message: message.into(),
            backs_off: None,
            retry: Some(Wait::OVER),
        })
    }

    pub(super) fn is_of_sandbox(&self) -> bool {
        self.kind == Kind::Sandbox
    }
}

impl Machine {
    /// How the container at this place stands.
    pub(super) fn present<'a>(&self, round: &Round<'a>, place: usize, container: &ContainerView<'_>) -> Present<'a> {
        let latest = latest(round, container.name);
        self.slots.get(place).map_or(Present::Absent, |slot| slot.present(latest, round.seen.revision))
    }

    /// The backend's id of the attempt that counts.
    pub(super) fn id_of(&self, round: &Round<'_>, place: usize, name: &str, attempt: u32) -> Box<str> {
        let made = self.slots.get(place).and_then(|slot| slot.made.as_ref());
        let made = made.filter(|made| made.attempt == attempt).map(|made| made.id.clone());
        let seen = || round.seen.starts_of(name).find(|start| start.attempt == attempt).map(|start| start.id.clone());
        made.or_else(seen).unwrap_or_default()
    }

    /// Whether to try again what failed; if not, when.
    pub(super) fn may_try(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        hash: u32,
    ) -> bool {
        let now = round.now;
        let slot = self.slot(place);
        if slot.trouble.as_ref().is_some_and(|trouble| trouble.spec_hash != hash) {
            slot.trouble = None;
        }
        let Some(trouble) = slot.trouble.as_mut() else { return true };
        let Some(retry) = trouble.retry.as_mut() else { return false };
        let Some(retry_at) = retry.rest(now) else { return true };
        match trouble.backs_off.as_mut().map(|backs_off| backs_off.rest(now)) {
            None => {}
            Some(Some(at)) => round.wake(at),
            Some(None) => {
                trouble.backs_off = None;
                let message = format!("Back-off pulling image \"{}\"", container.image);
                trouble.message = format!("{message}: {}: {}", trouble.reason, trouble.message).into();
                trouble.reason = "ImagePullBackOff".into();
                round.tell_of(container, false, "BackOff", message);
                round.tell_of(container, true, "Failed", "Error: ImagePullBackOff".into());
            }
        }
        round.wake(retry_at);
        false
    }
}

/// The start of a container that counts.
pub(super) fn latest<'a>(round: &Round<'a>, name: &str) -> Option<&'a Start> {
    let starts = round.seen.starts.iter();
    starts.filter(|start| &*start.name == name && start.phase != Phase::Waiting).max_by_key(|start| start.attempt)
}
