//! What a guest reports, as the runtime knows it.

use std::time::Duration;

use host_capabilities::bindings::vk::host::types as host;
use host_capabilities::error::to_provider;
use jiff::Timestamp;
use provider::{
    Address, Change, Condition, ContainerPhase, ContainerState, Description, ExtendedResource, Image, LogOption,
    NetworkUsage, NodeImage, ObjectState, PodKey, PodState, PodUsage, Quantity, Resources, Restarts, Snapshot, Summary,
    Taint, Usage, Watches,
};

use crate::bindings::exports::vk::provider as wit;
use crate::bindings::vk::provider::types as t;

/// Replaces secret values in what people may read: those of the pod with a UID, and the provider's own.
pub(crate) type Masking<'a> = &'a (dyn Fn(&str, String) -> String + Send + Sync);

fn timestamp(nanos: u64) -> Option<Timestamp> {
    Timestamp::from_nanosecond(i128::from(nanos)).ok()
}

pub(crate) fn pod_key(key: host::PodKey) -> PodKey {
    PodKey::new(key.uid, key.namespace, key.name)
}

fn resources(resources: t::Resources) -> Resources {
    Resources {
        cpu_request: resources.cpu_request,
        cpu_limit: resources.cpu_limit,
        memory_request: resources.memory_request,
        memory_limit: resources.memory_limit,
        extended: resources
            .extended
            .into_iter()
            .map(|one| ExtendedResource { name: one.name, request: one.request, limit: one.limit })
            .collect(),
    }
}

fn container_state(state: t::ContainerState, mask: &dyn Fn(String) -> String) -> ContainerState {
    ContainerState {
        name: state.name,
        attempt: state.attempt,
        id: state.id,
        phase: ContainerPhase::parse(&state.state),
        reason: state.reason,
        message: mask(state.message),
        created_at: state.created_at.and_then(timestamp),
        started_at: state.started_at.and_then(timestamp),
        finished_at: state.finished_at.and_then(timestamp),
        exit_code: state.exit_code,
        signal: state.signal,
        image: state.image,
        image_id: state.image_id,
        ready: state.ready,
        started: state.started,
        resources: state.resources.map(resources),
    }
}

pub(crate) fn pod_state(state: t::PodState, mask: Masking<'_>) -> PodState {
    let uid = state.key.uid.clone();
    let mask = &|text| mask(&uid, text);
    PodState {
        key: pod_key(state.key),
        attempt: state.attempt,
        id: state.id,
        state: ObjectState::parse(&state.state),
        reason: state.reason,
        message: mask(state.message),
        disruption: state.disruption,
        ends_at: state.ends_at.and_then(timestamp),
        ips: state.ips,
        host_ips: state.host_ips,
        created_at: state.created_at.and_then(timestamp),
        containers: state.containers.into_iter().map(|one| container_state(one, mask)).collect(),
        partial: state.partial,
        again: state.again.map(Duration::from_nanos),
        details: state.details,
        error: state.error.map(|error| to_provider(error, mask)),
    }
}

pub(crate) fn pod_states(states: Vec<t::PodState>, mask: Masking<'_>) -> Vec<PodState> {
    states.into_iter().map(|state| pod_state(state, mask)).collect()
}

pub(crate) fn snapshot(snapshot: t::Snapshot, mask: Masking<'_>) -> Snapshot {
    Snapshot { pods: pod_states(snapshot.pods, mask), next: snapshot.next, complete: snapshot.complete }
}

pub(crate) fn change(change: t::Change, mask: Masking<'_>) -> Change {
    if change.key.uid.is_empty() {
        return Change::Anything;
    }
    match change.state {
        _ if change.gone => Change::Gone(pod_key(change.key)),
        Some(state) => Change::State(Box::new(pod_state(state, mask))),
        None => Change::Touched(pod_key(change.key)),
    }
}

pub(crate) fn description(own: wit::node::Description, mask: Masking<'_>) -> Description {
    Description {
        ready: own.ready,
        reason: own.reason,
        message: mask("", own.message),
        resources: own
            .resources
            .into_iter()
            .map(|one| Quantity { name: one.name, capacity: one.capacity, allocatable: one.allocatable })
            .collect(),
        addresses: own.addresses.into_iter().map(|one| Address { kind: one.kind, address: one.address }).collect(),
        conditions: own
            .conditions
            .into_iter()
            .map(|one| Condition {
                kind: one.kind,
                status: one.status,
                reason: one.reason,
                message: mask("", one.message),
            })
            .collect(),
        labels: own.labels,
        taints: own
            .taints
            .into_iter()
            .map(|one| Taint { key: one.key, value: one.value, effect: one.effect })
            .collect(),
        provider_id: own.provider_id,
        operating_system: own.operating_system,
        architecture: own.architecture,
        os_image: own.os_image,
        kernel_version: own.kernel_version,
        runtime_version: own.runtime_version,
        images: own.images.into_iter().map(|one| NodeImage { names: one.names, size: one.size }).collect(),
        volume_kinds: own.volume_kinds,
        features: own.features,
        restarts: if own.restarts == "backend" { Restarts::Backend } else { Restarts::Host },
        list_interval: own.list_interval.map(Duration::from_nanos),
        busy_list_interval: own.busy_list_interval.map(Duration::from_nanos),
        refresh_max: own.refresh_max,
        watches: match own.watches.as_str() {
            "pods" => Watches::Pods,
            "nothing" => Watches::Nothing,
            _ => Watches::Node,
        },
        token_lifetime: own.token_lifetime.map(Duration::from_nanos),
    }
}

pub(crate) fn image(image: wit::containers::Image) -> Image {
    Image { id: image.id, digest: image.digest, names: image.names, user: image.user, size: image.size }
}

pub(crate) fn applied(words: &[String]) -> Vec<LogOption> {
    let option = |word: &String| match word.as_str() {
        "follow" => Some(LogOption::Follow),
        "tail" => Some(LogOption::Tail),
        "since" => Some(LogOption::Since),
        "timestamps" => Some(LogOption::Timestamps),
        "streams" => Some(LogOption::Streams),
        _ => None,
    };
    words.iter().filter_map(option).collect()
}

fn usage(usage: wit::stats::Usage) -> Usage {
    Usage {
        at: timestamp(usage.at).unwrap_or_else(Timestamp::now),
        since: usage.since.and_then(timestamp),
        cpu_nanos: usage.cpu_nanos,
        cpu_nanocores: usage.cpu_nanocores,
        memory_usage: usage.memory_usage,
        memory_working_set: usage.memory_working_set,
        memory_rss: usage.memory_rss,
        storage_used: usage.storage_used,
        others: usage.others,
    }
}

pub(crate) fn summary(summary: wit::stats::Summary) -> Summary {
    Summary {
        node: summary.node.map(usage),
        pods: summary
            .pods
            .into_iter()
            .map(|pod| PodUsage {
                key: pod_key(pod.key),
                total: usage(pod.total),
                containers: pod.containers.into_iter().map(|(name, one)| (name, usage(one))).collect(),
                networks: pod
                    .networks
                    .into_iter()
                    .map(|one| NetworkUsage {
                        name: one.name,
                        rx_bytes: one.rx_bytes,
                        rx_errors: one.rx_errors,
                        tx_bytes: one.tx_bytes,
                        tx_errors: one.tx_errors,
                    })
                    .collect(),
            })
            .collect(),
    }
}
