//! The pod's quality of service class. The API server sets it when a pod is created and never lets it change; it is
//! computed only where it is missing.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ResourceRequirements;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

use super::quantity::nanos;
use crate::pod::PodView;

/// CPU and memory.
type Amounts = [i128; 2];

pub(super) fn class(pod: &PodView<'_>) -> String {
    match pod.status.qos_class.as_deref() {
        Some(class) if !class.is_empty() => class.into(),
        _ => computed(pod).into(),
    }
}

fn computed(pod: &PodView<'_>) -> &'static str {
    let containers = || pod.init_containers().chain(pod.app_containers()).map(|container| container.resources);
    let all: Vec<Option<&ResourceRequirements>> = match pod.spec.resources.as_ref() {
        Some(resources) => vec![Some(resources)],
        None => containers().collect(),
    };
    let (mut requests, mut limits) = ([0; 2], [0; 2]);
    let mut limited = true;
    for resources in all {
        let request = amounts(resources.and_then(|resources| resources.requests.as_ref()));
        let limit = amounts(resources.and_then(|resources| resources.limits.as_ref()));
        limited &= limit.iter().all(|amount| *amount > 0);
        for place in 0..2 {
            requests[place] += request[place];
            limits[place] += limit[place];
        }
    }
    match (requests, limits) {
        ([0, 0], [0, 0]) => "BestEffort",
        _ if limited && requests == limits => "Guaranteed",
        _ => "Burstable",
    }
}

fn amounts(list: Option<&BTreeMap<String, Quantity>>) -> Amounts {
    ["cpu", "memory"].map(|name| {
        let amount = list.and_then(|list| list.get(name)).and_then(nanos);
        amount.filter(|amount| *amount > 0).unwrap_or(0)
    })
}
