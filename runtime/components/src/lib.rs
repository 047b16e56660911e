//! Runs providers: WebAssembly components that can touch nothing but what they were granted, and can't take the node down.
//!
//! [`Compiled`] is a component that was checked and compiled, [`Program`] one that can be called, whatever its version, and
//! [`ComponentProvider`] a program with what it was granted for one node. Each call gets a fresh
//! instance from a pool, on threads of its provider's own, within [`Limits`]; it costs some tens of microseconds. State
//! lives in the `store` capability, never in the guest, so a trap, a leak or a hang costs one call.

mod accounting;
mod bindings;
mod call;
mod cause;
mod change;
mod code_cache;
pub mod compile;
mod component;
mod convert;
mod cpu;
mod digest;
mod engine;
mod export;
mod function;
mod health;
mod inspect;
mod lanes;
mod last_good;
mod limits;
mod lines;
mod masks;
mod memory;
mod output;
mod pool;
mod program;
mod provider;
mod series;
pub mod source;
mod state;
mod supervisor;
mod threads;
mod trace;
mod version;

pub use accounting::ExportStatus;
pub use change::{Change, Refusal};
pub use code_cache::CodeCache;
pub use component::{Bytes, Compiled, LoadError};
pub use digest::Digest;
pub use engine::{Engine, EngineError, INSTANCES};
pub use health::Tolerance;
pub use inspect::{CONTRACT, Inspection, ProviderKind};
pub use last_good::Bad;
pub use limits::{LimitError, Limits};
pub use program::{DrainingStatus, LimitUse, Program, ProgramStatus, ReconfigureError, Swapped, VersionStatus};
pub use provider::ComponentProvider;
pub use series::Series;
pub use supervisor::{Listener, RefusedStatus, Settings, SourceStatus, StartError, Status, Supervisor};
