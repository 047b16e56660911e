//! A provider for container engines: Podman, whatever speaks Docker's API, and the Hyper.sh cloud. The host is the kubelet;
//! this runs sandboxes and containers. README.md tells what it asks an engine for.
//!
//! Nothing is kept in memory: what it must know again stands on the engine's objects ([`names`]), and what can be asked for
//! again in the host's cache.

mod cloud;
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
use vk_provider_sdk::{Containers, Error, Files, Logs, Node, Result, Stats, Watch};

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
        let engine = Engine::ping().await?;
        if engine.is_cloud() { cloud::node::describe(&engine).await } else { node::describe(&engine).await }
    }
}

impl Containers for Hyper {
    async fn run_sandbox(sandbox: SandboxConfig) -> Result<PodState> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::sandbox::run(&engine, &sandbox).await
        } else {
            sandbox::run(&engine, &sandbox).await
        }
    }

    async fn stop_sandbox(pod: PodKey, id: String) -> Result<()> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::sandbox::stop(&engine, &pod, &id).await
        } else {
            sandbox::stop(&engine, &pod, &id).await
        }
    }

    async fn remove_sandbox(pod: PodKey, id: String, last: bool) -> Result<()> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::sandbox::remove(&engine, &pod, &id, last).await
        } else {
            sandbox::remove(&engine, &pod, &id, last).await
        }
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
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::containers::create(&engine, &pod, &container).await
        } else {
            containers::create(&engine, &pod, &sandbox, &container).await
        }
    }

    async fn start_container(pod: PodKey, id: String) -> Result<()> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::containers::start(&engine, &pod, bare_id(&id)).await
        } else {
            containers::start(&engine, &pod, bare_id(&id)).await
        }
    }

    async fn stop_container(pod: PodKey, id: String, grace: Duration) -> Result<()> {
        containers::stop(&Engine::open().await?, &pod, bare_id(&id), grace).await
    }

    async fn remove_container(pod: PodKey, id: String) -> Result<()> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            cloud::containers::remove(&engine, &pod, bare_id(&id)).await
        } else {
            containers::remove(&engine, &pod, bare_id(&id)).await
        }
    }

    async fn update_container(pod: PodKey, id: String, resources: Resources) -> Result<()> {
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            return Err(Error::unsupported("Hyper.sh changes no size of a container"));
        }
        containers::update(&engine, &pod, bare_id(&id), &resources).await
    }

    async fn termination_message(pod: PodKey, id: String, _path: String, max: u32) -> Result<Option<Vec<u8>>> {
        let engine = Engine::open().await?;
        // Nothing is read out of a machine at Hyper.sh.
        if engine.is_cloud() {
            Ok(None)
        } else {
            containers::termination_message(&engine, &pod, bare_id(&id), max).await
        }
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
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            return Err(Error::unsupported("Hyper.sh's events come over a WebSocket, which is not in this version"));
        }
        watch::open(&engine).await
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
        let engine = Engine::open().await?;
        if engine.is_cloud() {
            return Err(Error::unsupported("Hyper.sh replaces no files of a volume that a container has"));
        }
        files::update(&engine, &pod, &volume, &files).await
    }
}
