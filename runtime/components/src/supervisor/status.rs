//! What people see of a provider and its versions, as data: `vk-runtime status`. Cost: made when it is asked for.

use jiff::Timestamp;
use serde::Serialize;

use crate::change::Refusal;
use crate::digest::Digest;
use crate::last_good::Bad;
use crate::program::ProgramStatus;
use crate::source::{Revision, Source};

/// The source, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SourceStatus {
    /// As it was given.
    pub address: String,
    /// What it had last.
    pub revision: Option<Revision>,
    /// Who signed that.
    pub signer: Option<String>,
    /// When it was asked last and answered, RFC 3339.
    pub answered: Option<String>,
    /// What is wrong with it now.
    pub error: Option<String>,
}

/// The version that was refused last, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedStatus {
    /// Its digest.
    pub digest: String,
    /// When that was, RFC 3339.
    pub since: String,
    /// Why.
    #[serde(flatten)]
    pub refusal: Refusal,
}

impl RefusedStatus {
    pub(super) fn now(digest: &Digest, refusal: Refusal) -> Self {
        Self { digest: digest.to_string(), since: Timestamp::now().to_string(), refusal }
    }
}

/// A provider and its versions, as data.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// The program.
    #[serde(flatten)]
    pub program: ProgramStatus,
    /// Where its versions come from.
    pub source: SourceStatus,
    /// Until when the version that serves is new, RFC 3339: as long it may be taken back.
    pub new_until: Option<String>,
    /// The last version that proved good.
    pub good: Option<String>,
    /// The version that was refused last, if the source still has it.
    pub refused: Option<RefusedStatus>,
    /// Versions that are not tried again.
    pub bad: Vec<Bad>,
}

impl SourceStatus {
    pub(super) fn of(source: &dyn Source) -> Self {
        let address = source.address().to_string();
        Self { address, revision: None, signer: None, answered: None, error: None }
    }

    pub(super) fn answered(&mut self, revision: &Revision, signer: Option<String>) {
        self.revision = Some(revision.clone());
        self.signer = signer;
        self.answered = Some(Timestamp::now().to_string());
        self.error = None;
    }
}
