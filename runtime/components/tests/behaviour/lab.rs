//! Providers to call, and pods to call them with.

use std::any::Any;
use std::path::PathBuf;
use std::sync::{Arc, LazyLock, OnceLock};
use std::time::Duration;

use components::{Bytes, CodeCache, Compiled, ComponentProvider, Engine, Limits, LoadError, Program};
use futures::StreamExt;
use host_capabilities::audit::Audit;
use host_capabilities::config::NodeIdentity;
use host_capabilities::quota::Quotas;
use host_capabilities::store::Embedded;
use host_capabilities::{Capabilities, Grants, Host};
use provider::{
    ContainerConfig, Dns, EnvVar, Error, Kind, Log, LogOptions, Origin, OriginKind, PodConfig, PodKey, PodRef,
    PodState, Pods, Provider, Resources, Result, Role, SandboxConfig, Security, Target, Text, TextPart, TextValue,
};
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::RwLock;

/// Tests that measure run alone.
static TURNS: LazyLock<Arc<RwLock<()>>> = LazyLock::new(Arc::default);

pub fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| Engine::new().unwrap())
}

/// A component that `make build` or `tests/components/build` left.
pub fn component(name: &str) -> PathBuf {
    let target = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../target"));
    let found = ["components", "test-components"].map(|folder| target.join(folder).join(format!("{name}.wasm")));
    let found = found.into_iter().find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name}.wasm is missing: `make build` and `tests/components/build` make it"))
}

pub fn compile(bytes: &Bytes, limits: &Limits) -> Result<Compiled, LoadError> {
    static CACHE: LazyLock<CodeCache> =
        LazyLock::new(|| CodeCache::open(&PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("code")).unwrap());
    Compiled::new(engine(), bytes, limits, Some(&CACHE))
}

/// A version of `misbehaving` that does `FUNCTION=MISDEED`. What is no function of it makes another version that does well.
pub fn version(does: &str) -> Bytes {
    const BLANKS: &[u8] = b"what this version does:                                        |";
    let mut bytes = std::fs::read(component("misbehaving")).unwrap();
    let at = bytes.windows(BLANKS.len()).position(|found| found == BLANKS).expect("the blanks");
    let from = at + "what this version does:".len();
    bytes[from..from + does.len()].copy_from_slice(does.as_bytes());
    Bytes { name: format!("version {does}"), bytes }
}

/// A provider that is to be loaded.
pub struct Loading {
    component: &'static str,
    limits: Limits,
    grants: Grants,
    is_alone: bool,
}

/// What a provider stands on.
pub struct Ground {
    pub capabilities: Arc<Capabilities>,
    pub limits: Limits,
    pub folder: TempDir,
    turn: Box<dyn Any + Send + Sync>,
    store: Arc<Embedded>,
}

/// A provider, and what it stands on.
pub struct Lab {
    pub provider: Arc<ComponentProvider>,
    pub folder: TempDir,
    _turn: Box<dyn Any + Send + Sync>,
}

impl Loading {
    pub fn new(component: &'static str) -> Self {
        Self { component, limits: Limits::default(), grants: Grants::default(), is_alone: false }
    }

    pub fn misbehaving() -> Self {
        Self::new("misbehaving")
    }

    pub fn limits(mut self, limits: &str) -> Self {
        self.limits = limits.parse().unwrap();
        self
    }

    pub fn config(mut self, key: &str, value: &str) -> Self {
        self.grants.config.values.insert(key.to_owned(), value.to_owned());
        self
    }

    pub fn grants(mut self, change: impl FnOnce(&mut Grants)) -> Self {
        change(&mut self.grants);
        self
    }

    /// No other test runs beside this one.
    pub fn alone(mut self) -> Self {
        self.is_alone = true;
        self
    }

    pub async fn load(self) -> Lab {
        let limits = self.limits.clone();
        let bytes = Bytes::read(&component(self.component), limits.component_size).unwrap();
        self.load_bytes(&bytes).await.unwrap()
    }

    pub async fn load_bytes(self, bytes: &Bytes) -> Result<Lab, LoadError> {
        let ground = self.prepare().await;
        let compiled = compile(bytes, &ground.limits)?;
        let program = Program::load(engine(), compiled, ground.limits.clone(), &ground.capabilities).await?;
        Ok(ground.serve(&program))
    }

    /// Whatever a provider needs, without one.
    pub async fn prepare(self) -> Ground {
        let turn: Box<dyn Any + Send + Sync> = match self.is_alone {
            true => Box::new(TURNS.clone().write_owned().await),
            false => Box::new(TURNS.clone().read_owned().await),
        };
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
        self.stand(folder, store, turn)
    }

    /// Whatever it needs, in the process of another provider and over the same store.
    pub async fn beside(self, other: &Ground) -> Ground {
        self.stand(tempfile::tempdir().unwrap(), other.store.clone(), Box::new(()))
    }

    fn stand(self, folder: TempDir, store: Arc<Embedded>, turn: Box<dyn Any + Send + Sync>) -> Ground {
        let host = Host { io: Handle::current(), store: store.clone(), audit: Audit::default() };
        let node = NodeIdentity {
            cluster: "test".to_owned(),
            name: "node-1".to_owned(),
            address: "192.0.2.1".to_owned(),
            operating_system: "linux".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
        };
        let quotas = Quotas::new(self.component, &self.limits.quotas);
        let capabilities = Arc::new(Capabilities::new(quotas, node, self.grants, &host, Box::new(drop)));
        Ground { capabilities, limits: self.limits, folder, turn, store }
    }
}

impl Ground {
    /// With a program.
    pub fn serve(self, program: &Arc<Program>) -> Lab {
        let provider = ComponentProvider::new(program, self.capabilities);
        Lab { provider: Arc::new(provider), folder: self.folder, _turn: self.turn }
    }
}

impl Lab {
    pub fn pods(&self) -> &dyn Pods {
        let Kind::Pods(pods) = self.provider.kind() else { panic!("a provider of pods") };
        pods
    }

    /// Asks for a misdeed.
    pub async fn create(&self, misdeed: &str) -> Result<PodState> {
        self.pods().create(pod("uid-1", misdeed)).await
    }

    /// Asks for one that can't go well.
    pub async fn fails(&self, misdeed: &str) -> Error {
        match self.create(misdeed).await {
            Ok(_) => panic!("{misdeed} went well"),
            Err(error) => error,
        }
    }

    /// A call without fault.
    pub async fn works(&self) {
        let state = self.pods().create(pod("uid-good", "")).await.unwrap();
        assert_eq!(state.key.uid.as_ref(), "uid-good");
    }

    pub async fn log(&self, kind: &str) -> Result<Log> {
        let target = Target {
            pod: PodRef::first(PodKey::new("uid-1", "default", "web")),
            container: kind.to_owned(),
            id: String::new(),
        };
        self.provider.logs().unwrap().open(target, LogOptions::default()).await
    }

    /// The same, shared with a task.
    pub fn spawn(&self, uid: &str, misdeed: &str) -> tokio::task::JoinHandle<Result<PodState>> {
        let (provider, pod) = (self.provider.clone(), pod(uid, misdeed));
        tokio::spawn(async move {
            let Kind::Pods(pods) = provider.kind() else { panic!("a provider of pods") };
            pods.create(pod).await
        })
    }
}

/// All of a stream, and how it ended.
pub async fn read(log: Log) -> (Vec<u8>, Result<()>) {
    let mut content = log.output.content;
    let mut bytes = Vec::new();
    while let Some(chunk) = content.next().await {
        match chunk {
            Ok(chunk) => bytes.extend_from_slice(&chunk),
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

/// Waits until it is so, for at most ten seconds.
pub async fn until<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    for _ in 0..1_000 {
        if let Some(answer) = ask().await {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not come");
}

/// A value from a Secret.
pub fn secret(value: &str) -> Text {
    let origin = Arc::new(Origin::new(OriginKind::Secret, "s", "k"));
    Text(vec![TextPart { value: TextValue::Literal(value.to_owned()), origin: Some(origin) }])
}

/// A pod that asks for this misdeed.
pub fn pod(uid: &str, misdeed: &str) -> PodConfig {
    pod_with(uid, misdeed, Vec::new())
}

/// The same with these variables.
pub fn pod_with(uid: &str, misdeed: &str, env: Vec<EnvVar>) -> PodConfig {
    let container = ContainerConfig {
        name: "app".to_owned(),
        role: Role::App,
        attempt: 0,
        image: "busybox:stable".to_owned(),
        image_id: String::new(),
        pull_policy: "IfNotPresent".to_owned(),
        command: Vec::new(),
        arguments: Vec::new(),
        working_folder: String::new(),
        env,
        mounts: Vec::new(),
        devices: Vec::new(),
        ports: Vec::new(),
        resources: Resources::default(),
        security: Security::default(),
        stdin: false,
        stdin_once: false,
        tty: false,
        stop_signal: String::new(),
        termination_message_path: String::new(),
        restart_policy: "Always".to_owned(),
    };
    PodConfig {
        sandbox: SandboxConfig {
            key: PodKey::new(uid, "default", "web"),
            attempt: 0,
            labels: Vec::new(),
            annotations: vec![("misbehave".to_owned(), misdeed.to_owned())],
            hostname: "web".to_owned(),
            domain: String::new(),
            dns: Dns::default(),
            hosts: Vec::new(),
            host_network: false,
            host_pid: false,
            host_ipc: false,
            share_processes: false,
            sysctls: Vec::new(),
            fs_group: None,
            runtime_class: String::new(),
            operating_system: "linux".to_owned(),
            ports: Vec::new(),
            volumes: Vec::new(),
            resources: Resources::default(),
            manifest: "{}".into(),
        },
        containers: vec![container],
        grace_period: Duration::from_secs(30),
        active_deadline: None,
        credentials: Vec::new(),
    }
}
