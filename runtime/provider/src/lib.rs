//! What the runtime knows of a provider: the traits that a backend is driven through and the types that travel.
//!
//! Owns no behaviour and depends on nothing of ours. The types say in Rust what `wit/provider` says in WIT, under the
//! same names; where the contract has a string with documented values, a type here has a variant for each and keeps
//! what it does not know.
//!
//! [`Provider`] is implemented by a loaded component, and by doubles in the tests of the controllers and the kubelet
//! API: neither of them knows where a provider's code runs.

mod config;
mod error;
mod node;
mod session;
mod state;
mod stats;
mod trace;
mod traits;
mod value;
mod volume;

pub use config::{
    ContainerConfig, Credential, Dns, ExtendedResource, HostAlias, PodConfig, Port, Resources, Role, SandboxConfig,
    Security,
};
pub use error::{Code, Error, Result, Scope};
pub use node::{Address, Condition, Description, NodeImage, Quantity, Restarts, Taint, Watches};
pub use session::{
    ByteStream, Exit, Framing, Input, Log, LogOption, LogOptions, LogStreams, Output, Session, Size, Target,
};
pub use state::{Change, ContainerPhase, ContainerState, ObjectState, PodState, Snapshot};
pub use stats::{NetworkUsage, PodUsage, Summary, Usage};
pub use trace::TRACES;
pub use traits::{
    Attach, Background, Containers, Exec, ExecCommand, Files, Image, Kind, Logs, Pods, PortForward, Probes, Provider,
    Restart, Stats, Watch,
};
pub use value::{EnvVar, Origin, OriginKind, PodKey, PodRef, Text, TextPart, TextValue};
pub use volume::{Content, File, Mount, Volume};
