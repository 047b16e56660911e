//! A provider for container engines: Podman, and whatever speaks Docker's API. The host is the kubelet; this runs sandboxes
//! and containers. README.md tells what it asks an engine for.
//!
//! Nothing is kept in memory: what it must know again stands on the engine's objects ([`names`]), and what can be asked for
//! again in the host's cache.

mod containers;
mod docker;
mod endpoint;
mod files;
mod holders;
mod hosts;
mod images;
mod libpod;
mod limits;
mod list;
mod logs;
mod manifest;
mod mounts;
mod names;
mod node;
mod object;
mod objects;
mod pause;
mod readback;
mod refusal;
mod remembered;
mod request;
mod sandbox;
mod settings;
mod state;
mod stats;
mod volumes;
mod warnings;
mod watch;

use vk_provider_sdk::containers::Image;
use vk_provider_sdk::host::types::{Duration, PodKey};
use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::node::Description;
use vk_provider_sdk::stats::Summary;
use vk_provider_sdk::types::{
    Change, ContainerConfig, Credential, File, Output, PodRef, PodState, Resources, SandboxConfig, Snapshot, Target,
};
use vk_provider_sdk::{Containers, Files, Logs, Node, Result, Stats, Watch};

use endpoint::{Engine, bare_id};

struct Hyper;

vk_provider_sdk::export_node!(Hyper);
vk_provider_sdk::export_containers!(Hyper);
vk_provider_sdk::export_watch!(Hyper);
vk_provider_sdk::export_logs!(Hyper);
vk_provider_sdk::export_stats!(Hyper);
vk_provider_sdk::export_files!(Hyper);

impl Node for Hyper {
    async fn describe() -> Result<Description> {
        node::describe(&Engine::ping().await?).await
    }
}

impl Containers for Hyper {
    async fn run_sandbox(sandbox: SandboxConfig) -> Result<PodState> {
        sandbox::run(&Engine::open().await?, &sandbox).await
    }

    async fn stop_sandbox(pod: PodKey, id: String) -> Result<()> {
        sandbox::stop(&Engine::open().await?, &pod, &id).await
    }

    async fn remove_sandbox(pod: PodKey, id: String, last: bool) -> Result<()> {
        sandbox::remove(&Engine::open().await?, &pod, &id, last).await
    }

    async fn image_status(image: String) -> Result<Option<Image>> {
        images::status(&Engine::open().await?, &image).await
    }

    async fn pull_image(pod: PodKey, image: String, credentials: Vec<Credential>) -> Result<Image> {
        images::pull(&Engine::open().await?, &pod, &image, &credentials).await
    }

    async fn list_images() -> Result<Vec<Image>> {
        images::list(&Engine::open().await?).await
    }

    async fn remove_image(id: String) -> Result<()> {
        images::remove(&Engine::open().await?, &id).await
    }

    async fn create_container(pod: SandboxConfig, sandbox: String, container: ContainerConfig) -> Result<String> {
        containers::create(&Engine::open().await?, &pod, &sandbox, &container).await
    }

    async fn start_container(pod: PodKey, id: String) -> Result<()> {
        containers::start(&Engine::open().await?, &pod, bare_id(&id)).await
    }

    async fn stop_container(pod: PodKey, id: String, grace: Duration) -> Result<()> {
        containers::stop(&Engine::open().await?, &pod, bare_id(&id), grace).await
    }

    async fn remove_container(pod: PodKey, id: String) -> Result<()> {
        containers::remove(&Engine::open().await?, &pod, bare_id(&id)).await
    }

    async fn update_container(pod: PodKey, id: String, resources: Resources) -> Result<()> {
        containers::update(&Engine::open().await?, &pod, bare_id(&id), &resources).await
    }

    async fn termination_message(pod: PodKey, id: String, _path: String, max: u32) -> Result<Option<Vec<u8>>> {
        containers::termination_message(&Engine::open().await?, &pod, bare_id(&id), max).await
    }

    async fn list(_cursor: Option<String>) -> Result<Snapshot> {
        let pods = list::list(&Engine::open().await?).await?;
        Ok(Snapshot { pods, next: None, complete: true })
    }

    async fn refresh(pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        list::refresh(&Engine::open().await?, &pods).await
    }
}

impl Watch for Hyper {
    async fn open(_pod: Option<PodRef>) -> Result<Output> {
        watch::open(&Engine::open().await?).await
    }

    async fn decode(_pod: Option<PodRef>, pieces: Vec<Vec<u8>>) -> Result<Vec<Change>> {
        let node = vk_provider_sdk::identity::node(&vk_provider_sdk::host::config::node());
        Ok(watch::decode(&node, &pieces))
    }
}

impl Logs for Hyper {
    async fn open(target: Target, options: Options) -> Result<Log> {
        logs::open(&Engine::open().await?, &target, &options).await
    }
}

impl Stats for Hyper {
    async fn read(pods: Vec<PodRef>) -> Result<Summary> {
        stats::read(&Engine::open().await?, &pods).await
    }
}

impl Files for Hyper {
    async fn update(pod: PodRef, volume: String, files: Vec<File>) -> Result<()> {
        files::update(&Engine::open().await?, &pod, &volume, &files).await
    }
}
