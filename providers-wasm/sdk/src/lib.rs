//! What a provider for vk-runtime is written with: the contract in Rust, and a little that every provider would write
//! again.
//!
//! A provider is a type without data that implements the traits of what it has, and exports each of them:
//!
//! ```
//! use vk_provider_sdk::{Error, Node, node::Description};
//!
//! struct Demo;
//!
//! impl Node for Demo {
//!     async fn describe() -> Result<Description, Error> {
//!         Ok(Description { ready: true, ..Description::default() })
//!     }
//! }
//!
//! vk_provider_sdk::export_node!(Demo);
//! ```
//!
//! Beside [`Node`] it has [`Pods`] or [`Containers`], and any of the others. Every call runs in a fresh instance: nothing
//! is remembered in statics, only in [`host::store`], [`host::cache`] and at the backend. Start-up costs every call:
//! no threads, no lazy statics, no `HashMap` (its seed is asked of the host).
//!
//! Depends neither on WASI nor on a build tool: plain `cargo build --target wasm32-wasip2` makes a component.

// The macros name this crate from outside; its own tests and examples do the same.
extern crate self as vk_provider_sdk;

pub mod archive;
pub mod bindings;
pub mod blobs;
pub mod http;
pub mod identity;
pub mod jwt;
pub mod log;
pub mod quantity;
pub mod sigv4;
pub mod streams;
pub mod text;
pub mod time;

mod error;

/// The types of the contract.
pub use bindings::vk::provider::types;

/// What the host offers; each needs its grant, but for what is always granted.
pub mod host {
    pub use crate::bindings::vk::host::*;
}

/// For each interface that can be exported: a module of its records, its trait, and the macro that exports it. A native
/// build (for unit tests) has no exports; there the macro only checks that the trait is implemented.
macro_rules! exports {
    ($($(#[$doc:meta])* $module:ident, $trait:ident, $macro:ident;)*) => {
        exports! { ($) $($(#[$doc])* $module, $trait, $macro;)* }
    };
    (($dollar:tt) $($(#[$doc:meta])* $module:ident, $trait:ident, $macro:ident;)*) => {
        $(
            $(#[$doc])*
            pub use bindings::$module::exports::vk::provider::$module;
            $(#[$doc])*
            pub use bindings::$module::exports::vk::provider::$module::Guest as $trait;
            $(#[$doc])*
            #[macro_export]
            macro_rules! $macro {
                ($dollar provider:ident) => {
                    #[cfg(target_family = "wasm")]
                    $dollar crate::bindings::$module::export!($dollar provider);
                    #[cfg(not(target_family = "wasm"))]
                    const _: fn() = {
                        fn implements<T: $dollar crate::$trait>() {}
                        implements::<$dollar provider>
                    };
                };
            }
        )*
    };
}

exports! {
    /// The node as the backend sees it. Every provider has it.
    node, Node, export_node;
    /// A backend that runs whole pods.
    pods, Pods, export_pods;
    /// A backend that runs containers.
    containers, Containers, export_containers;
    /// Pushing states.
    watch, Watch, export_watch;
    /// Container logs.
    logs, Logs, export_logs;
    /// Commands in containers.
    exec, Exec, export_exec;
    /// Main processes' streams.
    attach, Attach, export_attach;
    /// Connections into pods.
    port_forward, PortForward, export_port_forward;
    /// Use of resources.
    stats, Stats, export_stats;
    /// Replacing files of running pods.
    files, Files, export_files;
    /// Probes that the backend runs.
    probes, Probes, export_probes;
    /// Restarting one container.
    restart, Restart, export_restart;
    /// Work that belongs to no pod.
    background, Background, export_background;
}

pub use error::{Error, Result, code};
#[doc(hidden)]
pub use wit_bindgen::rt;
