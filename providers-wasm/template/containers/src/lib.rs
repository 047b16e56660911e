//! A provider of the kind `containers`: the backend only runs containers, and the host is the kubelet. It decides order,
//! restarts and back-off, and calls the verbs of the Container Runtime Interface.
//!
//! `engine` is the one file that knows the backend; what it holds now is a stand-in. `state` says what the backend's
//! objects mean to Kubernetes, `settings` what `--config` can tell.
//!
//! Each call runs in a fresh instance: nothing is kept in statics. Each may come twice: the same pod, name and attempt again
//! is success.

mod engine;
mod settings;
mod state;

use vk_provider_sdk::containers::Image;
use vk_provider_sdk::host::types::{Duration, PodKey};
use vk_provider_sdk::host::{self, blobs};
use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::types::{
    ContainerConfig, Credential, Output, PodRef, PodState, Resources, SandboxConfig, Snapshot, Target,
};
use vk_provider_sdk::{Containers, Error, Logs, Node, Result};

use settings::Settings;

struct Provider;

vk_provider_sdk::export_node!(Provider);
vk_provider_sdk::export_containers!(Provider);
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
            ..Description::default()
        })
    }
}

impl Containers for Provider {
    async fn run_sandbox(sandbox: SandboxConfig) -> Result<PodState> {
        engine::run_sandbox(&sandbox).await?;
        state_of(&sandbox.key.uid).await?.ok_or_else(|| Error::internal("the sandbox is gone as soon as it was made"))
    }

    async fn stop_sandbox(pod: PodKey, _id: String) -> Result<()> {
        engine::stop_sandbox(&pod.uid).await
    }

    async fn remove_sandbox(pod: PodKey, _id: String, _last: bool) -> Result<()> {
        // `_last`: the pod's volumes go too. This engine has none.
        engine::remove_sandbox(&pod.uid).await
    }

    async fn image_status(image: String) -> Result<Option<Image>> {
        // This engine has every image.
        Ok(Some(Image { id: image.clone(), names: vec![image], ..Image::default() }))
    }

    async fn pull_image(_pod: PodKey, image: String, _credentials: Vec<Credential>) -> Result<Image> {
        Ok(Image { id: image.clone(), names: vec![image], ..Image::default() })
    }

    async fn list_images() -> Result<Vec<Image>> {
        Ok(Vec::new())
    }

    async fn remove_image(_id: String) -> Result<()> {
        Ok(())
    }

    async fn create_container(pod: SandboxConfig, _sandbox: String, container: ContainerConfig) -> Result<String> {
        engine::create(&pod.key.uid, &container).await
    }

    async fn start_container(_pod: PodKey, id: String) -> Result<()> {
        engine::start(&id).await
    }

    async fn stop_container(_pod: PodKey, id: String, _grace: Duration) -> Result<()> {
        engine::stop(&id).await
    }

    async fn remove_container(_pod: PodKey, id: String) -> Result<()> {
        engine::remove(&id).await
    }

    async fn update_container(_pod: PodKey, _id: String, _resources: Resources) -> Result<()> {
        Err(Error::unsupported("resources can't be changed while the container runs"))
    }

    async fn termination_message(_pod: PodKey, _id: String, _path: String, _max: u32) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    async fn list(cursor: Option<String>) -> Result<Snapshot> {
        let (sandboxes, next) = engine::sandboxes(cursor).await?;
        let mut pods = Vec::with_capacity(sandboxes.len());
        for sandbox in &sandboxes {
            pods.push(state::of(sandbox, &engine::containers(&sandbox.uid).await?));
        }
        Ok(Snapshot { pods, next, complete: true })
    }

    async fn refresh(pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let mut states = Vec::with_capacity(pods.len());
        for pod in &pods {
            states.extend(state_of(&pod.key.uid).await?);
        }
        Ok(states)
    }
}

/// The state of a pod, if there is anything of it.
async fn state_of(uid: &str) -> Result<Option<PodState>> {
    match engine::sandbox(uid).await? {
        Some(sandbox) => Ok(Some(state::of(&sandbox, &engine::containers(uid).await?))),
        None => Ok(None),
    }
}

impl Logs for Provider {
    async fn open(target: Target, _options: Options) -> Result<Log> {
        let text = engine::log(&target.id).await?;
        // A response's body would be handed on as it is: the host then reads it without this instance.
        let source = blobs::spool(text.as_bytes())?;
        let output = Output { content: source.content, framing: "cri".to_owned(), end: Some(source.end) };
        // None of the options was applied here: the host does it.
        Ok(Log { output, applied: Vec::new() })
    }
}
