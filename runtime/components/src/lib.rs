//! Runs providers: WebAssembly components that can touch nothing but what they were granted, and can't take the node down.
//!
//! [`Compiled`] is a component that was checked and compiled, [`Program`] one that can be called, whatever its version, and
//! [`ComponentProvider`] a program with what it was granted for one node. Each call gets a fresh
//! instance from a pool, on threads of its provider's own, within [`Limits`]; it costs some tens of microseconds. State
//! lives in the `store` capability, never in the guest, so a trap, a leak or a hang costs one call.

mod bindings;
mod call;
mod cause;
mod code_cache;
pub mod compile;
mod component;
mod convert;
mod cpu;
mod digest;
mod engine;
mod export;
mod function;
mod inspect;
mod lanes;
mod limits;
mod lines;
mod masks;
mod memory;
mod output;
mod program;
mod provider;
pub mod source;
mod state;
mod threads;
mod version;

pub use code_cache::CodeCache;
pub use component::{Bytes, Compiled, LoadError};
pub use digest::Digest;
pub use engine::{Engine, EngineError, INSTANCES};
pub use inspect::{CONTRACT, Inspection, ProviderKind};
pub use limits::{LimitError, Limits};
pub use program::Program;
pub use provider::ComponentProvider;
