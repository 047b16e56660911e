//! One provider: a component, what it may do, what it is told.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::ValueEnum;
use host_capabilities::secrets::{Mode, SecretGrant, SecretGrantError};
use host_capabilities::tls::{TlsProfile, TlsProfileError};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::is_default;

/// One provider. Several nodes may have the same one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Provider {
    /// What it is called, here and in logs and metrics: letters, digits, `-`, `_` and `.`. What it remembers is kept under
    /// this name.
    pub name: String,
    /// The WebAssembly component: PATH, `configmap://NAMESPACE/NAME[/KEY]` (read by the host identity) or
    /// `oci://REGISTRY/REPOSITORY[:TAG][@DIGEST]`. It is watched; a new version is checked, tried and swapped in.
    pub component: String,
    /// Take only the component with this digest, `sha256:…`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// Who must have signed the component.
    #[serde(default, skip_serializing_if = "is_default")]
    pub signatures: Signatures,
    /// How registries are asked, for `oci://`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub registry: Registry,
    /// Limits by name, as `memory: 64Mi`, `cpu: 2s`, `calls: 96`; what is not named has its default.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub limits: BTreeMap<String, Amount>,
    /// What it may reach: nothing unless it stands here.
    #[serde(default)]
    pub allow: Allow,
    /// How the values of pods' own Secrets and tokens reach it.
    #[serde(default)]
    pub pod_secrets: PodSecretsUse,
    /// Secrets that it may use.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<Secret>,
    /// TLS profiles that it may name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls: Vec<Tls>,
    /// What it is told: settings by name. A setting that has settings of its own is told as `NAME.OWN`.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub config: Map<String, Value>,
    /// A file, JSON or YAML, with more of these settings, or with names of nodes and the settings of each; what stands
    /// under `config` counts more. A folder is Hyper.sh's own: the keys of its `config.json` become secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_file: Option<PathBuf>,
}

/// Who must have signed a component.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Signatures {
    /// Files with public keys, PEM: cosign signed it with the key of one of them. Without keys nobody need have signed it.
    pub keys: Vec<PathBuf>,
}

/// How registries are asked.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Registry {
    /// How often they are asked for a new version, as `30s` or `5m`; `1m` by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub poll: Option<String>,
    /// Files as Docker's config.json, with credentials. By default $DOCKER_CONFIG/config.json, or ~/.docker/config.json.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub docker_configs: Vec<PathBuf>,
    /// Kubernetes Secrets `NAMESPACE/NAME` of the type kubernetes.io/dockerconfigjson, read by the host identity when the
    /// provider starts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_secrets: Vec<String>,
    /// Who to be; goes with `passwordFile`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// A file with that user's password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password_file: Option<PathBuf>,
    /// Files with CA certificates, PEM, beside the system's.
    #[serde(rename = "cas", skip_serializing_if = "Vec::is_empty")]
    pub cas: Vec<PathBuf>,
    /// Registries `HOST[:PORT]` that are reached through plain HTTP.
    #[serde(rename = "plainHTTP", skip_serializing_if = "Vec::is_empty")]
    pub plain_http: Vec<String>,
}

/// What a provider may reach.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct Allow {
    /// Requests: `SCHEME://HOST[:PORT][/PREFIX]`, HOST also `*.SUFFIX` or `[RANGE]`, methods before it (`GET,HEAD URL`).
    pub http: Vec<String>,
    /// Connections: `HOST:PORT`, `*.SUFFIX:PORT`, `[RANGE]:PORT` or `unix:///PATH`.
    pub dial: Vec<String>,
    /// Addresses to which granted names may resolve though they are private, loopback or link-local: IP or IP/BITS.
    pub addresses: Vec<String>,
    /// Ranges in which its pods' addresses may lie, for what the host itself connects to: IP/BITS.
    #[serde(rename = "podCIDRs", skip_serializing_if = "is_default")]
    pub pod_cidrs: Vec<String>,
}

/// How the values of pods' Secrets reach a provider.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum PodSecretsUse {
    /// As values.
    #[default]
    Reveal,
    /// Not at all: a pod that has some waits, and says why.
    Deny,
}

/// A secret that a provider may use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Secret {
    /// By which the provider asks for it.
    pub name: String,
    /// Where its value is: `env:VARIABLE`, `file:/PATH`, `json:/PATH#/POINTER`, `kube:NAMESPACE/NAME/KEY` (read by the host
    /// identity), `token:AUDIENCE` (of a ServiceAccount) or `exec:/PROGRAM ARGUMENTS` (a credential plugin).
    pub from: String,
    /// What the provider may do with it: `reveal` (it reads it), `sign` (it never sees it) or `inject` (it is filled into
    /// requests to `hosts`, and the provider never sees it).
    pub mode: SecretMode,
    /// The hosts that it may be sent to, with the mode `inject`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}

/// What a provider may do with a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretMode {
    /// Read it.
    Reveal,
    /// Sign with it.
    Sign,
    /// Have it filled into requests.
    Inject,
}

impl Secret {
    /// As the capability reads it.
    pub fn grant(&self) -> Result<SecretGrant, String> {
        let mode = match self.mode {
            SecretMode::Reveal => Mode::Reveal,
            SecretMode::Sign => Mode::Sign,
            SecretMode::Inject => Mode::Inject,
        };
        let hosts = self.hosts.iter().map(|host| format!(",{host}")).collect::<String>();
        let written = format!("{}={}:{}{hosts}", self.name, self.from, mode.as_str());
        written.parse().map_err(|error: SecretGrantError| error.reason)
    }

    /// One that is written `NAME=FROM:MODE[,HOST…]`.
    pub fn written(text: &str) -> Result<Self, SecretGrantError> {
        let grant: SecretGrant = text.parse()?;
        let (_, rest) = text.split_once('=').unwrap_or_default();
        let mode = format!(":{}", grant.mode.as_str());
        let ends = |at: usize| matches!(rest.as_bytes().get(at + mode.len()), None | Some(b','));
        let at = rest.rmatch_indices(&mode).map(|(at, _)| at).find(|at| ends(*at)).unwrap_or(rest.len());
        Ok(Self {
            name: grant.name,
            from: rest[..at].to_owned(),
            mode: match grant.mode {
                Mode::Reveal => SecretMode::Reveal,
                Mode::Sign => SecretMode::Sign,
                Mode::Inject => SecretMode::Inject,
            },
            hosts: grant.hosts.iter().map(ToString::to_string).collect(),
        })
    }
}

/// A TLS profile: how requests and connections that name it are encrypted. The sources are written as those of secrets, or
/// as paths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Tls {
    /// By which the provider names it.
    pub name: String,
    /// Where the CA certificates are, PEM. By default the system's.
    #[serde(rename = "ca", default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<String>,
    /// Where the client's certificate and its chain are, PEM; goes with `key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub certificate: Option<String>,
    /// Where the client's private key is, PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the server's certificate must name. By default the host that is connected to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
}

impl Tls {
    /// As the capability reads it.
    pub fn profile(&self) -> Result<TlsProfile, String> {
        let parts =
            [("ca", &self.ca), ("cert", &self.certificate), ("key", &self.key), ("server-name", &self.server_name)];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(part, value)| Some(format!("{part}:{}", value.as_ref()?))).collect();
        if parts.is_empty() {
            return Err(format!("`{}` has neither CA nor client identity nor server name", self.name));
        }
        format!("{}={}", self.name, parts.join(",")).parse().map_err(|error: TlsProfileError| error.reason)
    }

    /// One that is written `NAME=ca:SOURCE,cert:SOURCE,key:SOURCE,server-name:NAME`.
    pub fn written(text: &str) -> Result<Self, TlsProfileError> {
        // Says what is wrong.
        let profile: TlsProfile = text.parse()?;
        let (_, rest) = text.split_once('=').unwrap_or_default();
        const PARTS: [&str; 4] = ["ca", "cert", "key", "server-name"];
        let mut found: [Option<String>; 4] = Default::default();
        let mut last = None;
        for piece in rest.split(',') {
            let begun =
                PARTS.iter().position(|part| piece.strip_prefix(part).is_some_and(|rest| rest.starts_with(':')));
            last = begun.or(last);
            let Some(slot) = last.and_then(|index| found.get_mut(index)) else { continue };
            match (begun, slot) {
                (Some(_), slot) => *slot = piece.split_once(':').map(|(_, value)| value.to_owned()),
                // A comma of the value's own.
                (None, Some(value)) => {
                    value.push(',');
                    value.push_str(piece);
                }
                (None, None) => {}
            }
        }
        let [ca, certificate, key, server_name] = found;
        Ok(Self { name: profile.name, ca, certificate, key, server_name })
    }
}

/// An amount: a text with its unit, or a number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Amount {
    /// As `96`.
    Number(u64),
    /// As `64Mi` or `2s`.
    Text(String),
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Text(text) => f.write_str(text),
        }
    }
}
