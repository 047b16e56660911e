//! What is asked of an engine for one container, whatever its dialect: the pod's wishes, checked and in plain values.

use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};
use vk_provider_sdk::{Error, Result, text};

use crate::limits::Limits;
use crate::mounts::Planned;
use crate::names::LabelMap;

/// A container to be made.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// The object's name.
    pub name: String,
    /// The sandbox's id.
    pub sandbox: String,
    /// The image's id.
    pub image: String,
    /// Its labels.
    pub labels: LabelMap,
    /// Replaces the image's entrypoint, unless empty.
    pub command: Vec<String>,
    /// Replaces the image's command, unless empty.
    pub arguments: Vec<String>,
    /// Empty: the image's.
    pub working_folder: String,
    /// Names and values.
    pub env: Vec<(String, String)>,
    /// `USER[:GROUP]`; empty: the image's.
    pub user: String,
    /// Further groups.
    pub groups: Vec<String>,
    /// With `CAP_`.
    pub add_capabilities: Vec<String>,
    /// With `CAP_`, or `ALL`.
    pub drop_capabilities: Vec<String>,
    /// All capabilities and devices.
    pub privileged: bool,
    /// Nothing gains rights by starting.
    pub no_new_privileges: bool,
    /// The image's files are not writable.
    pub read_only_root: bool,
    /// No seccomp filter.
    pub seccomp_unconfined: bool,
    /// `unconfined`, or the profile's name; empty: the engine's.
    pub app_armor: String,
    /// `PART:VALUE` of the SELinux labels; a machine without SELinux has none.
    pub selinux: Vec<String>,
    /// Nothing of `/proc` is hidden.
    pub unmasked_proc: bool,
    /// What its control group gets.
    pub limits: Limits,
    /// What it mounts.
    pub mounts: Vec<Planned>,
    /// With standard input.
    pub stdin: bool,
    /// Standard input ends with the first that had it.
    pub stdin_once: bool,
    /// With a terminal.
    pub tty: bool,
    /// The signal's name; empty: the image's.
    pub stop_signal: String,
    /// It sees the pod's processes.
    pub share_processes: bool,
    /// It sees the machine's processes.
    pub host_pid: bool,
    /// It has the machine's shared memory.
    pub host_ipc: bool,
    /// It sees the processes of the container of this id; may be empty.
    pub target: String,
}

impl Wanted {
    /// What a pod asks for. `mounts`, names, labels, target and SELinux labels are still to be filled in. `path` is the
    /// container's in the manifest, for errors.
    pub fn of(pod: &SandboxConfig, container: &ContainerConfig, path: &str) -> Result<Self> {
        let security = &container.security;
        let mut env = Vec::with_capacity(container.env.len());
        for variable in &container.env {
            let value = text::join(&variable.value, &format!("{path}.env `{}`", variable.name))?;
            env.push((variable.name.clone(), value));
        }
        if container.image_id.is_empty() {
            return Err(Error::internal(format!("{path}.image: there is no image id")));
        }
        if !container.devices.is_empty() {
            return Err(Error::invalid(format!("{path}.volumeDevices: a block device can't be had at this engine")));
        }
        let user = match (security.user, security.group) {
            (Some(user), Some(group)) => format!("{user}:{group}"),
            (Some(user), None) => user.to_string(),
            (None, Some(group)) => format!(":{group}"),
            (None, None) => String::new(),
        };
        let seccomp_unconfined = match security.seccomp.as_str() {
            "" | "RuntimeDefault" => false,
            "Unconfined" => true,
            other => {
                return Err(Error::invalid(format!(
                    "{path}.securityContext.seccompProfile: the profile `{other}` can't be had at this engine"
                )));
            }
        };
        let app_armor = match security.app_armor.as_str() {
            "" | "RuntimeDefault" => String::new(),
            "Unconfined" => "unconfined".to_owned(),
            other => other.strip_prefix("Localhost/").unwrap_or(other).to_owned(),
        };
        Ok(Self {
            image: container.image_id.clone(),
            command: text::join_all(&container.command, &format!("{path}.command"))?,
            arguments: text::join_all(&container.arguments, &format!("{path}.args"))?,
            working_folder: container.working_folder.clone(),
            env,
            user,
            groups: security.supplemental_groups.iter().map(u64::to_string).collect(),
            add_capabilities: capabilities(&security.add_capabilities),
            drop_capabilities: capabilities(&security.drop_capabilities),
            privileged: security.privileged,
            no_new_privileges: security.privilege_escalation == Some(false),
            read_only_root: security.read_only_root,
            seccomp_unconfined,
            app_armor,
            unmasked_proc: security.proc_mount == "Unmasked",
            limits: Limits::of(&container.resources)
                .map_err(|error| error.while_doing(&format!("{path}.resources")))?,
            stdin: container.stdin,
            stdin_once: container.stdin_once,
            tty: container.tty,
            stop_signal: container.stop_signal.clone(),
            share_processes: pod.share_processes,
            host_pid: pod.host_pid,
            host_ipc: pod.host_ipc,
            ..Self::default()
        })
    }
}

fn capabilities(names: &[String]) -> Vec<String> {
    let full = |name: &String| {
        let name = name.to_ascii_uppercase();
        if name == "ALL" || name.starts_with("CAP_") { name } else { format!("CAP_{name}") }
    };
    names.iter().map(full).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::types::{EnvVar, ExtendedResource, Resources, Security};

    fn container() -> ContainerConfig {
        ContainerConfig { name: "app".into(), image_id: "abc".into(), ..ContainerConfig::default() }
    }

    fn of(container: ContainerConfig) -> Result<Wanted> {
        Wanted::of(&SandboxConfig::default(), &container, "spec.containers{app}")
    }

    #[test]
    fn security_is_put_in_the_engines_words() {
        let security = Security {
            group: Some(6000),
            privilege_escalation: Some(false),
            add_capabilities: vec!["NET_ADMIN".into()],
            drop_capabilities: vec!["ALL".into()],
            app_armor: "Localhost/mine".into(),
            seccomp: "Unconfined".into(),
            supplemental_groups: vec![7000],
            ..Security::default()
        };
        let wanted = of(ContainerConfig { security, ..container() }).unwrap();
        assert_eq!((wanted.user.as_str(), wanted.app_armor.as_str()), (":6000", "mine"));
        assert_eq!(
            (wanted.add_capabilities[0].as_str(), wanted.drop_capabilities[0].as_str()),
            ("CAP_NET_ADMIN", "ALL")
        );
        assert!(wanted.no_new_privileges && wanted.seccomp_unconfined);
        assert_eq!(wanted.groups, ["7000"]);
    }

    #[test]
    fn what_an_engine_lacks_is_refused_by_name() {
        let seccomp = Security { seccomp: "Localhost/x.json".into(), ..Security::default() };
        let gpu = ExtendedResource { name: "nvidia.com/gpu".into(), request: None, limit: Some(1) };
        for (container, field, what) in [
            (
                ContainerConfig { security: seccomp, ..container() },
                "securityContext.seccompProfile",
                "Localhost/x.json",
            ),
            (
                ContainerConfig { devices: vec![("disk".to_owned(), "/dev/x".to_owned())], ..container() },
                "volumeDevices",
                "block device",
            ),
            (
                ContainerConfig { resources: Resources { extended: vec![gpu], ..Resources::default() }, ..container() },
                "resources",
                "nvidia.com/gpu",
            ),
        ] {
            let error = of(container).unwrap_err();
            assert!(error.is("invalid") && error.message.contains(what), "{error:?}");
            assert!(error.message.starts_with(&format!("spec.containers{{app}}.{field}: ")), "{error:?}");
        }
    }

    #[test]
    fn an_empty_value_stays_a_variable() {
        let env = vec![EnvVar { name: "A".into(), value: Vec::new() }];
        let wanted = of(ContainerConfig { env, ..container() }).unwrap();
        assert_eq!(wanted.env, [("A".to_owned(), String::new())]);
    }
}
