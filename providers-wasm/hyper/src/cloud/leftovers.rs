//! What is left of pods that nobody knows any more: floating IPs and volumes, which have no labels. Their names tell node and
//! UID; a pod of which nothing else is there is told as ended, and the host has it removed.
//!
//! Looked for once in [`EVERY`], and at the start.

use std::collections::BTreeSet;

use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::{Result, time};

use super::{addresses, volumes};
use crate::endpoint::Engine;
use crate::names::{self, Kind, Labels};
use crate::object::Object;
use crate::remembered;

/// How long the account is believed to have no more than was seen.
const EVERY: u64 = 60 * time::SECOND;
/// What was found, for that long.
const LOOKED: &str = "leftovers";

/// Adds what is left of pods of which `objects` has nothing.
pub async fn add(engine: &Engine, objects: &mut Vec<Object>) -> Result<()> {
    if remembered::get::<bool>(LOOKED).is_some() {
        return Ok(());
    }
    addresses::recover(engine).await?;
    let addresses = addresses::all(engine).await?.into_iter().map(|address| address.name);
    let named: Vec<_> = addresses.chain(volumes::own(engine).await?).collect();
    let left = left(&engine.node, &named, objects);
    if left.is_empty() {
        remembered::put(LOOKED, &true, EVERY);
    }
    objects.extend(left);
    Ok(())
}

/// What stands for pods of which only names are there.
fn left(node: &str, named: &[String], objects: &[Object]) -> Vec<Object> {
    let uids: BTreeSet<_> = named.iter().filter_map(|name| names::own_uid(node, name)).collect();
    let unknown = uids.into_iter().filter(|uid| !objects.iter().any(|object| object.labels.uid() == uid));
    unknown
        .map(|uid| {
            let pod = PodKey { uid, ..PodKey::default() };
            Object { labels: Labels::of(node, &pod, Kind::Files, 0), status: "created".to_owned(), ..Object::default() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Names;
    use crate::state::{self, Context};

    #[test]
    fn what_only_a_name_tells_of_is_a_pod_that_has_ended() {
        let key = |last: char| PodKey {
            uid: format!("0c5a8e1e-1b1e-4a5c-9f57-6c0a8d6a1f1{last}"),
            namespace: "default".into(),
            name: "web".into(),
        };
        let (gone, there) = (key('1'), key('2'));
        let named = [
            Names { node: "c/n", pod: &gone }.own(),
            Names { node: "c/n", pod: &gone }.own_volume("data"),
            Names { node: "c/n", pod: &there }.own(),
            Names { node: "c/other", pod: &key('3') }.own(),
            "somebodys".to_owned(),
        ];
        let mut objects = vec![Object { labels: Labels::of("c/n", &there, Kind::Sandbox, 0), ..Object::default() }];
        let left = left("c/n", &named, &objects);
        assert_eq!(left.len(), 1);
        objects.extend(left);
        let states = state::pods(&Context { node: "c/n", address: "", scheme: "hyper" }, &objects);
        let ended = states.iter().find(|state| state.key.uid == gone.uid).unwrap();
        assert_eq!((ended.state.as_str(), ended.id.as_str()), ("ended", ""));
    }
}
