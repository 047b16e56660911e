//! The engine's events. They are handed to the host as they come; each tells that a pod changed, and the host then asks for
//! its state: an event lacks half of it.

use serde::Deserialize;
use vk_provider_sdk::types::{Change, Output};
use vk_provider_sdk::{Result, identity};

use crate::endpoint::Engine;
use crate::names::{Kind, Labels};
use crate::refusal::Refusal;

/// Opens the stream of this node's events.
pub async fn open(engine: &Engine) -> Result<Output> {
    // One label: libpod takes events with any of several.
    let filters = serde_json::json!({ "label": [format!("{}={}", identity::NODE, engine.node)] }).to_string();
    let request = engine.api("GET", "/events").query("filters", &filters);
    let request = if engine.is_libpod() { request.query("stream", "true") } else { request };
    let answer = engine.send(request).await?;
    if answer.status != 200 {
        return Err(Refusal::of(&answer.into_answer().await).into());
    }
    Ok(Output { content: answer.body.content, framing: "lines".to_owned(), end: Some(answer.body.end) })
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Event {
    action: String,
    actor: Actor,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Actor {
    attributes: Labels,
}

/// What changes a pod's state without a call of ours. Others only announce one of these, or nothing.
const TELLING: &[&str] = &["start", "died", "die", "oom", "pause", "unpause", "remove", "destroy", "restart"];

/// The pods that these events are about, each once.
pub fn decode(node: &str, pieces: &[Vec<u8>]) -> Vec<Change> {
    let mut changes: Vec<Change> = Vec::new();
    for piece in pieces {
        let Ok(event) = serde_json::from_slice::<Event>(piece) else { continue };
        if !TELLING.contains(&event.action.as_str()) {
            continue;
        }
        let labels = event.actor.attributes;
        if !matches!(labels.kind(), Some(Kind::Sandbox | Kind::Container)) {
            continue;
        }
        let Some(key) = labels.pod(node) else { continue };
        if !changes.iter().any(|change| change.key == key) {
            changes.push(Change { key, state: None, gone: false });
        }
    }
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(action: &str, uid: &str, node: &str) -> Vec<u8> {
        serde_json::json!({"Type": "container", "Action": action, "Actor": {"ID": "ad87", "Attributes": {
            "containerExitCode": "3", "image": "busybox", "name": "le-a", "podId": "", "io.vk-runtime.node": node,
            "io.vk-runtime.kind": "container", "io.kubernetes.pod.uid": uid, "io.kubernetes.pod.name": "web",
            "io.kubernetes.pod.namespace": "default"}}, "time": 1, "timeNano": 1})
        .to_string()
        .into_bytes()
    }

    #[test]
    fn each_pod_that_changed_is_told_once() {
        let pieces = [
            event("start", "u", "c/n"),
            event("died", "u", "c/n"),
            event("exec", "v", "c/n"),
            event("die", "w", "c/n"),
            event("died", "x", "c/other"),
            b"".to_vec(),
            b"{\"broken".to_vec(),
        ];
        let changes = decode("c/n", &pieces);
        let uids: Vec<_> = changes.iter().map(|change| change.key.uid.as_str()).collect();
        assert_eq!(uids, ["u", "w"]);
        assert!(changes.iter().all(|change| change.state.is_none() && !change.gone && change.key.name == "web"));
    }
}
