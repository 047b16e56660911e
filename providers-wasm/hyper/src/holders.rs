//! The holders of a pod's volumes ([`crate::volumes`]): a container that is never started has the files, and one that runs
//! has the folders in memory, if the pod has such. Both outlive the sandbox.

use serde::Deserialize;
use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::SandboxConfig;
use vk_provider_sdk::{Result, identity, time};

use crate::endpoint::Engine;
use crate::manifest::Manifest;
use crate::names::{self, Kind, LabelMap, Names};
use crate::sandbox::remove_container;
use crate::{docker, libpod, pause, refusal, volumes};

/// Makes the holder of the pod's files, and fills it.
pub async fn fill(
    engine: &Engine,
    config: &SandboxConfig,
    manifest: &Manifest,
    names: Names<'_>,
    sandbox: &str,
) -> Result<()> {
    let name = names.files();
    if engine.inspect_of(&config.key, &name).await?.is_none() {
        let mut labels = names.labels(Kind::Files, config.attempt);
        names::mark_files(&mut labels, volumes::in_memory(config).next().is_some(), config.fs_group);
        let image = pause::of_sandbox(engine, sandbox).await?;
        make_holder(engine, &config.key, &name, &labels, &image, &[]).await?;
    }
    let mut contents = Vec::new();
    for volume in config.volumes.iter().filter(|volume| volume.kind == "files") {
        contents.push((volume.name.as_str(), volumes::load(&volume.files, config.fs_group).await?));
    }
    let archive = volumes::fill(config, manifest, &contents, clock::now() / time::SECOND)?;
    put(engine, &name, archive).await
}

/// Makes a holder: of files, or of these volumes in memory.
async fn make_holder(
    engine: &Engine,
    pod: &PodKey,
    name: &str,
    labels: &LabelMap,
    image: &str,
    memory: &[(String, String)],
) -> Result<()> {
    if !engine.is_libpod() {
        let container = if memory.is_empty() {
            docker::Container::files(image, labels)
        } else {
            docker::Container::memory(image, labels, memory)
        };
        return pause::create(engine, pod, name, &container).await;
    }
    let container = if memory.is_empty() {
        libpod::Container::files(name, image, labels)
    } else {
        libpod::Container::memory(name, image, labels, memory)
    };
    let answer = engine.fetch(engine.api("POST", "/containers/create").json(&container)?).await?;
    refusal::check(answer).map_err(|refusal| pause::refused(refusal, name))?;
    Ok(())
}

/// Puts an archive into the pod's volume.
pub async fn put(engine: &Engine, holder: &str, archive: Vec<u8>) -> Result<()> {
    let request = engine.api("PUT", &format!("/containers/{holder}/archive")).query("path", volumes::ROOT);
    // Owners as they are in the archive. Docker keeps them unless told otherwise, and takes the same parameter for it.
    let request = if engine.is_libpod() { request.query("copyUIDGID", "false") } else { request };
    let answer = engine.fetch(request.body("application/x-tar", archive)).await?;
    refusal::check(answer)?;
    Ok(())
}

/// Makes the volumes in memory and starts what holds them.
pub async fn hold_memory(engine: &Engine, config: &SandboxConfig, names: Names<'_>, sandbox: &str) -> Result<()> {
    let mut held = Vec::new();
    let labels = names.labels(Kind::Memory, config.attempt);
    for volume in volumes::in_memory(config) {
        let name = names.memory_volume(&volume.name);
        let options = volumes::tmpfs_options(volume, config.fs_group);
        let body = libpod::MemoryVolume::new(&name, &labels, options);
        match refusal::check(engine.fetch(engine.api("POST", "/volumes/create").json(&body)?).await?) {
            Err(refusal) if !refusal.is_taken() => return Err(refusal.into()),
            _ => held.push((name, format!("/{}", volume.name))),
        }
    }
    if held.is_empty() {
        return Ok(());
    }
    let name = names.memory();
    if engine.inspect_of(&config.key, &name).await?.is_none() {
        let image = pause::of_sandbox(engine, sandbox).await?;
        make_holder(engine, &config.key, &name, &labels, &image, &held).await?;
    }
    pause::start(engine, &name).await
}

/// Removes the pod's volumes with what holds them; the files holder goes last, since it shows that something is left.
pub async fn remove(engine: &Engine, pod: &PodKey) -> Result<()> {
    let names = Names { node: &engine.node, pod };
    let Some(files) = engine.inspect_of(pod, &names.files()).await? else { return Ok(()) };
    if files.labels().has_memory() {
        if let Some(memory) = engine.inspect_of(pod, &names.memory()).await? {
            remove_container(engine, &memory.id).await?;
        }
        remove_volumes(engine, pod).await?;
    }
    remove_container(engine, &files.id).await
}

/// Removes the pod's volumes in memory.
async fn remove_volumes(engine: &Engine, pod: &PodKey) -> Result<()> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Volume {
        name: String,
    }
    /// Docker answers with an object, libpod with a list.
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Volumes {
        List(Vec<Volume>),
        #[serde(rename_all = "PascalCase")]
        Object {
            volumes: Option<Vec<Volume>>,
        },
    }
    let path = if engine.is_libpod() { "/volumes/json" } else { "/volumes" };
    let filters = engine.filters(&[(identity::POD_UID, &pod.uid)]);
    let answer = engine.fetch(engine.api("GET", path).query("filters", &filters)).await?;
    let volumes = match refusal::check(answer)?.json()? {
        Some(Volumes::List(volumes)) => volumes,
        Some(Volumes::Object { volumes }) => volumes.unwrap_or_default(),
        None => Vec::new(),
    };
    for volume in volumes {
        engine.act("DELETE", &format!("/volumes/{}", volume.name)).await??;
    }
    Ok(())
}
