//! What a pod takes of a node while it is there: amounts of resources, and ports of the host.
//!
//! Kept for each pod that the node took, so it is small.

use k8s_openapi::api::core::v1::PodSpec;

use crate::resolve::of_pod;

/// What a pod takes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Needs {
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Everything else by its name, sorted.
    pub others: Box<[(Box<str>, u64)]>,
    pub ports: Box<[Port]>,
}

/// A port of the host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Port {
    /// None: every address.
    address: Option<Box<str>>,
    protocol: Box<str>,
    port: i32,
}

impl Port {
    /// Whether not both can be had.
    pub fn excludes(&self, other: &Self) -> bool {
        let everywhere = self.address.is_none() || other.address.is_none();
        self.port == other.port && self.protocol == other.protocol && (everywhere || self.address == other.address)
    }
}

impl Needs {
    /// Of a pod.
    pub fn of(spec: &PodSpec) -> Self {
        let own = of_pod(spec);
        let others = own.extended.into_iter().filter_map(|other| Some((other.name.into_boxed_str(), other.request?)));
        let sidecars = spec.init_containers.iter().flatten();
        let lasting = sidecars.filter(|own| own.restart_policy.as_deref() == Some("Always")).chain(&spec.containers);
        let ports = lasting.flat_map(|container| container.ports.iter().flatten());
        let ports = ports.filter_map(|own| {
            let address = own.host_ip.as_deref().filter(|address| !matches!(*address, "" | "0.0.0.0" | "::"));
            Some(Port {
                address: address.map(Into::into),
                protocol: own.protocol.as_deref().unwrap_or("TCP").into(),
                port: own.host_port.filter(|port| *port > 0)?,
            })
        });
        Self {
            cpu: own.cpu_request.unwrap_or(0),
            memory: own.memory_request.unwrap_or(0),
            others: others.filter(|(_, amount)| *amount > 0).collect(),
            ports: ports.collect(),
        }
    }

    /// Amounts by name, but for the pod itself.
    pub fn amounts(&self) -> impl Iterator<Item = (&str, u64)> {
        let first = [("cpu", self.cpu), ("memory", self.memory)];
        let others = self.others.iter().map(|(name, amount)| (&**name, *amount));
        first.into_iter().chain(others)
    }
}

/// Whether a resource is one that a node need not know to take a pod that asks for it: it may be the cluster's.
pub(super) fn is_extended(name: &str) -> bool {
    name.contains('/') && !name.contains("kubernetes.io/") && !name.starts_with("requests.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn port(address: &str, protocol: &str, port: i32) -> Port {
        let own = json!({ "containerPort": 1, "hostPort": port, "hostIP": address, "protocol": protocol });
        let spec = json!({ "containers": [{ "name": "c", "ports": [own] }] });
        Needs::of(&serde_json::from_value(spec).unwrap()).ports[0].clone()
    }

    #[test]
    fn a_port_is_taken_for_its_address_and_protocol() {
        let any = port("", "TCP", 80);
        assert!(any.excludes(&port("0.0.0.0", "TCP", 80)));
        assert!(any.excludes(&port("10.0.0.1", "TCP", 80)));
        assert!(!any.excludes(&port("", "UDP", 80)));
        assert!(!any.excludes(&port("", "TCP", 81)));
        assert!(!port("10.0.0.1", "TCP", 80).excludes(&port("10.0.0.2", "TCP", 80)));
    }

    #[test]
    fn ports_of_containers_that_do_not_last_are_not_taken() {
        let ports = json!([{ "containerPort": 80, "hostPort": 80 }]);
        let spec = json!({
            "initContainers": [{ "name": "i", "ports": ports }],
            "containers": [{ "name": "c", "ports": [{ "containerPort": 80 }] }],
        });
        assert_eq!(Needs::of(&serde_json::from_value(spec).unwrap()), Needs::default());
    }
}
