//! Sandboxes, where the backend has none: an entry in the store, the pod's floating IP and its volumes. What the list tells
//! of them is made here, from the entries and from the labels of containers whose entry was lost.

use std::collections::BTreeSet;

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{PodRef, PodState, SandboxConfig};
use vk_provider_sdk::{Error, Result};

use super::record::{self, Record, Stage};
use super::{addresses, annotations, ended, refused, volumes};
use crate::endpoint::Engine;
use crate::list;
use crate::manifest::Manifest;
use crate::names::{Kind, Labels, Names};
use crate::object::Object;
use crate::objects::Member;
use crate::sandbox::{kill, remove_container};

/// Makes a pod's sandbox: address and volumes.
pub async fn run(engine: &Engine, config: &SandboxConfig) -> Result<PodState> {
    let manifest = Manifest::parse(&config.manifest)?;
    manifest.check()?;
    refused::pod(config, &manifest)?;
    volumes::check(config)?;
    annotations::size(config)?;
    annotations::security_groups(config)?;
    let wants_address = annotations::wants_address(config, engine.settings.floating_ip)?;
    let names = Names { node: &engine.node, pod: &config.key };
    let mut own = match record::get(&config.key).await? {
        Some(present) if present.attempt > config.attempt => {
            let message = format!("attempt {} of the sandbox is over, there is a later one", config.attempt);
            return Err(Error::conflict(message));
        }
        Some(present) if present.attempt == config.attempt => present,
        _ => Record::new(&config.key, config.attempt),
    };
    if own.stage == Stage::Starting {
        // First, so that a crash leaves nothing that nobody knows of.
        own.put().await?;
        if wants_address {
            own.address = addresses::take(engine, names).await?;
        }
        volumes::make(engine, config, names).await?;
        own.stage = Stage::Running;
        own.put().await?;
    }
    let pod = PodRef { key: config.key.clone(), attempt: config.attempt, id: String::new() };
    let states = list::refresh(engine, &[pod]).await?;
    let state = states.into_iter().find(|state| state.attempt == config.attempt);
    state.ok_or_else(|| Error::conflict("the sandbox went away while it was made"))
}

/// Kills what runs in a sandbox.
pub async fn stop(engine: &Engine, pod: &PodKey, id: &str) -> Result<()> {
    let members = members(engine, pod).await?;
    let in_it = members.iter().filter(|own| id == id_of(engine, pod, own.labels.sandbox_attempt()));
    let attempt = in_it.clone().next().map(|own| own.labels.sandbox_attempt());
    let members: Vec<_> = in_it.map(|own| Member { id: own.id.clone(), status: own.status.clone() }).collect();
    kill(engine, &members).await?;
    let own = match record::get(pod).await? {
        Some(own) => Some(own).filter(|own| id_of(engine, pod, own.attempt) == id),
        // The entry was lost, and the containers would go on to stand for a sandbox that runs.
        None => attempt.map(|attempt| Record::new(pod, attempt)),
    };
    if let Some(mut own) = own {
        own.stage = Stage::Stopped;
        own.put().await?;
    }
    Ok(())
}

/// Removes a sandbox with its containers; with `last` all that is left of the pod. The entry goes last: as long as anything
/// is left, the list shows the pod.
pub async fn remove(engine: &Engine, pod: &PodKey, id: &str, last: bool) -> Result<()> {
    let names = Names { node: &engine.node, pod };
    let is_in = |attempt: u32| last || id == id_of(engine, pod, attempt);
    for own in members(engine, pod).await?.iter().filter(|own| is_in(own.labels.sandbox_attempt())) {
        remove_container(engine, &own.id).await?;
    }
    ended::delete_all(&engine.node, pod, is_in).await?;
    if last {
        addresses::release(engine, names).await?;
        volumes::remove(engine, names).await?;
    }
    if record::get(pod).await?.is_some_and(|own| is_in(own.attempt)) {
        record::delete(pod).await?;
    }
    Ok(())
}

async fn members(engine: &Engine, pod: &PodKey) -> Result<Vec<Object>> {
    let mut members = engine.objects_of(pod).await?;
    members.retain(|own| own.labels.kind() == Some(Kind::Container));
    Ok(members)
}

/// A sandbox's id: the name that it would have.
fn id_of(engine: &Engine, pod: &PodKey, attempt: u32) -> String {
    Names { node: &engine.node, pod }.sandbox(attempt)
}

/// Adds all sandboxes, and the containers that gave up their volumes.
pub async fn add(engine: &Engine, objects: &mut Vec<Object>) -> Result<()> {
    let records = record::all().await?;
    let ended = ended::all(&engine.node, None).await?;
    add_known(&engine.node, objects, &records, ended);
    Ok(())
}

/// Adds those of one pod.
pub async fn add_of(engine: &Engine, pod: &PodKey, objects: &mut Vec<Object>) -> Result<()> {
    let records: Vec<_> = record::get(pod).await?.into_iter().collect();
    let ended = ended::all(&engine.node, Some(pod)).await?;
    add_known(&engine.node, objects, &records, ended);
    Ok(())
}

fn add_known(node: &str, objects: &mut Vec<Object>, records: &[Record], ended: Vec<Object>) {
    for own in ended {
        list::remember(&own);
        // One that is being removed may be there still.
        if !objects.iter().any(|object| object.id == own.id) {
            objects.push(own);
        }
    }
    let mut known: BTreeSet<(String, u32)> = BTreeSet::new();
    let mut sandboxes = Vec::new();
    for own in records {
        let pod = own.pod();
        known.insert((pod.uid.clone(), own.attempt));
        sandboxes.push(sandbox(node, &pod, own, objects));
    }
    for object in objects.iter().filter(|object| object.labels.kind() == Some(Kind::Container)) {
        let Some(pod) = object.labels.pod(node) else { continue };
        let attempt = object.labels.sandbox_attempt();
        if known.insert((pod.uid.clone(), attempt)) {
            // An earlier attempt is over; else the entry was lost.
            let later = records.iter().any(|own| own.pod().uid == pod.uid && own.attempt > attempt);
            let stage = if later { Stage::Stopped } else { Stage::Running };
            let own = Record { stage, address: object.labels.address.clone(), ..Record::new(&pod, attempt) };
            sandboxes.push(sandbox(node, &pod, &own, objects));
        }
    }
    objects.extend(sandboxes);
}

/// What stands for a sandbox in the list. Its address is the floating IP, or that of the machine that runs.
fn sandbox(node: &str, pod: &PodKey, own: &Record, objects: &[Object]) -> Object {
    let status = match own.stage {
        Stage::Starting => "created",
        Stage::Running => "running",
        Stage::Stopped => "exited",
    };
    let is_member = |object: &&Object| {
        object.labels.uid() == pod.uid
            && object.labels.kind() == Some(Kind::Container)
            && object.labels.sandbox_attempt() == own.attempt
            && object.status == "running"
    };
    let ips = if own.address.is_empty() {
        // The last one that started: an app container follows the sidecars.
        let running = objects.iter().filter(is_member).max_by_key(|object| object.created);
        running.map(|object| object.ips.clone()).unwrap_or_default()
    } else {
        vec![own.address.clone()]
    };
    Object {
        id: Names { node, pod }.sandbox(own.attempt),
        labels: Labels::of(node, pod, Kind::Sandbox, own.attempt),
        status: status.to_owned(),
        ips,
        ..Object::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{self, Context};

    const NODE: &str = "c/n";

    fn key() -> PodKey {
        PodKey { uid: "u".into(), namespace: "default".into(), name: "web".into() }
    }

    fn container(attempt: u32, status: &str, ip: &str) -> Object {
        Object {
            id: format!("id{attempt}"),
            labels: Labels::of(NODE, &key(), Kind::Container, attempt),
            status: status.into(),
            ips: vec![ip.into()],
            ..Object::default()
        }
    }

    fn states(mut objects: Vec<Object>, records: &[Record]) -> Vec<PodState> {
        add_known(NODE, &mut objects, records, Vec::new());
        state::pods(&Context { node: NODE, address: "", scheme: "hyper" }, &objects)
    }

    #[test]
    fn an_entry_is_a_sandbox_with_its_floating_ip() {
        let own = Record { stage: Stage::Running, address: "209.1.2.3".into(), ..Record::new(&key(), 0) };
        let states = states(vec![container(0, "running", "172.16.0.2")], &[own]);
        assert_eq!(states.len(), 1);
        assert_eq!((states[0].state.as_str(), states[0].ips.as_slice()), ("running", &["209.1.2.3".to_owned()][..]));
        assert_eq!(states[0].id, Names { node: NODE, pod: &key() }.sandbox(0));
        assert_eq!(states[0].containers[0].id, "hyper://id0");
    }

    #[test]
    fn without_a_floating_ip_the_machines_address_is_the_pods() {
        let own = Record { stage: Stage::Running, ..Record::new(&key(), 0) };
        assert_eq!(
            states(vec![container(0, "running", "172.16.0.2")], std::slice::from_ref(&own))[0].ips,
            ["172.16.0.2"]
        );
        assert!(states(vec![container(0, "exited", "172.16.0.2")], std::slice::from_ref(&own))[0].ips.is_empty());
        assert_eq!(states(Vec::new(), &[Record { stage: Stage::Starting, ..own }])[0].state, "starting");
    }

    #[test]
    fn a_lost_entry_is_made_up_for_by_labels_but_for_earlier_attempts() {
        let found = states(vec![container(0, "running", "172.16.0.2")], &[]);
        assert_eq!((found[0].state.as_str(), found[0].ips.len()), ("running", 1));
        let own = Record { stage: Stage::Running, ..Record::new(&key(), 1) };
        let found = states(vec![container(0, "exited", ""), container(1, "running", "172.16.0.3")], &[own]);
        let seen: Vec<_> = found.iter().map(|state| (state.attempt, state.state.as_str())).collect();
        assert_eq!(seen, [(0, "ended"), (1, "running")]);
    }
}
