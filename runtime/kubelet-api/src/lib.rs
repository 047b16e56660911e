//! A node's HTTPS server, the kubelet API: what the API server, `kubectl`, metrics-server and Prometheus ask of a node.
//!
//! Knows no wasm and no Kubernetes client: the backend is a [`provider::Provider`], pods are looked up through
//! [`NodePods`], tokens and access are reviewed through [`TokenReview`] and [`AccessReview`].
//!
//! | route | |
//! | --- | --- |
//! | `/healthz`, `/healthz/{check}` | health |
//! | `/pods`, `/runningpods/` | pods bound to the node; pods that the backend runs |
//! | `/containerLogs/{namespace}/{pod}/{container}` | logs, with all of `PodLogOptions` |
//! | `/stats/summary`, `/metrics/resource` | use of resources |
//! | `/metrics` | the process' own metrics |
//! | `/exec/…`, `/attach/…`, `/portForward/…` | 501, until streams over SPDY and WebSocket are served |
//!
//! What the provider or the process lacks is answered with 501 and its name. Everyone must say who they are, `/healthz`
//! included, as on a kubelet; anonymous access is off unless switched on.

mod auth;
mod connection;
mod health;
mod logs;
mod pods;
mod respond;
mod route;
mod server;
mod service;
mod stats;
#[cfg(test)]
mod tests;
mod tls;

pub use auth::{
    ALLOWED_TTL, ANONYMOUS, AUTHENTICATED, AccessReview, AllowList, Attributes, Authorization, ClientCa, DENIED_TTL,
    ReviewError, TOKEN_TTL, TokenReview, UNAUTHENTICATED, User,
};
pub use health::HealthCheck;
pub use pods::{Container, ContainerState, ContainerStatus, NodePods, Pod, PodStream};
pub use server::{BindError, Config, Limits, Node, Server};
pub use service::Metrics;
pub use tls::{CredentialError, Credentials, Identity, SELF_SIGNED_LIFETIME};
