//! What happens to the versions of a provider, told to whoever writes Events, conditions and log lines.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use crate::component::LoadError;
use crate::digest::Digest;

/// Something that happened; shown as one sentence for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// The first version serves.
    Loaded {
        /// It.
        digest: Digest,
    },
    /// The source had nothing that can be used: a version that served before the restart serves again.
    UsedLast {
        /// It.
        digest: Digest,
        /// What is wrong with the source, or with what it has.
        why: String,
    },
    /// Another version serves.
    Swapped {
        /// The version before.
        before: Digest,
        /// It.
        digest: Digest,
        /// Exports that it has no more.
        lost: Vec<String>,
        /// Exports that it has in addition.
        gained: Vec<String>,
    },
    /// A version does not get to serve. The one that serves goes on.
    Refused {
        /// It.
        digest: Digest,
        /// The version that serves.
        serving: Digest,
        /// Why.
        refusal: Refusal,
    },
    /// A version that is known to be bad was found again, and is not tried.
    Known {
        /// It.
        digest: Digest,
        /// What was wrong with it.
        why: String,
    },
    /// A version was taken back, by the runtime itself.
    RolledBack {
        /// It.
        bad: Digest,
        /// The version that serves instead.
        digest: Digest,
        /// What went wrong.
        why: String,
    },
    /// A version does badly, and there is none to go back to.
    Failing {
        /// It.
        digest: Digest,
        /// What goes wrong.
        why: String,
        /// Why nothing can be done.
        but: String,
    },
    /// A version has proved good: it is what later ones are taken back to.
    Proved {
        /// It.
        digest: Digest,
    },
    /// The source can't be asked, or what it has is not to be trusted.
    SourceFailing {
        /// What is wrong.
        why: String,
        /// When it is asked again, if not before.
        again: Duration,
    },
    /// The source can be asked again.
    SourceRecovered,
}

impl Change {
    /// A CamelCase reason for it, as Events have one.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Loaded { .. } => "ProviderLoaded",
            Self::UsedLast { .. } => "ProviderLastVersionUsed",
            Self::Swapped { .. } => "ProviderSwapped",
            Self::Refused { .. } => "ProviderRefused",
            Self::Known { .. } => "ProviderKnownBad",
            Self::RolledBack { .. } => "ProviderRolledBack",
            Self::Failing { .. } => "ProviderFailing",
            Self::Proved { .. } => "ProviderProved",
            Self::SourceFailing { .. } => "ProviderSourceFailing",
            Self::SourceRecovered => "ProviderSourceRecovered",
        }
    }

    /// Whether somebody should look at it.
    pub const fn is_warning(&self) -> bool {
        !matches!(self, Self::Loaded { .. } | Self::Swapped { .. } | Self::Proved { .. } | Self::SourceRecovered)
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Loaded { digest } => write!(f, "version {} serves", digest.short()),
            Self::UsedLast { digest, why } => {
                write!(f, "version {}, which served last, is used: {why}", digest.short())
            }
            Self::Swapped { before, digest, lost, gained } => {
                write!(f, "version {} serves, instead of {}", digest.short(), before.short())?;
                if !lost.is_empty() {
                    write!(f, "; it has no {} any more", lost.join(", "))?;
                }
                if !gained.is_empty() {
                    write!(f, "; it has {} in addition", gained.join(", "))?;
                }
                Ok(())
            }
            Self::Refused { digest, serving, refusal } => {
                write!(f, "version {} is refused, {} goes on: {}", digest.short(), serving.short(), refusal.why)
            }
            Self::Known { digest, why } => {
                write!(f, "version {} is not tried again until it changes: {why}", digest.short())
            }
            Self::RolledBack { bad, digest, why } => {
                write!(f, "version {} is taken back, {} serves again: {why}", bad.short(), digest.short())
            }
            Self::Failing { digest, why, but } => write!(f, "version {} does badly: {why}; {but}", digest.short()),
            Self::Proved { digest } => write!(f, "version {} has proved good", digest.short()),
            Self::SourceFailing { why, again } => write!(f, "{why}; asked again within {again:?}"),
            Self::SourceRecovered => f.write_str("the source can be asked again"),
        }
    }
}

/// Why a version does not get to serve.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// One sentence.
    pub why: String,
    /// The capabilities that it asks for and was not granted; empty: that is not what is wrong.
    pub asked: String,
    /// The grants that are missing, as flags.
    pub missing: String,
}

impl From<&LoadError> for Refusal {
    fn from(error: &LoadError) -> Self {
        let why = error.to_string();
        match error {
            LoadError::NotGranted { wanted, flags, .. } => Self { why, asked: wanted.clone(), missing: flags.clone() },
            _ => Self { why, asked: String::new(), missing: String::new() },
        }
    }
}
