//! What is written for a component: where it is.
//!
//! `PATH`, `configmap://NAMESPACE/NAME[/KEY]`, `oci://REGISTRY/REPOSITORY[:TAG][@sha256:…]`. Reads back as it is written.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// Where a component is.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Address {
    /// A file.
    File(PathBuf),
    /// One key of a ConfigMap, or parts.
    ConfigMap(ConfigMapAddress),
    /// An artifact in a registry.
    Oci(OciAddress),
}

/// `configmap://NAMESPACE/NAME[/KEY]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ConfigMapAddress {
    /// The namespace.
    pub namespace: String,
    /// The ConfigMap.
    pub name: String,
    /// The key; none: the only one that the ConfigMap has.
    pub key: Option<String>,
}

/// `oci://REGISTRY/REPOSITORY[:TAG][@sha256:…]`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OciAddress {
    /// Host, with a port if one was written. What Docker calls `docker.io` stays so here.
    pub registry: String,
    /// The repository.
    pub repository: String,
    /// The tag; beside a digest it is only for people.
    pub tag: Option<String>,
    /// The manifest's digest, which is then the only one that is taken.
    pub digest: Option<Digest>,
}

/// An address that can't be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no address of a component: {reason}")]
pub struct AddressError {
    /// What was written.
    pub text: String,
    /// What is wrong with it.
    pub reason: String,
}

/// The tag that is meant where none is written.
const DEFAULT_TAG: &str = "latest";

impl Address {
    /// What a provider from there is called when nobody says: the file's name without its extension, the ConfigMap's name,
    /// the last part of the repository.
    pub fn name(&self) -> String {
        match self {
            Self::File(path) => path.file_stem().map(|stem| stem.to_string_lossy().into_owned()),
            Self::ConfigMap(own) => Some(own.name.clone()),
            Self::Oci(own) => own.repository.rsplit('/').next().map(str::to_owned),
        }
        .unwrap_or_else(|| "provider".to_owned())
    }
}

impl OciAddress {
    /// The tag or digest that names the manifest.
    pub fn reference(&self) -> String {
        match (&self.digest, &self.tag) {
            (Some(digest), _) => digest.to_string(),
            (None, Some(tag)) => tag.clone(),
            (None, None) => DEFAULT_TAG.to_owned(),
        }
    }
}

impl From<&Path> for Address {
    fn from(path: &Path) -> Self {
        Self::File(path.to_owned())
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let parsed = if let Some(rest) = text.strip_prefix("configmap://") {
            config_map(rest).map(Self::ConfigMap)
        } else if let Some(rest) = text.strip_prefix("oci://") {
            oci(rest).map(Self::Oci)
        } else if let Some(rest) = text.strip_prefix("file://") {
            Ok(Self::File(rest.into())).and_then(|path| {
                if rest.starts_with('/') { Ok(path) } else { Err("after file:// comes an absolute path".to_owned()) }
            })
        } else if let Some((scheme, _)) = text.split_once("://") {
            Err(format!("`{scheme}` is no kind of source; there are a path, configmap:// and oci://"))
        } else if text.is_empty() {
            Err("it is empty".to_owned())
        } else {
            Ok(Self::File(text.into()))
        };
        parsed.map_err(|reason| AddressError { text: text.to_owned(), reason })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::ConfigMap(own) => own.fmt(f),
            Self::Oci(own) => own.fmt(f),
        }
    }
}

impl fmt::Display for ConfigMapAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "configmap://{}/{}", self.namespace, self.name)?;
        self.key.iter().try_for_each(|key| write!(f, "/{key}"))
    }
}

impl fmt::Display for OciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "oci://{}/{}", self.registry, self.repository)?;
        self.tag.iter().try_for_each(|tag| write!(f, ":{tag}"))?;
        self.digest.iter().try_for_each(|digest| write!(f, "@{digest}"))
    }
}

impl From<Address> for String {
    fn from(address: Address) -> Self {
        address.to_string()
    }
}

impl TryFrom<String> for Address {
    type Error = AddressError;

    fn try_from(text: String) -> Result<Self, AddressError> {
        text.parse()
    }
}

fn config_map(text: &str) -> Result<ConfigMapAddress, String> {
    const FORM: &str = "it is written configmap://NAMESPACE/NAME[/KEY]";
    let mut parts = text.split('/');
    let (Some(namespace), Some(name), key, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err(FORM.to_owned());
    };
    if !is_label(namespace) || namespace.len() > 63 {
        return Err(format!("`{namespace}` is no name of a namespace; {FORM}"));
    }
    if name.len() > 253 || !name.split('.').all(is_label) {
        return Err(format!("`{name}` is no name of a ConfigMap; {FORM}"));
    }
    if let Some(key) = key {
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        if key.is_empty() || key.len() > 253 || !key.bytes().all(fits) || key == "." || key.starts_with("..") {
            return Err(format!("`{key}` is no key of a ConfigMap; {FORM}"));
        }
    }
    Ok(ConfigMapAddress { namespace: namespace.to_owned(), name: name.to_owned(), key: key.map(str::to_owned) })
}

/// A DNS label, RFC 1123.
fn is_label(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with('-')
        && !text.ends_with('-')
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

/// As the distribution specification has it: <https://github.com/opencontainers/distribution-spec>.
fn oci(text: &str) -> Result<OciAddress, String> {
    const FORM: &str = "it is written oci://REGISTRY/REPOSITORY[:TAG][@sha256:…]";
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
        None => (text, None),
    };
    let (registry, rest) = rest.split_once('/').ok_or(FORM)?;
    let (repository, tag) = match rest.rsplit_once(':') {
        Some((repository, tag)) => (repository, Some(tag)),
        None => (rest, None),
    };
    if !is_authority(registry) {
        return Err(format!("`{registry}` is no registry's host; {FORM}"));
    }
    if repository.len() > 255 || !repository.split('/').all(is_path_component) {
        return Err(format!(
            "`{repository}` is no repository (lower-case letters, digits, `.`, `_`, `-` and `/`); {FORM}"
        ));
    }
    if let Some(tag) = tag {
        let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
        let fits = tag.len() <= 128
            && tag.bytes().next().is_some_and(word)
            && tag.bytes().all(|b| word(b) || matches!(b, b'.' | b'-'));
        if !fits {
            return Err(format!("`{tag}` is no tag; {FORM}"));
        }
    }
    Ok(OciAddress {
        registry: registry.to_owned(),
        repository: repository.to_owned(),
        tag: tag.map(str::to_owned),
        digest,
    })
}

/// `HOST[:PORT]`, where HOST may be an IPv6 address in brackets.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, port)) => {
            if address.parse::<std::net::Ipv6Addr>().is_err() {
                return false;
            }
            ("", port.strip_prefix(':').or_else(|| port.is_empty().then_some("443")))
        }
        None => match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, Some("443")),
        },
    };
    let fits = |label: &str| is_label(&label.to_ascii_lowercase());
    (text.starts_with('[') || host.split('.').all(fits)) && port.is_some_and(|port| port.parse::<u16>().is_ok())
}

fn is_path_component(text: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let (first, last) = (text.bytes().next(), text.bytes().last());
    first.is_some_and(word)
        && last.is_some_and(word)
        && text.bytes().all(|b| word(b) || matches!(b, b'.' | b'_' | b'-'))
        && !text.contains("..")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    #[test]
    fn an_address_reads_back_as_it_is_written() {
        for (text, name) in [
            ("hyper.wasm", "hyper"),
            ("/opt/providers/hyper-1.2.wasm", "hyper-1.2"),
            ("configmap://kube-system/hyper", "hyper"),
            ("configmap://kube-system/hyper/provider.wasm", "hyper"),
            ("oci://ghcr.io/owner/hyper", "hyper"),
            ("oci://ghcr.io/owner/hyper:1.2.0", "hyper"),
            ("oci://localhost:5000/hyper:v1", "hyper"),
            ("oci://[::1]:5000/a/b:v1", "b"),
            (&format!("oci://ghcr.io/hyper:1@{DIGEST}"), "hyper"),
            (&format!("oci://ghcr.io/hyper@{DIGEST}"), "hyper"),
        ] {
            let address: Address = text.parse().unwrap();
            assert_eq!(address.to_string(), text);
            assert_eq!(address.name(), name, "{text}");
            assert_eq!(Address::try_from(String::from(address.clone())).unwrap(), address);
        }
    }

    #[test]
    fn a_digest_goes_before_a_tag_and_latest_is_meant_where_neither_is() {
        let reference = |text: &str| match text.parse().unwrap() {
            Address::Oci(own) => own.reference(),
            other => panic!("{other}"),
        };
        assert_eq!(reference(&format!("oci://ghcr.io/hyper:1@{DIGEST}")), DIGEST);
        assert_eq!(reference("oci://ghcr.io/hyper:1"), "1");
        assert_eq!(reference("oci://ghcr.io/hyper"), "latest");
    }

    #[test]
    fn what_is_wrong_with_an_address_is_said() {
        for (text, says) in [
            ("", "empty"),
            ("http://example.com/a.wasm", "`http` is no kind of source"),
            ("file://relative.wasm", "an absolute path"),
            ("configmap://hyper", "configmap://NAMESPACE/NAME[/KEY]"),
            ("configmap://Kube/hyper", "`Kube` is no name of a namespace"),
            ("configmap://kube-system/a_b", "`a_b` is no name of a ConfigMap"),
            ("configmap://kube-system/hyper/..data", "`..data` is no key"),
            ("configmap://kube-system/hyper/a/b", "configmap://NAMESPACE/NAME[/KEY]"),
            ("oci://ghcr.io", "oci://REGISTRY/REPOSITORY"),
            ("oci://ghcr.io/Owner/hyper", "`Owner/hyper` is no repository"),
            ("oci://ghcr.io/hyper:", "`` is no tag"),
            ("oci://ghcr.io:http/hyper", "`ghcr.io:http` is no registry's host"),
            ("oci://user@ghcr.io/hyper", "no digest"),
            ("oci://ghcr.io/hyper@sha256:12", "no digest"),
        ] {
            let error = text.parse::<Address>().unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
