//! Whether a container that ended is started again: `restartPolicyRules`, then the container's `restartPolicy`, then the
//! pod's.
//!
//! The rule action `RestartAllContainers` is not done: a node that does not declare the feature gets no such pod. Where
//! one comes all the same, the policies decide.

use crate::pod::{ContainerView, PodView, Role};

/// Whether a container that ended with this exit code is started again.
pub(crate) fn should_restart(pod: &PodView<'_>, container: &ContainerView<'_>, exit_code: i32) -> bool {
    if container.role == Role::Ephemeral {
        return false;
    }
    if container.restart_policy.is_some() && rule_says_restart(container, exit_code) {
        return true;
    }
    let by_policy = |policy| match policy {
        Some("Always") => Some(true),
        Some("OnFailure") => Some(exit_code != 0),
        Some("Never") => Some(false),
        _ => None,
    };
    by_policy(container.restart_policy).or_else(|| by_policy(pod.spec.restart_policy.as_deref())).unwrap_or(true)
}

/// Whether the first rule that matches says so.
fn rule_says_restart(container: &ContainerView<'_>, exit_code: i32) -> bool {
    let matching = container.restart_rules.iter().find(|rule| {
        rule.exit_codes.as_ref().is_some_and(|codes| {
            let listed = codes.values.as_deref().unwrap_or_default().contains(&exit_code);
            match codes.operator.as_str() {
                "In" => listed,
                "NotIn" => !listed,
                _ => false,
            }
        })
    });
    matching.is_some_and(|rule| rule.action == "Restart")
}
