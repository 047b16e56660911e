//! Containers: made, read back, started once, stopped, removed.

use vk_provider_sdk::archive::{self, Archive, Owner};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerConfig, Resources, SandboxConfig};
use vk_provider_sdk::{Error, Result, code, time};

use crate::endpoint::Engine;
use crate::holders::put;
use crate::limits::Limits;
use crate::manifest::Manifest;
use crate::mounts::{self, Planned};
use crate::names::{self, ContainerLabels, Kind, Names};
use crate::object::Inspected;
use crate::objects::Member;
use crate::refusal::{self, Refusal};
use crate::request::Wanted;
use crate::sandbox::{network_name, remove_container};
use crate::{docker, images, libpod, node, readback, remembered, volumes, warnings};

/// Why a container can't be run as it is asked for: the kubelet's word.
const START_ERROR: &str = "StartError";

/// How long after its grace period is remembered that a container was sent its stop signal.
const SIGNALLED: u64 = 600 * time::SECOND;
/// Bytes of a termination message file that is still read.
const MAX_MESSAGE_FILE: u64 = 4 << 20;

/// Makes a container and reads back what the engine made of it; returns its id.
pub async fn create(
    engine: &Engine,
    pod: &SandboxConfig,
    sandbox: &str,
    container: &ContainerConfig,
) -> Result<String> {
    let manifest = Manifest::parse(&pod.manifest)?;
    // An ephemeral container was not there when the sandbox was made.
    manifest.check()?;
    let names = Names { node: &engine.node, pod: &pod.key };
    let path = manifest.path(&container.name);
    let mut wanted = Wanted::of(pod, container, &path)?;
    wanted.selinux = manifest.selinux(&container.name);
    if !matches!(container.security.app_armor.as_str(), "" | "Unconfined") && !node::has_app_armor(engine).await? {
        let message =
            format!("{path}.securityContext.appArmorProfile: AppArmor is not enabled on the engine's machine");
        return Err(Error::invalid(message));
    }
    wanted.name = names.container(pod.attempt, &container.name, container.attempt);
    sandbox.clone_into(&mut wanted.sandbox);
    let volume = volume_path(engine, names).await?;
    wanted.mounts = mounts::plan(pod, container, &manifest, &volume, |volume| names.memory_volume(volume))?;
    if container.role == "ephemeral" {
        wanted.target = target(engine, &pod.key, sandbox, manifest.target(&container.name)).await?;
    }
    if !engine.is_libpod() && wanted.user.starts_with(':') {
        wanted.user = images::user(engine, &wanted.image).await? + &wanted.user;
    }
    prepare(engine, pod, container, names, &wanted.mounts).await?;
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
    let id = match make(engine, &mut wanted).await? {
        Ok(id) => id,
        Err(refusal) if refusal.is_taken() => return present(engine, pod, &wanted).await,
        Err(refusal) => return Err(not_made(refusal, container)),
    };
    read_back(engine, &wanted, &id, &path).await?;
    warnings::of_container(&pod.key, container);
    Ok(engine.shown_id(&id))
}

/// Asks for the container; returns its bare id.
async fn make(engine: &Engine, wanted: &mut Wanted) -> Result<Result<String, Refusal>> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Made {
        id: String,
    }
    let body = specification(engine, wanted)?;
    names::mark_asked(&mut wanted.labels, &body);
    let body = specification(engine, wanted)?;
    let request = engine.api("POST", "/containers/create").body("application/json", body);
    let request = if engine.is_libpod() { request } else { request.query("name", &wanted.name) };
    match refusal::check(engine.fetch(request).await?) {
        Ok(answer) => Ok(Ok(answer.json::<Made>()?.id)),
        Err(refusal) => Ok(Err(refusal)),
    }
}

fn specification(engine: &Engine, wanted: &Wanted) -> Result<Vec<u8>> {
    Ok(if engine.is_libpod() {
        serde_json::to_vec(&libpod::Container::new(wanted)?)?
    } else {
        serde_json::to_vec(&docker::Container::new(wanted)?)?
    })
}

/// What a refusal to make a container means.
pub fn not_made(refusal: Refusal, container: &ContainerConfig) -> Error {
    if refusal.is_image_missing() {
        let message = format!("the image {} ({}) is not at the engine", container.image, container.image_id);
        return Error::conflict(message).with_reason("ImageNotFound");
    }
    if refusal.says(&["no such pod", "no such container", "no container with name"]) {
        return Error::not_found(format!("the sandbox is gone: {}", refusal.message));
    }
    Error::from(refusal)
}

/// The container that has the name already: ours from a call before, or one that a crash left half-made.
async fn present(engine: &Engine, pod: &SandboxConfig, wanted: &Wanted) -> Result<String> {
    let Some(found) = engine.inspect_of(&pod.key, &wanted.name).await? else {
        return Err(Error::conflict(format!("the name {} is taken by something that is not this pod's", wanted.name)));
    };
    let is_same = wanted.labels.get(names::ASKED).is_some_and(|asked| *asked == found.labels().asked);
    if is_same || found.status() != "created" {
        return Ok(engine.shown_id(&found.id));
    }
    remove_container(engine, &found.id).await?;
    Err(Error::conflict(format!(
        "the container {} was made with other wishes, and never started: it was removed",
        wanted.name
    )))
}

/// Refuses a container that the engine made otherwise than it was asked, and removes it.
async fn read_back(engine: &Engine, wanted: &Wanted, id: &str, path: &str) -> Result<()> {
    let found = engine.inspect(id).await?;
    let Some(found) = found else {
        return Err(Error::conflict(format!("the container {} went away while it was made", wanted.name)));
    };
    if let Some(field) = readback::missing(wanted, &found, engine.is_libpod()) {
        remove_container(engine, id).await?;
        return Err(Error::invalid(format!("{path}.{field}: the engine made the container without it")));
    }
    Ok(())
}

/// Where the pod's volume is on the engine's machine.
async fn volume_path(engine: &Engine, names: Names<'_>) -> Result<String> {
    let key = format!("volume/{}", names.pod.uid);
    if let Some(path) = remembered::get(&key) {
        return Ok(path);
    }
    let found = engine.inspect_of(names.pod, &names.files()).await?;
    let mount = found.iter().flat_map(|found| &found.mounts).find(|mount| mount.destination == volumes::ROOT);
    let Some(mount) = mount else {
        return Err(Error::not_found("the sandbox is gone: there is no volume of the pod"));
    };
    remembered::put(&key, &mount.source, 60 * time::SECOND);
    Ok(mount.source.clone())
}

/// Makes what the container mounts and is not there yet: folders, and the message file of an attempt that was not known
/// when the volume was filled.
async fn prepare(
    engine: &Engine,
    pod: &SandboxConfig,
    container: &ContainerConfig,
    names: Names<'_>,
    mounts: &[Planned],
) -> Result<()> {
    let is_new = container.attempt > 0 || container.role == "ephemeral";
    let mut folders = Vec::new();
    for folder in mounts.iter().filter_map(|own| own.make.as_deref()) {
        // One that is there keeps the owner and mode that containers gave it.
        if !is_there(engine, &names.files(), folder).await? {
            folders.push(folder);
        }
    }
    if folders.is_empty() && !is_new {
        return Ok(());
    }
    let mut archive = Archive::new(clock::now() / time::SECOND);
    for folder in folders {
        volumes::make_folder(&mut archive, folder, pod.fs_group)?;
    }
    if is_new {
        let file = volumes::termination_file(&container.name, container.attempt);
        archive.file(&file, Owner::root(0o666), &[])?;
    }
    put(engine, &names.files(), archive.finish()?).await
}

/// Whether there is something at this path of the pod's volume.
async fn is_there(engine: &Engine, holder: &str, path: &str) -> Result<bool> {
    let request = engine
        .api("HEAD", &format!("/containers/{holder}/archive"))
        .query("path", &format!("{}/{path}", volumes::ROOT));
    Ok(engine.fetch(request).await?.status == 200)
}

/// The running container whose processes an ephemeral one sees.
async fn target(engine: &Engine, pod: &PodKey, sandbox: &str, name: &str) -> Result<String> {
    if name.is_empty() {
        return Ok(String::new());
    }
    let members = engine.sandbox(pod, sandbox).await?.map(|own| own.containers).unwrap_or_default();
    for member in members.into_iter().filter(Member::runs) {
        let found = engine.inspect(&member.id).await?;
        if found.is_some_and(|found| found.labels().container == name) {
            return Ok(member.id);
        }
    }
    Err(Error::unavailable(format!("the target container {name} does not run")))
}

/// Starts a container that was never started.
pub async fn start(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    let found = require(engine, pod, id).await?;
    if !matches!(found.status(), "created" | "configured" | "initialized") {
        return Ok(());
    }
    // Starting a container starts its sandbox again if that has ended, with another address: never.
    let sandbox = network_name(engine, Names { node: &engine.node, pod }, found.labels().sandbox_attempt());
    let running = engine.inspect_of(pod, &sandbox).await?.is_some_and(|sandbox| sandbox.status() == "running");
    if !running {
        return Err(Error::conflict("the sandbox does not run"));
    }
    let request = engine.api("POST", &format!("/containers/{}/start", found.id));
    refusal::check(engine.fetch(request).await?).map(|_| ()).map_err(not_started)
}

/// What a refusal to start a container means.
pub fn not_started(refusal: Refusal) -> Error {
    let is_the_pods_fault = refusal.says(&[
        "executable file not found",
        "no such file or directory",
        "command that was not found",
        "permission denied",
        "workdir ",
        "no matching entries in passwd file",
        "no matching entries in group file",
        "unable to find user",
        "unable to find group",
        "is a directory",
        "exec format error",
        "oci runtime error",
        "oci runtime create failed",
    ]);
    if is_the_pods_fault { Error::invalid(refusal.message).with_reason(START_ERROR) } else { Error::from(refusal) }
}

/// A container of this pod.
pub async fn require(engine: &Engine, pod: &PodKey, id: &str) -> Result<Inspected> {
    let found = engine.inspect_of(pod, id).await?;
    found.ok_or_else(|| Error::not_found(format!("there is no container {id} of pod {}/{}", pod.namespace, pod.name)))
}

/// Sends the stop signal once, however often it is called, or kills. Many programs take a second signal for impatience.
pub async fn stop(engine: &Engine, pod: &PodKey, id: &str, grace: u64) -> Result<()> {
    let key = format!("signalled/{id}");
    if grace > 0 && remembered::get::<bool>(&key).is_some() {
        return Ok(());
    }
    let Some(found) = engine.inspect_of(pod, id).await? else { return Ok(()) };
    if !matches!(found.status(), "running" | "paused" | "stopping") {
        return Ok(());
    }
    if found.status() == "paused" {
        // Signals reach nobody there.
        engine.act("POST", &format!("/containers/{}/unpause", found.id)).await??;
    }
    let labels = found.labels();
    // `stop` would refuse to run anything in the container from then on, and a preStop hook may be running.
    let signal = if grace == 0 {
        "KILL".to_owned()
    } else if labels.stop_signal.is_empty() {
        found.config.stop_signal.to_text()
    } else {
        labels.stop_signal.clone()
    };
    let request = engine.api("POST", &format!("/containers/{}/kill", found.id)).query("signal", &signal);
    match refusal::check_gone(engine.fetch(request).await?) {
        Err(refusal) if !refusal.is_not_running() => return Err(refusal.into()),
        _ => {}
    }
    remembered::put(&key, &true, grace.saturating_add(SIGNALLED));
    Ok(())
}

/// Removes a container.
pub async fn remove(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    match engine.inspect_of(pod, id).await? {
        Some(found) => remove_container(engine, &found.id).await,
        None => Ok(()),
    }
}

/// Changes what a container's control group gets.
pub async fn update(engine: &Engine, pod: &PodKey, id: &str, resources: &Resources) -> Result<()> {
    let limits = Limits::of(resources)?;
    let found = require(engine, pod, id).await?;
    let request = engine.api("POST", &format!("/containers/{}/update", found.id));
    let request = if engine.is_libpod() {
        request.json(&libpod::ResourceLimits::from(limits))?
    } else {
        request.json(&docker::Resources::from(limits))?
    };
    refusal::check(engine.fetch(request).await?)?;
    Ok(())
}

/// The last bytes of what a container wrote to its termination message file.
pub async fn termination_message(engine: &Engine, pod: &PodKey, id: &str, max: u32) -> Result<Option<Vec<u8>>> {
    let found = require(engine, pod, id).await?;
    let labels = found.labels();
    let names = Names { node: &engine.node, pod };
    let file = volumes::termination_file(&labels.container, labels.attempt());
    let request = engine
        .api("GET", &format!("/containers/{}/archive", names.files()))
        .query("path", &format!("{}/{file}", volumes::ROOT))
        .max(MAX_MESSAGE_FILE);
    let answer = match engine.fetch(request).await.map(refusal::check) {
        Ok(Ok(answer)) => answer,
        Ok(Err(refusal)) if refusal.is_missing() => return Ok(None),
        Ok(Err(refusal)) => return Err(refusal.into()),
        // Nobody reads so long a message.
        Err(error) if error.is(code::LIMIT) => return Ok(None),
        Err(error) => return Err(error),
    };
    let content = archive::first_file(&answer.body)?;
    Ok(content.map(|mut content| content.split_off(content.len().saturating_sub(max as usize))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::http::Answer;

    fn refusal(cause: &str, message: &str) -> Refusal {
        let body = serde_json::json!({ "cause": cause, "message": message }).to_string();
        Refusal::of(&Answer { status: 500, headers: Vec::new(), body: body.into() })
    }

    #[test]
    fn a_command_that_can_not_be_run_is_the_pods_fault() {
        for (cause, message) in [
            (
                "OCI runtime attempted to invoke a command that was not found",
                "runc: runc create failed: unable to start container process: exec: \"/nope\": stat /nope: no such file or directory",
            ),
            ("OCI permission denied", "runc: exec: \"/noexec\": permission denied"),
            ("workdir \"/x\" does not exist on container 12", "workdir \"/x\" does not exist on container 12"),
            ("no matching entries in passwd file", "unable to find user nosuch: no matching entries in passwd file"),
            ("OCI runtime error", "runc: unable to set memory limit to 1000"),
        ] {
            let error = not_started(refusal(cause, message));
            assert!(error.is("invalid"), "{cause}");
            assert_eq!((error.reason.as_str(), error.message.as_str()), (START_ERROR, message));
        }
    }

    #[test]
    fn an_engine_in_trouble_is_tried_again() {
        for message in ["write: no space left on device", "timed out waiting for file"] {
            let error = not_started(refusal("", message));
            assert!(!error.is("invalid") && error.reason.is_empty(), "{error:?}");
        }
    }

    #[test]
    fn what_is_gone_is_told_apart() {
        let own = ContainerConfig { image: "busybox:latest".into(), ..ContainerConfig::default() };
        let image = not_made(refusal("image not known", "8bc5: image not known"), &own);
        assert!(image.is("conflict") && image.reason == "ImageNotFound" && image.message.contains("busybox:latest"));
        assert!(not_made(refusal("no such pod", "no pod with name or ID x found"), &own).is("not-found"));
        assert!(not_made(refusal("", "duplicate mount destination"), &own).is("invalid"));
    }
}
