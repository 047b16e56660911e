//! Probes are not run in this version: a container that has some counts as started and ready once it runs, as on other
//! virtual kubelets, and the pod's Events say so.

use k8s_openapi::api::core::v1::{Container, PodSpec};
use pod_worker::Probe;

use crate::events::PodEvent;

/// What is taken for the results of a pod's probes.
pub(crate) fn assumed(spec: &PodSpec) -> Vec<Probe> {
    let probed = containers(spec).filter(|own| own.startup_probe.is_some() || own.readiness_probe.is_some());
    probed.map(|own| Probe { container: own.name.as_str().into(), started: Some(true), ready: Some(true) }).collect()
}

/// Tells what is not done for this pod.
pub(super) fn told(spec: &PodSpec) -> Option<PodEvent> {
    let fields: Vec<String> = containers(spec)
        .flat_map(|own| {
            let probes = [
                ("startupProbe", own.startup_probe.is_some()),
                ("readinessProbe", own.readiness_probe.is_some()),
                ("livenessProbe", own.liveness_probe.is_some()),
            ];
            probes.into_iter().filter(|(_, is_there)| *is_there).map(|(field, _)| format!("{}.{field}", own.name))
        })
        .collect();
    let message = format!("not run by this node: {}; containers count as ready once they run", fields.join(", "));
    (!fields.is_empty()).then(|| PodEvent::warning("ProbesNotRun", message))
}

fn containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    spec.init_containers.iter().flatten().chain(&spec.containers)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn containers_with_probes_count_as_ready_and_the_pod_says_so() {
        let probe = json!({ "httpGet": { "port": 80 } });
        let spec: PodSpec = serde_json::from_value(json!({ "containers": [
            { "name": "a", "readinessProbe": probe, "livenessProbe": probe }, { "name": "b" },
        ] }))
        .unwrap();
        let assumed = assumed(&spec);
        assert_eq!(assumed.len(), 1);
        assert_eq!((&*assumed[0].container, assumed[0].ready), ("a", Some(true)));
        let event = told(&spec).unwrap();
        assert!(event.message.contains("a.readinessProbe, a.livenessProbe"), "{}", event.message);
    }

    #[test]
    fn a_pod_without_probes_says_nothing() {
        let spec: PodSpec = serde_json::from_value(json!({ "containers": [{ "name": "a" }] })).unwrap();
        assert!(assumed(&spec).is_empty() && told(&spec).is_none());
    }
}
