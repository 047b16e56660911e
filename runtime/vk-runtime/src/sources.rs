//! Where components come from: the flags for it, and the sources that they make.
//!
//! Registries know us by what was given here, or by Docker's own configuration file; they are reached through TLS unless
//! plain HTTP is allowed for one by name. Passwords come from files, so that no list of processes shows them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Args;
use components::source::oci::{Credentials, Login, OciSource, Poll, Registries};
use components::source::{Address, ConfigMapSource, ConfigMaps, FileSource, Policy, PublicKey, Signatures, Source};
use components::{Digest, Limits};
use zeroize::Zeroizing;

/// How components are fetched and what they must be like.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
pub struct SourceArguments {
    /// Take only the component with this digest
    #[arg(long, value_name = "sha256:DIGEST", help_heading = "Where components come from")]
    pub component_digest: Option<Digest>,
    /// Take only components that cosign signed with the key of this public key (PEM); several: one of them
    #[arg(long, value_name = "FILE", help_heading = "Where components come from")]
    pub component_key: Vec<PathBuf>,
    /// How often registries are asked for a new version, as 30s or 5m [default: 1m]
    #[arg(long, value_name = "TIME", value_parser = time, help_heading = "Where components come from")]
    pub registry_poll: Option<Duration>,
    /// Docker's configuration file, or a pull secret's .dockerconfigjson [default: $DOCKER_CONFIG/config.json, ~/.docker/config.json]
    #[arg(long, value_name = "FILE", help_heading = "Where components come from")]
    pub registry_config: Vec<PathBuf>,
    /// Who to be to registries
    #[arg(long, value_name = "NAME", requires = "registry_password_file", help_heading = "Where components come from")]
    pub registry_user: Option<String>,
    /// That user's password
    #[arg(long, value_name = "FILE", requires = "registry_user", help_heading = "Where components come from")]
    pub registry_password_file: Option<PathBuf>,
    /// CA certificates of registries (PEM), beside the system's
    #[arg(long, value_name = "FILE", help_heading = "Where components come from")]
    pub registry_ca: Vec<PathBuf>,
    /// Reach this registry through plain HTTP
    #[arg(long, value_name = "HOST[:PORT]", help_heading = "Where components come from")]
    pub registry_plain_http: Vec<String>,
}

impl SourceArguments {
    /// What components must be like.
    pub fn policy(&self, limits: &Limits) -> Result<Policy> {
        let keys = self.component_key.iter().map(|path| {
            let pem = read(path, "--component-key")?;
            Ok(PublicKey::from_pem(&path.display().to_string(), &pem)?)
        });
        let keys = keys.collect::<Result<Vec<_>>>()?;
        let signatures = if keys.is_empty() { Signatures::NotRequired } else { Signatures::Keys(keys) };
        Ok(Policy { size: limits.component_size, digest: self.component_digest, signatures })
    }

    /// How registries are reached. `pull_secrets` are the `.dockerconfigjson` of Kubernetes Secrets.
    pub fn registries(&self, pull_secrets: Vec<Zeroizing<Vec<u8>>>) -> Result<Registries> {
        let given = match (&self.registry_user, &self.registry_password_file) {
            (Some(user), Some(path)) => {
                let text = Zeroizing::new(read(path, "--registry-password-file")?);
                let password =
                    std::str::from_utf8(&text).ok().map(|text| text.trim_end_matches(['\r', '\n']).to_owned());
                let password = password.with_context(|| format!("{} holds no text", path.display()))?.into();
                Some(Login::Password { user: user.clone(), password })
            }
            _ => None,
        };
        let files = match self.registry_config.as_slice() {
            [] => Credentials::docker_file().into_iter().collect(),
            given => given.to_vec(),
        };
        let ca = self.registry_ca.iter().map(|path| read(path, "--registry-ca")).collect::<Result<Vec<_>>>()?;
        Ok(Registries::new(Credentials { given, pull_secrets, files }, self.registry_plain_http.iter().cloned(), &ca)?)
    }

    /// The source at an address. ConfigMaps need `maps`. To be called on a runtime.
    pub fn open(
        &self,
        address: &Address,
        limits: &Limits,
        pull_secrets: Vec<Zeroizing<Vec<u8>>>,
        maps: Option<Arc<dyn ConfigMaps>>,
    ) -> Result<Arc<dyn Source>> {
        let policy = self.policy(limits)?;
        Ok(match (address, maps) {
            (Address::File(path), _) => Arc::new(FileSource::new(path, policy)?),
            (Address::ConfigMap(at), Some(maps)) => Arc::new(ConfigMapSource::new(at, maps, policy)),
            (Address::ConfigMap(_), None) => bail!("{address}: there is no cluster to read it from"),
            (Address::Oci(at), _) => {
                let poll = self.registry_poll.map_or_else(Poll::default, Poll);
                Arc::new(OciSource::new(at, &self.registries(pull_secrets)?, policy, poll))
            }
        })
    }
}

fn read(path: &Path, flag: &str) -> Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("the file {} ({flag}) can't be read", path.display()))
}

/// A time as [`time`] reads it.
pub fn time_text(time: Duration) -> String {
    if time.subsec_millis() == 0 { format!("{}s", time.as_secs()) } else { format!("{}ms", time.as_millis()) }
}

/// A time of at least a second.
pub fn time(text: &str) -> Result<Duration, String> {
    let (digits, unit) = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)]
        .into_iter()
        .find_map(|(suffix, unit)| text.strip_suffix(suffix).map(|digits| (digits, unit)))
        .ok_or("a time is written as 30s or 5m")?;
    let number: u64 = digits.parse().map_err(|_| "a time is written as 30s or 5m")?;
    match number.checked_mul(unit).map(Duration::from_millis) {
        Some(time) if time >= Duration::from_secs(1) => Ok(time),
        _ => Err("it is at least a second".to_owned()),
    }
}
