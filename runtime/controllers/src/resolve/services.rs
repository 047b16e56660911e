//! Variables for the Services of a pod's namespace, as Docker's links had them (Kubernetes, "Environment variables of
//! Services").
//!
//! All Services are watched once a pod wants their variables, and not before; only names, addresses and ports are kept.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use provider::{EnvVar, Origin, OriginKind};
use tokio::sync::watch;

use super::expansion;
use crate::api::{Api, ApiError, Event, Watch};

/// The Service that every pod sees.
const MASTER: (&str, &str) = ("default", "kubernetes");
/// How long a pod waits for the first list.
const FIRST_LIST: Duration = Duration::from_secs(10);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Known {
    ip: String,
    ports: Vec<(String, i32, String)>,
}

/// Services by namespace and name.
type All = HashMap<String, BTreeMap<String, Known>>;

/// The Services of the cluster.
pub(crate) struct Services {
    api: Api,
    all: Arc<Mutex<All>>,
    listed: watch::Sender<Option<Result<(), String>>>,
    watching: OnceLock<tokio::task::AbortHandle>,
}

impl Services {
    /// Services that nobody has asked for yet.
    pub fn new(api: Api) -> Self {
        Self { api, all: Arc::default(), listed: watch::Sender::new(None), watching: OnceLock::new() }
    }

    /// The variables for a pod of this namespace; `links`: its `enableServiceLinks`. An identity that may not read
    /// Services gives none.
    pub async fn variables(&self, namespace: &str, links: bool) -> Vec<EnvVar> {
        self.start();
        let mut listed = self.listed.subscribe();
        // Without an answer a pod is better off without these variables than not started: hardly any reads them.
        let _ = tokio::time::timeout(FIRST_LIST, listed.wait_for(Option::is_some)).await;
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found: BTreeMap<&str, &Known> = BTreeMap::new();
        if let Some(master) = all.get(MASTER.0).and_then(|own| own.get(MASTER.1)) {
            found.insert(MASTER.1, master);
        }
        if links {
            for (name, service) in all.get(namespace).into_iter().flatten() {
                found.insert(name, service);
            }
        }
        found.into_iter().flat_map(|(name, service)| variables(name, service)).collect()
    }

    fn start(&self) {
        self.watching.get_or_init(|| {
            let (all, listed) = (self.all.clone(), self.listed.clone());
            let watch = Watch { path: "/api/v1/services".to_owned(), field_selector: String::new(), is_busy: false };
            let mut next: Option<All> = None;
            let running = watch.run::<Box<Service>>(self.api.clone(), move |event| match event {
                Event::Listing => next = Some(All::new()),
                Event::Applied(service) => {
                    let mut present = all.lock().unwrap_or_else(PoisonError::into_inner);
                    apply(next.as_mut().unwrap_or(&mut present), &service);
                }
                Event::Deleted(service) => {
                    remove(&mut all.lock().unwrap_or_else(PoisonError::into_inner), &service);
                }
                Event::Listed => {
                    if let Some(next) = next.take() {
                        *all.lock().unwrap_or_else(PoisonError::into_inner) = next;
                    }
                    listed.send_replace(Some(Ok(())));
                }
                Event::Failed(error) => refused(&listed, &error),
            });
            tokio::spawn(running).abort_handle()
        });
    }
}

impl Drop for Services {
    fn drop(&mut self) {
        if let Some(watching) = self.watching.get() {
            watching.abort();
        }
    }
}

fn refused(listed: &watch::Sender<Option<Result<(), String>>>, error: &ApiError) {
    if error.is_forbidden() && listed.borrow().is_none() {
        tracing::warn!(%error, "Services can't be read: pods get no variables for them");
        listed.send_replace(Some(Err(error.to_string())));
    }
}

fn key(service: &Service) -> Option<(String, String)> {
    Some((service.metadata.namespace.clone()?, service.metadata.name.clone()?))
}

fn apply(all: &mut All, service: &Service) {
    let Some((namespace, name)) = key(service) else { return };
    let spec = service.spec.clone().unwrap_or_default();
    let own = all.entry(namespace).or_default();
    match spec.cluster_ip {
        Some(ip) if !ip.is_empty() && ip != "None" => {
            let ports = spec.ports.into_iter().flatten();
            let port = |port: k8s_openapi::api::core::v1::ServicePort| {
                (port.name.unwrap_or_default(), port.port, port.protocol.unwrap_or_else(|| "TCP".to_owned()))
            };
            own.insert(name, Known { ip, ports: ports.map(port).collect() });
        }
        _ => {
            own.remove(&name);
        }
    }
}

fn remove(all: &mut All, service: &Service) {
    if let Some((namespace, name)) = key(service)
        && let Some(own) = all.get_mut(&namespace)
    {
        own.remove(&name);
    }
}

fn variables(name: &str, service: &Known) -> Vec<EnvVar> {
    let Some((_, first, _)) = service.ports.first() else { return Vec::new() };
    let origin = Arc::new(Origin::new(OriginKind::Service, name, ""));
    let upper = |text: &str| text.to_ascii_uppercase().replace('-', "_");
    let prefix = upper(name);
    let ip = &service.ip;
    let host = if ip.contains(':') { format!("[{ip}]") } else { ip.clone() };
    let mut out = Vec::new();
    let mut add = |name: String, value: String| {
        out.push(EnvVar { name, value: expansion::from(origin.clone(), value) });
    };
    add(format!("{prefix}_SERVICE_HOST"), ip.clone());
    add(format!("{prefix}_SERVICE_PORT"), first.to_string());
    for (port_name, port, _) in service.ports.iter().filter(|(name, ..)| !name.is_empty()) {
        add(format!("{prefix}_SERVICE_PORT_{}", upper(port_name)), port.to_string());
    }
    for (at, (_, port, protocol)) in service.ports.iter().enumerate() {
        let lower = protocol.to_ascii_lowercase();
        let link = format!("{prefix}_PORT_{port}_{}", protocol.to_ascii_uppercase());
        let url = format!("{lower}://{host}:{port}");
        if at == 0 {
            add(format!("{prefix}_PORT"), url.clone());
        }
        add(link.clone(), url);
        add(format!("{link}_PROTO"), lower);
        add(format!("{link}_PORT"), port.to_string());
        add(format!("{link}_ADDR"), ip.clone());
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_service_has_the_variables_of_the_documentation() {
        let mut all = All::new();
        let service: Service = serde_json::from_value(json!({
            "metadata": { "namespace": "default", "name": "redis-primary" },
            "spec": { "clusterIP": "10.0.0.11", "ports": [{ "port": 6379 }, { "name": "met-rics", "port": 9, "protocol": "UDP" }] },
        }))
        .unwrap();
        apply(&mut all, &service);
        let known = &all["default"]["redis-primary"];
        let found: BTreeMap<String, String> = variables("redis-primary", known)
            .into_iter()
            .map(|one| (one.name, expansion::plain(&one.value).unwrap()))
            .collect();
        for (name, value) in [
            ("REDIS_PRIMARY_SERVICE_HOST", "10.0.0.11"),
            ("REDIS_PRIMARY_SERVICE_PORT", "6379"),
            ("REDIS_PRIMARY_SERVICE_PORT_MET_RICS", "9"),
            ("REDIS_PRIMARY_PORT", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP", "tcp://10.0.0.11:6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PROTO", "tcp"),
            ("REDIS_PRIMARY_PORT_6379_TCP_PORT", "6379"),
            ("REDIS_PRIMARY_PORT_6379_TCP_ADDR", "10.0.0.11"),
            ("REDIS_PRIMARY_PORT_9_UDP", "udp://10.0.0.11:9"),
        ] {
            assert_eq!(found.get(name).map(String::as_str), Some(value), "{name}");
        }
    }

    #[test]
    fn headless_services_have_none() {
        let mut all = All::new();
        for ip in ["None", ""] {
            let service: Service = serde_json::from_value(json!({
                "metadata": { "namespace": "default", "name": "h" },
                "spec": { "clusterIP": ip, "ports": [{ "port": 1 }] },
            }))
            .unwrap();
            apply(&mut all, &service);
        }
        assert!(all["default"].is_empty());
    }
}
