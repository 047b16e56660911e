//! What of the Node is not as it should be and can't be repaired under the identity in use.
//!
//! A node identity may not change its taints once it is registered, nor set labels of Kubernetes' own but a few. Such a
//! repair is not tried again and again: only when something else is to be repaired, or after [`AGAIN`]. A condition of the
//! Node tells of all that is left, and an Event of each when it begins.

use std::collections::BTreeMap;
use std::time::Duration;

use provider::Condition;
use serde_json::Value;
use tokio::time::Instant;

/// Rights may have been given since.
const AGAIN: Duration = Duration::from_secs(600);

/// The condition that tells.
pub(super) const CONDITION: &str = "NodeDrift";

struct Refused {
    change: Value,
    message: String,
    at: Instant,
}

/// What was refused, by the part of the Node.
#[derive(Default)]
pub(super) struct Drift {
    parts: BTreeMap<&'static str, Refused>,
}

/// Which version a change was made from does not matter.
fn content(change: &Value) -> Value {
    let mut own = change.clone();
    if let Some(metadata) = own.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("resourceVersion");
    }
    own
}

impl Drift {
    /// Whether a repair is worth a request.
    pub fn is_worth(&self, part: &'static str, change: &Value) -> bool {
        self.parts.get(part).is_none_or(|known| known.change != content(change) || known.at.elapsed() >= AGAIN)
    }

    /// A repair was refused; returns whether that is new.
    pub fn refused(&mut self, part: &'static str, change: &Value, message: String) -> bool {
        let change = content(change);
        let before = self.parts.insert(part, Refused { change: change.clone(), message, at: Instant::now() });
        before.is_none_or(|before| before.change != change)
    }

    /// There is nothing to repair any more.
    pub fn repaired(&mut self, part: &'static str) {
        self.parts.remove(part);
    }

    /// What is to be told; none: everything is as it should be.
    pub fn condition(&self) -> Option<Condition> {
        let told: Vec<&str> = self.parts.values().map(|own| own.message.as_str()).collect();
        (!told.is_empty()).then(|| Condition {
            kind: CONDITION.to_owned(),
            status: "True".to_owned(),
            reason: "NotPermitted".to_owned(),
            message: told.join("; "),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refused_repair_is_told_once_and_tried_again_when_it_is_another_one_or_after_a_while() {
        let mut drift = Drift::default();
        let change = |version: &str, taints: &[&str]| json!({ "metadata": { "resourceVersion": version }, "spec": { "taints": taints } });
        assert!(drift.is_worth("taints", &change("1", &["a"])));
        assert!(drift.refused("taints", &change("1", &["a"]), "taints can't be repaired".into()));
        assert!(!drift.is_worth("taints", &change("2", &["a"])));
        assert!(!drift.refused("taints", &change("2", &["a"]), "taints can't be repaired".into()));
        assert!(drift.is_worth("taints", &change("2", &["b"])));
        assert_eq!(drift.condition().unwrap().message, "taints can't be repaired");
        tokio::time::advance(AGAIN).await;
        assert!(drift.is_worth("taints", &change("2", &["a"])));
        drift.repaired("taints");
        assert_eq!(drift.condition(), None);
    }
}
