//! What a pod asks of Hyper.sh alone, by annotation (or, for the size, by label):
//!
//! | annotation | value |
//! | --- | --- |
//! | `hyper.sh/size` | a size, whatever the resources say; also as a label |
//! | `hyper.sh/floating-ip` | `true` or `false`: whether the pod has one |
//! | `hyper.sh/security-groups` | names, separated by commas |
//! | `hyper.sh/volume.NAME` | the volume at Hyper.sh that the `emptyDir` NAME is; it is there before and after the pod |

use vk_provider_sdk::types::SandboxConfig;
use vk_provider_sdk::{Error, Result};

use super::sizes;
use crate::settings::FloatingIp;

const SIZE: &str = "hyper.sh/size";
const FLOATING_IP: &str = "hyper.sh/floating-ip";
const SECURITY_GROUPS: &str = "hyper.sh/security-groups";
const VOLUME: &str = "hyper.sh/volume.";

/// The size that the pod names.
pub fn size(pod: &SandboxConfig) -> Result<Option<&'static str>> {
    let named = annotation(pod, SIZE).or_else(|| find(&pod.labels, SIZE));
    named.map(|name| sizes::named(name).map_err(|error| error.while_doing(SIZE))).transpose()
}

/// Whether the pod has a floating IP.
pub fn wants_address(pod: &SandboxConfig, default: FloatingIp) -> Result<bool> {
    match annotation(pod, FLOATING_IP) {
        None => Ok(default == FloatingIp::Always),
        Some("true") => Ok(true),
        Some("false") => Ok(false),
        Some(other) => Err(Error::invalid(format!("{FLOATING_IP}: `{other}` is neither true nor false"))),
    }
}

/// The security groups that its containers are in.
pub fn security_groups(pod: &SandboxConfig) -> Result<Vec<&str>> {
    let names = annotation(pod, SECURITY_GROUPS).unwrap_or_default().split(',').map(str::trim);
    let names: Vec<_> = names.filter(|name| !name.is_empty()).collect();
    let is_name = |name: &&str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte));
    match names.iter().find(|name| !is_name(name)) {
        Some(name) => Err(Error::invalid(format!("{SECURITY_GROUPS}: `{name}` is no name of a security group"))),
        None => Ok(names),
    }
}

/// The volume at Hyper.sh that a volume of the pod is.
pub fn existing_volume<'a>(pod: &'a SandboxConfig, volume: &str) -> Option<&'a str> {
    let named = |(name, value): &'a (String, String)| (name.strip_prefix(VOLUME)? == volume).then_some(value.as_str());
    pod.annotations.iter().find_map(named)
}

fn annotation<'a>(pod: &'a SandboxConfig, name: &str) -> Option<&'a str> {
    find(&pod.annotations, name)
}

fn find<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(own, _)| own == name).map(|(_, value)| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(annotations: &[(&str, &str)]) -> SandboxConfig {
        let annotations = annotations.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        SandboxConfig { annotations, ..SandboxConfig::default() }
    }

    #[test]
    fn a_floating_ip_is_asked_for_or_declined() {
        for (value, default, wants) in [
            (None, FloatingIp::Annotated, false),
            (None, FloatingIp::Always, true),
            (Some("true"), FloatingIp::Annotated, true),
            (Some("false"), FloatingIp::Always, false),
        ] {
            let annotations: Vec<_> = value.map(|value| (FLOATING_IP, value)).into_iter().collect();
            assert_eq!(wants_address(&pod(&annotations), default).unwrap(), wants);
        }
        let error = wants_address(&pod(&[(FLOATING_IP, "yes")]), FloatingIp::Always).unwrap_err();
        assert!(error.is("invalid") && error.message.contains("`yes`"), "{error:?}");
    }

    #[test]
    fn a_size_is_named_by_annotation_or_label() {
        assert_eq!(size(&pod(&[(SIZE, "m2")])).unwrap(), Some("m2"));
        let mut labelled = pod(&[]);
        labelled.labels = vec![(SIZE.into(), "l1".into())];
        assert_eq!(size(&labelled).unwrap(), Some("l1"));
        assert_eq!(size(&pod(&[])).unwrap(), None);
        let error = size(&pod(&[(SIZE, "huge")])).unwrap_err();
        assert!(error.message.starts_with("hyper.sh/size: `huge`"), "{error:?}");
    }

    #[test]
    fn security_groups_and_volumes_are_named() {
        let own = pod(&[(SECURITY_GROUPS, "web, db,"), ("hyper.sh/volume.data", "pg-1")]);
        assert_eq!(security_groups(&own).unwrap(), ["web", "db"]);
        assert_eq!((existing_volume(&own, "data"), existing_volume(&own, "dat")), (Some("pg-1"), None));
        assert!(security_groups(&pod(&[(SECURITY_GROUPS, "a b")])).unwrap_err().message.contains("`a b`"));
    }
}
