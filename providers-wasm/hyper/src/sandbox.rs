//! Sandboxes: what a pod's containers share. With libpod a pod, whose infra container holds the network; with Docker a
//! container of the pause image. Beside it the pod has a holder of its files, which outlives the sandbox, and one of its
//! folders in memory, if it has such ([`crate::volumes`]).
//!
//! Order at the start: sandbox, holders, files, start. At the end: containers, sandbox, memory, files: as long as anything is
//! left, the list shows the pod, and the host comes again.

use futures_util::future::join_all;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{PodRef, PodState, SandboxConfig};
use vk_provider_sdk::{Error, Result};

use crate::endpoint::Engine;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::names::{self, Kind, Names};
use crate::objects::{Member, Sandbox};
use crate::{docker, holders, hosts, libpod, list, node, pause, refusal, volumes, warnings};

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
        let next =
            engine.inspect_of(&config.key, &network_name(engine, names, config.attempt.saturating_add(1))).await?;
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
        holders::fill(engine, config, &manifest, names, &container).await?;
        holders::hold_memory(engine, config, names, &container).await?;
        warnings::of_volumes(config);
        pause::start(engine, &container).await?;
    }
    let Some(found) = engine.inspect_of(&config.key, &container).await? else {
        return Err(Error::conflict(format!("the sandbox {container} went away while it was made")));
    };
    let sandbox = found.to_object();
    list::remember(&sandbox);
    if hosts::has_hosts_file(config) {
        hosts::write(engine, config, names, &sandbox.ips).await?;
    }
    let states = if present.is_some_and(|own| !own.containers.is_empty()) {
        let pod = PodRef { key: config.key.clone(), attempt: config.attempt, id: String::new() };
        list::refresh(engine, &[pod]).await?
    } else {
        list::pods(engine, &[sandbox])
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
        return refusal::check(answer).map(|_| ()).map_err(|refusal| pause::refused(refusal, "the sandbox"));
    }
    if limits.is_some() {
        return Err(Error::invalid("spec.resources: Docker has no limits for a pod as a whole"));
    }
    let image = pause::image(engine);
    let sandbox = docker::Container::sandbox(config, &image, &labels);
    pause::create(engine, &config.key, &name, &sandbox).await
}

/// Stops what runs in a sandbox, its network last.
pub async fn stop(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    let Some(sandbox) = engine.sandbox(pod, id).await? else { return Ok(()) };
    kill(engine, &sandbox.containers).await?;
    kill(engine, &[sandbox.network]).await
}

/// Kills what runs.
pub async fn kill(engine: &Engine, members: &[Member]) -> Result<()> {
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
    if last { holders::remove(engine, pod).await } else { Ok(()) }
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

/// Removes a container with its anonymous volumes, also if it runs.
pub async fn remove_container(engine: &Engine, id: &str) -> Result<()> {
    let parameters = if engine.is_libpod() {
        "force=true&timeout=0&volumes=true"
    } else if engine.is_cloud() {
        "force=1&v=1"
    } else {
        "force=true&v=true"
    };
    engine.act("DELETE", &format!("/containers/{id}?{parameters}")).await??;
    Ok(())
}
