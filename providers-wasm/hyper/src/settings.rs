//! What `--config KEY=VALUE` tells this provider. A key or value that is not understood is an error that names it.

use vk_provider_sdk::{Error, Result, host, quantity};

use crate::cloud::sizes;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// `endpoint`: where the engine is.
    pub endpoint: String,
    /// `dialect`: `cloud` where the endpoint's name does not tell that it is Hyper.sh; empty: it does, or is asked.
    pub dialect: String,
    /// `tls`: the TLS profile for an `https` endpoint.
    pub tls: String,
    /// `pause-image`: what sandboxes run; empty: libpod's own, or [`PAUSE_IMAGE`] with Docker.
    pub pause_image: String,
    /// `cpu`: thousandths of a core to offer; none: all the engine has.
    pub cpu: Option<u64>,
    /// `memory`: bytes to offer; none: all the engine has.
    pub memory: Option<u64>,
    /// `pods`: how many to offer.
    pub pods: Option<u64>,
    /// `region`, Hyper.sh: what is signed for; empty: as the endpoint is called.
    pub region: String,
    /// `size`, Hyper.sh: of containers that ask for nothing.
    pub size: Option<&'static str>,
    /// `floating-ip`, Hyper.sh: which pods have one.
    pub floating_ip: FloatingIp,
}

/// Which pods have a floating IP. Each costs a month.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum FloatingIp {
    /// `annotated`: those with the annotation.
    #[default]
    Annotated,
    /// `always`: all whose annotation does not say no.
    Always,
}

/// What sandboxes run at a Docker engine if nothing else is set.
pub const PAUSE_IMAGE: &str = "registry.k8s.io/pause:3.10.1";

impl Settings {
    /// Reads what the host was told.
    pub fn read() -> Result<Self> {
        Self::parse(host::config::list())
    }

    fn parse(values: Vec<(String, String)>) -> Result<Self> {
        let mut own = Self::default();
        for (key, value) in values {
            let understood = match key.as_str() {
                "endpoint" => set(&mut own.endpoint, Some(value.clone())),
                "dialect" => set(&mut own.dialect, (value == "cloud").then(|| value.clone())),
                "region" => set(&mut own.region, is_region(&value).then(|| value.clone())),
                "size" => set(&mut own.size, sizes::named(&value).ok().map(Some)),
                "floating-ip" => set(&mut own.floating_ip, FloatingIp::parse(&value)),
                "tls" => set(&mut own.tls, Some(value.clone())),
                "pause-image" => set(&mut own.pause_image, Some(value.clone())),
                "cpu" => set(&mut own.cpu, quantity::millicores(&value).map(Some)),
                "memory" => set(&mut own.memory, quantity::whole(&value).map(Some)),
                "pods" => set(&mut own.pods, value.parse().ok().map(Some)),
                _ => return Err(Error::invalid(format!("hyper: there is no setting `{key}`"))),
            };
            if !understood {
                return Err(Error::invalid(format!("hyper: `{value}` is no value for the setting `{key}`")));
            }
        }
        if own.endpoint.is_empty() {
            return Err(Error::invalid(
                "hyper: which engine? Set --config endpoint=unix:///PATH, http://HOST:PORT or https://HOST:PORT",
            ));
        }
        Ok(own)
    }
}

impl FloatingIp {
    fn parse(word: &str) -> Option<Self> {
        match word {
            "annotated" => Some(Self::Annotated),
            "always" => Some(Self::Always),
            _ => None,
        }
    }
}

fn is_region(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[(&str, &str)]) -> Result<Settings> {
        Settings::parse(values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn every_setting_is_read() {
        let own = parse(&[
            ("endpoint", "unix:///run/podman.sock"),
            ("tls", "docker"),
            ("pause-image", "pause:1"),
            ("cpu", "1500m"),
            ("memory", "4Gi"),
            ("pods", "20"),
        ])
        .unwrap();
        let cloud = parse(&[
            ("endpoint", "https://h:8443"),
            ("dialect", "cloud"),
            ("region", "eu-central-1"),
            ("size", "m1"),
            ("floating-ip", "always"),
        ])
        .unwrap();
        assert_eq!((cloud.dialect.as_str(), cloud.region.as_str()), ("cloud", "eu-central-1"));
        assert_eq!((cloud.size, cloud.floating_ip), (Some("m1"), FloatingIp::Always));
        assert_eq!(own.endpoint, "unix:///run/podman.sock");
        assert_eq!((own.cpu, own.memory, own.pods), (Some(1500), Some(4 << 30), Some(20)));
        assert_eq!((own.tls.as_str(), own.pause_image.as_str()), ("docker", "pause:1"));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (key, value) in [
            ("cpus", "3"),
            ("cpu", "many"),
            ("pods", "-1"),
            ("dialect", "libpod"),
            ("region", "us/west"),
            ("size", "xxl"),
            ("floating-ip", "yes"),
        ] {
            let error = parse(&[("endpoint", "unix:///s"), (key, value)]).unwrap_err();
            assert!(error.is("invalid") && error.message.contains(key), "{error:?}");
        }
    }

    #[test]
    fn without_an_endpoint_the_error_says_how_to_set_one() {
        let error = parse(&[]).unwrap_err();
        assert!(error.message.contains("--config endpoint="), "{error:?}");
    }
}
