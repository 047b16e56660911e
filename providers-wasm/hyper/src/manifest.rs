//! The little that is read from the pod's own manifest: what the contract's types don't carry, and what of that no engine
//! does, which is refused by its path.

use serde::Deserialize;
use serde::de::IgnoredAny;
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
    runtime_class_name: String,
    host_users: Option<bool>,
    resource_claims: Vec<IgnoredAny>,
    security_context: Security,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Resources {
    limits: serde_json::Map<String, serde_json::Value>,
}

/// A `securityContext`, the pod's or a container's.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Security {
    se_linux_options: Option<SeLinux>,
    supplemental_groups_policy: String,
}

/// `seLinuxOptions`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct SeLinux {
    user: String,
    role: String,
    r#type: String,
    level: String,
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
    security_context: Security,
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
    recursive_read_only: String,
}

impl Manifest {
    /// Reads it.
    pub fn parse(text: &str) -> Result<Self> {
        serde_json::from_str(text).map_err(|error| Error::invalid(format!("the pod's manifest can't be read: {error}")))
    }

    /// Refuses what can't be had at an engine, by its path.
    pub fn check(&self) -> Result<()> {
        let refuse =
            |path: &str, what: &str| Err(Error::invalid(format!("{path}: {what} can't be had at this engine")));
        if !self.spec.runtime_class_name.is_empty() {
            return refuse("spec.runtimeClassName", &format!("the runtime class `{}`", self.spec.runtime_class_name));
        }
        if self.spec.host_users == Some(false) {
            return refuse("spec.hostUsers", "a user namespace");
        }
        if !self.spec.resource_claims.is_empty() {
            return refuse("spec.resourceClaims", "a claimed device");
        }
        if self.spec.security_context.supplemental_groups_policy == "Strict" {
            return refuse("spec.securityContext.supplementalGroupsPolicy", "the policy Strict");
        }
        for own in self.all() {
            if let Some(mount) = own.volume_mounts.iter().find(|mount| mount.recursive_read_only == "Enabled") {
                let path = format!("{}.volumeMounts[{}].recursiveReadOnly", self.path(&own.name), mount.mount_path);
                return refuse(&path, "a read-only mount below a mount");
            }
        }
        Ok(())
    }

    /// The path of a container as Kubernetes writes it in events: `spec.containers{NAME}`.
    pub fn path(&self, container: &str) -> String {
        let is_in = |list: &[Container]| list.iter().any(|own| own.name == container);
        let list = if is_in(&self.spec.init_containers) {
            "initContainers"
        } else if is_in(&self.spec.ephemeral_containers) {
            "ephemeralContainers"
        } else {
            "containers"
        };
        format!("spec.{list}{{{container}}}")
    }

    /// What a container's processes and files are labelled with where the machine has SELinux, as engines write it: its own
    /// options or the pod's. Elsewhere they mean nothing, as on any node.
    pub fn selinux(&self, container: &str) -> Vec<String> {
        let own = self.all().find(|own| own.name == container);
        let own = own.and_then(|own| own.security_context.se_linux_options.as_ref());
        let Some(own) = own.or(self.spec.security_context.se_linux_options.as_ref()) else { return Vec::new() };
        let parts = [("user", &own.user), ("role", &own.role), ("type", &own.r#type), ("level", &own.level)];
        parts
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(part, value)| format!("{part}:{value}"))
            .collect()
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
    fn what_no_engine_does_is_refused_by_its_path() {
        for (spec, path) in [
            (r#"{"runtimeClassName":"gvisor"}"#, "spec.runtimeClassName"),
            (r#"{"hostUsers":false}"#, "spec.hostUsers"),
            (r#"{"resourceClaims":[{"name":"gpu"}]}"#, "spec.resourceClaims"),
            (
                r#"{"securityContext":{"supplementalGroupsPolicy":"Strict"}}"#,
                "spec.securityContext.supplementalGroupsPolicy",
            ),
            (
                r#"{"initContainers":[{"name":"a","volumeMounts":[{"name":"v","mountPath":"/m","readOnly":true,"recursiveReadOnly":"Enabled"}]}]}"#,
                "spec.initContainers{a}.volumeMounts[/m].recursiveReadOnly",
            ),
        ] {
            let error = Manifest::parse(&format!(r#"{{"spec":{spec}}}"#)).unwrap().check().unwrap_err();
            assert!(error.is("invalid") && error.message.starts_with(&format!("{path}: ")), "{error:?}");
        }
        manifest().check().unwrap();
        let usual = r#"{"spec":{"hostUsers":true,"securityContext":{"supplementalGroupsPolicy":"Merge"},
            "containers":[{"name":"a","volumeMounts":[{"name":"v","mountPath":"/m","recursiveReadOnly":"IfPossible"}]}]}}"#;
        Manifest::parse(usual).unwrap().check().unwrap();
    }

    #[test]
    fn a_containers_own_labels_win() {
        let manifest = Manifest::parse(
            r#"{"spec":{"securityContext":{"seLinuxOptions":{"level":"s0:c1"}},"containers":[{"name":"a"},
                {"name":"b","securityContext":{"seLinuxOptions":{"type":"spc_t","level":"s0:c2"}}}]}}"#,
        )
        .unwrap();
        assert_eq!(manifest.selinux("a"), ["level:s0:c1"]);
        assert_eq!(manifest.selinux("b"), ["type:spc_t", "level:s0:c2"]);
        assert!(Manifest::parse("{}").unwrap().selinux("a").is_empty());
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
