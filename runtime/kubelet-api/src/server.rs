//! A node's server: its settings, its port, its connections.
//!
//! One server a node; a process may have many. Bounds are its own: connections (beyond them 503), logs read at a time
//! (beyond them 429), memory for last lines.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use provider::Provider;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::auth::{AllowList, Authorization, ClientCa, Gate, TokenReview};
use crate::connection::{self, Context};
use crate::health::HealthCheck;
use crate::logs::Logs;
use crate::pods::NodePods;
use crate::service::{Metrics, Service};
use crate::stats::Stats;
use crate::tls::{CredentialError, Credentials, Identity};

/// Connections too many that are told so at a time; more are dropped without a word.
const REFUSALS: usize = 64;
/// How long to wait when the process has no more file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Bounds of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections open at a time: 1024.
    pub connections: usize,
    /// Logs read at a time: 256.
    pub log_streams: usize,
    /// Bytes of last lines that a log may keep back: 1 MiB. Longer ones are found by reading the log twice.
    pub tail_memory: usize,
    /// How long the head of a request may take, and how long an HTTP/1.1 connection may wait for the next: 30 s.
    pub header_timeout: Duration,
    /// How long requests may go on when the server stops: 5 s. Logs are cut off at once.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1024,
            log_streams: 256,
            tail_memory: 1024 * 1024,
            header_timeout: Duration::from_secs(30),
            drain: Duration::from_secs(5),
        }
    }
}

/// Settings of a server.
pub struct Config {
    /// The node's name: what access is asked for.
    pub node: String,
    /// Where to listen. Port 0: any that is free.
    pub address: SocketAddr,
    /// The serving certificate.
    pub identity: Identity,
    /// Whom client certificates must be signed by; none: they are not looked at.
    pub client_ca: Option<ClientCa>,
    /// Who reviews bearer tokens; none: they are not looked at.
    pub tokens: Option<Arc<dyn TokenReview>>,
    /// Whether requests without credentials get as far as the authorizer.
    pub anonymous: bool,
    /// Who decides what a user may do.
    pub authorization: Authorization,
    /// Bounds.
    pub limits: Limits,
}

impl Config {
    /// Nobody gets in but by a client CA or token review that is set afterwards; allowed is then `system:masters`.
    pub fn new(node: impl Into<String>, address: SocketAddr, identity: Identity) -> Self {
        Self {
            node: node.into(),
            address,
            identity,
            client_ca: None,
            tokens: None,
            anonymous: false,
            authorization: Authorization::Listed(AllowList::default()),
            limits: Limits::default(),
        }
    }
}

/// What a server tells of.
pub struct Node {
    /// The backend.
    pub provider: Arc<dyn Provider>,
    /// The pods bound to the node.
    pub pods: Arc<dyn NodePods>,
    /// The process' metrics; none: it has none.
    pub metrics: Option<Arc<dyn Metrics>>,
    /// What `/healthz` checks.
    pub health: Vec<Arc<dyn HealthCheck>>,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    /// The port is in use.
    #[error(
        "node {node:?}: port {} of {} is in use by another process; choose another kubelet port (`--kubelet-port`, 0 \
         for any)", address.port(), address.ip()
    )]
    InUse {
        /// Which node.
        node: String,
        /// Where it was to listen.
        address: SocketAddr,
    },
    /// The address can't be listened on.
    #[error("node {node:?}: the kubelet API can't listen on {address} (node IP and `--kubelet-port`): {error}")]
    Listen {
        /// Which node.
        node: String,
        /// Where it was to listen.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
    /// The certificate or client CA can't be used.
    #[error(transparent)]
    Credentials(#[from] CredentialError),
    /// The system gives no random numbers.
    #[error("the system gives no random numbers")]
    Random,
}

/// A node's server, listening.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    credentials: Credentials,
    service: Arc<Service>,
    limits: Limits,
    stop: watch::Sender<bool>,
}

impl Server {
    /// Listens. Connections wait until [`Server::run`].
    pub async fn bind(config: Config, node: Node) -> Result<Self, BindError> {
        let Config { node: name, address, identity, client_ca, tokens, anonymous, authorization, limits } = config;
        let credentials = Credentials::new(identity, client_ca)?;
        let failed = |error: io::Error| match error.kind() {
            ErrorKind::AddrInUse => BindError::InUse { node: name.clone(), address },
            _ => BindError::Listen { node: name.clone(), address, error },
        };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let name: Arc<str> = name.as_str().into();
        let (stop, stopping) = watch::channel(false);
        let gate = Gate::new(name.clone(), credentials.clone(), tokens, anonymous, authorization)
            .map_err(|_| BindError::Random)?;
        let logs = Logs {
            provider: node.provider.clone(),
            pods: node.pods.clone(),
            streams: Arc::new(Semaphore::new(limits.log_streams)),
            max_streams: limits.log_streams,
            tail_memory: limits.tail_memory,
            stopping,
        };
        let stats = Stats::new(name, node.provider.clone(), node.pods.clone());
        let Node { provider, pods, metrics, health } = node;
        let service = Arc::new(Service { gate, provider, pods, metrics, health, logs, stats });
        Ok(Self { listener, address, credentials, service, limits, stop })
    }

    /// Where it listens, with the port that was chosen.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its certificate and client CA, to be changed while it runs.
    pub fn credentials(&self) -> Credentials {
        self.credentials.clone()
    }

    /// Serves until `shutdown` ends; then takes no more connections, lets requests finish within [`Limits::drain`] and
    /// cuts off logs. Dropped, it cuts off everything.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) {
        let permits = Arc::new(Semaphore::new(self.limits.connections));
        let refusals = Arc::new(Semaphore::new(REFUSALS));
        let mut connections = JoinSet::new();
        let mut shutdown = pin!(shutdown);
        loop {
            let accepted = tokio::select! {
                () = &mut shutdown => break,
                Some(ended) = connections.join_next() => {
                    report(ended);
                    continue;
                }
                accepted = self.listener.accept() => accepted,
            };
            let (tcp, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            let context = Context {
                service: self.service.clone(),
                tls: self.credentials.tls(),
                header_timeout: self.limits.header_timeout,
                stopping: self.stop.subscribe(),
            };
            if let Ok(permit) = permits.clone().try_acquire_owned() {
                connections.spawn(connection::serve(context, tcp, peer, permit));
            } else if let Ok(permit) = refusals.clone().try_acquire_owned() {
                tracing::warn!(%peer, limit = self.limits.connections, "too many connections");
                connections.spawn(connection::refuse(context, tcp, peer, self.limits.connections, permit));
            }
        }
        drop(self.listener);
        self.stop.send_replace(true);
        let drained = async {
            while let Some(ended) = connections.join_next().await {
                report(ended);
            }
        };
        if tokio::time::timeout(self.limits.drain, drained).await.is_err() {
            connections.shutdown().await;
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task failed");
    }
}
