//! What ended a guest that did not end by itself: a limit, a trap, or what it said that it may not say.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use host_capabilities::quota;
use wasmtime::{Store, Trap};

use crate::limits::{Limits, Reached, Time};
use crate::state::State;

/// Its CPU time is spent.
#[derive(Debug, thiserror::Error)]
#[error("the limit cpu{0} is reached")]
pub(crate) struct OverBudget(pub(crate) Time);

/// What ended a guest; shown as what follows its name.
#[derive(Debug)]
pub(crate) enum Cause {
    /// It reached a limit.
    Reached(Reached),
    /// It trapped; with the kind of trap, and its last words or else what the trap is.
    Trapped(&'static str, String),
    /// It broke the rules of the component model.
    Failed(String),
    /// It was a stream of this version's making, which was replaced so long ago.
    Drained(Arc<str>, Duration),
}

impl Cause {
    /// Finds the cause of an error in what the guest left.
    pub(crate) fn of(error: &wasmtime::Error, store: &Store<State>, limits: &Limits) -> Self {
        if let Some(OverBudget(budget)) = error.downcast_ref() {
            return Self::Reached(Reached::Cpu(*budget));
        }
        if error.downcast_ref::<quota::Reached>().is_some() {
            return Self::Reached(Reached::Tasks(limits.quotas.get(quota::Limit::Tasks)));
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
        if root.contains("store handle limit exceeded") {
            return Self::Reached(Reached::Handles);
        }
        match (trap, store.data().call.logger().last_words()) {
            (Some(trap), said) if !said.is_empty() => Self::Trapped(kind(*trap), said),
            (Some(trap), _) => Self::Trapped(kind(*trap), root.trim_start_matches("wasm trap: ").to_owned()),
            (None, _) => Self::Failed(root),
        }
    }
}

impl Cause {
    /// One word for it, of which there are few: what metrics count by.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::Reached(reached) => reached.name(),
            Self::Trapped(kind, _) => kind,
            Self::Failed(_) => "contract",
            Self::Drained(..) => "drain",
        }
    }
}

const fn kind(trap: Trap) -> &'static str {
    match trap {
        Trap::UnreachableCodeReached => "unreachable",
        Trap::MemoryOutOfBounds | Trap::HeapMisaligned => "memory-access",
        Trap::TableOutOfBounds | Trap::IndirectCallToNull | Trap::BadSignature => "indirect-call",
        Trap::IntegerOverflow | Trap::IntegerDivisionByZero | Trap::BadConversionToInteger => "arithmetic",
        Trap::StackOverflow => "stack",
        // Of the component model: a handle, a string, a task that were not as the contract has them.
        _ => "contract",
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // Nobody can raise these.
            Self::Reached(fixed @ (Reached::Stack | Reached::Handles)) => write!(f, "reached {fixed}"),
            Self::Reached(reached) => write!(f, "reached {reached}; --limit NAME=VALUE raises it"),
            Self::Trapped(_, said) => write!(f, "trapped: {said}"),
            Self::Failed(why) => write!(f, "failed: {why}"),
            Self::Drained(version, limit) => write!(
                f,
                "was ended: its version {version} was replaced, and the limit drain={limit:?} is over; opened again it goes on"
            ),
        }
    }
}
