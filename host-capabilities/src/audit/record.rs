//! One line of the audit log.

use std::fmt::Display;
use std::sync::Arc;

use jiff::Timestamp;
use provider::{Code, PodKey};
use serde::{Serialize, Serializer};

use super::{Audit, MAX_TEXT};
use crate::error::Error;
use crate::log::{Logger, cut};

/// One use of a capability.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// When it ended.
    #[serde(serialize_with = "shown")]
    pub time: Timestamp,
    /// The provider.
    #[serde(serialize_with = "shown")]
    pub provider: Arc<str>,
    /// Its version.
    #[serde(serialize_with = "shown")]
    pub version: Arc<str>,
    /// The node it was for.
    pub node: String,
    /// Number of the call, unique while the host runs; log lines have it too.
    pub call: u64,
    /// The export that was called, as `pods.create`.
    pub export: &'static str,
    /// The pod that it was for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<Pod>,
    /// The interface of `vk:host`.
    pub capability: &'static str,
    /// What was done: a function, or the method of a request.
    pub operation: String,
    /// To what: an address, a URL without its query, a name.
    pub target: String,
    /// Whether it was let.
    pub outcome: Outcome,
    /// The error's code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The error's words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Status of the response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Bytes that were given out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out: Option<u64>,
    /// Bytes that were taken in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in: Option<u64>,
}

/// As text.
pub(super) fn shown<S: Serializer>(value: &impl Display, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(value)
}

/// A pod, by its key.
#[derive(Clone, Debug, Serialize)]
pub struct Pod {
    uid: String,
    namespace: String,
    name: String,
}

impl From<&PodKey> for Pod {
    fn from(key: &PodKey) -> Self {
        Self { uid: key.uid.to_string(), namespace: key.namespace.to_string(), name: key.name.to_string() }
    }
}

/// What became of a use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It was let, and went well as far as the host knows.
    Allowed,
    /// It was not let: not granted, malformed, or over a limit.
    Refused,
    /// It was let, and did not go well.
    Failed,
}

impl Outcome {
    fn of(error: Option<&Error>) -> Self {
        match error.map(|error| Code::parse(&error.code)) {
            None => Self::Allowed,
            Some(Code::Denied | Code::Limit | Code::Invalid) => Self::Refused,
            Some(_) => Self::Failed,
        }
    }
}

/// A use as a capability tells it; the rest is the call's.
#[derive(Debug, Default)]
pub(crate) struct Used {
    pub(crate) capability: &'static str,
    pub(crate) operation: String,
    pub(crate) target: String,
    pub(crate) status: Option<u16>,
    pub(crate) bytes_out: Option<u64>,
    pub(crate) bytes_in: Option<u64>,
}

impl Used {
    /// Of this capability, this function, on this.
    pub(crate) fn new(capability: &'static str, operation: &str, target: impl Into<String>) -> Self {
        Self { capability, operation: operation.to_owned(), target: target.into(), ..Self::default() }
    }
}

/// The first part of a key in the store: what kind of thing it is about.
pub(crate) fn key_prefix(key: &str) -> String {
    const LONGEST: usize = 32;
    match key.split_once('/') {
        Some((prefix, _)) if prefix.len() <= LONGEST => format!("{prefix}/…"),
        _ if key.len() <= LONGEST => key.to_owned(),
        _ => {
            let mut key = key.to_owned();
            cut(&mut key, LONGEST);
            key
        }
    }
}

impl Audit {
    /// Records a use by this call; `used` is asked only if somebody wants to know.
    pub(crate) fn used(&self, logger: &Logger, error: Option<&Error>, used: impl FnOnce() -> Used) {
        let outcome = Outcome::of(error);
        if !self.wants(outcome) {
            return;
        }
        let Used { capability, operation, target, status, bytes_out, bytes_in } = used();
        let text = |text: String| {
            let mut text = logger.mask(text);
            cut(&mut text, MAX_TEXT);
            text
        };
        let subject = logger.subject();
        let record = Record {
            time: Timestamp::now(),
            provider: logger.provider().into(),
            version: subject.version.clone(),
            node: logger.node().to_owned(),
            call: subject.id,
            export: subject.export,
            pod: subject.pod.as_ref().map(Into::into),
            capability,
            operation: text(operation),
            target: text(target),
            outcome,
            error: error.map(|error| error.code.clone()),
            why: error.map(|error| text(error.message.clone())),
            status,
            bytes_out,
            bytes_in,
        };
        self.record(record, logger.audited());
    }
}
