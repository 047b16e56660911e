//! From engine objects to the states that the host wants. Pure.

use std::collections::BTreeMap;

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerState, PodState};

use crate::names::Kind;
use crate::object::Object;

/// Whose objects, and how they are shown.
pub struct Context<'a> {
    /// `CLUSTER/NODE`.
    pub node: &'a str,
    /// The node's own address: what pods with the host's network have; may be empty.
    pub address: &'a str,
    /// `podman` or `docker`.
    pub scheme: &'a str,
}

/// The pods that these objects make up; what is not of this node is left out. One state for each attempt.
pub fn pods(context: &Context<'_>, objects: &[Object]) -> Vec<PodState> {
    let mut states: BTreeMap<(&str, u32), PodState> = BTreeMap::new();
    let mut holders = Vec::new();
    for object in objects {
        let (Some(key), Some(kind)) = (object.labels.pod(context.node), object.labels.kind()) else { continue };
        if matches!(kind, Kind::Files | Kind::Memory) {
            holders.push((key, object));
            continue;
        }
        let attempt = object.labels.sandbox_attempt();
        let state = states.entry((object.labels.uid(), attempt)).or_insert_with(|| rest(key, attempt));
        match kind {
            Kind::Sandbox => sandbox(context, object, state),
            _ => state.containers.push(container(context, object)),
        }
    }
    // Volumes that outlived their sandbox: only where nothing else of the pod is left.
    for (key, object) in holders {
        let uid = object.labels.uid();
        if states.range((uid, 0)..=(uid, u32::MAX)).next().is_none() {
            let attempt = object.labels.sandbox_attempt();
            states.insert((uid, attempt), rest(key, attempt));
        }
    }
    states.into_values().collect()
}

/// A pod of which the sandbox is missing.
fn rest(key: PodKey, attempt: u32) -> PodState {
    PodState { key, attempt, state: "ended".to_owned(), ..PodState::default() }
}

fn sandbox(context: &Context<'_>, object: &Object, state: &mut PodState) {
    let word = match object.status.as_str() {
        "created" | "configured" | "initialized" => "starting",
        "running" | "stopping" | "restarting" => "running",
        "exited" | "stopped" | "dead" => "ended",
        "paused" => "suspended",
        "removing" => "deleting",
        _ => "unknown",
    };
    word.clone_into(&mut state.state);
    state.id = if object.pod.is_empty() { object.id.clone() } else { object.pod.clone() };
    state.created_at = object.created;
    if word == "running" {
        state.ips = if object.labels.is_host_network() && !context.address.is_empty() {
            vec![context.address.to_owned()]
        } else {
            object.ips.clone()
        };
    }
}

/// A container's state.
pub fn container(context: &Context<'_>, object: &Object) -> ContainerState {
    let labels = &object.labels;
    let is_over = object.finished.is_some();
    let (word, message) = match object.status.as_str() {
        "created" | "configured" | "initialized" => ("created", ""),
        "running" | "stopping" | "restarting" => ("running", ""),
        "paused" => ("running", "the container is paused"),
        "exited" | "dead" => ("exited", ""),
        "stopped" if is_over => ("exited", ""),
        "stopped" => ("running", ""),
        "removing" if is_over => ("exited", ""),
        _ => ("unknown", ""),
    };
    let has_ended = word == "exited";
    // The end is read from a file's time, which is coarser than the start's.
    let finished_at = object.finished.filter(|_| has_ended).map(|at| at.max(object.started.unwrap_or(at)));
    let message = if has_ended && message.is_empty() { object.error.as_str() } else { message };
    ContainerState {
        name: labels.container.clone(),
        attempt: labels.attempt(),
        id: format!("{}://{}", context.scheme, object.id),
        state: word.to_owned(),
        reason: if has_ended && object.oom_killed == Some(true) { "OOMKilled".to_owned() } else { String::new() },
        message: message.to_owned(),
        created_at: object.created,
        started_at: object.started.filter(|_| word != "created"),
        finished_at,
        exit_code: object.exit_code.filter(|_| has_ended),
        image: labels.image.clone(),
        image_id: if labels.image_id.is_empty() { object.image.clone() } else { labels.image_id.clone() },
        ..ContainerState::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use vk_provider_sdk::time::SECOND;

    const CONTEXT: Context<'static> = Context { node: "c/n", address: "192.0.2.7", scheme: "podman" };

    fn object(kind: &str, uid: &str, status: &str, more: &[(&str, &str)]) -> Object {
        let mut labels = json!({
            "io.vk-runtime.node": "c/n", "io.kubernetes.pod.namespace": "default", "io.kubernetes.pod.name": "web",
            "io.kubernetes.pod.uid": uid, "io.vk-runtime.kind": kind, "io.vk-runtime.sandbox": "0",
            "io.kubernetes.container.name": "app", "io.vk-runtime.attempt": "0",
        });
        for (name, value) in more {
            labels[*name] = json!(value);
        }
        Object {
            id: format!("{kind}-{uid}"),
            labels: serde_json::from_value(labels).unwrap(),
            status: status.to_owned(),
            pod: "pod".to_owned(),
            ..Object::default()
        }
    }

    #[test]
    fn a_pod_is_its_sandbox_and_its_containers() {
        let mut infra = object("sandbox", "u", "running", &[]);
        infra.ips = vec!["10.88.0.2".into()];
        let mut app = object("container", "u", "running", &[("io.vk-runtime.attempt", "2")]);
        app.started = Some(5 * SECOND);
        let states = pods(&CONTEXT, &[app, object("files", "u", "created", &[]), infra]);
        assert_eq!(states.len(), 1);
        let state = &states[0];
        assert_eq!((state.id.as_str(), state.state.as_str(), state.attempt), ("pod", "running", 0));
        assert_eq!(state.ips, ["10.88.0.2"]);
        assert_eq!(state.containers.len(), 1);
        let app = &state.containers[0];
        assert_eq!((app.name.as_str(), app.attempt, app.state.as_str()), ("app", 2, "running"));
        assert_eq!((app.id.as_str(), app.started_at), ("podman://container-u", Some(5 * SECOND)));
    }

    #[test]
    fn attempts_and_other_nodes_stay_apart() {
        let states = pods(
            &CONTEXT,
            &[
                object("sandbox", "u", "exited", &[]),
                object("sandbox", "u", "running", &[("io.vk-runtime.sandbox", "1")]),
                object("sandbox", "v", "running", &[("io.vk-runtime.node", "c/other")]),
                object("", "w", "running", &[]),
            ],
        );
        let seen: Vec<_> =
            states.iter().map(|state| (state.key.uid.as_str(), state.attempt, state.state.as_str())).collect();
        assert_eq!(seen, [("u", 0, "ended"), ("u", 1, "running")]);
    }

    #[test]
    fn what_is_left_of_a_pod_without_sandbox_has_ended_and_has_no_id() {
        for left in ["container", "files", "memory"] {
            let states = pods(&CONTEXT, &[object(left, "u", "running", &[])]);
            assert_eq!(states.len(), 1, "{left}");
            assert_eq!((states[0].state.as_str(), states[0].id.as_str()), ("ended", ""), "{left}");
        }
    }

    #[test]
    fn the_hosts_network_has_the_nodes_address() {
        let states = pods(&CONTEXT, &[object("sandbox", "u", "running", &[("io.vk-runtime.network", "host")])]);
        assert_eq!(states[0].ips, ["192.0.2.7"]);
    }

    #[test]
    fn every_word_of_an_engine_has_its_state() {
        for (status, finished, expected) in [
            ("created", None, "created"),
            ("configured", None, "created"),
            ("initialized", None, "created"),
            ("running", None, "running"),
            ("paused", None, "running"),
            ("stopping", None, "running"),
            ("stopped", None, "running"),
            ("stopped", Some(SECOND), "exited"),
            ("exited", Some(SECOND), "exited"),
            ("dead", None, "exited"),
            ("removing", Some(SECOND), "exited"),
            ("removing", None, "unknown"),
            ("something new", None, "unknown"),
        ] {
            let mut own = object("container", "u", status, &[]);
            own.finished = finished;
            assert_eq!(container(&CONTEXT, &own).state, expected, "{status} {finished:?}");
        }
        for (status, expected) in [
            ("initialized", "starting"),
            ("exited", "ended"),
            ("paused", "suspended"),
            ("removing", "deleting"),
            ("new", "unknown"),
        ] {
            assert_eq!(pods(&CONTEXT, &[object("sandbox", "u", status, &[])])[0].state, expected);
        }
    }

    #[test]
    fn an_end_is_never_before_its_start_and_tells_why() {
        let mut own = object("container", "u", "exited", &[]);
        own.started = Some(5 * SECOND + 1_000_000);
        own.finished = Some(5 * SECOND);
        own.exit_code = Some(137);
        own.oom_killed = Some(true);
        let state = container(&CONTEXT, &own);
        assert_eq!((state.started_at, state.finished_at), (own.started, own.started));
        assert_eq!((state.reason.as_str(), state.exit_code), ("OOMKilled", Some(137)));
    }
}
