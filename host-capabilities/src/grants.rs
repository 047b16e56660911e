//! What an operator grants to one provider. The default grants nothing that needs granting, but a pod's own secret values:
//! a node that may not hand them on runs hardly any pod.

use std::str::FromStr;
use std::sync::Arc;

use crate::config::Config;
use crate::egress::{AddressRange, Rule};
use crate::secrets::Secrets;
use crate::tls::Profiles;

/// How the secret values of a pod (from its Secrets and tokens) reach the provider that runs it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PodSecrets {
    /// As values.
    #[default]
    Reveal,
    /// Not at all: a pod that has some waits, and says why.
    Deny,
}

impl PodSecrets {
    /// Whether the provider may see them.
    pub const fn may_reveal(self) -> bool {
        matches!(self, Self::Reveal)
    }
}

impl FromStr for PodSecrets {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "reveal" => Ok(Self::Reveal),
            "deny" => Ok(Self::Deny),
            other => Err(format!("`{other}` is none of reveal, deny")),
        }
    }
}

/// What one provider may do.
#[derive(Clone, Debug, Default)]
pub struct Grants {
    /// Requests.
    pub http: Vec<Rule>,
    /// Raw connections, and endpoints of requests.
    pub dial: Vec<Rule>,
    /// Special addresses that granted names may resolve to.
    pub addresses: Vec<AddressRange>,
    /// Secrets of the operator; all nodes of one provider share them.
    pub secrets: Arc<Secrets>,
    /// TLS profiles, shared as the secrets are.
    pub tls: Arc<Profiles>,
    /// Secret values of pods.
    pub pod_secrets: PodSecrets,
    /// What it is told.
    pub config: Config,
}
