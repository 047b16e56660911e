//! Conditions of the Node beside those of its provider: what parts of this host have to say of it.
//!
//! Each part owns a type of condition. Told again is told once; taken back, the condition goes from the Node.

use std::collections::BTreeMap;

use provider::Condition;
use tokio::sync::watch;

/// The conditions that parts of the host tell. Cheap to clone; all clones are the same.
#[derive(Clone, Debug)]
pub struct NodeConditions {
    all: watch::Sender<BTreeMap<String, Condition>>,
}

impl Default for NodeConditions {
    fn default() -> Self {
        Self { all: watch::Sender::new(BTreeMap::new()) }
    }
}

impl NodeConditions {
    /// Tells one; it replaces what was told of its type. Types that the host computes itself, `Ready` among them, are
    /// never replaced.
    pub fn set(&self, condition: Condition) {
        self.all.send_if_modified(|all| {
            let same = all.get(&condition.kind) == Some(&condition);
            if !same {
                all.insert(condition.kind.clone(), condition);
            }
            !same
        });
    }

    /// Takes back what was told of a type.
    pub fn clear(&self, kind: &str) {
        self.all.send_if_modified(|all| all.remove(kind).is_some());
    }

    /// What is told of a type.
    pub fn get(&self, kind: &str) -> Option<Condition> {
        self.all.borrow().get(kind).cloned()
    }

    pub(super) fn follow(&self) -> watch::Receiver<BTreeMap<String, Condition>> {
        self.all.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_new_is_told() {
        let own = NodeConditions::default();
        let mut told = own.follow();
        let condition = |status: &str| Condition {
            kind: "A".into(),
            status: status.into(),
            reason: "R".into(),
            message: String::new(),
        };
        own.set(condition("True"));
        assert!(told.has_changed().unwrap());
        told.mark_unchanged();
        own.set(condition("True"));
        own.clear("B");
        assert!(!told.has_changed().unwrap());
        own.set(condition("False"));
        assert_eq!(own.get("A"), Some(condition("False")));
        own.clear("A");
        assert_eq!(own.get("A"), None);
    }
}
