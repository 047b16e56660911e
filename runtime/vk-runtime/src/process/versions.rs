//! What happens to a provider's versions, as its nodes tell of it: an Event on each Node, and the condition
//! [`CONDITION`].
//!
//! | status | reason | when |
//! | --- | --- | --- |
//! | `True` | `ProviderCurrent` | the version serves that the source has |
//! | `False` | that of the change | it does not: refused, taken back, or doing badly |
//! | `Unknown` | `ProviderSourceFailing` | the source can't be asked |

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use components::Change;
use controllers::{NodeConditions, PodEvent, Recorder};
use provider::Condition;

/// The type of the condition.
pub const CONDITION: &str = "ProviderUpToDate";

/// The versions of one provider.
pub struct Versions {
    provider: Arc<str>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    serving: String,
    /// Why the newest version does not serve: reason and message.
    behind: Option<(&'static str, String)>,
    /// Why the source can't be asked.
    unknown: Option<(&'static str, String)>,
    nodes: BTreeMap<String, (Recorder, NodeConditions)>,
}

impl Versions {
    /// Of a provider that starts.
    pub fn new(provider: &str) -> Self {
        Self { provider: provider.into(), state: Mutex::default() }
    }

    /// Something happened.
    pub fn tell(&self, change: &Change) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let why = || (change.reason(), format!("the provider {}: {change}", self.provider));
        match change {
            Change::Loaded { digest } | Change::Swapped { digest, .. } => {
                state.serving = digest.to_string();
                (state.behind, state.unknown) = (None, None);
            }
            Change::UsedLast { digest, .. } | Change::RolledBack { digest, .. } => {
                state.serving = digest.to_string();
                state.behind = Some(why());
            }
            Change::Refused { .. } | Change::Known { .. } | Change::Failing { .. } => state.behind = Some(why()),
            Change::SourceFailing { .. } => state.unknown = Some(why()),
            Change::SourceRecovered => state.unknown = None,
            Change::Proved { .. } => {}
        }
        let (reason, message) = why();
        let condition = self.condition(&state);
        for (name, (recorder, conditions)) in &state.nodes {
            let event = PodEvent {
                warning: change.is_warning(),
                reason: reason.to_owned(),
                message: message.clone(),
                field_path: String::new(),
            };
            recorder.node(name, "", event);
            conditions.set(condition.clone());
        }
    }

    /// A node tells of it from now on.
    pub fn join(&self, node: &str, recorder: Recorder, conditions: NodeConditions) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        conditions.set(self.condition(&state));
        state.nodes.insert(node.to_owned(), (recorder, conditions));
    }

    /// A node has ended.
    pub fn leave(&self, node: &str) {
        self.state.lock().unwrap_or_else(PoisonError::into_inner).nodes.remove(node);
    }

    fn condition(&self, state: &State) -> Condition {
        let (status, (reason, message)) = match (&state.behind, &state.unknown) {
            (Some(behind), _) => ("False", behind.clone()),
            (None, Some(unknown)) => ("Unknown", unknown.clone()),
            (None, None) => {
                ("True", ("ProviderCurrent", format!("the provider {} serves with {}", self.provider, state.serving)))
            }
        };
        Condition { kind: CONDITION.to_owned(), status: status.to_owned(), reason: reason.to_owned(), message }
    }
}
