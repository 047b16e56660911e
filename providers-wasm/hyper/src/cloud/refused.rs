//! What can't be had at Hyper.sh, refused before anything is made, by the field's name: it would take most of it and ignore
//! it. And what Hyper.sh itself refuses, in words for the pod.

use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};
use vk_provider_sdk::{Error, Result, code};

use crate::manifest::Manifest;
use crate::refusal::Refusal;
use crate::request::Wanted;

/// The reason that is shown where the account's quota is used up.
const QUOTA: &str = "QuotaExceeded";

fn refuse(field: &str, what: &str) -> Error {
    Error::invalid(format!("{field}: {what} can't be had at Hyper.sh"))
}

/// Refuses what a pod as a whole can't have.
pub fn pod(config: &SandboxConfig, manifest: &Manifest) -> Result<()> {
    let dns = &config.dns;
    let wishes = [
        (
            !(dns.servers.is_empty() && dns.searches.is_empty() && dns.options.is_empty()),
            "spec.dnsConfig",
            "a resolver",
        ),
        (!config.sysctls.is_empty(), "spec.securityContext.sysctls", "a sysctl"),
        (!config.hosts.is_empty(), "spec.hostAliases", "a line of /etc/hosts"),
        (!config.domain.is_empty(), "spec.subdomain", "a line of /etc/hosts"),
        (config.share_processes, "spec.shareProcessNamespace", "a shared process namespace"),
        (config.fs_group.is_some(), "spec.securityContext.fsGroup", "a group of the volumes"),
        (manifest.has_pod_limits(), "spec.resources", "a limit for the pod as a whole"),
    ];
    match wishes.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, field, what)) => Err(refuse(field, what)),
        None => Ok(()),
    }
}

/// Refuses what a container can't have. `path` is the container's in the manifest, `image_user` what its image runs as.
pub fn container(config: &ContainerConfig, wanted: &Wanted, path: &str, image_user: &str) -> Result<()> {
    let security = &config.security;
    let is_image_user = wanted.user == image_user || (wanted.user == "0" && image_user.is_empty());
    let wishes = [
        (!wanted.user.is_empty() && !is_image_user, "securityContext.runAsUser", "another user than the image's"),
        (!wanted.groups.is_empty(), "securityContext.supplementalGroups", "a further group"),
        (!wanted.add_capabilities.is_empty(), "securityContext.capabilities.add", "a further capability"),
        (!wanted.drop_capabilities.is_empty(), "securityContext.capabilities.drop", "less capabilities"),
        (wanted.privileged, "securityContext.privileged", "a privileged container"),
        (wanted.no_new_privileges, "securityContext.allowPrivilegeEscalation", "the value false"),
        (wanted.unmasked_proc, "securityContext.procMount", "another /proc"),
        (security.app_armor.starts_with("Localhost/"), "securityContext.appArmorProfile", "a profile of one's own"),
        (config.role == "ephemeral", "ephemeralContainers", "an ephemeral container"),
    ];
    match wishes.into_iter().find(|(is_asked, ..)| *is_asked) {
        Some((_, field, what)) => Err(refuse(&format!("{path}.{field}"), what)),
        None => Ok(()),
    }
}

/// What a refusal to give out `what` (a container, a volume, a floating IP) means. Hyper.sh says of its quotas only in words.
pub fn limit(refusal: Refusal, what: &str) -> Error {
    if refusal.says(&["quota", "exceed", "limit"]) && matches!(refusal.status, 400 | 402 | 403 | 409) {
        // Another pod may end, or the quota be raised.
        let message = format!("Hyper.sh gives no room for {what}: {}", refusal.message);
        return Error::unavailable(message).with_reason(QUOTA);
    }
    if refusal.status == 402 || refusal.says(&["payment", "billing", "credit card", "balance"]) {
        return Error::unavailable(format!("Hyper.sh wants to be paid before it gives {what}: {}", refusal.message))
            .with_reason("PaymentRequired");
    }
    let status = refusal.status;
    let mut error = Error::from(refusal);
    // A pod that it does not take as it is written, it will not take later.
    if (400..500).contains(&status) && !error.is(code::NOT_FOUND) && !error.is(code::CONFLICT) {
        code::INVALID.clone_into(&mut error.code);
    }
    error.while_doing(&format!("Hyper.sh refuses {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::http::Answer;
    use vk_provider_sdk::types::{Dns, Security};

    fn refused(status: u16, body: &str) -> Error {
        limit(Refusal::of(&Answer { status, headers: Vec::new(), body: body.into() }), "a container")
    }

    #[test]
    fn a_quota_is_tried_again_and_told_with_the_backends_words() {
        let error = refused(403, "Quota exceeded: container 10/10");
        assert!(error.is("unavailable") && error.reason == "QuotaExceeded", "{error:?}");
        assert_eq!(error.message, "Hyper.sh gives no room for a container: Quota exceeded: container 10/10");
        assert_eq!(refused(402, "Payment required").reason, "PaymentRequired");
    }

    #[test]
    fn other_refusals_are_final_but_conflicts_and_trouble() {
        assert!(refused(400, "unknown parameter").is("invalid"));
        assert!(refused(403, "no").is("invalid"));
        assert!(refused(409, "Conflict. The name \"/x\" is already in use by container ab").is("conflict"));
        assert!(refused(500, "oops").is("internal"));
    }

    #[test]
    fn what_hyper_ignores_is_refused_by_its_path() {
        let own = SandboxConfig { sysctls: vec![("a".into(), "b".into())], ..SandboxConfig::default() };
        let error = pod(&own, &Manifest::default()).unwrap_err();
        assert!(error.is("invalid") && error.message.starts_with("spec.securityContext.sysctls: "), "{error:?}");
        let dns = Dns { servers: vec!["10.0.0.10".into()], ..Dns::default() };
        let own = SandboxConfig { dns, ..SandboxConfig::default() };
        assert!(pod(&own, &Manifest::default()).unwrap_err().message.starts_with("spec.dnsConfig: "));
        assert!(pod(&SandboxConfig::default(), &Manifest::default()).is_ok());

        let check = |security: Security, image_user: &str| {
            let config = ContainerConfig { image_id: "i".into(), security, ..ContainerConfig::default() };
            let wanted = Wanted::of(&SandboxConfig::default(), &config, "spec.containers{a}").unwrap();
            container(&config, &wanted, "spec.containers{a}", image_user)
        };
        let user = |user| Security { user: Some(user), ..Security::default() };
        assert!(check(Security::default(), "nginx").is_ok());
        assert!(check(user(1000), "1000").is_ok() && check(user(0), "").is_ok());
        for (security, field) in [
            (user(1000), "runAsUser"),
            (Security { drop_capabilities: vec!["ALL".into()], ..Security::default() }, "capabilities.drop"),
            (Security { privilege_escalation: Some(false), ..Security::default() }, "allowPrivilegeEscalation"),
        ] {
            let error = check(security, "").unwrap_err();
            let start = format!("spec.containers{{a}}.securityContext.{field}: ");
            assert!(error.is("invalid") && error.message.starts_with(&start), "{error:?}");
        }
    }
}
