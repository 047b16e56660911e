//! What came of the actions: what is remembered of it, and what is told.

use jiff::Timestamp;

use super::Machine;
use super::action::{Action, Failure, Image, Outcome};
use super::round::Round;
use super::slot::{ImageState, Kind, Made, Trouble};
use crate::delay::in_words;
use crate::host::TerminationMessage;
use crate::image::{PullPolicy, check_user, spec_hash};
use crate::pod::{ContainerView, remaining};
use crate::start_error::START_ERROR;

/// The image went after it was looked for. No word of the kubelet's: it is looked for again, and shown as any failure.
const IMAGE_NOT_FOUND: &str = "ImageNotFound";

/// A result that came since the last step.
#[derive(Debug)]
pub(super) struct Finished {
    pub action: Action,
    /// When the action was asked for.
    pub since: Timestamp,
    /// When it was done.
    pub at: Timestamp,
    /// The revision that it made.
    pub revision: u32,
    pub result: Result<Outcome, Failure>,
}

impl Machine {
    /// Takes in the results that came since the last step.
    pub(super) fn absorb(&mut self, round: &mut Round<'_>) {
        for finished in std::mem::take(&mut self.results) {
            let (at, revision) = (finished.at, finished.revision);
            match &finished.action {
                Action::RunSandbox { attempt } => self.sandbox_run(round, *attempt, &finished),
                Action::StopSandbox { attempt, .. } => {
                    self.sandbox.trace.fresh = revision;
                    self.stopped(round, None, *attempt, &finished);
                }
                Action::RemoveSandbox { attempt, last, .. } => {
                    self.removals.done(at, revision, *last, finished.result.is_ok());
                    if finished.result.is_ok() {
                        self.sandbox_removed(*attempt, *last, revision);
                    }
                }
                Action::RemoveContainer { container, attempt, .. } => {
                    self.removals.done(at, revision, false, finished.result.is_ok());
                    if let Some((place, _)) = round.find(container).filter(|_| finished.result.is_ok()) {
                        self.slot(place).trace.removed(*attempt, revision);
                    }
                }
                Action::StopContainer { container, attempt, .. } => {
                    if let Some((place, _)) = round.find(container) {
                        self.slot(place).trace.fresh = revision;
                    }
                    self.stopped(round, Some(container), *attempt, &finished);
                }
                Action::CheckImage { container }
                | Action::PullImage { container }
                | Action::CreateContainer { container, .. }
                | Action::StartContainer { container, .. }
                | Action::ReadTerminationMessage { container, .. } => {
                    if let Some((place, view)) = round.find(container) {
                        self.of_container(round, place, &view, &finished);
                    }
                }
            }
        }
    }

    fn sandbox_run(&mut self, round: &mut Round<'_>, attempt: u32, finished: &Finished) {
        self.sandbox.trace.fresh = finished.revision;
        let failure = match &finished.result {
            Ok(Outcome::Id(id)) => return self.sandbox_made(finished.at, attempt, id.clone()),
            Ok(_) => &Failure::new("the sandbox has no id"),
            Err(failure) => failure,
        };
        let before = self.sandbox.trouble.take();
        let trouble = Trouble::new(Kind::Sandbox, 0, finished.at, failure, "FailedCreatePodSandBox", before.as_deref());
        // The kubelet's word for this event goes with a sentence of its own; others say what happened themselves.
        let message = match failure.reason.is_empty() {
            true => format!("Failed to create pod sandbox: {}", failure.message),
            false => failure.message.to_string(),
        };
        round.tell(true, String::from(&*trouble.reason), message);
        self.sandbox.trouble = Some(Box::new(trouble));
    }

    fn of_container(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        finished: &Finished,
    ) {
        let hash = spec_hash(container.name, container.image);
        match (&finished.action, &finished.result) {
            (Action::CheckImage { .. }, Ok(Outcome::Image(Some(image)))) => {
                let message = format!(
                    "Container image \"{}\" already present on machine and can be accessed by the pod",
                    container.image
                );
                round.tell_of(container, false, "Pulled", message);
                self.image_ready(round, place, container, hash, image, finished.at);
            }
            (Action::CheckImage { .. }, Ok(_)) if PullPolicy::of(container) == PullPolicy::Never => {
                let message =
                    format!("Container image \"{}\" is not present with pull policy of Never", container.image);
                round.tell_of(container, true, "ErrImageNeverPull", message.clone());
                let failure = Failure::new(message);
                self.failed(round, place, container, (Kind::Container, "ErrImageNeverPull"), &failure, finished.at);
            }
            (Action::CheckImage { .. }, Ok(_)) => self.slot(place).image = ImageState::Missing(hash),
            (Action::CheckImage { .. }, Err(failure)) => {
                let message = format!("Failed to inspect image \"{}\": {}", container.image, failure.message);
                round.tell_of(container, true, "InspectFailed", message.clone());
                let failure = Failure { message: message.into(), ..failure.clone() };
                self.failed(round, place, container, (Kind::Container, "ImageInspectError"), &failure, finished.at);
            }
            (Action::PullImage { .. }, Ok(Outcome::Image(Some(image)))) => {
                let took = in_words(remaining(finished.since, finished.at));
                let message = format!(
                    "Successfully pulled image \"{}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    container.image, image.size
                );
                round.tell_of(container, false, "Pulled", message);
                self.image_ready(round, place, container, hash, image, finished.at);
            }
            (Action::PullImage { .. }, result) => {
                let failure = result.as_ref().err().cloned();
                let failure = failure.unwrap_or_else(|| Failure::new("the image is not there after its pull"));
                let (said, failure) = pull_failure(container.image, failure);
                round.tell_of(
                    container,
                    true,
                    "Failed",
                    format!("Failed to pull image \"{}\": {said}", container.image),
                );
                self.failed(round, place, container, (Kind::Pull, "ErrImagePull"), &failure, finished.at);
            }
            (Action::CreateContainer { attempt, spec_hash, .. }, Ok(Outcome::Id(id))) => {
                let slot = self.slot(place);
                slot.trace.made(*attempt);
                slot.trace.fresh = finished.revision;
                slot.made = Some(Box::new(Made {
                    attempt: *attempt,
                    id: id.clone(),
                    spec_hash: Some(*spec_hash),
                    running: false,
                }));
                round.tell_of(container, false, "Created", "Container created".into());
            }
            (Action::CreateContainer { .. }, result) => {
                let failure = result.as_ref().err().cloned();
                let mut failure = failure.unwrap_or_else(|| Failure::new("the container has no id"));
                if *failure.reason == *IMAGE_NOT_FOUND {
                    failure.reason = "".into();
                }
                self.slot(place).trace.fresh = finished.revision;
                self.failed(round, place, container, (Kind::Container, "CreateContainerError"), &failure, finished.at);
            }
            (Action::StartContainer { attempt, id, .. }, Ok(_)) => {
                let slot = self.slot(place);
                let spec_hash = slot.made.take().and_then(|made| made.spec_hash);
                slot.trace.made(*attempt);
                slot.trace.fresh = finished.revision;
                slot.made = Some(Box::new(Made { attempt: *attempt, id: id.clone(), spec_hash, running: true }));
                slot.started = Some((*attempt, false));
                slot.alive = Some(finished.at);
                slot.trouble = None;
                slot.image = ImageState::Unknown;
                slot.replaces = false;
                round.tell_of(container, false, "Started", "Container started".into());
            }
            (Action::StartContainer { attempt, .. }, Err(failure)) if *failure.reason == *START_ERROR => {
                let slot = self.slot(place);
                slot.trace.fresh = finished.revision;
                slot.not_started(TerminationMessage {
                    container: container.name.into(),
                    attempt: *attempt,
                    message: failure.message.clone(),
                    not_started: Some(finished.at),
                });
                round.tell_of(container, true, "Failed", format!("Error: {}", failure.message));
            }
            (Action::StartContainer { attempt, .. }, Err(failure)) => {
                let slot = self.slot(place);
                slot.dead = Some(*attempt);
                slot.trace.fresh = finished.revision;
                self.failed(round, place, container, (Kind::Container, "RunContainerError"), failure, finished.at);
            }
            (Action::ReadTerminationMessage { attempt, .. }, Ok(Outcome::Message(message))) if !message.is_empty() => {
                self.slot(place).message = Some(Box::new((*attempt, message.clone())));
            }
            _ => {}
        }
    }

    /// The image is there: the container can be made, if it may run as the image's user.
    fn image_ready(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        hash: u32,
        image: &Image,
        at: Timestamp,
    ) {
        match check_user(&round.pod, container, &image.user) {
            Ok(()) => self.slot(place).image = ImageState::Ready(hash),
            Err(problem) => {
                let failure = Failure::new(problem);
                self.failed(round, place, container, (Kind::Container, "CreateContainerConfigError"), &failure, at);
            }
        }
    }

    fn failed(
        &mut self,
        round: &mut Round<'_>,
        place: usize,
        container: &ContainerView<'_>,
        (kind, reason): (Kind, &str),
        failure: &Failure,
        at: Timestamp,
    ) {
        let hash = spec_hash(container.name, container.image);
        let slot = self.slot(place);
        let trouble = Trouble::new(kind, hash, at, failure, reason, slot.trouble.as_deref());
        let of_image = kind == Kind::Pull || reason.starts_with("ErrImage") || reason.starts_with("Image");
        let what = if of_image { &*trouble.reason } else { &*failure.message };
        round.tell_of(container, true, "Failed", format!("Error: {what}"));
        slot.image = ImageState::Unknown;
        slot.trouble = Some(Box::new(trouble));
    }
}

/// What the registry said, and the failure as the kubelet words it.
fn pull_failure(image: &str, failure: Failure) -> (String, Failure) {
    let because = match &*failure.reason {
        "RegistryUnavailable" => "the registry is unavailable",
        "SignatureValidationFailed" => "the signature validation failed",
        _ => return (failure.message.to_string(), failure),
    };
    let said = format!("{}: {}", failure.reason, failure.message);
    let message = format!("image pull failed for {image} because {because}: {}", failure.message);
    (said, Failure { message: message.into(), ..failure })
}
