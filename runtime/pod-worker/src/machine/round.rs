//! One step while it is being made.

use std::borrow::Cow;

use jiff::Timestamp;

use super::action::{Event, Step};
use crate::host::Waiting;
use crate::observation::Observation;
use crate::pod::{ContainerView, PodView};

/// What a step starts from, and what has come of it so far.
pub(super) struct Round<'a> {
    pub now: Timestamp,
    pub pod: PodView<'a>,
    pub seen: &'a Observation,
    pub step: Step,
}

impl<'a> Round<'a> {
    pub(super) fn new(now: Timestamp, pod: PodView<'a>, seen: &'a Observation) -> Self {
        Self { now, pod, seen, step: Step::default() }
    }

    /// Take a step at this time at the latest.
    pub(super) fn wake(&mut self, at: Timestamp) {
        self.step.wake_at = Some(self.step.wake_at.map_or(at, |earlier| earlier.min(at)));
    }

    /// An Event on the pod.
    pub(super) fn tell(&mut self, warning: bool, reason: impl Into<Cow<'static, str>>, message: String) {
        self.event(warning, reason.into(), message, String::new());
    }

    /// An Event on a container.
    pub(super) fn tell_of(
        &mut self,
        container: &ContainerView<'_>,
        warning: bool,
        reason: impl Into<Cow<'static, str>>,
        message: String,
    ) {
        self.event(warning, reason.into(), message, container.field_path());
    }

    fn event(&mut self, warning: bool, reason: Cow<'static, str>, message: String, field_path: String) {
        self.step.events.push(Event { warning, reason, message, field_path });
    }

    /// Why a container does not run.
    pub(super) fn waits(&mut self, container: &str, reason: &str, message: &str) {
        self.step.waiting.push(Waiting { container: container.into(), reason: reason.into(), message: message.into() });
    }

    /// The containers with their places.
    pub(super) fn containers(&self) -> impl Iterator<Item = (usize, ContainerView<'a>)> + use<'a> {
        self.pod.containers().enumerate()
    }

    /// A container by its name, and its place.
    pub(super) fn find(&self, name: &str) -> Option<(usize, ContainerView<'a>)> {
        self.containers().find(|(_, container)| container.name == name)
    }
}
