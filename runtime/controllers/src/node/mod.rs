//! The Node object of one node: registered, kept as it should be, kept alive.
//!
//! | what | when |
//! | --- | --- |
//! | Lease | every 10 s, for 40 s |
//! | heartbeat: `describe` of the provider | every 10 s, at most 10 s long |
//! | status | when it changes, else every 5 minutes |
//! | labels, annotations, taints, `providerID` | whenever they are not as they should be |
//!
//! What others put on the Node stays: only keys that this host owns are touched, and it remembers on the Node which they
//! are. A Node that somebody deletes is registered again. A provider that fails makes the node NotReady after [`GRACE`],
//! with its words, and Ready again when it answers. When the host ends, nothing is written: pods go on.

mod heartbeat;
mod lease;
mod object;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::Node;
use provider::{Description, Provider, Taint};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use heartbeat::Heartbeat;

use crate::api::{Api, ApiError, Event, Patch, Watch};
use crate::events::{PodEvent, Recorder};
use object::Desired;

/// How long a provider may fail before its node is NotReady, as the kubelet gives its runtime.
const GRACE: Duration = Duration::from_secs(30);
/// How often a status is written that did not change.
const STATUS_INTERVAL: Duration = Duration::from_secs(300);
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How a node presents itself.
#[derive(Clone, Debug)]
pub struct NodeSettings {
    /// `metadata.name`.
    pub name: String,
    /// Its addresses, the primary one first: where the kubelet API is reached.
    pub addresses: Vec<IpAddr>,
    /// Port of the kubelet API.
    pub kubelet_port: u16,
    /// Labels beside those that every node has.
    pub labels: Vec<(String, String)>,
    /// Taints, of which the provider may add more.
    pub taints: Vec<Taint>,
    /// `nodeInfo.kubeletVersion`.
    pub version: String,
}

/// Whether a node is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NodeState {
    /// Not registered yet.
    Unregistered,
    /// Registered; the provider does not answer.
    NotReady(String),
    /// Registered and ready.
    Ready,
}

/// Keeps one Node until it is dropped.
pub struct NodeController {
    state: watch::Receiver<NodeState>,
    _tasks: JoinSet<()>,
}

impl NodeController {
    /// Begins with what the provider said last. `described` hears of what it says later.
    pub fn start(
        settings: NodeSettings,
        provider: Arc<dyn Provider>,
        api: Api,
        recorder: Recorder,
        first: Result<Description, provider::Error>,
        described: impl Fn(&Description) + Send + Sync + 'static,
    ) -> Self {
        let (beat, heartbeat) = watch::channel(Heartbeat::new(first));
        let (seen, present) = watch::channel(Seen::Unknown);
        let (told, state) = watch::channel(NodeState::Unregistered);
        let settings = Arc::new(settings);
        let mut tasks = JoinSet::new();
        tasks.spawn(heartbeat::beat(provider, beat, described));
        tasks.spawn(follow(api.clone(), settings.name.clone(), seen.clone()));
        tasks.spawn(lease::renew(api.clone(), settings.name.clone(), present.clone()));
        let reconciler = Reconciler { settings, api, recorder, heartbeat, present, seen, told };
        tasks.spawn(reconciler.run());
        Self { state, _tasks: tasks }
    }

    /// Whether the node is there.
    pub fn state(&self) -> watch::Receiver<NodeState> {
        self.state.clone()
    }
}

/// The Node as the API server has it.
#[derive(Clone, Debug)]
pub(super) enum Seen {
    Unknown,
    Absent,
    Present(Arc<Node>),
}

/// Follows the Node object.
async fn follow(api: Api, name: String, seen: watch::Sender<Seen>) {
    let watch = Watch { path: "/api/v1/nodes".to_owned(), field_selector: format!("metadata.name={name}") };
    let mut listed = None;
    let running = watch.run::<Box<Node>>(api, |event| match event {
        Event::Listing => listed = Some(Seen::Absent),
        Event::Applied(node) => {
            let present = Seen::Present(Arc::new(*node));
            match &mut listed {
                Some(listed) => *listed = present,
                None => drop(seen.send_replace(present)),
            }
        }
        Event::Deleted(_) => drop(seen.send_replace(Seen::Absent)),
        Event::Listed => {
            if let Some(listed) = listed.take() {
                seen.send_replace(listed);
            }
        }
        Event::Failed(error) => tracing::warn!(node = name, %error, "the Node can't be watched"),
    });
    running.await;
}

struct Reconciler {
    settings: Arc<NodeSettings>,
    api: Api,
    recorder: Recorder,
    heartbeat: watch::Receiver<Heartbeat>,
    present: watch::Receiver<Seen>,
    seen: watch::Sender<Seen>,
    told: watch::Sender<NodeState>,
}

impl Reconciler {
    async fn run(mut self) {
        let mut failures: u32 = 0;
        let mut written_at: Option<tokio::time::Instant> = None;
        loop {
            self.heartbeat.mark_unchanged();
            self.present.mark_unchanged();
            let pause = match self.reconcile(&mut written_at).await {
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
            tokio::select! {
                changed = self.heartbeat.changed() => if changed.is_err() { return },
                changed = self.present.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// Brings the Node to what it should be; returns when to look again at the latest.
    async fn reconcile(&self, written_at: &mut Option<tokio::time::Instant>) -> Result<Duration, ApiError> {
        let now = Timestamp::now();
        let heartbeat = self.heartbeat.borrow().clone();
        let desired = Desired::new(&self.settings, &heartbeat, now);
        let present = self.present.borrow().clone();
        let node = match present {
            Seen::Unknown => return Ok(Duration::from_secs(1)),
            Seen::Absent => return self.register(&desired).await,
            Seen::Present(node) => node,
        };
        let path = format!("/api/v1/nodes/{}", self.settings.name);
        if let Some(change) = desired.metadata_change(&node) {
            self.api.patch(&path, Patch::Merge, &change).await?;
        }
        if let Some(change) = desired.spec_change(&node) {
            match self.api.patch(&path, Patch::Merge, &change).await {
                Ok(()) => {}
                // A node identity may not change its own taints once it is registered.
                Err(error) if error.is_forbidden() => self.tell(
                    &node,
                    PodEvent::warning("NodeDrift", format!("taints or providerID can't be repaired: {error}")),
                ),
                Err(error) => return Err(error),
            }
        }
        let due = written_at.is_none_or(|at| at.elapsed() >= STATUS_INTERVAL);
        if let Some(change) = desired.status_change(&node, due) {
            self.api.patch(&format!("{path}/status"), Patch::Strategic, &change).await?;
            *written_at = Some(tokio::time::Instant::now());
        }
        self.announce(&node, &heartbeat);
        let until_due = written_at.map_or(Duration::ZERO, |at| STATUS_INTERVAL.saturating_sub(at.elapsed()));
        Ok(until_due.min(heartbeat.until_judged(now)).max(Duration::from_millis(100)))
    }

    async fn register(&self, desired: &Desired) -> Result<Duration, ApiError> {
        match self.api.create::<Box<Node>>("/api/v1/nodes", &desired.object()).await {
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
        let state = match heartbeat.trouble(Timestamp::now()) {
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
