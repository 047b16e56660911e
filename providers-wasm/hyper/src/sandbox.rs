//! Sandboxes: what a pod's containers share. With libpod a pod, whose infra container holds the network; with Docker a
//! container of the pause image. Beside it the pod has a holder of its files, which outlives the sandbox, and one of its
//! folders in memory, if it has such ([`crate::volumes`]).
//!
//! Order at the start: sandbox, holders, files, start. At the end: containers, sandbox, memory, files: as long as anything is
//! left, the list shows the pod, and the host comes again.

use futures_util::future::join_all;
use serde::Deserialize;
use vk_provider_sdk::archive::{Archive, Owner};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::events::{self, Event};
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::http::Answer;
use vk_provider_sdk::types::{PodRef, PodState, SandboxConfig};
use vk_provider_sdk::{Error, Result, identity, time};

use crate::endpoint::Engine;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::names::{self, Kind, LabelMap, Names};
use crate::objects::{self, Member, Sandbox};
use crate::refusal::{self, Refusal};
use crate::settings::PAUSE_IMAGE;
use crate::{docker, images, libpod, node, remembered, volumes};

/// Makes a pod's sandbox, and starts it.
pub async fn run(engine: &Engine, config: &SandboxConfig) -> Result<PodState> {
    volumes::check(config)?;
    let manifest = Manifest::parse(&config.manifest)?;
    manifest.check()?;
    let names = Names { node: &engine.node, pod: &config.key };
    let present = engine.sandbox(&config.key, &names.sandbox(config.attempt)).await?;
    let status = present.as_ref().map_or("created", |own| own.network.status.as_str());
    let container = network_name(engine, names, config.attempt);
    if present.is_none() {
        let next = engine.inspect_of(&config.key, &network_name(engine, names, config.attempt + 1)).await?;
        if next.is_some() {
            return Err(Error::conflict(format!(
                "attempt {} of the sandbox is over, there is a later one",
                config.attempt
            )));
        }
        create(engine, config, &manifest, names).await?;
    }
    // What has run was filled before. One that has ended is not started again: it would have another address, and the
    // host makes a next attempt.
    if matches!(status, "created" | "configured" | "initialized") {
        hold_files(engine, config, &manifest, names, &container).await?;
        hold_memory(engine, config, names, &container).await?;
        announce(config);
        start(engine, &container).await?;
    }
    let Some(found) = engine.inspect_of(&config.key, &container).await? else {
        return Err(Error::conflict(format!("the sandbox {container} went away while it was made")));
    };
    let sandbox = found.to_object();
    objects::remember(&sandbox);
    if volumes::has_hosts_file(config) {
        write_hosts(engine, config, names, &sandbox.ips).await?;
    }
    let states = if present.is_some_and(|own| !own.containers.is_empty()) {
        let pod = PodRef { key: config.key.clone(), attempt: config.attempt, id: String::new() };
        objects::refresh(engine, &[pod]).await?
    } else {
        objects::pods(engine, &[sandbox])
    };
    states.into_iter().next().ok_or_else(|| Error::internal(format!("the sandbox {container} has lost its labels")))
}

/// The container that has a sandbox's network.
pub fn network_name(engine: &Engine, names: Names<'_>, attempt: u32) -> String {
    if engine.is_libpod() { names.infra(attempt) } else { names.sandbox(attempt) }
}

/// Makes the sandbox.
async fn create(engine: &Engine, config: &SandboxConfig, manifest: &Manifest, names: Names<'_>) -> Result<()> {
    let mut labels = names.labels(Kind::Sandbox, config.attempt);
    if config.host_network {
        names::mark_host_network(&mut labels);
    }
    let name = names.sandbox(config.attempt);
    let limits = if manifest.has_pod_limits() { Some(Limits::of(&config.resources)?) } else { None };
    if engine.is_libpod() {
        let infra = names.infra(config.attempt);
        // With the machine's network goes the machine's name.
        let machine = if config.host_network { Some(node::hostname(engine).await?) } else { None };
        let hostname = machine.as_deref().unwrap_or(&config.hostname);
        let pod = libpod::Pod::new(config, hostname, (name, infra), labels, limits, &engine.settings.pause_image);
        let answer = engine.fetch(engine.api("POST", "/pods/create").json(&pod)?).await?;
        return refusal::check(answer).map(|_| ()).map_err(|refusal| refused(refusal, "the sandbox"));
    }
    if limits.is_some() {
        return Err(Error::invalid("spec.resources: Docker has no limits for a pod as a whole"));
    }
    let image = pause_image(engine);
    let sandbox = docker::Container::sandbox(config, &image, &labels);
    create_docker(engine, &config.key, &name, &sandbox).await
}

fn refused(refusal: Refusal, what: &str) -> Error {
    let taken = refusal.is_taken();
    let error = Error::from(refusal);
    if taken {
        error.while_doing(&format!("the name of {what} is taken by something that is not this pod's"))
    } else {
        error
    }
}

/// Makes a container of the pause image at a Docker; pulls the image if it is missing.
async fn create_docker(engine: &Engine, pod: &PodKey, name: &str, container: &docker::Container<'_>) -> Result<()> {
    for is_pulled in [false, true] {
        let request = engine.api("POST", "/containers/create").query("name", name).json(container)?;
        match refusal::check(engine.fetch(request).await?) {
            Ok(_) => return Ok(()),
            Err(refusal) if refusal.is_image_missing() && !is_pulled => {
                images::pull(engine, pod, &pause_image(engine), &[]).await?;
            }
            Err(refusal) => return Err(refused(refusal, name)),
        }
    }
    Ok(())
}

/// The image of sandboxes and holders at a Docker.
fn pause_image(engine: &Engine) -> String {
    let own = &engine.settings.pause_image;
    if own.is_empty() { PAUSE_IMAGE.to_owned() } else { own.clone() }
}

/// The image that holders are made of: the sandbox's own, which is there. Nothing of it is ever run but its own program.
async fn holder_image(engine: &Engine, sandbox: &str) -> Result<String> {
    if !engine.is_libpod() {
        return Ok(pause_image(engine));
    }
    const KEY: &str = "pause-image";
    if let Some(id) = remembered::get(KEY) {
        return Ok(id);
    }
    let found = engine.inspect(sandbox).await?;
    let id = found.ok_or_else(|| Error::conflict(format!("the sandbox {sandbox} went away while it was made")))?.image;
    remembered::put(KEY, &id, 60 * time::SECOND);
    Ok(id)
}

/// Makes the holder of the pod's files, and fills it.
async fn hold_files(
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
        let image = holder_image(engine, sandbox).await?;
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
        return create_docker(engine, pod, name, &container).await;
    }
    let container = if memory.is_empty() {
        libpod::Container::files(name, image, labels)
    } else {
        libpod::Container::memory(name, image, labels, memory)
    };
    let answer = engine.fetch(engine.api("POST", "/containers/create").json(&container)?).await?;
    refusal::check(answer).map_err(|refusal| refused(refusal, name))?;
    Ok(())
}

/// Puts an archive into the pod's volume.
pub async fn put(engine: &Engine, holder: &str, archive: Vec<u8>) -> Result<()> {
    let request = engine.api("PUT", &format!("/containers/{holder}/archive")).query("path", volumes::ROOT);
    // Owners as they are in the archive. Docker keeps them unless told otherwise, and takes the same parameter for it.
    let request = if engine.is_libpod() { request.query("copyUIDGID", "false") } else { request };
    let answer: Answer = engine.fetch(request.body("application/x-tar", archive)).await?;
    refusal::check(answer)?;
    Ok(())
}

/// Makes the volumes in memory and starts what holds them.
async fn hold_memory(engine: &Engine, config: &SandboxConfig, names: Names<'_>, sandbox: &str) -> Result<()> {
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
        let image = holder_image(engine, sandbox).await?;
        make_holder(engine, &config.key, &name, &labels, &image, &held).await?;
    }
    start(engine, &name).await
}

/// Starts a sandbox or a holder. Running: success.
async fn start(engine: &Engine, container: &str) -> Result<()> {
    let answer = engine.fetch(engine.api("POST", &format!("/containers/{container}/start"))).await?;
    refusal::check(answer)?;
    Ok(())
}

/// Gives the pod its `/etc/hosts`, once its address is known.
async fn write_hosts(engine: &Engine, config: &SandboxConfig, names: Names<'_>, ips: &[String]) -> Result<()> {
    let mut archive = Archive::new(clock::now() / time::SECOND);
    archive.file(volumes::HOSTS, Owner::root(0o644), volumes::hosts_file(config, ips).as_bytes())?;
    put(engine, &names.files(), archive.finish()?).await
}

/// Says what a pod asks for and does not get, where it is not refused for it.
pub fn warn(pod: &PodKey, container: &str, reason: &str, message: String) {
    events::emit(
        Some(pod),
        &Event {
            severity: "Warning".to_owned(),
            reason: reason.to_owned(),
            key: format!("{reason}/{message}"),
            message,
            container: container.to_owned(),
        },
    );
}

fn announce(config: &SandboxConfig) {
    let on_disk = config.volumes.iter().filter(|own| own.kind == "empty-dir" && own.medium.is_empty());
    for volume in on_disk.filter(|own| own.size_limit.is_some()) {
        let message = format!("The sizeLimit of volume {} is not enforced by this engine", volume.name);
        warn(&config.key, "", "SizeLimitNotEnforced", message);
    }
}

/// Stops what runs in a sandbox, its network last.
pub async fn stop(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    let Some(sandbox) = engine.sandbox(pod, id).await? else { return Ok(()) };
    kill(engine, &sandbox.containers).await?;
    kill(engine, &[sandbox.network]).await
}

/// Kills what runs.
async fn kill(engine: &Engine, members: &[Member]) -> Result<()> {
    let calls = members.iter().filter(|own| own.runs()).map(|own| async move {
        let answer = engine.act("POST", &format!("/containers/{}/kill?signal=KILL", own.id)).await?;
        match answer {
            Err(refusal) if !refusal.is_not_running() => Err(Error::from(refusal)),
            _ => Ok(()),
        }
    });
    join_all(calls).await.into_iter().collect()
}

/// Removes a sandbox with its containers; with `last` all that is left of the pod.
pub async fn remove(engine: &Engine, pod: &PodKey, id: &str, last: bool) -> Result<()> {
    if !id.is_empty() {
        if let Some(sandbox) = engine.sandbox(pod, id).await? {
            remove_sandbox(engine, &sandbox).await?;
        }
    } else if last {
        remove_strays(engine, pod).await?;
    }
    if last { remove_holders(engine, pod).await } else { Ok(()) }
}

async fn remove_sandbox(engine: &Engine, sandbox: &Sandbox) -> Result<()> {
    if engine.is_libpod() {
        engine.act("DELETE", &format!("/pods/{}?force=true&timeout=0", sandbox.id)).await??;
        return Ok(());
    }
    for container in &sandbox.containers {
        remove_container(engine, &container.id).await?;
    }
    remove_container(engine, &sandbox.id).await
}

/// Removes sandboxes and containers of a pod that nobody named.
async fn remove_strays(engine: &Engine, pod: &PodKey) -> Result<()> {
    let mut objects = engine.objects_of(pod).await?;
    // Those without a sandbox first: it goes last.
    objects.sort_by_key(|own| own.labels.kind() == Some(Kind::Sandbox));
    for own in objects.iter().filter(|own| matches!(own.labels.kind(), Some(Kind::Sandbox | Kind::Container))) {
        if own.pod.is_empty() {
            remove_container(engine, &own.id).await?;
        } else {
            engine.act("DELETE", &format!("/pods/{}?force=true&timeout=0", own.pod)).await??;
        }
    }
    Ok(())
}

/// Removes the pod's volumes with what holds them; the files holder goes last, since it shows that something is left.
async fn remove_holders(engine: &Engine, pod: &PodKey) -> Result<()> {
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

/// Removes a container with its anonymous volumes, also if it runs.
pub async fn remove_container(engine: &Engine, id: &str) -> Result<()> {
    let parameters = if engine.is_libpod() { "force=true&timeout=0&volumes=true" } else { "force=true&v=true" };
    engine.act("DELETE", &format!("/containers/{id}?{parameters}")).await??;
    Ok(())
}
