//! The pod's resolver, by its `dnsPolicy` (Kubernetes, "DNS for Services and Pods").

use k8s_openapi::api::core::v1::PodSpec;
use provider::Dns;

/// Limits of a resolver's configuration, as the kubelet keeps them.
const MAX_SERVERS: usize = 3;
const MAX_SEARCHES: usize = 32;

/// The cluster's DNS, as far as the operator told.
#[derive(Clone, Debug)]
pub struct ClusterDns {
    /// Addresses; empty: pods use the backend's own resolver.
    pub servers: Vec<String>,
    /// `cluster.local`.
    pub domain: String,
}

impl Default for ClusterDns {
    fn default() -> Self {
        Self { servers: Vec::new(), domain: "cluster.local".to_owned() }
    }
}

/// The resolver of a pod. All empty: the backend's own.
pub(super) fn resolver(cluster: &ClusterDns, namespace: &str, spec: &PodSpec) -> Dns {
    let policy = spec.dns_policy.as_deref().unwrap_or("ClusterFirst");
    let on_host = spec.host_network == Some(true);
    let by_cluster = match policy {
        "ClusterFirst" => !on_host,
        "ClusterFirstWithHostNet" => true,
        _ => false,
    };
    let mut dns = Dns::default();
    if by_cluster && !cluster.servers.is_empty() {
        dns.servers.clone_from(&cluster.servers);
        let domain = &cluster.domain;
        dns.searches = vec![format!("{namespace}.svc.{domain}"), format!("svc.{domain}"), domain.clone()];
        dns.options = vec!["ndots:5".to_owned()];
    }
    if let Some(own) = &spec.dns_config {
        extend(&mut dns.servers, own.nameservers.iter().flatten().cloned(), MAX_SERVERS);
        extend(&mut dns.searches, own.searches.iter().flatten().cloned(), MAX_SEARCHES);
        for option in own.options.iter().flatten() {
            let Some(name) = &option.name else { continue };
            dns.options.retain(|known| known.split(':').next() != Some(name));
            dns.options.push(match &option.value {
                Some(value) => format!("{name}:{value}"),
                None => name.clone(),
            });
        }
    }
    dns
}

fn extend(list: &mut Vec<String>, more: impl Iterator<Item = String>, most: usize) {
    for one in more {
        if !list.contains(&one) {
            list.push(one);
        }
    }
    list.truncate(most);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn of(spec: serde_json::Value) -> Dns {
        let cluster = ClusterDns { servers: vec!["10.0.0.10".into()], domain: "cluster.local".into() };
        resolver(&cluster, "shop", &serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn the_cluster_comes_first() {
        let dns = of(json!({ "containers": [], "dnsPolicy": "ClusterFirst" }));
        assert_eq!(dns.servers, ["10.0.0.10"]);
        assert_eq!(dns.searches, ["shop.svc.cluster.local", "svc.cluster.local", "cluster.local"]);
        assert_eq!(dns.options, ["ndots:5"]);
    }

    #[test]
    fn other_policies_leave_it_out() {
        assert_eq!(of(json!({ "containers": [], "dnsPolicy": "Default" })), Dns::default());
        assert_eq!(of(json!({ "containers": [], "hostNetwork": true })), Dns::default());
        let own = json!({ "containers": [], "dnsPolicy": "None", "dnsConfig": { "nameservers": ["1.1.1.1"] } });
        assert_eq!(of(own).servers, ["1.1.1.1"]);
    }

    #[test]
    fn the_pods_own_options_win() {
        let dns = of(json!({ "containers": [], "dnsConfig": {
            "searches": ["example.com"], "options": [{ "name": "ndots", "value": "2" }, { "name": "edns0" }],
        } }));
        assert_eq!(dns.options, ["ndots:2", "edns0"]);
        assert_eq!(dns.searches.last().unwrap(), "example.com");
    }
}
