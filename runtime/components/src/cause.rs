//! What ended a guest that did not end by itself: a limit, a trap, or what it said that it may not say.

use std::fmt;
use std::time::Duration;

use wasmtime::{Store, Trap};

use crate::limits::{Limits, Reached};
use crate::state::State;

/// Its CPU time is spent.
#[derive(Debug, thiserror::Error)]
#[error("the CPU time of {0:?} is spent")]
pub(crate) struct OverBudget(pub(crate) Duration);

/// What ended a guest; shown as what follows its name.
#[derive(Debug)]
pub(crate) enum Cause {
    /// It reached a limit.
    Reached(Reached),
    /// It trapped; with its last words, or else the kind of trap.
    Trapped(String),
    /// It broke the rules of the component model.
    Failed(String),
}

impl Cause {
    /// Finds the cause of an error in what the guest left.
    pub(crate) fn of(error: &wasmtime::Error, store: &Store<State>, limits: &Limits) -> Self {
        if let Some(OverBudget(budget)) = error.downcast_ref() {
            return Self::Reached(Reached::Cpu(*budget));
        }
        let trap = error.downcast_ref::<Trap>();
        if trap == Some(&Trap::StackOverflow) {
            return Self::Reached(Reached::Stack);
        }
        // A guest whose memory may not grow gives up on its own.
        if let Some(reached) = store.data().memory.reached {
            return Self::Reached(reached);
        }
        let root = error.root_cause().to_string();
        if root.contains("fuel allocated for hostcalls has been exhausted") {
            return Self::Reached(Reached::HostMemory(limits.host_memory));
        }
        match (trap, store.data().call.logger().last_words()) {
            (Some(_), said) if !said.is_empty() => Self::Trapped(said),
            (Some(_), _) => Self::Trapped(root.trim_start_matches("wasm trap: ").to_owned()),
            (None, _) => Self::Failed(root),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reached(Reached::Stack) => write!(f, "reached {}", Reached::Stack),
            Self::Reached(reached) => write!(f, "reached {reached}; --limit NAME=VALUE raises it"),
            Self::Trapped(said) => write!(f, "trapped: {said}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
        }
    }
}
