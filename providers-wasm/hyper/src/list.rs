//! What the host is told: the state of everything of this node, or of some pods.
//!
//! A list lacks addresses at a Podman, and how a run began and ended: at a Docker all of it, at a Podman parts of a second
//! and whether memory ran out. That is asked for once and kept in the cache.

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use vk_provider_sdk::host::config;
use vk_provider_sdk::types::{PodRef, PodState};
use vk_provider_sdk::{Result, time};

use crate::endpoint::{Dialect, Engine};
use crate::names::{KIND, Kind, Names};
use crate::object::{DockerEntry, Inspected, Object};
use crate::objects::convert;
use crate::state::{self, Context};
use crate::{cloud, refusal, remembered};

/// Containers that are inspected at once.
const AT_ONCE: usize = 16;
/// Containers that one list inspects at most; pods with more are told in part, and the host asks for the rest.
const INSPECTED: usize = 64;
/// How long is remembered what only an inspection tells of a run.
const REMEMBERED: u64 = 6 * 3600 * time::SECOND;
/// From how many pods on a refresh lists all instead of asking for each.
const MANY: usize = 16;

/// The state of everything of this node. To a Podman one request, and a second one if a sandbox started that was not seen
/// before; to a Docker one, and one for each container whose start or end is new.
pub async fn list(engine: &Engine) -> Result<Vec<PodState>> {
    let mut objects = engine.objects(&[]).await?;
    if engine.is_libpod() {
        add_addresses(engine, &mut objects).await?;
    } else if engine.is_cloud() {
        cloud::sandbox::add(engine, &mut objects).await?;
        cloud::leftovers::add(engine, &mut objects).await?;
    }
    let unknown = recall(engine, &mut objects);
    let (now, later) = unknown.split_at(unknown.len().min(INSPECTED));
    inspect(engine, &mut objects, now).await?;
    let left: Vec<_> = later.iter().map(|index| objects[*index].labels.uid().to_owned()).collect();
    let mut pods = pods(engine, &objects);
    for pod in &mut pods {
        pod.partial = left.contains(&pod.key.uid);
    }
    Ok(pods)
}

/// The state of some pods, with all detail.
pub async fn refresh(engine: &Engine, wanted: &[PodRef]) -> Result<Vec<PodState>> {
    if wanted.len() > MANY {
        let mut all = list(engine).await?;
        all.retain(|state| wanted.iter().any(|pod| pod.key.uid == state.key.uid));
        return Ok(all);
    }
    let mut states = Vec::new();
    for objects in join_all(wanted.iter().map(|pod| objects_of(engine, pod))).await {
        states.extend(pods(engine, &objects?));
    }
    Ok(states)
}

/// What there is of a pod, inspected.
async fn objects_of(engine: &Engine, pod: &PodRef) -> Result<Vec<Object>> {
    let names = Names { node: &engine.node, pod: &pod.key };
    if engine.is_cloud() {
        let mut objects = engine.objects_of(&pod.key).await?;
        let all: Vec<_> = (0..objects.len()).collect();
        inspect(engine, &mut objects, &all).await?;
        cloud::sandbox::add_of(engine, &pod.key, &mut objects).await?;
        return Ok(objects);
    }
    let reference = if pod.id.is_empty() { names.sandbox(pod.attempt) } else { pod.id.clone() };
    let Some(sandbox) = engine.sandbox(&pod.key, &reference).await? else {
        // What is left of it; the host has it removed.
        return Ok(engine.inspect_of(&pod.key, &names.files()).await?.iter().map(Inspected::to_object).collect());
    };
    let members = sandbox.containers.into_iter().chain([sandbox.network]);
    let mut objects: Vec<_> = members.map(|member| Object { id: member.id, ..Object::default() }).collect();
    let all: Vec<_> = (0..objects.len()).collect();
    inspect(engine, &mut objects, &all).await?;
    Ok(objects)
}

/// The pods that these objects make up.
pub fn pods(engine: &Engine, objects: &[Object]) -> Vec<PodState> {
    let address = config::node().address;
    state::pods(&Context { node: &engine.node, address: &address, scheme: engine.scheme() }, objects)
}

/// libpod's list has no addresses; Docker's form of it has those of the sandboxes. One that runs keeps its address.
async fn add_addresses(engine: &Engine, objects: &mut [Object]) -> Result<()> {
    let mut unknown = Vec::new();
    for (index, object) in objects.iter_mut().enumerate() {
        let has_own = object.labels.kind() == Some(Kind::Sandbox) && !object.labels.is_host_network();
        if object.status == "running" && has_own {
            match remembered::get(&address_key(object)) {
                Some(ips) => object.ips = ips,
                None => unknown.push(index),
            }
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    let filters = engine.filters(&[(KIND, Kind::Sandbox.as_str())]);
    let request = engine.docker("GET", "/containers/json").query("filters", &filters);
    let answer = refusal::check(engine.fetch(request).await?)?;
    let told = convert(answer.json::<Option<Vec<DockerEntry>>>()?);
    for index in unknown {
        let object = &mut objects[index];
        if let Some(found) = told.iter().find(|own| own.id == object.id) {
            object.ips.clone_from(&found.ips);
            remember_address(object);
        }
    }
    Ok(())
}

fn address_key(object: &Object) -> String {
    format!("address/{}/{}", object.id, object.started.unwrap_or(0) / time::SECOND)
}

/// Keeps the address of a sandbox that runs.
fn remember_address(object: &Object) {
    if !object.ips.is_empty() {
        remembered::put(&address_key(object), &object.ips, REMEMBERED);
    }
}

/// Adds what earlier inspections told, times to the nanosecond among it; returns which objects must be inspected now.
fn recall(engine: &Engine, objects: &mut [Object]) -> Vec<usize> {
    let mut unknown = Vec::new();
    for (index, object) in objects.iter_mut().enumerate() {
        if object.labels.kind() != Some(Kind::Container) || object.status == "created" {
            continue;
        }
        let is_needed = match engine.dialect {
            // Whether it was killed for want of memory.
            Dialect::Libpod { .. } => object.exit_code == Some(137),
            // When it started and how it ended.
            Dialect::Docker { .. } | Dialect::Cloud { .. } => true,
        };
        match remembered::get::<Run>(&run_key(object)) {
            Some(run) => run.add_to(object),
            None if is_needed => unknown.push(index),
            None => {}
        }
    }
    unknown
}

/// What is remembered is of this state: a run that goes on has another key once it has ended.
fn run_key(object: &Object) -> String {
    format!("run/{}/{}", object.status, object.id)
}

/// What only an inspection tells of a run.
#[derive(Serialize, Deserialize)]
struct Run(Option<u64>, Option<u64>, Option<i32>, Option<bool>, String);

impl Run {
    fn of(object: &Object) -> Self {
        Self(object.started, object.finished, object.exit_code, object.oom_killed, object.error.clone())
    }

    fn add_to(self, object: &mut Object) {
        let Self(started, finished, exit_code, oom_killed, error) = self;
        object.started = started.or(object.started);
        object.finished = finished.or(object.finished);
        object.exit_code = exit_code.or(object.exit_code);
        object.oom_killed = oom_killed;
        object.error = error;
    }
}

/// Inspects some of the objects; what is gone by now keeps what was known.
async fn inspect(engine: &Engine, objects: &mut [Object], which: &[usize]) -> Result<()> {
    for some in which.chunks(AT_ONCE) {
        let ids = some.iter().map(|index| objects[*index].id.clone());
        let answers = join_all(ids.map(|id| async move { engine.inspect(&id).await })).await;
        for (index, answer) in some.iter().zip(answers) {
            let Some(found) = answer? else { continue };
            let found = found.to_object();
            remember(&found);
            objects[*index] = found;
        }
    }
    Ok(())
}

/// Keeps what the next list would have to ask for.
pub fn remember(found: &Object) {
    match found.labels.kind() {
        Some(Kind::Sandbox) if found.status == "running" => remember_address(found),
        Some(Kind::Container) if found.started.is_some() => {
            remembered::put(&run_key(found), &Run::of(found), REMEMBERED);
        }
        _ => {}
    }
}
