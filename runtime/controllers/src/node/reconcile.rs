//! Brings the Node to what it should be, whenever either changes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use provider::{Condition, NodeImage};
use serde_json::Value;
use tokio::sync::watch;
use tokio::time::Instant;

use super::drift::{self, Drift};
use super::object::{Desired, may_set};
use super::{Heartbeat, NodeConditions, NodeSettings, NodeState, Seen, wellformed};
use crate::api::{Api, ApiError, Patch};
use crate::clock;
use crate::events::{PodEvent, Recorder};

/// How often a status is written that did not change.
const STATUS_INTERVAL: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

const NODES: &str = "/api/v1/nodes";

/// What the Node follows from.
pub(super) struct Inputs {
    pub heartbeat: watch::Receiver<Heartbeat>,
    pub present: watch::Receiver<Seen>,
    pub conditions: watch::Receiver<BTreeMap<String, Condition>>,
    /// Where the provider's description says none.
    pub images: watch::Receiver<Vec<NodeImage>>,
    /// The host is about to end.
    pub ends: watch::Receiver<bool>,
}

pub(super) struct Reconciler {
    settings: Arc<NodeSettings>,
    api: Api,
    recorder: Recorder,
    inputs: Inputs,
    seen: watch::Sender<Seen>,
    told: watch::Sender<NodeState>,
    conditions: NodeConditions,
    drift: Drift,
    written_at: Option<Instant>,
    /// It was registered, or there already.
    was_there: bool,
}

impl Reconciler {
    pub fn new(
        settings: Arc<NodeSettings>,
        api: Api,
        recorder: Recorder,
        inputs: Inputs,
        seen: watch::Sender<Seen>,
        told: watch::Sender<NodeState>,
        conditions: NodeConditions,
    ) -> Self {
        let drift = Drift::default();
        Self { settings, api, recorder, inputs, seen, told, conditions, drift, written_at: None, was_there: false }
    }

    /// Goes on for ever.
    pub async fn run(mut self) {
        let mut failures: u32 = 0;
        loop {
            self.inputs.heartbeat.mark_unchanged();
            self.inputs.present.mark_unchanged();
            self.inputs.conditions.mark_unchanged();
            self.inputs.images.mark_unchanged();
            self.inputs.ends.mark_unchanged();
            let pause = match self.reconcile().await {
                Ok(next) => {
                    failures = 0;
                    next
                }
                Err(error) => {
                    tracing::warn!(node = self.settings.name, %error, "the Node can't be brought up to date");
                    failures = failures.saturating_add(1);
                    let longest = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(10))).min(LONGEST_PAUSE);
                    let pause = error.retry_after().unwrap_or_else(|| longest.mul_f64(0.5 + fastrand::f64() / 2.0));
                    tokio::time::sleep(pause).await;
                    continue;
                }
            };
            let Inputs { heartbeat, present, conditions, images, ends } = &mut self.inputs;
            tokio::select! {
                changed = heartbeat.changed() => if changed.is_err() { return },
                changed = present.changed() => if changed.is_err() { return },
                changed = conditions.changed() => if changed.is_err() { return },
                // Who asks for them may have ended.
                Ok(()) = images.changed() => {}
                changed = ends.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Returns when to look again at the latest.
    async fn reconcile(&mut self) -> Result<Duration, ApiError> {
        let now = clock::now();
        let heartbeat = self.inputs.heartbeat.borrow().clone();
        let host = self.inputs.conditions.borrow().clone();
        let mut desired = Desired::new(&self.settings, &heartbeat, &host, now);
        desired.is_ending = *self.inputs.ends.borrow();
        desired.show(&self.inputs.images.borrow());
        let present = self.inputs.present.borrow().clone();
        let node = match present {
            Seen::Unknown => return Ok(Duration::from_secs(1)),
            Seen::Absent => return self.absent(&desired).await,
            Seen::Present(node) => node,
        };
        self.was_there = true;
        let path = format!("{NODES}/{}", self.settings.name);
        self.repair(&node, "taints", desired.taints_change(&node)).await?;
        self.repair(&node, "providerID", desired.provider_id_change(&node)).await?;
        if let Some(change) = desired.cordon_change(&node) {
            self.api.patch(&path, Patch::Merge, &change).await?;
        }
        let due = self.written_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL);
        if let Some(change) = desired.status_change(&node, due) {
            self.api.patch(&format!("{path}/status"), Patch::Strategic, &change).await?;
            self.written_at = Some(Instant::now());
        }
        // What is remembered of taints and conditions changes after these.
        self.repair_labels(&node, desired.metadata_change(&node)).await?;
        match wellformed::condition(&desired.left_out) {
            Some(condition) => self.conditions.set(condition),
            None => self.conditions.clear(wellformed::CONDITION),
        }
        match self.drift.condition() {
            Some(condition) => self.conditions.set(condition),
            None => self.conditions.clear(drift::CONDITION),
        }
        self.announce(&node, &heartbeat);
        let until_due = self.written_at.map_or(Duration::ZERO, |at| STATUS_INTERVAL.saturating_sub(at.elapsed()));
        Ok(until_due.min(heartbeat.until_judged(now)).max(Duration::from_millis(100)))
    }

    /// Repairs a part of the Node; what may not be repaired is told.
    async fn repair(&mut self, node: &Node, part: &'static str, change: Option<Value>) -> Result<(), ApiError> {
        let Some(change) = change else {
            self.drift.repaired(part);
            return Ok(());
        };
        if !self.drift.is_worth(part, &change) {
            return Ok(());
        }
        let path = format!("{NODES}/{}", self.settings.name);
        match self.api.patch(&path, Patch::Merge, &change).await {
            Ok(()) => self.drift.repaired(part),
            Err(error) if error.is_forbidden() || error.is_final() => {
                let message = format!("{part} can't be repaired: {error}");
                if self.drift.refused(part, &change, message.clone()) {
                    tracing::warn!(node = self.settings.name, "{message}");
                    self.tell(node, PodEvent::warning(drift::CONDITION, message));
                }
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Labels that only others may set don't keep those back that the node may.
    async fn repair_labels(&mut self, node: &Node, change: Option<Value>) -> Result<(), ApiError> {
        let Some(mut change) = change else {
            self.drift.repaired("labels");
            return Ok(());
        };
        let (mut others, mut has_own) = (serde_json::Map::new(), change["metadata"].get("annotations").is_some());
        if let Some(labels) = change["metadata"].get_mut("labels").and_then(Value::as_object_mut) {
            let (own, rest) = std::mem::take(labels).into_iter().partition(|(key, _)| may_set(key));
            (*labels, others) = (own, rest);
            has_own |= !labels.is_empty();
        }
        if has_own {
            self.api.patch(&format!("{NODES}/{}", self.settings.name), Patch::Merge, &change).await?;
        }
        let others = (!others.is_empty()).then(|| serde_json::json!({ "metadata": { "labels": others } }));
        self.repair(node, "labels", others).await
    }

    async fn absent(&mut self, desired: &Desired) -> Result<Duration, ApiError> {
        if self.was_there && self.settings.stays_deleted {
            if self.told.send_replace(NodeState::Unregistered) != NodeState::Unregistered {
                tracing::warn!(node = self.settings.name, "the Node was deleted, and stays so");
            }
            return Ok(STATUS_INTERVAL);
        }
        let mut object = desired.object();
        let created = match self.api.create::<Box<Node>>(NODES, &object).await {
            // It may not set all of the labels: those are repaired later, if somebody lets it.
            Err(error) if error.is_forbidden() => {
                let Some(labels) = object["metadata"]["labels"].as_object_mut() else { return Err(error) };
                let before = labels.len();
                labels.retain(|key, _| may_set(key));
                if labels.len() == before {
                    return Err(error);
                }
                self.api.create::<Box<Node>>(NODES, &object).await
            }
            other => other,
        };
        match created {
            Ok(node) => {
                tracing::info!(node = self.settings.name, "registered");
                let event = PodEvent {
                    warning: false,
                    reason: "Starting".to_owned(),
                    message: "Starting kubelet.".to_owned(),
                    field_path: String::new(),
                };
                self.tell(&node, event);
                // The watch will tell the same a moment later.
                self.seen.send_replace(Seen::Present(Arc::new(*node)));
            }
            Err(error) if error.is_conflict() => {}
            Err(error) => return Err(error),
        }
        Ok(Duration::from_secs(1))
    }

    fn tell(&self, node: &Node, event: PodEvent) {
        let uid = node.metadata.uid.as_deref().unwrap_or_default();
        self.recorder.node(&self.settings.name, uid, event);
    }

    /// Says that the node became ready, or is not any more.
    fn announce(&self, node: &Node, heartbeat: &Heartbeat) {
        let state = match heartbeat.trouble(clock::now()) {
            Some((_, message)) => NodeState::NotReady(message),
            None => NodeState::Ready,
        };
        let before = self.told.send_replace(state.clone());
        if before == state {
            return;
        }
        let (reason, message) = match &state {
            NodeState::Ready => ("NodeReady", format!("Node {} status is now: NodeReady", self.settings.name)),
            NodeState::NotReady(_) => {
                ("NodeNotReady", format!("Node {} status is now: NodeNotReady", self.settings.name))
            }
            NodeState::Unregistered => return,
        };
        tracing::info!(node = self.settings.name, ?state, "the node's state");
        self.tell(node, PodEvent { warning: false, reason: reason.to_owned(), message, field_path: String::new() });
    }
}

#[cfg(test)]
mod tests;
