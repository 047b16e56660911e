//! Image references as containers name them, and what to do about their images.
//!
//! The grammar is that of the Docker distribution project's reference package, which the kubelet reads them with.

use std::fmt;

use crate::pod::{ContainerView, PodView};

/// A reference that can't be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidImageName {
    /// As it was written.
    pub image: String,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for InvalidImageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Failed to apply default image tag \"{0}\": couldn't parse image name \"{0}\": {1}",
            self.image, self.problem
        )
    }
}

impl std::error::Error for InvalidImageName {}

/// The reference with `:latest` where it has neither tag nor digest; an error if it is none.
pub fn with_default_tag(image: &str) -> Result<String, InvalidImageName> {
    let reference = parse(image).map_err(|problem| InvalidImageName { image: image.to_owned(), problem })?;
    Ok(match reference {
        Reference { tag: None, digest: None } => format!("{image}:latest"),
        _ => image.to_owned(),
    })
}

/// Changes when a container's definition changes in a way that takes a new container: its image. 32-bit FNV-1a of name
/// and image.
pub fn spec_hash(container: &str, image: &str) -> u32 {
    let default_tag = parse(image).is_ok_and(|reference| reference.tag.is_none() && reference.digest.is_none());
    let tag = if default_tag { ":latest" } else { "" };
    let bytes = container.bytes().chain([0]).chain(image.bytes()).chain(tag.bytes());
    bytes.fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// When an image is fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// The container's; where it says nothing, `Always` for `:latest` and `IfNotPresent` for the rest.
    pub(crate) fn of(container: &ContainerView<'_>) -> Self {
        match container.pull_policy {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            None if with_default_tag(container.image).is_ok_and(|image| image.ends_with(":latest")) => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

/// Whether `runAsNonRoot` allows a container of an image whose user is `image_user` (`USER[:GROUP]`; empty: root).
pub(crate) fn check_user(pod: &PodView<'_>, container: &ContainerView<'_>, image_user: &str) -> Result<(), String> {
    let (own, shared) = (container.security, pod.spec.security_context.as_ref());
    let non_root = own.and_then(|own| own.run_as_non_root).or_else(|| shared.and_then(|shared| shared.run_as_non_root));
    if non_root != Some(true) {
        return Ok(());
    }
    let place = || format!("(pod: \"{}\", container: {})", pod.full_name(), container.name);
    if let Some(user) = own.and_then(|own| own.run_as_user).or_else(|| shared.and_then(|shared| shared.run_as_user)) {
        return match user {
            0 => Err(format!("container's runAsUser breaks non-root policy {}", place())),
            _ => Ok(()),
        };
    }
    let user = image_user.split(':').next().unwrap_or_default();
    match user.parse::<i64>() {
        Ok(0) => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
        Ok(id) if !(0..=i64::from(i32::MAX)).contains(&id) => Err(format!(
            "container has runAsNonRoot and image has an invalid user id ({id}). (Must be 1-({0})): must be between 0 \
             and {0}, inclusive {1}",
            i32::MAX,
            place()
        )),
        Ok(_) => Ok(()),
        Err(_) if user.is_empty() => Err(format!("container has runAsNonRoot and image will run as root {}", place())),
        Err(_) => Err(format!(
            "container has runAsNonRoot and image has non-numeric user ({user}), cannot verify user is non-root {}",
            place()
        )),
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Reference<'a> {
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

const MALFORMED: &str = "invalid reference format";

fn parse(image: &str) -> Result<Reference<'_>, String> {
    if image.len() == 64 && image.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(format!("invalid repository name ({image}), cannot specify 64-byte hexadecimal strings"));
    }
    let (domain, remainder) = split_domain(image);
    let is_hub = matches!(domain, None | Some("docker.io" | "index.docker.io"));
    let namespace = if is_hub && !remainder.contains('/') { "library/" } else { "" };
    let repository = remainder.split(':').next().unwrap_or_default();
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err(format!("{MALFORMED}: repository name ({namespace}{repository}) must be lowercase"));
    }
    let (rest, digest) = match remainder.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (remainder, None),
    };
    let (path, tag) = match rest.split_once(':') {
        Some((path, tag)) => (path, Some(tag)),
        None => (rest, None),
    };
    let well_formed = domain.is_none_or(is_domain)
        && path.split('/').all(is_path_component)
        && tag.is_none_or(is_tag)
        && digest.is_none_or(is_digest);
    if !well_formed {
        return Err(MALFORMED.into());
    }
    if namespace.len() + path.len() > 255 {
        return Err("repository name must not be more than 255 characters".into());
    }
    Ok(Reference { tag, digest })
}

/// The part before the first `/` is a registry if it can't be the name of a repository.
fn split_domain(image: &str) -> (Option<&str>, &str) {
    match image.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (Some(first), rest)
        }
        _ => (None, image),
    }
}

fn is_domain(domain: &str) -> bool {
    let (host, port) = match domain.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.is_empty() || !address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':') {
                return false;
            }
            (None, port.strip_prefix(':').or((!port.is_empty()).then_some("x")))
        }
        None => match domain.split_once(':') {
            Some((host, port)) => (Some(host), Some(port)),
            None => (Some(domain), None),
        },
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    host.is_none_or(|host| host.split('.').all(is_label))
        && port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Lower-case letters and digits, separated by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    if !bytes.first().is_some_and(|byte| is_word(*byte)) || !bytes.last().is_some_and(|byte| is_word(*byte)) {
        return false;
    }
    component
        .split(|letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit())
        .all(|separator| matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|byte| byte == b'-'))
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    (1..=128).contains(&tag.len())
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

fn is_digest(digest: &str) -> bool {
    let Some((algorithm, encoded)) = digest.split_once(':') else { return false };
    let is_part = |part: &str| {
        part.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && part.bytes().all(|byte| byte.is_ascii_alphanumeric())
    };
    let length = match algorithm {
        "sha256" => encoded.len() == 64,
        "sha384" => encoded.len() == 96,
        "sha512" => encoded.len() == 128,
        _ => encoded.len() >= 32,
    };
    algorithm.split(['-', '_', '+', '.']).all(is_part) && length && encoded.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_without_tag_or_digest_get_latest() {
        let digest = format!("sha256:{}", "a".repeat(64));
        for (image, with_tag) in [
            ("nginx", "nginx:latest"),
            ("nginx:1.27", "nginx:1.27"),
            ("library/nginx", "library/nginx:latest"),
            ("localhost:5000/team/app", "localhost:5000/team/app:latest"),
            ("registry.example.com/a_b/c--d.e:v1.0-rc_1", "registry.example.com/a_b/c--d.e:v1.0-rc_1"),
            ("[::1]:5000/app", "[::1]:5000/app:latest"),
            ("Registry.Example.com/app", "Registry.Example.com/app:latest"),
        ] {
            assert_eq!(with_default_tag(image).as_deref(), Ok(with_tag));
        }
        let pinned = format!("ghcr.io/a/b@{digest}");
        assert_eq!(with_default_tag(&pinned), Ok(pinned));
        let both = format!("ghcr.io/a/b:v1@{digest}");
        assert_eq!(with_default_tag(&both), Ok(both));
    }

    #[test]
    fn a_bad_reference_is_named_with_its_problem() {
        let long = format!("example.com/{}", "a".repeat(256));
        let longer_than_it_looks = "a".repeat(248);
        let hex = "a".repeat(64);
        for (image, problem) in [
            ("", "invalid reference format"),
            ("Nginx", "invalid reference format: repository name (library/Nginx) must be lowercase"),
            ("docker.io/Nginx:1", "invalid reference format: repository name (library/Nginx) must be lowercase"),
            ("team/Nginx", "invalid reference format: repository name (team/Nginx) must be lowercase"),
            ("not a name", "invalid reference format"),
            ("nginx:", "invalid reference format"),
            ("nginx:bad tag", "invalid reference format"),
            ("nginx@sha256:abc", "invalid reference format"),
            ("a//b", "invalid reference format"),
            ("-a", "invalid reference format"),
            ("a..b", "invalid reference format"),
            ("a___b", "invalid reference format"),
            ("-bad.example.com/app", "invalid reference format"),
            (&long, "repository name must not be more than 255 characters"),
            (&longer_than_it_looks, "repository name must not be more than 255 characters"),
            (&hex, &*format!("invalid repository name ({hex}), cannot specify 64-byte hexadecimal strings")),
        ] {
            let error = with_default_tag(image).expect_err(image);
            assert_eq!(error.problem, problem, "{image}");
        }
        let error = with_default_tag("A:b").unwrap_err().to_string();
        assert!(error.starts_with("Failed to apply default image tag \"A:b\": couldn't parse image name \"A:b\": "));
    }

    #[test]
    fn the_hash_follows_name_and_image_and_knows_the_default_tag() {
        assert_eq!(spec_hash("app", "nginx"), spec_hash("app", "nginx:latest"));
        assert_ne!(spec_hash("app", "nginx"), spec_hash("app", "nginx:1.27"));
        assert_ne!(spec_hash("app", "nginx"), spec_hash("web", "nginx"));
    }
}
