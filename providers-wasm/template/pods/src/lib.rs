//! A provider of the kind `pods`: the backend runs whole pods.
//!
//! `backend` is the one file that knows the backend; what it holds now is a stand-in. `state` says what the backend's
//! objects mean to Kubernetes, `settings` what `--config` can tell.
//!
//! Each call runs in a fresh instance: nothing is kept in statics. Each may come twice: the same UID and attempt again is
//! success, with the present state.

mod backend;
mod settings;
mod state;

use vk_provider_sdk::host::types::Duration;
use vk_provider_sdk::host::{self, blobs};
use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::types::{Output, PodConfig, PodRef, PodState, Snapshot, Target};
use vk_provider_sdk::{Error, Logs, Node, Pods, Result};

use settings::Settings;

struct Provider;

vk_provider_sdk::export_node!(Provider);
vk_provider_sdk::export_pods!(Provider);
vk_provider_sdk::export_logs!(Provider);

impl Node for Provider {
    /// Called every 10 s: proves that the backend can be used. An error makes the node NotReady, with its message.
    async fn describe() -> Result<Description> {
        let settings = Settings::parse(&host::config::list())?;
        let offered = [("cpu", settings.cpu), ("memory", settings.memory), ("pods", settings.pods)];
        let quantity =
            |(name, amount): (&str, u64)| Quantity { name: name.to_owned(), capacity: amount, allocatable: amount };
        Ok(Description {
            ready: true,
            resources: offered.into_iter().map(quantity).collect(),
            operating_system: "linux".to_owned(),
            runtime_version: concat!(env!("CARGO_PKG_NAME"), "://", env!("CARGO_PKG_VERSION")).to_owned(),
            // A pod that needs more than these is refused by the host, with the field's path.
            features: vec!["multiple-containers".to_owned()],
            // The backend does not start containers again, and neither does the host: there is no export `restart`.
            restarts: "host".to_owned(),
            ..Description::default()
        })
    }
}

impl Pods for Provider {
    async fn create(pod: PodConfig) -> Result<PodState> {
        let job = backend::start(&pod).await?;
        vk_provider_sdk::info!("runs as {}", job.id());
        Ok(state::of(&job))
    }

    async fn update(_pod: PodConfig, changed: Vec<String>) -> Result<()> {
        // Labels and annotations are in the manifest alone; whatever else changed, this backend can't take over.
        match changed.iter().find(|path| !path.starts_with("metadata.")) {
            Some(path) => Err(Error::unsupported(format!("{path} can't be changed while the pod runs"))),
            None => Ok(()),
        }
    }

    async fn delete(pod: PodRef, grace: Duration) -> Result<()> {
        backend::stop(&pod.key.uid, pod.attempt, grace).await
    }

    async fn forget(pod: PodRef) -> Result<()> {
        backend::remove(&pod.key.uid, pod.attempt).await
    }

    async fn list(cursor: Option<String>) -> Result<Snapshot> {
        let (jobs, next) = backend::all(cursor).await?;
        Ok(Snapshot { pods: jobs.iter().map(state::of).collect(), next, complete: true })
    }

    async fn refresh(pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let mut states = Vec::with_capacity(pods.len());
        for pod in &pods {
            if let Some(job) = backend::find(&pod.key.uid).await? {
                states.push(state::of(&job));
            }
        }
        Ok(states)
    }
}

impl Logs for Provider {
    async fn open(target: Target, _options: Options) -> Result<Log> {
        let text = backend::log(&target.pod.key.uid, &target.container).await?;
        // A response's body would be handed on as it is: the host then reads it without this instance.
        let source = blobs::spool(text.as_bytes())?;
        let output = Output { content: source.content, framing: "cri".to_owned(), end: Some(source.end) };
        // None of the options was applied here: the host does it.
        Ok(Log { output, applied: Vec::new() })
    }
}
