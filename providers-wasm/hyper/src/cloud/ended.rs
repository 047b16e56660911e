//! Containers that have ended and were removed, because the next one of their pod needs their volumes: a volume at Hyper.sh
//! is one container's until that is removed. How they ended is remembered in the host's store until the host has them
//! removed; their logs are gone.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::Result;
use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::host::types::PodKey;

use crate::names::{Kind, Labels};
use crate::object::Object;

const PREFIX: &str = "ended/";
/// Entries that are read at once.
const PAGE: u32 = 500;

#[derive(Serialize, Deserialize)]
struct Ended {
    uid: String,
    namespace: String,
    name: String,
    sandbox: u32,
    container: String,
    attempt: u32,
    image: String,
    image_id: String,
    id: String,
    created: Option<u64>,
    started: Option<u64>,
    finished: Option<u64>,
    exit_code: Option<i32>,
    oom_killed: Option<bool>,
    error: String,
}

fn key(uid: &str, id: &str) -> String {
    format!("{PREFIX}{uid}/{id}")
}

/// Remembers how a container of a pod ended.
pub async fn put(pod: &PodKey, object: &Object) -> Result<()> {
    let labels = &object.labels;
    let own = Ended {
        uid: pod.uid.clone(),
        namespace: pod.namespace.clone(),
        name: pod.name.clone(),
        sandbox: labels.sandbox_attempt(),
        container: labels.container.clone(),
        attempt: labels.attempt(),
        image: labels.image.clone(),
        image_id: labels.image_id.clone(),
        id: object.id.clone(),
        created: object.created,
        started: object.started,
        finished: object.finished,
        exit_code: object.exit_code,
        oom_killed: object.oom_killed,
        error: object.error.clone(),
    };
    store::put(key(&pod.uid, &object.id), serde_json::to_vec(&own)?, Condition::Always, None).await?;
    Ok(())
}

/// Forgets one.
pub async fn delete(pod: &PodKey, id: &str) -> Result<()> {
    store::delete(key(&pod.uid, id), Condition::Always).await
}

/// Forgets those of a pod's sandboxes that `of` says.
pub async fn delete_all(node: &str, pod: &PodKey, of: impl Fn(u32) -> bool) -> Result<()> {
    for own in all(node, Some(pod)).await?.iter().filter(|own| of(own.labels.sandbox_attempt())) {
        delete(pod, &own.id).await?;
    }
    Ok(())
}

/// Those of one pod, or of all.
pub async fn all(node: &str, pod: Option<&PodKey>) -> Result<Vec<Object>> {
    let prefix = pod.map_or_else(|| PREFIX.to_owned(), |pod| format!("{PREFIX}{}/", pod.uid));
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let entries = store::scan(prefix.clone(), after, PAGE).await?;
        for entry in &entries {
            all.push(object(node, serde_json::from_slice(&entry.value)?));
        }
        match entries.last() {
            Some(last) if entries.len() == PAGE as usize => after = last.key.clone(),
            _ => return Ok(all),
        }
    }
}

fn object(node: &str, own: Ended) -> Object {
    let pod = PodKey { uid: own.uid, namespace: own.namespace, name: own.name };
    let mut labels = Labels::of(node, &pod, Kind::Container, own.sandbox).with_attempt(own.attempt);
    labels.container = own.container;
    labels.image = own.image;
    labels.image_id = own.image_id;
    Object {
        id: own.id,
        labels,
        status: "exited".to_owned(),
        created: own.created,
        started: own.started,
        finished: own.finished,
        exit_code: own.exit_code,
        oom_killed: own.oom_killed,
        error: own.error,
        ..Object::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_as_if_the_container_were_there() {
        let own: Ended = serde_json::from_str(
            r#"{"uid":"u","namespace":"d","name":"web","sandbox":1,"container":"setup","attempt":2,"image":"busybox","image_id":"b@1",
                "id":"ab12","created":1,"started":2,"finished":3,"exit_code":0,"oom_killed":false,"error":""}"#,
        )
        .unwrap();
        let object = object("c/n", own);
        let labels = &object.labels;
        assert_eq!(labels.pod("c/n").unwrap().name, "web");
        assert_eq!((labels.kind(), labels.sandbox_attempt(), labels.attempt()), (Some(Kind::Container), 1, 2));
        assert_eq!((object.status.as_str(), object.exit_code, object.finished), ("exited", Some(0), Some(3)));
        assert_eq!(labels.container, "setup");
    }
}
