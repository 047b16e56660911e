//! Who we are to a registry: what was given, a Kubernetes pull secret, Docker's configuration file, a credential helper.
//!
//! In this order; in each the entry that names the longest part of the repository's path. Files and helpers are read each
//! time, so what is renewed there is used. A helper has [`HELPER`] to answer.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use tokio::io::AsyncWriteExt;
use zeroize::Zeroizing;

use crate::source::Problem;

/// How long a helper may take.
const HELPER: Duration = Duration::from_secs(30);
/// Docker Hub, as Docker's configuration names it.
const DOCKER_HUB: &str = "index.docker.io";

/// What a registry is told.
#[derive(Clone)]
pub enum Login {
    /// A user's name and password.
    Password {
        /// The name.
        user: String,
        /// The password.
        password: Zeroizing<String>,
    },
    /// An identity token, to be exchanged for another.
    Token(Zeroizing<String>),
}

impl fmt::Debug for Login {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Password { .. } => "Password(…)",
            Self::Token(_) => "Token(…)",
        })
    }
}

/// Where credentials are.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// For whichever registry is asked.
    pub given: Option<Login>,
    /// `.dockerconfigjson` of Kubernetes Secrets, as they are decoded.
    pub pull_secrets: Vec<Zeroizing<Vec<u8>>>,
    /// Files as `~/.docker/config.json`. One that is not there is passed over.
    pub files: Vec<PathBuf>,
}

impl Credentials {
    /// Docker's own file: in `$DOCKER_CONFIG`, or in `~/.docker`.
    pub fn docker_file() -> Option<PathBuf> {
        let folder = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
        let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".docker"));
        folder.or_else(home).map(|folder| folder.join("config.json"))
    }

    /// Those for a repository.
    pub(super) async fn of(&self, registry: &str, repository: &str) -> Result<Option<Login>, Problem> {
        if let Some(given) = &self.given {
            return Ok(Some(given.clone()));
        }
        for secret in &self.pull_secrets {
            if let Some(login) = DockerConfig::parse(secret, "the pull secret")?.login(registry, repository).await? {
                return Ok(Some(login));
            }
        }
        for path in &self.files {
            let name = path.display().to_string();
            let text = match tokio::fs::read(path).await {
                Ok(text) => Zeroizing::new(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
                Err(error) => return Err(Problem::Credentials(format!("{name}: {error}"))),
            };
            if let Some(login) = DockerConfig::parse(&text, &name)?.login(registry, repository).await? {
                return Ok(Some(login));
            }
        }
        Ok(None)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DockerConfig {
    #[serde(default)]
    auths: HashMap<String, Entry>,
    #[serde(default)]
    cred_helpers: HashMap<String, String>,
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    username: Option<String>,
    password: Option<String>,
    auth: Option<String>,
    identitytoken: Option<String>,
}

impl DockerConfig {
    fn parse(text: &[u8], name: &str) -> Result<Self, Problem> {
        // Where it is wrong may be told, what stands there not.
        serde_json::from_slice(text)
            .map_err(|error| Problem::Credentials(format!("{name} is no Docker configuration (line {})", error.line())))
    }

    async fn login(&self, registry: &str, repository: &str) -> Result<Option<Login>, Problem> {
        let best = |keys: &mut dyn Iterator<Item = &String>| {
            keys.filter_map(|key| matches(key, registry, repository).map(|length| (length, key.clone()))).max()
        };
        if let Some((_, key)) = best(&mut self.cred_helpers.keys())
            && let Some(helper) = self.cred_helpers.get(&key)
        {
            return ask(helper, &key).await;
        }
        let entry = best(&mut self.auths.keys()).and_then(|(_, key)| Some((self.auths.get(&key)?, key)));
        if let Some((entry, _)) = &entry
            && let Some(login) = entry.login()?
        {
            return Ok(Some(login));
        }
        // With a store, an entry is there without its secret.
        match &self.creds_store {
            Some(store) => {
                let key = entry.map(|(_, key)| key);
                let default =
                    if is_docker_hub(registry) { format!("https://{DOCKER_HUB}/v1/") } else { registry.to_owned() };
                ask(store, &key.unwrap_or(default)).await
            }
            None => Ok(None),
        }
    }
}

impl Entry {
    fn login(&self) -> Result<Option<Login>, Problem> {
        if let Some(token) = self.identitytoken.as_ref().filter(|token| !token.is_empty()) {
            return Ok(Some(Login::Token(token.clone().into())));
        }
        if let (Some(user), Some(password)) = (&self.username, &self.password) {
            return Ok(Some(Login::Password { user: user.clone(), password: password.clone().into() }));
        }
        let Some(auth) = self.auth.as_ref().filter(|auth| !auth.is_empty()) else { return Ok(None) };
        let wrong = || Problem::Credentials("an `auth` is not the base64 of USER:PASSWORD".to_owned());
        let decoded = Zeroizing::new(STANDARD.decode(auth.trim()).map_err(|_| wrong())?);
        let text = std::str::from_utf8(&decoded).map_err(|_| wrong())?;
        let (user, password) = text.split_once(':').ok_or_else(wrong)?;
        let password = Zeroizing::new(password.trim_end_matches('\0').to_owned());
        Ok(Some(Login::Password { user: user.to_owned(), password }))
    }
}

/// Whether a key of the configuration is for this repository: the length of what it names. As the kubelet has it, a key may
/// hold a path, and `*` for a part of the host.
fn matches(key: &str, registry: &str, repository: &str) -> Option<usize> {
    let bare = key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
    let (host, path) = bare.split_once('/').unwrap_or((bare, ""));
    let path = path.trim_end_matches('/');
    let path = if matches!(path, "v1" | "v2") { "" } else { path };
    let hosts_match = if is_docker_hub(registry) {
        is_docker_hub(host)
    } else {
        let (mut own, mut asked) = (host.split('.'), registry.split('.'));
        loop {
            match (own.next(), asked.next()) {
                (None, None) => break true,
                (Some("*"), Some(_)) => {}
                (Some(own), Some(asked)) if own.eq_ignore_ascii_case(asked) => {}
                _ => break false,
            }
        }
    };
    let paths_match =
        path.is_empty() || repository.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    (hosts_match && paths_match).then(|| host.len() + path.len())
}

pub(super) fn is_docker_hub(registry: &str) -> bool {
    matches!(registry, "docker.io" | DOCKER_HUB | "registry-1.docker.io")
}

/// Asks a credential helper (<https://github.com/docker/docker-credential-helpers>).
async fn ask(helper: &str, server: &str) -> Result<Option<Login>, Problem> {
    let program = format!("docker-credential-{helper}");
    let fail = |reason: String| Problem::Credentials(format!("the helper {program}: {reason}"));
    if helper.is_empty() || !helper.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        return Err(fail("this is no name of one".to_owned()));
    }
    let run = async {
        let mut child = tokio::process::Command::new(&program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // One that doesn't read answers nevertheless.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        child.wait_with_output().await
    };
    let output = tokio::time::timeout(HELPER, run)
        .await
        .map_err(|_| fail(format!("it did not answer within {} s", HELPER.as_secs())))?
        .map_err(|error| fail(error.to_string()))?;
    let answer = Zeroizing::new(output.stdout);
    if !output.status.success() {
        // The protocol's words for it.
        if String::from_utf8_lossy(&answer).contains("credentials not found") {
            return Ok(None);
        }
        return Err(fail(format!("it ended with {}", output.status)));
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Answer {
        username: String,
        secret: String,
    }
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| fail("its answer can't be read".to_owned()))?;
    Ok(Some(match answer.username.as_str() {
        "<token>" => Login::Token(answer.secret.into()),
        _ => Login::Password { user: answer.username, password: answer.secret.into() },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn user(config: &str, registry: &str, repository: &str) -> Option<String> {
        let secret = Zeroizing::new(config.as_bytes().to_vec());
        let credentials = Credentials { pull_secrets: vec![secret], ..Credentials::default() };
        match credentials.of(registry, repository).await.unwrap() {
            Some(Login::Password { user, password }) => Some(format!("{user}:{}", password.as_str())),
            Some(Login::Token(token)) => Some(format!("token:{}", token.as_str())),
            None => None,
        }
    }

    #[tokio::test]
    async fn the_entry_that_names_the_most_of_a_repository_is_taken() {
        let auth = |text: &str| STANDARD.encode(text);
        let config = format!(
            r#"{{"auths":{{
                "ghcr.io":{{"auth":"{}"}},
                "https://ghcr.io/owner":{{"username":"owner","password":"p2"}},
                "*.azurecr.io":{{"identitytoken":"t3"}},
                "https://index.docker.io/v1/":{{"auth":"{}"}}
            }}}}"#,
            auth("all:p1"),
            auth("hub:p:4")
        );
        for (registry, repository, expected) in [
            ("ghcr.io", "other/hyper", Some("all:p1")),
            ("ghcr.io", "owner/hyper", Some("owner:p2")),
            ("ghcr.io", "owners/hyper", Some("all:p1")),
            ("own.azurecr.io", "hyper", Some("token:t3")),
            ("azurecr.io", "hyper", None),
            ("docker.io", "library/hyper", Some("hub:p:4")),
            ("ghcr.io:5000", "hyper", None),
            ("quay.io", "hyper", None),
        ] {
            assert_eq!(user(&config, registry, repository).await.as_deref(), expected, "{registry}/{repository}");
        }
    }

    #[tokio::test]
    async fn what_is_wrong_with_a_configuration_is_said_without_what_stands_there() {
        for config in ["{\"auths\": {\"ghcr.io\": {\"auth\": \"c2VjcmV0\"}}}", "{\"auths\": \"c2VjcmV0\"}"] {
            let secret = Zeroizing::new(config.as_bytes().to_vec());
            let credentials = Credentials { pull_secrets: vec![secret], ..Credentials::default() };
            let error = credentials.of("ghcr.io", "hyper").await.unwrap_err().to_string();
            assert!(error.contains("its credentials can't be had"), "{error}");
            assert!(!error.contains("c2VjcmV0") && !error.contains("secret\""), "{error}");
        }
    }
}
