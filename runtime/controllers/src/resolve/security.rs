//! What applies to a container after the pod's and its own `securityContext` were put together: its own wins.

use k8s_openapi::api::core::v1::{AppArmorProfile, PodSecurityContext, SeccompProfile, SecurityContext};
use provider::Security;

fn number(value: Option<i64>) -> Option<u64> {
    value.and_then(|value| u64::try_from(value).ok())
}

fn seccomp(profile: &SeccompProfile) -> String {
    match profile.type_.as_str() {
        "Localhost" => format!("Localhost/{}", profile.localhost_profile.as_deref().unwrap_or_default()),
        other => other.to_owned(),
    }
}

fn app_armor(profile: &AppArmorProfile) -> String {
    match profile.type_.as_str() {
        "Localhost" => format!("Localhost/{}", profile.localhost_profile.as_deref().unwrap_or_default()),
        other => other.to_owned(),
    }
}

fn names(list: Option<&Vec<String>>) -> Vec<String> {
    let plain = |name: &String| name.strip_prefix("CAP_").unwrap_or(name).to_owned();
    list.into_iter().flatten().map(plain).collect()
}

/// The effective security of a container.
pub(super) fn effective(pod: Option<&PodSecurityContext>, own: Option<&SecurityContext>) -> Security {
    let pod = pod.cloned().unwrap_or_default();
    let own = own.cloned().unwrap_or_default();
    let mut groups: Vec<u64> =
        pod.supplemental_groups.into_iter().flatten().filter_map(|group| u64::try_from(group).ok()).collect();
    groups.extend(number(pod.fs_group).filter(|group| !groups.contains(group)));
    let capabilities = own.capabilities.unwrap_or_default();
    Security {
        user: number(own.run_as_user).or(number(pod.run_as_user)),
        group: number(own.run_as_group).or(number(pod.run_as_group)),
        supplemental_groups: groups,
        non_root: own.run_as_non_root.or(pod.run_as_non_root).unwrap_or(false),
        privileged: own.privileged.unwrap_or(false),
        privilege_escalation: own.allow_privilege_escalation,
        read_only_root: own.read_only_root_filesystem.unwrap_or(false),
        add_capabilities: names(capabilities.add.as_ref()),
        drop_capabilities: names(capabilities.drop.as_ref()),
        seccomp: own.seccomp_profile.or(pod.seccomp_profile).as_ref().map(seccomp).unwrap_or_default(),
        app_armor: own.app_armor_profile.or(pod.app_armor_profile).as_ref().map(app_armor).unwrap_or_default(),
        proc_mount: own.proc_mount.unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_containers_own_wins_over_the_pods() {
        let pod: PodSecurityContext = serde_json::from_value(json!({
            "runAsUser": 1000, "runAsGroup": 2000, "runAsNonRoot": true, "fsGroup": 3000, "supplementalGroups": [4000],
            "seccompProfile": { "type": "RuntimeDefault" },
        }))
        .unwrap();
        let own: SecurityContext = serde_json::from_value(json!({
            "runAsUser": 5, "runAsNonRoot": false, "capabilities": { "add": ["NET_ADMIN"], "drop": ["ALL"] },
            "seccompProfile": { "type": "Localhost", "localhostProfile": "my.json" },
        }))
        .unwrap();
        let security = effective(Some(&pod), Some(&own));
        assert_eq!((security.user, security.group), (Some(5), Some(2000)));
        assert_eq!(security.supplemental_groups, [4000, 3000]);
        assert!(!security.non_root);
        assert_eq!(security.seccomp, "Localhost/my.json");
        assert_eq!(security.drop_capabilities, ["ALL"]);
        assert_eq!(effective(None, None), Security::default());
    }
}
