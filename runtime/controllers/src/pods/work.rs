//! Does at the backend what a pod's core asks for, and tells it what came of it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt;
use pod_worker::machine::{Action, Failure, Image, Outcome, TERMINATION_MESSAGE_LIMIT};
use provider::{
    Code, Containers, Error, Framing, Kind, LogOptions, LogStreams, PodKey, PodRef, PodState, Pods, Target,
};
use tracing::Instrument;

use super::core::{Effect, Plan};
use super::index::{Cell, Queue, next_plan};
use super::{CallFailed, Shared, observe, trace};
use crate::clock;
use crate::events::PodEvent;
use crate::resolve::{Started, Unresolved, fitting};

/// The end of a log that stands for a termination message: lines, and bytes.
const LOG_LINES: u64 = 80;
const LOG_BYTES: usize = 2_048;
/// How long reading it may take.
const LOG_TIME: Duration = Duration::from_secs(10);
/// In place of a backend's words that may hold what a Secret put into a command.
const WITHHELD: &str =
    "the container can't be started; the backend's words may hold values of Secrets and are not repeated";

/// Takes pods from the queue, for ever.
pub(super) async fn plan(shared: Arc<Shared>, queue: Queue) {
    while let Some(cell) = next_plan(&queue).await {
        let todo = cell.core().plan(clock::now(), &shared.context());
        if let Some(at) = todo.wake_at {
            shared.index.plan_at(&cell, at);
        }
        for effect in todo.effects {
            begin(&shared, &cell, effect);
        }
    }
}

fn begin(shared: &Arc<Shared>, cell: &Arc<Cell>, effect: Effect) {
    match effect {
        Effect::Report => shared.index.report(cell),
        Effect::Refresh => {
            let uid = cell.core().key().uid.clone();
            shared.observer.refresh(uid);
        }
        Effect::Event(event) => shared.recorder.pod(&cell.core().key().clone(), event),
        Effect::Drop => {
            let uid = cell.core().key().uid.clone();
            shared.forget(&uid);
        }
        other => {
            let (shared, cell) = (shared.clone(), cell.clone());
            let key = cell.core().key().clone();
            let span = trace::span(&shared.settings.node, &key, &other);
            let work = async move {
                let makers = if resolves(&other) { shared.makers.acquire().await.ok() } else { None };
                // Boxed, so that what waits for its turn takes little.
                Box::pin(Call { shared: &shared, cell: &cell, key }.perform(other)).await;
                drop(makers);
                cell.core().returned();
                let uid = cell.core().key().uid.clone();
                shared.observer.acted(uid);
                shared.index.plan(&cell);
            };
            tokio::spawn(work.instrument(span));
        }
    }
}

/// Whether what the pod refers to is looked up for it, and held.
const fn resolves(effect: &Effect) -> bool {
    matches!(
        effect,
        Effect::Create { .. }
            | Effect::Update { .. }
            | Effect::Act(Action::RunSandbox { .. } | Action::CreateContainer { .. })
    )
}

/// Calls for one pod.
struct Call<'a> {
    shared: &'a Shared,
    cell: &'a Arc<Cell>,
    key: PodKey,
}

/// Calls a function of the provider, when it may be called.
macro_rules! call {
    ($self:ident, $function:literal, $call:expr) => {{
        $self.shared.gate.pass($function).await;
        let result = $call.await;
        $self.shared.gate.note($function, &result);
        trace::note(&result);
        result
    }};
}

impl Call<'_> {
    async fn perform(&self, effect: Effect) {
        match effect {
            Effect::Act(action) => {
                let mut state = None;
                let result = match self.shared.provider.kind() {
                    Kind::Containers(containers) => self.act(containers, &action, &mut state).await,
                    Kind::Pods(_) => Err(Failure::new("the provider runs whole pods")),
                };
                let mut core = self.cell.core();
                if let Plan::Containers(machine) = &mut core.plan {
                    machine.finished(clock::now(), &action, result);
                }
                if let Some(state) = state {
                    let seen = observe::merge(core.seen(), &state, core.revision());
                    core.set_seen(seen);
                }
            }
            Effect::Create { attempt } => self.create(attempt, None).await,
            Effect::Update { attempt, changed } => self.create(attempt, Some(changed)).await,
            Effect::Delete { reference, grace } => {
                let result = match self.pods() {
                    Ok(pods) => call!(self, "pods.delete", pods.delete(reference.clone(), grace)),
                    Err(error) => Err(error),
                };
                if result.is_ok() {
                    self.shared.observer.refresh(self.key.uid.clone());
                }
                self.ended(&reference, "FailedKillPod", result);
            }
            Effect::Forget { reference } => {
                let result = match self.pods() {
                    Ok(pods) => call!(self, "pods.forget", pods.forget(reference.clone())),
                    Err(error) => Err(error),
                };
                if result.is_ok() {
                    self.cell.heard_of(self.shared.observer.last_look());
                    let is_all = self.cell.core().forgotten(reference.attempt);
                    if !is_all {
                        self.shared.observer.refresh(self.key.uid.clone());
                    }
                }
                self.ended(&reference, "FailedKillPod", result);
            }
            Effect::Report | Effect::Refresh | Effect::Event(_) | Effect::Drop => {}
        }
    }

    fn pods(&self) -> Result<&dyn Pods, Error> {
        match self.shared.provider.kind() {
            Kind::Pods(pods) => Ok(pods),
            Kind::Containers(_) => Err(Error::lacks("pods")),
        }
    }

    fn tell(&self, events: Vec<PodEvent>) {
        for event in events {
            self.shared.recorder.pod(&self.key, event);
        }
    }

    fn ended(&self, reference: &PodRef, reason: &str, result: Result<(), Error>) {
        if let Err(error) = &result {
            tracing::debug!(pod = %self.key, uid = %self.key.uid, id = reference.id, %error, "the pod can't be ended");
            self.tell(vec![PodEvent::warning(reason, format!("error killing pod: {error}"))]);
        }
        if let Plan::Whole(whole) = &mut self.cell.core().plan {
            whole.ended(clock::now(), result.map_err(|error| error.retry_after));
        }
    }

    /// Makes a whole pod, or tells what of it changed.
    async fn create(&self, attempt: u32, changed: Option<Vec<String>>) {
        let (record, parsed) = {
            let core = self.cell.core();
            (core.record().cloned(), core.parsed())
        };
        let otherwise = if changed.is_some() { "FailedSync" } else { "FailedCreatePodSandBox" };
        let called = async {
            let gone = || CallFailed::new("the pod is gone");
            let (record, parsed) = (record.as_ref().ok_or_else(gone)?, parsed.as_ref().ok_or_else(gone)?);
            let pods = self.pods().map_err(CallFailed::from)?;
            let resolution = self.shared.resolver.pod(record, parsed, &self.shared.facts(), attempt).await;
            self.tell(resolution.events);
            let pod = resolution.result.map_err(CallFailed::from)?;
            // What runs already may have been heard of before.
            self.cell.core().gave_secrets("", if changed.is_some() { attempt.saturating_add(1) } else { attempt });
            match changed {
                Some(changed) => {
                    call!(self, "pods.update", pods.update(pod, changed)).map_err(CallFailed::from)?;
                    Ok(None)
                }
                None => {
                    let deliveries = &self.shared.deliveries;
                    deliveries.giving(&self.key, attempt, &pod.sandbox.volumes).await;
                    let state = call!(self, "pods.create", pods.create(pod));
                    deliveries.given(&self.key.uid);
                    Ok(Some(state.map_err(CallFailed::from)?))
                }
            }
        };
        let mut result: Result<_, CallFailed> = called.await;
        if let Err(failed) = &mut result {
            if failed.reason.is_empty() {
                otherwise.clone_into(&mut failed.reason);
            }
            let reason = if is_waiting(&failed.reason) { "Failed" } else { &failed.reason };
            self.tell(vec![PodEvent::warning(reason, failed.message.clone())]);
        }
        self.cell.heard_of(self.shared.observer.last_look());
        let mut core = self.cell.core();
        let again = match &result {
            Ok(Some(state)) => {
                let before = core.seen().cloned();
                let seen = observe::merge(before.as_ref(), state, core.revision());
                core.set_seen(seen);
                state.again
            }
            Ok(None) | Err(_) => None,
        };
        if let Plan::Whole(whole) = &mut core.plan {
            whole.called(clock::now(), record, result.map(|_| again));
        }
    }

    /// `state` is what the backend told along with it.
    async fn act(
        &self,
        containers: &dyn Containers,
        action: &Action,
        state: &mut Option<PodState>,
    ) -> Result<Outcome, Failure> {
        let pod = || self.key.clone();
        match action {
            Action::RunSandbox { attempt } => {
                let running = self.run_sandbox(containers, *attempt).await?;
                let id = running.id.as_str().into();
                *state = Some(running);
                Ok(Outcome::Id(id))
            }
            Action::StopSandbox { id, .. } => {
                done(call!(self, "containers.stop-sandbox", containers.stop_sandbox(pod(), id.to_string())))
            }
            Action::RemoveSandbox { id, last, .. } => {
                let removed = containers.remove_sandbox(pod(), id.to_string(), *last);
                done(call!(self, "containers.remove-sandbox", removed))
            }
            Action::CheckImage { container } => {
                let image = self.image(container)?;
                let found = call!(self, "containers.image-status", containers.image_status(image)).map_err(failure)?;
                Ok(Outcome::Image(found.map(|found| self.remember(container, found))))
            }
            Action::PullImage { container } => self.pull(containers, container).await,
            Action::CreateContainer { container, attempt, sandbox, .. } => {
                self.create_container(containers, container, *attempt, sandbox).await
            }
            Action::StartContainer { container, attempt, id, .. } => {
                let started = containers.start_container(pod(), id.to_string());
                let started = done(call!(self, "containers.start-container", started));
                // It may have been made by a process before this one.
                started.map_err(|failed| match self.cell.core().may_repeat(container, *attempt) {
                    true => failed,
                    false => Failure { message: WITHHELD.into(), ..failed },
                })
            }
            Action::StopContainer { id, grace, .. } => {
                let stopped = containers.stop_container(pod(), id.to_string(), *grace);
                done(call!(self, "containers.stop-container", stopped))
            }
            Action::RemoveContainer { id, .. } => {
                done(call!(self, "containers.remove-container", containers.remove_container(pod(), id.to_string())))
            }
            Action::ReadTerminationMessage { container, id, path, or_log, .. } => {
                self.termination_message(containers, container, id, path, *or_log).await
            }
        }
    }

    async fn run_sandbox(&self, containers: &dyn Containers, attempt: u32) -> Result<PodState, Failure> {
        let (record, parsed) = self.pod_now()?;
        let resolution = self.shared.resolver.sandbox(&record, &parsed, &self.shared.facts(), attempt).await;
        self.tell(resolution.events);
        let sandbox = resolution.result.map_err(unresolved)?;
        let deliveries = &self.shared.deliveries;
        deliveries.giving(&self.key, attempt, &sandbox.volumes).await;
        let running = call!(self, "containers.run-sandbox", containers.run_sandbox(sandbox));
        deliveries.given(&self.key.uid);
        running.map_err(failure)
    }

    fn pod_now(&self) -> Result<(Arc<crate::record::Record>, Arc<crate::record::Parsed>), Failure> {
        let core = self.cell.core();
        let (record, parsed) = (core.record().cloned(), core.parsed());
        record.zip(parsed).ok_or_else(|| Failure::new("the pod is gone"))
    }

    /// The image of a container, as the backend is asked for it.
    fn image(&self, container: &str) -> Result<String, Failure> {
        let (_, parsed) = self.pod_now()?;
        let spec = &parsed.spec;
        let plain = spec.init_containers.iter().flatten().chain(&spec.containers);
        let image = plain
            .map(|own| (own.name.as_str(), own.image.as_deref()))
            .chain(spec.ephemeral_containers.iter().flatten().map(|own| (own.name.as_str(), own.image.as_deref())))
            .find(|(name, _)| *name == container)
            .and_then(|(_, image)| image)
            .unwrap_or_default();
        pod_worker::with_default_tag(image).map_err(|invalid| Failure {
            reason: "InvalidImageName".into(),
            message: invalid.to_string().into(),
            retry_after: None,
        })
    }

    /// A container is made of the image that was found, whatever its name means by then.
    fn remember(&self, container: &str, image: provider::Image) -> Image {
        let mut images = self.cell.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(container.to_owned(), image.id);
        Image { user: image.user.into(), size: image.size }
    }

    async fn pull(&self, containers: &dyn Containers, container: &str) -> Result<Outcome, Failure> {
        let image = self.image(container)?;
        let (_, parsed) = self.pod_now()?;
        let resolution = self.shared.resolver.credentials(&self.key, &parsed).await;
        self.tell(resolution.events);
        let credentials = fitting(&resolution.result.map_err(unresolved)?, &image);
        let pulling = containers.pull_image(self.key.clone(), image, credentials);
        let pulled = call!(self, "containers.pull-image", pulling).map_err(failure)?;
        Ok(Outcome::Image(Some(self.remember(container, pulled))))
    }

    async fn create_container(
        &self,
        containers: &dyn Containers,
        name: &str,
        attempt: u32,
        sandbox: &str,
    ) -> Result<Outcome, Failure> {
        let (record, parsed) = self.pod_now()?;
        let (ips, sandbox_attempt) = {
            let core = self.cell.core();
            let object = core.seen().and_then(|seen| seen.object());
            (object.map(|object| object.ips.clone()).unwrap_or_default(), object.map_or(0, |object| object.attempt))
        };
        let facts = self.shared.facts();
        let resolver = &self.shared.resolver;
        let resolution = resolver.container(&record, &parsed, &facts, name, attempt, &Started { ips }).await;
        self.tell(resolution.events);
        let mut container = resolution.result.map_err(unresolved)?;
        self.cell.core().gave_secrets(name, attempt);
        let pod = resolver.sandbox(&record, &parsed, &facts, sandbox_attempt).await.result.map_err(unresolved)?;
        let known = self.cell.images.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        container.image_id = match known {
            Some(id) => id,
            // The host was started anew since the image was checked.
            None => {
                let found = containers.image_status(container.image.clone());
                let found = call!(self, "containers.image-status", found).map_err(failure)?;
                found.map(|image| image.id).unwrap_or_default()
            }
        };
        let made = containers.create_container(pod, sandbox.to_owned(), container);
        match call!(self, "containers.create-container", made) {
            Ok(id) => Ok(Outcome::Id(id.into())),
            Err(error) => {
                if error.reason == "ImageNotFound" {
                    self.cell.images.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
                }
                Err(failure(error))
            }
        }
    }

    async fn termination_message(
        &self,
        containers: &dyn Containers,
        container: &str,
        id: &str,
        path: &str,
        or_log: bool,
    ) -> Result<Outcome, Failure> {
        let reading =
            containers.termination_message(self.key.clone(), id.to_owned(), path.to_owned(), TERMINATION_MESSAGE_LIMIT);
        let message = call!(self, "containers.termination-message", reading).map_err(failure)?.unwrap_or_default();
        if !message.is_empty() || !or_log {
            return Ok(Outcome::Message(String::from_utf8_lossy(&message).into()));
        }
        let end = tokio::time::timeout(LOG_TIME, self.end_of_log(container, id)).await;
        let end = end.map_err(|_| Failure::new("the container's log can't be read in time"))?.map_err(failure)?;
        Ok(Outcome::Message(end.into()))
    }

    async fn end_of_log(&self, container: &str, id: &str) -> Result<String, Error> {
        let logs = self.shared.provider.logs().ok_or_else(|| Error::lacks("logs"))?;
        let pod = self.cell.core().reference();
        let target = Target { pod, container: container.to_owned(), id: id.to_owned() };
        let options = LogOptions { tail: Some(LOG_LINES), streams: LogStreams::All, ..LogOptions::default() };
        let log = logs.open(target, options).await?;
        let mut content = log.output.content;
        let mut bytes = BytesMut::new();
        while let Some(chunk) = content.next().await {
            bytes.extend_from_slice(&chunk?);
            // Only the end counts; frames are taken out once it is there.
            let surplus = bytes.len().saturating_sub(LOG_BYTES * 16);
            if surplus > 0 && log.output.framing == Framing::Raw {
                let _ = bytes.split_to(surplus);
            }
        }
        let text = plain(&bytes, &log.output.framing);
        let from = text.len().saturating_sub(LOG_BYTES);
        let from = (from..=text.len()).find(|at| text.is_char_boundary(*at)).unwrap_or(text.len());
        Ok(text.get(from..).unwrap_or_default().to_owned())
    }
}

/// A log's text without what it is framed in.
fn plain(bytes: &[u8], framing: &Framing) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    match framing {
        Framing::Docker => {
            let mut rest = bytes;
            while let Some((head, after)) = rest.split_at_checked(8) {
                let length = head.get(4..8).and_then(|own| own.try_into().ok()).map_or(0, u32::from_be_bytes) as usize;
                let (payload, after) = after.split_at(length.min(after.len()));
                out.extend_from_slice(payload);
                rest = after;
            }
        }
        Framing::Cri => {
            for line in bytes.split(|byte| *byte == b'\n') {
                let mut fields = line.splitn(4, |byte| *byte == b' ');
                if let (Some(_), Some(_), Some(flag), Some(content)) =
                    (fields.next(), fields.next(), fields.next(), fields.next())
                {
                    out.extend_from_slice(content);
                    if flag == b"F" {
                        out.push(b'\n');
                    }
                }
            }
        }
        _ => out.extend_from_slice(bytes),
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Reasons that a container waits for, as against reasons of Events.
fn is_waiting(reason: &str) -> bool {
    matches!(reason, "CreateContainerConfigError" | "InvalidImageName" | "ErrImagePull" | "CreateContainerError")
}

fn done(result: Result<(), Error>) -> Result<Outcome, Failure> {
    result.map(|()| Outcome::Done).map_err(failure)
}

fn failure(error: Error) -> Failure {
    Failure { reason: error.reason.into(), message: error.message.into(), retry_after: error.retry_after }
}

fn unresolved(unresolved: Unresolved) -> Failure {
    trace::failed(unresolved.reason);
    Failure { reason: unresolved.reason.into(), message: unresolved.message.into(), retry_after: None }
}

impl CallFailed {
    fn new(message: &str) -> Self {
        Self { reason: String::new(), message: message.to_owned(), retry_after: None, is_final: false, is_stale: false }
    }
}

impl From<Error> for CallFailed {
    fn from(error: Error) -> Self {
        Self {
            is_final: matches!(error.code, Code::Invalid | Code::Unsupported),
            is_stale: error.code == Code::Conflict,
            reason: error.reason,
            message: error.message,
            retry_after: error.retry_after,
        }
    }
}

impl From<Unresolved> for CallFailed {
    fn from(unresolved: Unresolved) -> Self {
        trace::failed(unresolved.reason);
        Self {
            reason: unresolved.reason.to_owned(),
            message: unresolved.message,
            retry_after: None,
            is_final: unresolved.is_final,
            is_stale: false,
        }
    }
}
