//! Credentials for registries, out of image pull secrets of both formats (`kubernetes.io/dockerconfigjson` and
//! `kubernetes.io/dockercfg`), and which of them fit an image.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use provider::{Credential, Origin, OriginKind, PodKey, Text};
use serde::Deserialize;
use zeroize::Zeroizing;

use super::expansion;
use super::{Resolution, ResolvedCredentials, Resolver};
use crate::events::PodEvent;
use crate::record::Parsed;
use crate::references::{Content, ReferenceKind};

/// Docker Hub, under all its names.
const HUB: &str = "docker.io";

#[derive(Deserialize)]
struct DockerConfig {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
}

#[derive(Deserialize, Default)]
struct Entry {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default, alias = "identitytoken")]
    identity_token: String,
    #[serde(default, alias = "registrytoken")]
    registry_token: String,
}

impl Resolver {
    /// All credentials of a pod; a Secret that is missing or can't be read is told and left out, as the kubelet does.
    pub async fn credentials(&self, key: &PodKey, pod: &Parsed) -> ResolvedCredentials {
        let (mut found, mut events) = (Vec::new(), Vec::new());
        for reference in pod.spec.image_pull_secrets.iter().flatten() {
            let name = &reference.name;
            let failed = match self.references.get(key, ReferenceKind::Secret, name).await {
                Ok(Some(secret)) => match read(name, &secret) {
                    Ok(own) => {
                        found.extend(own);
                        continue;
                    }
                    Err(reason) => reason,
                },
                Ok(None) => "it does not exist".to_owned(),
                Err(reason) => reason,
            };
            events.push(PodEvent::warning(
                "FailedToRetrieveImagePullSecret",
                format!("Unable to retrieve some image pull secrets ({name}); attempting to pull the image may not succeed: {failed}"),
            ));
        }
        // As the kubelet has it: longer paths come before shorter ones, and names before patterns.
        found.sort_by(|one: &Credential, other| other.registry.cmp(&one.registry));
        Resolution { result: Ok(found), events }
    }
}

/// The credentials that fit an image, the best match first.
pub(crate) fn fitting(credentials: &[Credential], image: &str) -> Vec<Credential> {
    let image = full_name(image);
    credentials.iter().filter(|own| fits(&own.registry, &image)).cloned().collect()
}

fn read(name: &str, secret: &Content) -> Result<Vec<Credential>, String> {
    let origin = Arc::new(Origin::new(OriginKind::Secret, name, ""));
    let entries = match secret.kind.as_str() {
        "kubernetes.io/dockerconfigjson" => {
            let json = secret.data.get(".dockerconfigjson").ok_or("it has no key .dockerconfigjson")?;
            serde_json::from_slice::<DockerConfig>(json).map_err(|_| "its .dockerconfigjson can't be read")?.auths
        }
        "kubernetes.io/dockercfg" => {
            let json = secret.data.get(".dockercfg").ok_or("it has no key .dockercfg")?;
            serde_json::from_slice(json).map_err(|_| "its .dockercfg can't be read")?
        }
        other => return Err(format!("its type is {other}, not kubernetes.io/dockerconfigjson")),
    };
    let text = |value: String| if value.is_empty() { Text::default() } else { expansion::from(origin.clone(), value) };
    Ok(entries
        .into_iter()
        .map(|(registry, entry)| {
            let (username, password) = pair(&entry);
            Credential {
                registry: normal(&registry),
                username: text(username),
                password: text(password),
                identity_token: text(entry.identity_token),
                registry_token: text(entry.registry_token),
            }
        })
        .collect())
}

/// `auth` is read with padding and without, on one line or several.
const AUTH: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// User and password: those in `auth`, if it can be read.
fn pair(entry: &Entry) -> (String, String) {
    let text: Zeroizing<String> = Zeroizing::new(entry.auth.split_ascii_whitespace().collect());
    let decoded = AUTH.decode(text.as_bytes()).ok().and_then(|own| String::from_utf8(own).ok());
    let of_auth = decoded.map(Zeroizing::new).and_then(|own| {
        let (user, password) = own.split_once(':')?;
        // Docker ends them with NULs.
        Some((user.to_owned(), password.trim_matches('\0').to_owned()))
    });
    of_auth.unwrap_or_else(|| (entry.username.clone(), entry.password.clone()))
}

/// `https://index.docker.io/v1/` → `docker.io`; `https://r.example.com/v2/` → `r.example.com`.
fn normal(registry: &str) -> String {
    let bare = registry.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let bare = bare.strip_suffix("/v1").or_else(|| bare.strip_suffix("/v2")).unwrap_or(bare);
    match bare {
        "index.docker.io" | "registry-1.docker.io" | HUB => HUB.to_owned(),
        other => other.to_owned(),
    }
}

/// The image's registry and repository, with Docker Hub's defaults filled in.
fn full_name(image: &str) -> String {
    let name = image.split('@').next().unwrap_or(image);
    let tag = name.rfind(':').filter(|at| !name.get(*at..).unwrap_or_default().contains('/'));
    let name = tag.and_then(|at| name.get(..at)).unwrap_or(name);
    match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => {
            let rest = name.get(host.len()..).unwrap_or_default();
            format!("{}{rest}", normal(host))
        }
        Some(_) => format!("{HUB}/{name}"),
        None => format!("{HUB}/library/{name}"),
    }
}

/// Whether a registry entry (host, optional port and path, `*` for one label) is for an image.
fn fits(registry: &str, image: &str) -> bool {
    let (host, path) = registry.split_once('/').unwrap_or((registry, ""));
    let (image_host, image_path) = image.split_once('/').unwrap_or((image, ""));
    let labels = |name: &str| name.split(['.', ':']).map(str::to_owned).collect::<Vec<_>>();
    let (pattern, own) = (labels(host), labels(image_host));
    let same_host = pattern.len() == own.len() && pattern.iter().zip(&own).all(|(pattern, own)| matches(pattern, own));
    let inside =
        path.is_empty() || image_path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    same_host && inside
}

fn matches(pattern: &str, label: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => label.len() + 1 >= pattern.len() && label.starts_with(start) && label.ends_with(end),
        None => pattern == label,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(kind: &str, key: &str, json: &str) -> Content {
        let data = [(key.to_owned(), Zeroizing::new(json.as_bytes().to_vec()))].into();
        Content { kind: kind.into(), data, ..Content::default() }
    }

    #[test]
    fn both_formats_are_read() {
        let auth = AUTH.encode("user:pa:ss");
        let json = format!(r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}}}}}}"#);
        let own = read("s", &secret("kubernetes.io/dockerconfigjson", ".dockerconfigjson", &json)).unwrap();
        assert_eq!(own[0].registry, "docker.io");
        assert_eq!(expansion::plain(&own[0].password).unwrap(), "pa:ss");
        let json = r#"{"r.example.com:5000":{"username":"u","password":"p"}}"#;
        let own = read("s", &secret("kubernetes.io/dockercfg", ".dockercfg", json)).unwrap();
        assert_eq!(own[0].registry, "r.example.com:5000");
        assert!(!format!("{own:?}").contains("\"p\""));
        assert!(read("s", &secret("Opaque", "k", "")).unwrap_err().contains("Opaque"));
    }

    #[test]
    fn user_and_password_are_read_as_the_kubelet_reads_them() {
        let auth =
            |text: &str| Entry { auth: text.into(), username: "u".into(), password: "p".into(), ..Entry::default() };
        let is =
            |entry: Entry, user: &str, password: &str| assert_eq!(pair(&entry), (user.to_owned(), password.to_owned()));
        // What is in `auth` counts; it may lack its padding, have line ends in it, and NULs at its end.
        for text in ["YTpiYw==", "YTpiYw", "YTpi\nYw==\n", "YTpiYwAA"] {
            is(auth(text), "a", "bc");
        }
        for text in ["", "no base64!", "YWJj"] {
            is(auth(text), "u", "p");
        }
    }

    #[test]
    fn credentials_fit_by_host_port_and_path() {
        for (registry, image, fit) in [
            ("docker.io", "busybox", true),
            ("docker.io", "team/app:1", true),
            ("docker.io", "r.example.com/app", false),
            ("r.example.com", "r.example.com/a/b@sha256:00", true),
            ("r.example.com:5000", "r.example.com:5000/app:tag", true),
            ("r.example.com:5000", "r.example.com/app", false),
            ("r.example.com/team", "r.example.com/team/app", true),
            ("r.example.com/team", "r.example.com/teams/app", false),
            ("*.example.com", "r.example.com/app", true),
            ("*.example.com", "a.b.example.com/app", false),
            ("localhost:5000", "localhost:5000/app", true),
        ] {
            assert_eq!(fits(registry, &full_name(image)), fit, "{registry} {image}");
        }
    }
}
