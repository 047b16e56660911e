//! The little that is read from the pod's own manifest: what the contract's types don't carry.

use serde::Deserialize;
use vk_provider_sdk::{Error, Result};

/// A pod.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Manifest {
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Spec {
    init_containers: Vec<Container>,
    containers: Vec<Container>,
    ephemeral_containers: Vec<Container>,
    resources: Option<Resources>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: serde_json::Map<String, serde_json::Value>,
}

/// A container.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Container {
    /// Its name.
    pub name: String,
    /// Of an ephemeral container: whose processes it sees.
    target_container_name: String,
    volume_mounts: Vec<VolumeMount>,
}

/// A mount as it is written.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct VolumeMount {
    /// The volume.
    name: String,
    mount_path: String,
    sub_path: String,
    sub_path_expr: String,
    read_only: bool,
}

impl Manifest {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("the pod's manifest can't be read: {error}")))
    }

    fn all(&self) -> impl Iterator<Item = &Container> {
        self.spec.init_containers.iter().chain(&self.spec.containers).chain(&self.spec.ephemeral_containers)
    }

    /// Init and app containers, which are known when the sandbox is made.
    pub fn containers(&self) -> impl Iterator<Item = &str> {
        self.spec.init_containers.iter().chain(&self.spec.containers).map(|own| own.name.as_str())
    }

    /// Whose processes an ephemeral container sees; empty: only its own.
    pub fn target(&self, ephemeral: &str) -> &str {
        let own = self.spec.ephemeral_containers.iter().find(|own| own.name == ephemeral);
        own.map_or("", |own| &own.target_container_name)
    }

    /// Whether the pod as a whole has limits of its own.
    pub fn has_pod_limits(&self) -> bool {
        self.spec.resources.as_ref().is_some_and(|resources| !resources.limits.is_empty())
    }

    /// Whether a container of the pod can write in `volume` above `sub_path`, as `container` mounts it at `mount_path`: it
    /// could then replace parts of the path by links. Where a sub-path is an expression, only the very same one is known
    /// not to be above.
    pub fn can_write_above(&self, volume: &str, container: &str, mount_path: &str, sub_path: &str) -> bool {
        let own = self.all().find(|own| own.name == container);
        let own = own.and_then(|own| own.volume_mounts.iter().find(|mount| mount.mount_path == mount_path));
        let own_expression = own.map_or("", |mount| mount.sub_path_expr.as_str());
        let sub_path = normal(sub_path);
        let mounts =
            self.all().flat_map(|own| &own.volume_mounts).filter(|mount| mount.name == volume && !mount.read_only);
        mounts.into_iter().any(|mount| {
            if mount.sub_path_expr.is_empty() {
                let other = normal(&mount.sub_path);
                other.is_empty() || (other.len() < sub_path.len() && sub_path.starts_with(&other[..]))
            } else {
                mount.sub_path_expr != own_expression
            }
        })
    }
}

/// The parts of a path.
fn normal(path: &str) -> Vec<&str> {
    path.split('/').filter(|part| !part.is_empty() && *part != ".").collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::parse(
            r#"{"spec":{
                "initContainers":[{"name":"setup","volumeMounts":[{"name":"work","mountPath":"/work"}]}],
                "containers":[
                    {"name":"app","volumeMounts":[
                        {"name":"work","mountPath":"/a","subPath":"a"},
                        {"name":"data","mountPath":"/d","subPath":"x/y"},
                        {"name":"data","mountPath":"/e","subPath":"x"},
                        {"name":"logs","mountPath":"/l","subPathExpr":"$(POD)"},
                        {"name":"tmp","mountPath":"/t","subPath":"one/two"}]},
                    {"name":"side","volumeMounts":[
                        {"name":"logs","mountPath":"/l","subPathExpr":"$(POD)"},
                        {"name":"tmp","mountPath":"/t","subPath":"one/twofold"},
                        {"name":"tmp","mountPath":"/all","readOnly":true},
                        {"name":"mixed","mountPath":"/m","subPathExpr":"$(OTHER)"},
                        {"name":"mixed","mountPath":"/n","subPath":"n"}]}],
                "ephemeralContainers":[{"name":"debug","targetContainerName":"app"}]}}"#,
        )
        .unwrap()
    }

    #[test]
    fn a_path_is_safe_only_where_nobody_writes_above_it() {
        let manifest = manifest();
        assert!(manifest.can_write_above("work", "app", "/a", "a"), "the init container has the whole volume");
        assert!(manifest.can_write_above("data", "app", "/d", "x/y"), "the same container has the folder above");
        assert!(!manifest.can_write_above("data", "app", "/e", "x"));
        assert!(!manifest.can_write_above("logs", "app", "/l", "web-0"), "both mean the same");
        assert!(!manifest.can_write_above("tmp", "app", "/t", "one/two"), "beside it, or only reading");
        assert!(manifest.can_write_above("mixed", "side", "/n", "n"), "nobody knows what the expression says");
    }

    #[test]
    fn names_targets_and_limits_are_found() {
        let manifest = manifest();
        assert_eq!(manifest.containers().collect::<Vec<_>>(), ["setup", "app", "side"]);
        assert_eq!((manifest.target("debug"), manifest.target("app")), ("app", ""));
        assert!(!manifest.has_pod_limits());
        assert!(Manifest::parse(r#"{"spec":{"resources":{"limits":{"cpu":"1"}}}}"#).unwrap().has_pod_limits());
        assert!(Manifest::parse("{").is_err());
    }
}
