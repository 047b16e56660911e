//! A provider and its pods, scripted; and a server in front of them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::{self, StreamExt};
use provider::{
    ByteStream, Code, Description, Error, Framing, Kind, Log, LogOption, LogOptions, Output, PodConfig, PodKey, PodRef,
    PodState, Result, Snapshot, Summary, Target,
};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::certificates::Ca;
use super::client::Client;
use crate::{
    Config, Container, ContainerState, ContainerStatus, Credentials, HealthCheck, Identity, Metrics, Node, NodePods,
    Pod, PodStream, Server,
};

pub const NODE: &str = "node-1";

type OpenLog = dyn Fn(&Target, &LogOptions) -> Result<Log> + Send + Sync;
type ReadStats = dyn Fn(&[PodRef]) -> Result<Summary> + Send + Sync;

/// A provider that has what it is given.
#[derive(Default)]
pub struct Backend {
    open_log: Option<Box<OpenLog>>,
    read_stats: Option<Box<ReadStats>>,
    stats_delay: Duration,
    pub logs_asked: Mutex<Vec<(Target, LogOptions)>>,
    pub stats_read: AtomicUsize,
}

impl Backend {
    pub fn with_logs(open: impl Fn(&Target, &LogOptions) -> Result<Log> + Send + Sync + 'static) -> Self {
        Self { open_log: Some(Box::new(open)), ..Self::default() }
    }

    pub fn with_stats(read: impl Fn(&[PodRef]) -> Result<Summary> + Send + Sync + 'static) -> Self {
        Self { read_stats: Some(Box::new(read)), stats_delay: Duration::from_millis(50), ..Self::default() }
    }

    /// A log of these bytes, whatever is asked.
    pub fn with_log_bytes(framing: Framing, content: impl Into<Bytes>) -> Self {
        let content = content.into();
        Self::with_logs(move |_, _| Ok(log(framing.clone(), &[], bytes_once(content.clone()))))
    }
}

pub fn log(framing: Framing, applied: &[LogOption], content: ByteStream) -> Log {
    Log { output: Output { content, framing }, applied: applied.to_vec() }
}

pub fn bytes_once(content: Bytes) -> ByteStream {
    stream::iter([Ok(content)]).boxed()
}

#[async_trait]
impl provider::Provider for Backend {
    async fn describe(&self) -> Result<Description> {
        Ok(Description::default())
    }

    fn kind(&self) -> Kind<'_> {
        Kind::Pods(self)
    }

    fn logs(&self) -> Option<&dyn provider::Logs> {
        self.open_log.is_some().then_some(self as _)
    }

    fn stats(&self) -> Option<&dyn provider::Stats> {
        self.read_stats.is_some().then_some(self as _)
    }
}

#[async_trait]
impl provider::Logs for Backend {
    async fn open(&self, target: Target, options: LogOptions) -> Result<Log> {
        let log = self.open_log.as_ref().unwrap()(&target, &options);
        self.logs_asked.lock().unwrap().push((target, options));
        log
    }
}

#[async_trait]
impl provider::Stats for Backend {
    async fn read(&self, pods: Vec<PodRef>) -> Result<Summary> {
        self.stats_read.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(self.stats_delay).await;
        self.read_stats.as_ref().unwrap()(&pods)
    }
}

#[async_trait]
impl provider::Pods for Backend {
    async fn create(&self, _: PodConfig) -> Result<PodState> {
        Err(Error::lacks("pods"))
    }

    async fn update(&self, _: PodConfig, _: Vec<String>) -> Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn delete(&self, _: PodRef, _: Duration) -> Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn forget(&self, _: PodRef) -> Result<()> {
        Err(Error::lacks("pods"))
    }

    async fn list(&self, _: Option<String>) -> Result<Snapshot> {
        Err(Error::lacks("pods"))
    }

    async fn refresh(&self, _: Vec<PodRef>) -> Result<Vec<PodState>> {
        Err(Error::lacks("pods"))
    }
}

/// Pods that are set by hand.
#[derive(Default)]
pub struct Pods(Mutex<Vec<Pod>>);

impl Pods {
    /// The pod `ns/web` with a container `app` in this state.
    pub fn with_state(state: ContainerState) -> Arc<Self> {
        let pods = Self::default();
        pods.set_state(state, None);
        Arc::new(pods)
    }

    pub fn running() -> Arc<Self> {
        Self::with_state(running())
    }

    pub fn set_state(&self, state: ContainerState, last_terminated: Option<&str>) {
        let status = ContainerStatus { state, last_terminated: last_terminated.map(str::to_owned) };
        let containers = vec![
            Container { name: "app".into(), status: Some(status) },
            Container { name: "new".into(), status: None },
        ];
        *self.0.lock().unwrap() = vec![Pod { reference: reference(), containers }];
    }
}

pub fn reference() -> PodRef {
    PodRef { key: PodKey::new("uid-1", "ns", "web"), attempt: 0, id: "backend-1".into() }
}

pub fn running() -> ContainerState {
    ContainerState::Running { id: "engine://now".into() }
}

pub fn ended() -> ContainerState {
    ContainerState::Terminated { id: "engine://now".into() }
}

impl NodePods for Pods {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        let pods = self.0.lock().unwrap();
        let named = |pod: &&Pod| &*pod.reference.key.namespace == namespace && &*pod.reference.key.name == name;
        pods.iter().find(named).cloned()
    }

    fn references(&self) -> Vec<PodRef> {
        self.0.lock().unwrap().iter().map(|pod| pod.reference.clone()).collect()
    }

    fn bound(&self) -> PodStream {
        let json = |pod: PodRef| Ok(serde_json::json!({ "metadata": { "name": *pod.key.name } }).to_string().into());
        stream::iter(self.references().into_iter().map(json)).boxed()
    }

    fn running(&self) -> PodStream {
        stream::iter([Err(Error::new(Code::Unavailable, "the engine is down"))]).boxed()
    }
}

/// A check that is as well as its second part says.
pub struct Check(pub &'static str, pub Result<(), &'static str>);

#[async_trait]
impl HealthCheck for Check {
    fn name(&self) -> &str {
        self.0
    }

    async fn check(&self) -> Result<(), String> {
        self.1.map_err(str::to_owned)
    }
}

pub struct Numbers;

impl Metrics for Numbers {
    fn text(&self) -> String {
        "# TYPE vk_up gauge\nvk_up 1\n".into()
    }
}

/// A running server.
pub struct Fixture {
    pub address: SocketAddr,
    pub ca: Ca,
    pub credentials: Credentials,
    pub backend: Arc<Backend>,
    pub pods: Arc<Pods>,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Fixture {
    pub async fn start(backend: Backend) -> Self {
        Self::configured(backend, Pods::running(), |_| {}).await
    }

    pub async fn configured(backend: Backend, pods: Arc<Pods>, configure: impl FnOnce(&mut Config)) -> Self {
        let ca = Ca::new("client-ca");
        let backend = Arc::new(backend);
        let identity = Identity::self_signed(NODE, &["127.0.0.1".parse().unwrap()], &[]).unwrap();
        let mut config = Config::new(NODE, "127.0.0.1:0".parse().unwrap(), identity);
        config.client_ca = Some(ca.client_ca());
        configure(&mut config);
        let node = Node {
            provider: backend.clone(),
            pods: pods.clone(),
            metrics: Some(Arc::new(Numbers)),
            health: vec![Arc::new(Check("syncloop", Ok(())))],
        };
        let server = Server::bind(config, node).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let (address, credentials) = (server.address(), server.credentials());
        let task = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        Self { address, ca, credentials, backend, pods, stop: Some(stop), task }
    }

    /// A client that may do everything.
    pub fn master(&self) -> Client {
        Client::with_certificate(self.address, &self.ca.client("kube-apiserver", "system:masters"))
    }

    /// Tells the server to stop.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits until it has.
    pub async fn stopped(mut self) {
        self.stop();
        self.task.await.unwrap();
    }
}

/// Waits for what another task brings about.
pub async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what}: not within 5 s");
}
