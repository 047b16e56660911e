//! What a backend says of a container whose secret values this process does not know yet.
//!
//! A backend that names the command it could not run names what a Secret put into it. Such values are masked in all that
//! is said of a container once they were given to the provider ([`Provider`](provider::Provider)s do that); but a process
//! that was started anew hears of containers that another one made. Of these it repeats what the pod's status says
//! already, and nothing else; what comes of starting such a container it does not repeat at all (`work`).

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, ContainerStatus, EnvFromSource, EnvVar, PodSpec, PodStatus};
use pod_worker::observation::{Observation, Start};

/// From which attempt on this process gave the provider a container's secret values; under an empty name those of a pod's
/// objects, for all their containers. What is said of earlier ones may have been said before the values were known here.
pub(super) type Given = BTreeMap<Box<str>, u32>;

/// Whether what is said of this start was said after its values were given.
fn is_known(given: &Given, start: &Start) -> bool {
    let from = |name: &str| given.get(name).copied();
    from(&start.name).is_some_and(|first| start.attempt >= first) || from("").is_some_and(|first| start.object >= first)
}

/// Whether something is said that may have to be taken out.
pub(super) fn may_say(seen: &Observation, given: &Given) -> bool {
    seen.starts.iter().any(|start| !start.message.is_empty() && !is_known(given, start))
}

/// Takes out what must not be repeated.
pub(super) fn withhold(seen: &mut Observation, given: &Given, spec: &PodSpec, status: &PodStatus) {
    for start in &mut seen.starts {
        if !start.message.is_empty() && !is_known(given, start) && refers_to_secrets(spec, &start.name) {
            start.message = told(status, start).into();
        }
    }
}

/// Whether a container's command or environment may hold values of Secrets.
pub(super) fn refers_to_secrets(spec: &PodSpec, name: &str) -> bool {
    let plain = spec.init_containers.iter().flatten().chain(&spec.containers);
    let plain = plain.map(|Container { name, env, env_from, .. }| (name, env, env_from));
    let ephemeral = spec.ephemeral_containers.iter().flatten().map(|own| (&own.name, &own.env, &own.env_from));
    let mut all = plain.chain(ephemeral);
    all.any(|(own, env, env_from)| {
        own == name && (env.iter().flatten().any(is_secret) || env_from.iter().flatten().any(is_from_secret))
    })
}

fn is_secret(variable: &EnvVar) -> bool {
    variable.value_from.as_ref().is_some_and(|from| from.secret_key_ref.is_some())
}

const fn is_from_secret(source: &EnvFromSource) -> bool {
    source.secret_ref.is_some()
}

/// What the pod's status says of this start.
fn told(status: &PodStatus, start: &Start) -> String {
    let lists = [&status.init_container_statuses, &status.container_statuses, &status.ephemeral_container_statuses];
    let all = lists.into_iter().flatten().flatten().filter(|own| own.name == *start.name);
    let mut ends = all.flat_map(|ContainerStatus { state, last_state, .. }| [state, last_state]).flatten();
    let same = ends
        .find_map(|state| state.terminated.as_ref().filter(|ended| ended.container_id.as_deref() == Some(&*start.id)));
    same.and_then(|ended| ended.message.clone()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(message: &str) -> Observation {
        let start =
            |name: &str| Start { name: name.into(), id: "e://1".into(), message: message.into(), ..Start::default() };
        Observation { starts: vec![start("a"), start("b")], ..Observation::default() }
    }

    fn messages(seen: &Observation) -> Vec<&str> {
        seen.starts.iter().map(|start| &*start.message).collect()
    }

    #[test]
    fn only_what_the_status_says_already_is_repeated_until_the_values_were_given() {
        let from = json!({ "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } }, "name": "K" });
        let spec: PodSpec =
            serde_json::from_value(json!({ "containers": [{ "name": "a", "env": [from] }, { "name": "b" }] })).unwrap();
        let empty = PodStatus::default();
        let ended = json!({ "terminated": { "exitCode": 128, "containerID": "e://1", "message": "no /no/***" } });
        let status = json!({ "containerStatuses": [
            { "name": "a", "image": "", "imageID": "", "ready": false, "restartCount": 0, "lastState": ended },
        ] });
        let status: PodStatus = serde_json::from_value(status).unwrap();
        let given = Given::from([("a".into(), 0)]);
        let later = Given::from([("a".into(), 1)]);
        for (given, status, shown) in [
            (&Given::new(), &empty, ["", "no /no/secret"]),
            (&Given::new(), &status, ["no /no/***", "no /no/secret"]),
            (&given, &empty, ["no /no/secret", "no /no/secret"]),
            // The values of the next start say nothing of when this one was heard of.
            (&later, &empty, ["", "no /no/secret"]),
            (&later, &status, ["no /no/***", "no /no/secret"]),
        ] {
            let mut own = seen("no /no/secret");
            withhold(&mut own, given, &spec, status);
            assert_eq!(messages(&own), shown);
        }
    }
}
