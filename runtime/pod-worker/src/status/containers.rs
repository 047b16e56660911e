//! The status of each container: its state, the end before it, its restart count, whether it has started and is ready.

use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting, ContainerStatus,
    VolumeMountStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::end::{STATUS_UNKNOWN, unknown};
use super::{Containers, Input, quantity, words};
use crate::host::whole_seconds;
use crate::observation::{ObjectState, Phase, Start, UNKNOWN_EXIT_CODE};
use crate::pod::{ContainerView, Role, is_terminal};
use crate::restart::should_restart;

/// Bytes of all termination messages of a pod together.
const MESSAGES: usize = 12 * 1024;

pub(super) fn statuses(input: &Input<'_>, over: bool) -> Containers {
    let pod = &input.pod;
    let scene = Scene {
        input,
        over,
        not_started: if pod.has_init_containers() { "PodInitializing" } else { "ContainerCreating" },
        message_limit: MESSAGES / pod.containers().count().max(1),
    };
    Containers {
        init: pod.init_containers().map(|container| scene.status(&container)).collect(),
        app: pod.app_containers().map(|container| scene.status(&container)).collect(),
        ephemeral: pod.ephemeral_containers().map(|container| scene.status(&container)).collect(),
    }
}

/// What all containers of a pod share.
struct Scene<'a> {
    input: &'a Input<'a>,
    over: bool,
    /// Why a container waits that nobody has anything to say about.
    not_started: &'static str,
    /// Bytes of one termination message.
    message_limit: usize,
}

impl Scene<'_> {
    fn status(&self, container: &ContainerView<'_>) -> ContainerStatus {
        let before = self.input.pod.status_of(container);
        let mut status = self.as_observed(container, before);
        self.explain(&mut status);
        self.judge(container, before, &mut status);
        match before.filter(|before| self.is_final(container, before)) {
            Some(before) if end_of(&status).is_none() => before.clone(),
            _ => status,
        }
    }

    /// An end that the container does not come back from.
    fn is_final(&self, container: &ContainerView<'_>, before: &ContainerStatus) -> bool {
        end_of(before).is_some_and(|end| {
            is_terminal(self.input.pod.status.phase.as_deref())
                || !(container.role == Role::Sidecar || should_restart(&self.input.pod, container, end.exit_code))
        })
    }

    fn as_observed(&self, container: &ContainerView<'_>, before: Option<&ContainerStatus>) -> ContainerStatus {
        let latest = self.input.observation.latest(container.name);
        if self.is_untold(latest)
            && let Some(before) = before
        {
            return before.clone();
        }
        let Some(start) = latest else { return self.missing(container, before) };
        let made = self.input.observation.latest_made(container.name);
        let mut status = self.blank(container, before, made);
        status.state = Some(match start.phase {
            Phase::Running => ContainerState {
                running: Some(ContainerStateRunning { started_at: time(start.started_at) }),
                ..ContainerState::default()
            },
            Phase::Exited => terminated(self.end(start, before)),
            Phase::Waiting => {
                // The start before it may have left no trace but in the status.
                if let Some(end) = before.and_then(end_of) {
                    status.last_state = Some(terminated(end.clone()));
                } else if before.is_some_and(is_running) && made.is_none_or(|made| made.phase != Phase::Exited) {
                    status.last_state = Some(terminated(unknown(GONE)));
                }
                if let Some(made) = made.filter(|made| made.phase == Phase::Exited) {
                    status.last_state = Some(terminated(self.end(made, before)));
                }
                self.waiting(&start.reason, &start.message)
            }
            Phase::Created | Phase::Unknown => self.waiting("", ""),
        });
        status
    }

    /// Nothing new is known of the container.
    fn is_untold(&self, latest: Option<&Start>) -> bool {
        let is = |state| self.input.object_is(state);
        match latest.map(|start| start.phase) {
            None => is(ObjectState::Unknown) || is(ObjectState::Deleting) || is(ObjectState::Suspended),
            Some(Phase::Waiting | Phase::Created) => is(ObjectState::Suspended),
            Some(Phase::Unknown) => !self.over,
            Some(Phase::Running | Phase::Exited) => false,
        }
    }

    /// A container of which the backend has no trace: not there yet, or not there any more.
    fn missing(&self, container: &ContainerView<'_>, before: Option<&ContainerStatus>) -> ContainerStatus {
        let mut status = self.blank(container, before, None);
        let pod = &self.input.pod;
        let app_was_made = || pod.app_containers().any(|app| self.input.observation.latest_made(app.name).is_some());
        if let Some(before) = before.filter(|before| end_of(before).is_some()) {
            return before.clone();
        }
        if container.role == Role::Init && app_was_made() {
            status.state = Some(terminated(ContainerStateTerminated {
                reason: Some("Completed".into()),
                message: Some(
                    "Unable to get init container status from container runtime and pod has been initialized, treat it \
                     as exited normally"
                        .into(),
                ),
                ..ContainerStateTerminated::default()
            }));
            return status;
        }
        status.state = Some(self.waiting("", ""));
        if let Some(before) = before.filter(|before| is_running(before)) {
            let end = terminated(unknown(GONE));
            let comes_back = !self.over && !pod.is_deleting() && should_restart(pod, container, UNKNOWN_EXIT_CODE);
            if comes_back {
                status.last_state = Some(end);
                status.restart_count = before.restart_count.saturating_add(1);
                // What is told from now on is of the next start, which is counted already.
                status.container_id = None;
                container.image.clone_into(&mut status.image);
                status.image_id = String::new();
            } else {
                status.state = Some(end);
            }
        }
        status
    }

    /// The status of a container whose last start is `made`, without its state and what follows from that.
    fn blank(
        &self,
        container: &ContainerView<'_>,
        before: Option<&ContainerStatus>,
        made: Option<&Start>,
    ) -> ContainerStatus {
        let told = |told: &str, else_: &str| if told.is_empty() { else_.to_owned() } else { told.to_owned() };
        let same = before.filter(|before| made.is_none_or(|made| is_of(before, made)));
        ContainerStatus {
            name: container.name.to_owned(),
            image: match (made, same) {
                (None, Some(same)) if same.container_id.is_some() => same.image.clone(),
                _ => told(made.map_or("", |made| &made.image), container.image),
            },
            image_id: told(made.map_or("", |made| &made.image_id), same.map_or("", |same| &same.image_id)),
            container_id: match made {
                Some(made) => words(&made.id),
                None => same.and_then(|same| same.container_id.clone()),
            },
            restart_count: restart_count(self.input, before, made),
            last_state: Some(self.last_state(container, before, made)),
            state: None,
            ready: false,
            started: None,
            resources: made.and_then(|made| quantity::in_force(container, made, same)),
            allocated_resources: made.and(container.resources).and_then(|resources| resources.requests.clone()),
            allocated_resources_status: None,
            stop_signal: None,
            user: None,
            volume_mounts: volume_mounts(container),
        }
    }

    /// How the start before `made` ended.
    fn last_state(
        &self,
        container: &ContainerView<'_>,
        before: Option<&ContainerStatus>,
        made: Option<&Start>,
    ) -> ContainerState {
        let observed = made.and_then(|made| self.input.observation.end_before(container.name, made.attempt));
        if let Some(ended) = observed {
            return terminated(self.end(ended, before));
        }
        let Some(before) = before else { return ContainerState::default() };
        match end_of(before) {
            Some(end) if made.is_some_and(|made| !is_of(before, made)) => terminated(end.clone()),
            None if is_running(before) && made.is_some_and(|made| counts_again(self.input, before, made)) => {
                terminated(unknown(GONE))
            }
            _ => match before.last_state.clone() {
                // While it waits for its next start, the end of the start that is still there is its last state.
                Some(last) if !made.is_some_and(|made| end_is_of(&last, made)) => last,
                _ => ContainerState::default(),
            },
        }
    }

    /// How a start ended. What the status already says of it stays said.
    fn end(&self, start: &Start, before: Option<&ContainerStatus>) -> ContainerStateTerminated {
        let recorded = before.and_then(|before| {
            let states = [before.state.as_ref(), before.last_state.as_ref()].into_iter().flatten();
            states.filter(|state| end_is_of(state, start)).find_map(|state| state.terminated.as_ref())
        });
        let read = || {
            let read = self.input.messages.iter();
            let read = read.filter(|read| *read.container == *start.name && read.attempt == start.attempt);
            read.map(|read| &*read.message).find(|message| !message.is_empty())
        };
        let nobody_saw = start.exit_code.is_none() && start.signal == 0;
        let message = Some(&*start.message).filter(|message| !message.is_empty()).or_else(read);
        let message = message
            .or_else(|| recorded.and_then(|end| end.message.as_deref()))
            .or_else(|| nobody_saw.then_some("The container could not be located when the pod was terminated"));
        let reason = match (&*start.reason, start.code()) {
            ("", _) if nobody_saw => STATUS_UNKNOWN,
            ("", 0) => "Completed",
            ("", _) => "Error",
            (reason, _) => reason,
        };
        ContainerStateTerminated {
            container_id: words(&start.id),
            exit_code: start.code(),
            signal: (start.signal != 0).then_some(start.signal),
            reason: Some(reason.to_owned()),
            message: message.map(|message| shortened(message, self.message_limit).to_owned()),
            started_at: time(start.started_at).or_else(|| recorded.and_then(|end| end.started_at.clone())),
            finished_at: time(start.finished_at).or_else(|| recorded.and_then(|end| end.finished_at.clone())),
        }
    }

    fn waiting(&self, reason: &str, message: &str) -> ContainerState {
        let object = self.input.object();
        let of_object = object.filter(|object| {
            matches!(object.state, ObjectState::Queued | ObjectState::Starting | ObjectState::Lost)
                && !object.reason.is_empty()
        });
        let (reason, message) = match of_object {
            Some(object) if reason.is_empty() => (&*object.reason, &*object.message),
            _ if reason.is_empty() => (self.not_started, message),
            _ => (reason, message),
        };
        waiting(reason, message)
    }

    /// What the host knows about why it does not run.
    fn explain(&self, status: &mut ContainerStatus) {
        let Some(why) = self.input.waiting.iter().find(|why| *why.container == *status.name) else { return };
        if self.over || is_running(status) {
            return;
        }
        if let Some(end) = end_of(status) {
            status.last_state = Some(terminated(end.clone()));
        }
        status.state = Some(waiting(&why.reason, &why.message));
    }

    /// Whether it has started and is ready.
    fn judge(&self, container: &ContainerView<'_>, before: Option<&ContainerStatus>, status: &mut ContainerStatus) {
        if container.role == Role::Ephemeral {
            return;
        }
        if !is_running(status) {
            status.started = Some(false);
            status.ready = container.role == Role::Init && end_of(status).is_some_and(|end| end.exit_code == 0);
            return;
        }
        // As long as no probe has spoken, what it said before the host was restarted holds.
        let same = before.filter(|before| is_running(before) && before.container_id == status.container_id);
        let probe = self.input.pod.probe(container.name);
        let start = self.input.observation.latest(container.name).filter(|start| start.phase == Phase::Running);
        let started = probe.and_then(|probe| probe.started).or_else(|| start.and_then(|start| start.started));
        let started =
            started.unwrap_or_else(|| !container.startup_probe || same.is_some_and(|same| same.started == Some(true)));
        let ready = probe.and_then(|probe| probe.ready).or_else(|| start.and_then(|start| start.ready));
        let ready = ready.unwrap_or_else(|| !container.readiness_probe || same.is_some_and(|same| same.ready));
        status.started = Some(started);
        status.ready =
            started && ready && container.role != Role::Init && !self.input.object_is(ObjectState::Suspended);
    }
}

const GONE: &str = "The container could not be located when the pod was deleted.  The container used to be Running";

fn terminated(end: ContainerStateTerminated) -> ContainerState {
    ContainerState { terminated: Some(end), ..ContainerState::default() }
}

fn waiting(reason: &str, message: &str) -> ContainerState {
    ContainerState {
        waiting: Some(ContainerStateWaiting { reason: words(reason), message: words(message) }),
        ..ContainerState::default()
    }
}

fn end_of(status: &ContainerStatus) -> Option<&ContainerStateTerminated> {
    status.state.as_ref()?.terminated.as_ref()
}

fn is_running(status: &ContainerStatus) -> bool {
    status.state.as_ref().is_some_and(|state| state.running.is_some())
}

/// The status is one of this very start.
fn is_of(status: &ContainerStatus, start: &Start) -> bool {
    !start.id.is_empty() && status.container_id.as_deref() == Some(&*start.id)
}

/// The end is one of this very start.
fn end_is_of(state: &ContainerState, start: &Start) -> bool {
    let id = state.terminated.as_ref().and_then(|end| end.container_id.as_deref());
    !start.id.is_empty() && id == Some(&*start.id)
}

fn time(time: Option<jiff::Timestamp>) -> Option<Time> {
    time.map(|time| Time(whole_seconds(time)))
}

/// Never goes down. A backend that counts from 0 again in a new object adds to what was counted before.
fn restart_count(input: &Input<'_>, before: Option<&ContainerStatus>, made: Option<&Start>) -> i32 {
    let attempt = made.map_or(0, |made| i32::try_from(made.attempt).unwrap_or(i32::MAX));
    let Some(before) = before else { return attempt };
    let again = made.is_some_and(|made| counts_again(input, before, made));
    attempt.max(before.restart_count).saturating_add(i32::from(again))
}

/// The start is a further one, though the backend counts from 0 again.
fn counts_again(input: &Input<'_>, before: &ContainerStatus, made: &Start) -> bool {
    let attempt = i32::try_from(made.attempt).unwrap_or(i32::MAX);
    input.work.is_none() && attempt <= before.restart_count && follows(made, before)
}

/// The start is another one than that of the status, and came after it.
fn follows(made: &Start, before: &ContainerStatus) -> bool {
    let states = [before.state.as_ref(), before.last_state.as_ref()];
    let times = states.into_iter().flatten().flat_map(|state| {
        let running = state.running.as_ref().and_then(|running| running.started_at.as_ref());
        let ended = state.terminated.as_ref().and_then(|end| end.finished_at.as_ref().or(end.started_at.as_ref()));
        [running, ended]
    });
    let last = times.flatten().max();
    let differs = before.container_id.is_some() && !made.id.is_empty() && !is_of(before, made);
    differs && last.is_some() && time(made.started_at).as_ref() > last
}

/// At most `limit` bytes of it, whole characters.
fn shortened(message: &str, limit: usize) -> &str {
    message.get(..message.floor_char_boundary(limit)).unwrap_or(message)
}

fn volume_mounts(container: &ContainerView<'_>) -> Option<Vec<VolumeMountStatus>> {
    let mounts = container.mounts.iter().map(|mount| VolumeMountStatus {
        name: mount.name.clone(),
        mount_path: mount.mount_path.clone(),
        read_only: mount.read_only.filter(|read_only| *read_only),
        recursive_read_only: (mount.read_only == Some(true)).then(|| "Disabled".into()),
        volume_status: None,
    });
    let mounts: Vec<VolumeMountStatus> = mounts.collect();
    super::not_empty(mounts)
}
