//! Resources as integers, and what a pod asks for as a whole.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, EphemeralContainer, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use provider::{ExtendedResource, Resources};

type Amounts = BTreeMap<String, Quantity>;

const NANOS: i128 = 1_000_000_000;

/// A quantity in units of `1/per` of its base unit, rounded up; none if it can't be read.
fn scaled(quantity: &Quantity, per: i128) -> Option<u64> {
    let nanos = pod_worker::nanos(quantity)?;
    u64::try_from((nanos * per + NANOS - 1).div_euclid(NANOS)).ok()
}

/// The amount of a resource in the unit that the contract uses: CPU in thousandths.
pub(super) fn amount(name: &str, quantity: &Quantity) -> Option<u64> {
    scaled(quantity, if name == "cpu" { 1_000 } else { 1 })
}

/// A container's resources.
pub(super) fn resources(own: Option<&ResourceRequirements>) -> Resources {
    let Some(own) = own else { return Resources::default() };
    let empty = Amounts::new();
    from_amounts(own.requests.as_ref().unwrap_or(&empty), own.limits.as_ref().unwrap_or(&empty))
}

fn from_amounts(requests: &Amounts, limits: &Amounts) -> Resources {
    let of = |amounts: &Amounts, name: &str| amounts.get(name).and_then(|quantity| amount(name, quantity));
    let mut names: Vec<&String> = requests.keys().chain(limits.keys()).collect();
    names.sort_unstable();
    names.dedup();
    Resources {
        cpu_request: of(requests, "cpu"),
        cpu_limit: of(limits, "cpu"),
        memory_request: of(requests, "memory"),
        memory_limit: of(limits, "memory"),
        extended: names
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "cpu" | "memory"))
            .map(|name| ExtendedResource { name: name.clone(), request: of(requests, name), limit: of(limits, name) })
            .collect(),
    }
}

/// A sum, where a part that says nothing makes a limit unlimited and adds nothing to a request.
#[derive(Clone, Default)]
struct Sum {
    requests: BTreeMap<String, u64>,
    limits: BTreeMap<String, u64>,
}

impl Sum {
    fn of(own: Option<&ResourceRequirements>) -> Self {
        let read = |amounts: Option<&Amounts>| -> BTreeMap<String, u64> {
            let all = amounts.into_iter().flatten();
            all.filter_map(|(name, quantity)| Some((name.clone(), amount(name, quantity)?))).collect()
        };
        Self {
            requests: read(own.and_then(|own| own.requests.as_ref())),
            limits: read(own.and_then(|own| own.limits.as_ref())),
        }
    }

    fn add(&mut self, other: &Self) {
        for (own, other) in [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)] {
            for (name, amount) in other {
                let sum = own.entry(name.clone()).or_default();
                *sum = sum.saturating_add(*amount);
            }
        }
    }

    fn at_least(&mut self, other: &Self) {
        for (own, other) in [(&mut self.requests, &other.requests), (&mut self.limits, &other.limits)] {
            for (name, amount) in other {
                let most = own.entry(name.clone()).or_default();
                *most = (*most).max(*amount);
            }
        }
    }
}

/// What a pod asks for as a whole: `spec.resources`, or the larger of its init phase and its run, and its overhead. A
/// limit counts only where every container has one.
pub(crate) fn of_pod(spec: &PodSpec) -> Resources {
    let mut run = Sum::default();
    for container in &spec.containers {
        run.add(&Sum::of(container.resources.as_ref()));
    }
    let mut sidecars = Sum::default();
    let mut init = Sum::default();
    for container in spec.init_containers.iter().flatten() {
        let own = Sum::of(container.resources.as_ref());
        if container.restart_policy.as_deref() == Some("Always") {
            run.add(&own);
            sidecars.add(&own);
            init.at_least(&sidecars);
        } else {
            let mut with_sidecars = sidecars.clone();
            with_sidecars.add(&own);
            init.at_least(&with_sidecars);
        }
    }
    run.at_least(&init);
    let lasting = spec.containers.iter().chain(
        spec.init_containers.iter().flatten().filter(|container| container.restart_policy.as_deref() == Some("Always")),
    );
    let limited = |name: &str| {
        lasting.clone().all(|container| {
            let limits = container.resources.as_ref().and_then(|own| own.limits.as_ref());
            limits.is_some_and(|limits| limits.contains_key(name))
        })
    };
    run.limits.retain(|name, _| limited(name));
    if let Some(own) = &spec.resources {
        let own = Sum::of(Some(own));
        run.requests.extend(own.requests);
        run.limits.extend(own.limits);
    }
    for (name, quantity) in spec.overhead.iter().flatten() {
        let overhead = amount(name, quantity).unwrap_or(0);
        *run.requests.entry(name.clone()).or_default() += overhead;
        if let Some(limit) = run.limits.get_mut(name) {
            *limit += overhead;
        }
    }
    let of = |amounts: &BTreeMap<String, u64>, name: &str| amounts.get(name).copied();
    let mut names: Vec<&String> = run.requests.keys().chain(run.limits.keys()).collect();
    names.sort_unstable();
    names.dedup();
    Resources {
        cpu_request: of(&run.requests, "cpu"),
        cpu_limit: of(&run.limits, "cpu"),
        memory_request: of(&run.requests, "memory"),
        memory_limit: of(&run.limits, "memory"),
        extended: names
            .into_iter()
            .filter(|name| !matches!(name.as_str(), "cpu" | "memory"))
            .map(|name| ExtendedResource {
                name: name.clone(),
                request: of(&run.requests, name),
                limit: of(&run.limits, name),
            })
            .collect(),
    }
}

/// A resource of a container by its path (`limits.cpu`), in nanounits. A limit that is not set is the pod's, or what
/// the node has; but huge pages have none.
pub(super) fn by_path(
    spec: &PodSpec,
    container: &str,
    path: &str,
    allocatable: &[(String, u64)],
) -> Result<i128, String> {
    let plain = |container: &Container| (container.name.clone(), container.resources.clone());
    let ephemeral = |container: &EphemeralContainer| (container.name.clone(), container.resources.clone());
    let (_, own) = spec
        .containers
        .iter()
        .map(plain)
        .chain(spec.init_containers.iter().flatten().map(plain))
        .chain(spec.ephemeral_containers.iter().flatten().map(ephemeral))
        .find(|(name, _)| name == container)
        .ok_or_else(|| format!("container {container:?} not found"))?;
    let own = own.unwrap_or_default();
    let (list, name) = path.split_once('.').ok_or_else(|| format!("unsupported container resource: {path}"))?;
    if !matches!(name, "cpu" | "memory" | "ephemeral-storage") && !name.starts_with("hugepages-") {
        return Err(format!("unsupported container resource: {path}"));
    }
    let of = |amounts: &Option<Amounts>| amounts.as_ref().and_then(|own| own.get(name)).and_then(pod_worker::nanos);
    match list {
        "requests" => Ok(of(&own.requests).unwrap_or(0)),
        "limits" => {
            let of_pod = spec.resources.as_ref().and_then(|own| of(&own.limits));
            let set = [of(&own.limits), of_pod].into_iter().flatten().find(|limit| *limit > 0);
            Ok(set.unwrap_or_else(|| {
                let has = allocatable.iter().find(|(own, _)| own == name && !name.starts_with("hugepages-"));
                let has = has.map_or(0, |(_, amount)| i128::from(*amount));
                if name == "cpu" { has * NANOS / 1_000 } else { has * NANOS }
            }))
        }
        _ => Err(format!("unsupported container resource: {path}")),
    }
}

/// The value of a `resourceFieldRef`: the amount over its divisor, rounded up.
pub(super) fn divided(nanos: i128, divisor: Option<&Quantity>) -> String {
    let divisor = divisor.and_then(pod_worker::nanos).filter(|divisor| *divisor > 0).unwrap_or(NANOS);
    nanos.div_euclid(divisor).saturating_add(i128::from(nanos.rem_euclid(divisor) != 0)).to_string()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn spec(value: serde_json::Value) -> PodSpec {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn quantities_become_integers() {
        for (name, text, value) in [
            ("cpu", "100m", 100),
            ("cpu", "2", 2_000),
            ("cpu", "1500u", 2),
            ("memory", "64Mi", 64 << 20),
            ("memory", "1k", 1_000),
        ] {
            assert_eq!(amount(name, &Quantity(text.into())), Some(value), "{name} {text}");
        }
        assert_eq!(amount("cpu", &Quantity("-1".into())), None);
    }

    #[test]
    fn a_pod_asks_for_the_larger_of_init_and_run_and_its_overhead() {
        let asks = |cpu: &str| json!({ "requests": { "cpu": cpu, "memory": "1Gi" }, "limits": { "memory": "1Gi" } });
        let of = of_pod(&spec(json!({
            "initContainers": [
                { "name": "side", "restartPolicy": "Always", "resources": asks("100m") },
                { "name": "init", "resources": asks("3") },
            ],
            "containers": [{ "name": "a", "resources": asks("1") }, { "name": "b", "resources": asks("500m") }],
            "overhead": { "cpu": "10m" },
        })));
        assert_eq!(of.cpu_request, Some(3_110));
        assert_eq!(of.memory_request, Some(3 << 30));
        assert_eq!(of.memory_limit, Some(3 << 30));
        assert_eq!(of.cpu_limit, None);
    }

    #[test]
    fn one_container_without_limit_makes_the_pod_unlimited() {
        let of = of_pod(&spec(json!({ "containers": [
            { "name": "a", "resources": { "limits": { "memory": "1Gi" } } }, { "name": "b" },
        ] })));
        assert_eq!(of.memory_limit, None);
    }

    #[test]
    fn resource_fields_are_divided_and_rounded_up() {
        let own = spec(json!({ "containers": [
            { "name": "a", "resources": { "requests": { "cpu": "250m" }, "limits": { "memory": "1025Ki" } } },
        ] }));
        let allocatable = [("cpu".to_owned(), 4_000)];
        let value = |path: &str, divisor: Option<&str>| {
            let divisor = divisor.map(|text| Quantity(text.into()));
            by_path(&own, "a", path, &allocatable).map(|nanos| divided(nanos, divisor.as_ref()))
        };
        assert_eq!(value("requests.cpu", None).unwrap(), "1");
        assert_eq!(value("requests.cpu", Some("1m")).unwrap(), "250");
        assert_eq!(value("limits.memory", Some("1Mi")).unwrap(), "2");
        assert_eq!(value("limits.memory", None).unwrap(), "1049600");
        assert_eq!(value("limits.cpu", None).unwrap(), "4");
        assert!(value("limits.nothing", None).is_err());
        assert!(by_path(&own, "z", "limits.cpu", &[]).is_err());
    }

    #[test]
    fn a_limit_that_is_not_set_is_the_pods_or_the_nodes() {
        let own = spec(json!({
            "containers": [{ "name": "a", "resources": { "limits": { "cpu": "0" } } }],
            "resources": { "limits": { "memory": "1Gi" } },
        }));
        let of = |name: &str, amount| (name.to_owned(), amount);
        let allocatable = [of("cpu", 4_000), of("memory", 9 << 30), of("hugepages-2Mi", 1 << 30)];
        let value = |path: &str| divided(by_path(&own, "a", path, &allocatable).unwrap(), None);
        assert_eq!(value("limits.cpu"), "4");
        assert_eq!(value("limits.memory"), (1_u64 << 30).to_string());
        assert_eq!(value("limits.hugepages-2Mi"), "0", "huge pages are never overcommitted");
    }
}
