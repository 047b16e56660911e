//! Containers at Hyper.sh: made with a size and volumes, given the pod's floating IP, started once, stopped, removed.

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};
use vk_provider_sdk::{Error, Result};

use super::create::{Asked, Bind, Container};
use super::{addresses, annotations, ended, record, refused, sizes, volumes};
use crate::containers::{not_made, not_started, require};
use crate::endpoint::{Engine, bare_id};
use crate::images;
use crate::manifest::Manifest;
use crate::names::{self, ContainerLabels, Kind, Names};
use crate::object::{Inspected, Object};
use crate::refusal::{self, Refusal};
use crate::request::Wanted;
use crate::sandbox::remove_container;
use crate::warnings;

/// Makes a container; returns its id.
pub async fn create(engine: &Engine, pod: &SandboxConfig, container: &ContainerConfig) -> Result<String> {
    let manifest = Manifest::parse(&pod.manifest)?;
    manifest.check()?;
    let path = manifest.path(&container.name);
    let names = Names { node: &engine.node, pod: &pod.key };
    let mut wanted = Wanted::of(pod, container, &path)?;
    let image_user = if wanted.user.is_empty() {
        String::new()
    } else {
        images::status(engine, &wanted.image).await?.map(|image| image.user).unwrap_or_default()
    };
    refused::container(container, &wanted, &path, &image_user)?;
    wanted.name = names.container(pod.attempt, &container.name, container.attempt);
    let size = match annotations::size(pod)? {
        Some(size) => size,
        None => sizes::of(&container.resources, engine.settings.size.unwrap_or(sizes::DEFAULT))
            .map_err(|error| error.while_doing(&format!("{path}.resources")))?,
    };
    let binds = binds(pod, container, names, &path)?;
    let Some(sandbox) = record::get(&pod.key).await?.filter(|own| own.attempt == pod.attempt) else {
        return Err(Error::not_found("the sandbox is gone: nothing is remembered of it"));
    };
    let image_id = images::reference(engine, &container.image, &container.image_id).await?;
    wanted.labels = names.labels(Kind::Container, pod.attempt);
    ContainerLabels {
        name: &container.name,
        attempt: container.attempt,
        image: &container.image,
        image_id: &image_id,
        stop_signal: &container.stop_signal,
    }
    .add_to(&mut wanted.labels);
    // Only where the pod's own containers are: an init container serves nobody, and two can't have one address.
    if container.role == "app" && !sandbox.address.is_empty() {
        wanted.labels.insert(names::ADDRESS, sandbox.address);
    }
    let security_groups = annotations::security_groups(pod)?;
    let asked = Asked {
        size,
        hostname: &pod.hostname,
        ports: &container.ports,
        binds: &binds,
        security_groups: &security_groups,
    };
    let body = serde_json::to_vec(&Container::new(&wanted, &asked, &path)?)?;
    let hash = names::mark_asked(&mut wanted.labels, &body);
    let body = serde_json::to_vec(&Container::new(&wanted, &asked, &path)?)?;
    if !binds.is_empty() {
        free(engine, names, &wanted.name, &binds).await?;
    }
    let id = match make(engine, &wanted.name, body).await? {
        Ok(id) => id,
        Err(refusal) if refusal.is_taken() => return present(engine, &pod.key, &wanted.name, &hash).await,
        Err(refusal) if refusal.is_image_missing() => return Err(not_made(refusal, container)),
        Err(refusal) => return Err(refused::limit(refusal, "a container")),
    };
    let found = engine.inspect(&id).await?;
    if found.is_some_and(|found| found.labels().size != size) {
        remove_container(engine, &id).await?;
        return Err(Error::invalid(format!("{path}.resources: Hyper.sh made the container without the size {size}")));
    }
    warnings::of_container(&pod.key, container);
    Ok(engine.shown_id(&id))
}

/// The volumes that a container mounts.
fn binds(pod: &SandboxConfig, container: &ContainerConfig, names: Names<'_>, path: &str) -> Result<Vec<Bind>> {
    let mut binds = Vec::new();
    for mount in &container.mounts {
        let refuse = |field: &str| {
            let message = format!("{path}.volumeMounts[{}].{field} can't be had at Hyper.sh", mount.path);
            Err(Error::invalid(message))
        };
        if !mount.sub_path.is_empty() {
            return refuse("subPath");
        }
        if !matches!(mount.propagation.as_str(), "" | "None") {
            return refuse("mountPropagation");
        }
        let is_files = pod.volumes.iter().any(|volume| volume.name == mount.volume && volume.kind == "files");
        binds.push(Bind {
            volume: volumes::name(pod, names, &mount.volume),
            path: mount.path.clone(),
            read_only: mount.read_only || is_files,
        });
    }
    Ok(binds)
}

async fn make(engine: &Engine, name: &str, body: Vec<u8>) -> Result<Result<String, Refusal>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Made {
        id: String,
    }
    let request = engine.api("POST", "/containers/create").query("name", name).body("application/json", body);
    Ok(match refusal::check(engine.fetch(request).await?) {
        Ok(answer) => Ok(answer.json::<Made>()?.id),
        Err(refusal) => Err(refusal),
    })
}

/// The container that has the name already: ours from a call before, or one that was asked for otherwise.
async fn present(engine: &Engine, pod: &PodKey, name: &str, hash: &str) -> Result<String> {
    let Some(found) = engine.inspect_of(pod, name).await? else {
        return Err(Error::conflict(format!("the name {name} is taken by something that is not this pod's")));
    };
    if found.labels().asked == hash || found.status() != "created" {
        return Ok(engine.shown_id(&found.id));
    }
    remove_container(engine, &found.id).await?;
    Err(Error::conflict(format!("the container {name} was made with other wishes, and never started: it was removed")))
}

/// Has containers of the pod that have ended give up these volumes: they are remembered and removed.
async fn free(engine: &Engine, names: Names<'_>, but: &str, binds: &[Bind]) -> Result<()> {
    let members = engine.objects_of(names.pod).await?;
    let is_other = |own: &&Object| own.labels.kind() == Some(Kind::Container) && own.name != but;
    for member in members.iter().filter(is_other).filter(|own| own.status == "exited") {
        let Some(found) = engine.inspect(&member.id).await? else { continue };
        let has = |bind: &Bind| found.mounts.iter().any(|mount| mount.name == bind.volume);
        if binds.iter().any(has) {
            ended::put(names.pod, &found.to_object()).await?;
            remove_container(engine, &found.id).await?;
        }
    }
    Ok(())
}

/// Starts a container that was never started, with the pod's floating IP if that is its.
pub async fn start(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    let found = require(engine, pod, id).await?;
    if found.status() != "created" {
        return Ok(());
    }
    let address = &found.labels().address;
    if !address.is_empty() {
        addresses::attach(engine, address, &found.id, name_of(&found)).await?;
    }
    let request = engine.api("POST", &format!("/containers/{}/start", found.id));
    refusal::check(engine.fetch(request).await?).map(|_| ()).map_err(not_started)
}

fn name_of(found: &Inspected) -> &str {
    found.name.trim_start_matches('/')
}

/// Removes a container, or what is remembered of one that gave up its volumes.
pub async fn remove(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    ended::delete(pod, bare_id(id)).await?;
    match engine.inspect_of(pod, id).await? {
        Some(found) => remove_container(engine, &found.id).await,
        None => Ok(()),
    }
}
