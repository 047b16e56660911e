//! The Node object of one node: registered, kept as it should be, kept alive.
//!
//! | what | when |
//! | --- | --- |
//! | Lease | every 10 s, for 40 s |
//! | heartbeat: `describe` of the provider | every 10 s, at most 10 s long |
//! | status | when it changes, else every 5 minutes |
//! | images, where the description says none | every 5 minutes |
//! | labels, annotations, taints, `providerID` | whenever they are not as they should be |
//!
//! What others put on the Node stays: only keys that this host owns are touched, and it remembers on the Node which they
//! are. What the identity may not repair, and what the API server would refuse, is told in a condition (`drift`,
//! `wellformed`). A Node that somebody deletes is registered again, unless the settings say otherwise. A provider that
//! fails makes the node NotReady after [`GRACE`], with its words, and Ready again when it answers. When the host ends,
//! nothing is written, and pods go on; other ends are in `shutdown`.

mod drift;
mod heartbeat;
mod host_conditions;
mod images;
mod lease;
mod object;
mod reconcile;
mod shutdown;
mod status;
mod wellformed;

#[cfg(test)]
mod tests;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Node;
use provider::{Description, Provider, Taint};
use tokio::sync::watch;
use tokio::task::JoinSet;

pub(crate) use heartbeat::Heartbeat;
pub use host_conditions::NodeConditions;
pub use shutdown::Shutdown;
#[cfg(test)]
pub(crate) use shutdown::drain;

use crate::api::{Api, Event, Watch};
use crate::events::Recorder;
use reconcile::{Inputs, Reconciler};

/// How long a provider may fail before its node is NotReady, as the kubelet gives its runtime.
const GRACE: Duration = Duration::from_secs(30);

/// How a node presents itself.
#[derive(Clone, Debug, Default)]
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
    /// Whether the Node that somebody deletes stays away. By default it is registered again at once, before its pods are
    /// taken for lost.
    pub stays_deleted: bool,
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
    name: String,
    api: Api,
    state: watch::Receiver<NodeState>,
    conditions: NodeConditions,
    ending: watch::Sender<bool>,
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
        let (listed, images) = watch::channel(Vec::new());
        tasks.spawn(images::ask(provider.clone(), listed));
        tasks.spawn(heartbeat::beat(provider, beat, described));
        tasks.spawn(follow(api.clone(), settings.name.clone(), seen.clone()));
        tasks.spawn(lease::renew(api.clone(), settings.name.clone(), present.clone()));
        let conditions = NodeConditions::default();
        let (ending, ends) = watch::channel(false);
        let (name, own_api) = (settings.name.clone(), api.clone());
        let inputs = Inputs { heartbeat, present, conditions: conditions.follow(), images, ends };
        tasks.spawn(Reconciler::new(settings, api, recorder, inputs, seen, told, conditions.clone()).run());
        Self { name, api: own_api, state, conditions, ending, _tasks: tasks }
    }

    /// What parts of the host have to say of the node.
    pub fn conditions(&self) -> NodeConditions {
        self.conditions.clone()
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
    let watch =
        Watch { path: "/api/v1/nodes".to_owned(), field_selector: format!("metadata.name={name}"), is_busy: false };
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
