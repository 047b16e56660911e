//! The pod's and its host's addresses, one of each family at most, the node's primary family first.

use std::net::IpAddr;

use k8s_openapi::api::core::v1::{HostIP, PodIP};

use super::Input;
use crate::observation::{Object, ObjectState};

pub(super) struct Addresses {
    pub pod_ips: Vec<PodIP>,
    pub host_ips: Vec<HostIP>,
}

pub(super) fn addresses(input: &Input<'_>, over: bool) -> Addresses {
    let present = input.pod.status;
    let hosts = match input.object() {
        Some(object) if !object.host_ips.is_empty() => &object.host_ips,
        _ => input.host_ips,
    };
    let first_is_v6 = hosts.first().is_some_and(IpAddr::is_ipv6);
    let mut host_ips: Vec<HostIP> = by_family(hosts, first_is_v6).map(|ip| HostIP { ip }).collect();
    if host_ips.is_empty() {
        host_ips = present.host_ips.clone().unwrap_or_default();
    }
    let known = || present.pod_ips.clone().unwrap_or_default();

    let pod_ips = if input.pod.spec.host_network == Some(true) {
        // Once set they stay; a second family may join.
        let mut pod_ips = known();
        for host in &host_ips {
            if !pod_ips.iter().any(|pod| is_ipv6(&pod.ip) == is_ipv6(&host.ip)) {
                pod_ips.push(PodIP { ip: host.ip.clone() });
            }
        }
        pod_ips
    } else {
        let keeps = keeps_addresses(input, over);
        // A sandbox that has stopped has its addresses no more; the pod, if it is over, still shows them.
        let has = |object: &&Object| keeps || !object.state.has_stopped();
        let told = input.object().filter(has).map(|object| object.ips.as_slice()).unwrap_or_default();
        let pod_ips: Vec<PodIP> = by_family(told, first_is_v6).map(|ip| PodIP { ip }).collect();
        if pod_ips.is_empty() && keeps { known() } else { pod_ips }
    };
    Addresses { pod_ips, host_ips }
}

/// A backend that tells no addresses of what has stopped, or tells nothing, does not take them from the pod.
fn keeps_addresses(input: &Input<'_>, over: bool) -> bool {
    let state = input.object().map(|object| object.state);
    over || input.pod.is_deleting()
        || input.verdict.is_some()
        || matches!(state, Some(ObjectState::Unknown | ObjectState::Deleting | ObjectState::Suspended))
}

fn by_family(ips: &[IpAddr], first_is_v6: bool) -> impl Iterator<Item = String> {
    [first_is_v6, !first_is_v6]
        .into_iter()
        .filter_map(|v6| ips.iter().find(|ip| ip.is_ipv6() == v6))
        .map(ToString::to_string)
}

fn is_ipv6(ip: &str) -> bool {
    ip.contains(':')
}
