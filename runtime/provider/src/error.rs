//! Why a call to a provider failed, in terms of what to do next.

use std::fmt;
use std::time::Duration;

/// What a call to a provider returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What to do about an [`Error`]; the contract's `error.code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// The thing named does not exist (any more).
    NotFound,
    /// Can't be done as it is written: not retried, said on the pod.
    Invalid,
    /// Somebody else changed it, or it is in use: read again, retry.
    Conflict,
    /// Too many requests: wait for `retry_after`.
    Throttled,
    /// The backend does not answer, or not now: retry with back-off.
    Unavailable,
    /// The backend refuses the credentials: retry with back-off, say so on the node.
    Unauthorized,
    /// Never done by this provider or backend.
    Unsupported,
    /// Not granted to this provider by the operator.
    Denied,
    /// A limit set by the operator is reached; the message names it.
    Limit,
    /// No answer in time; whether it was done is unknown.
    Timeout,
    /// The other side closed the connection or stream.
    Closed,
    /// A defect.
    Internal,
}

impl Code {
    /// The contract's word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotFound => "not-found",
            Self::Invalid => "invalid",
            Self::Conflict => "conflict",
            Self::Throttled => "throttled",
            Self::Unavailable => "unavailable",
            Self::Unauthorized => "unauthorized",
            Self::Unsupported => "unsupported",
            Self::Denied => "denied",
            Self::Limit => "limit",
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::Internal => "internal",
        }
    }

    /// Reads the contract's word; one that is not known is [`Code::Internal`].
    pub fn parse(word: &str) -> Self {
        match word {
            "not-found" => Self::NotFound,
            "invalid" => Self::Invalid,
            "conflict" => Self::Conflict,
            "throttled" => Self::Throttled,
            "unavailable" => Self::Unavailable,
            "unauthorized" => Self::Unauthorized,
            "unsupported" => Self::Unsupported,
            "denied" => Self::Denied,
            "limit" => Self::Limit,
            "timeout" => Self::Timeout,
            "closed" => Self::Closed,
            _ => Self::Internal,
        }
    }

    /// Whether asking again, later and unchanged, can help.
    pub const fn is_retryable(self) -> bool {
        !matches!(self, Self::Invalid | Self::Unsupported)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whom an [`Error`] concerns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Scope {
    /// The pod of the call alone.
    #[default]
    Pod,
    /// Every call of the same function.
    Export,
    /// Every call to this provider.
    Provider,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// What to do next.
    pub code: Code,
    /// Whom it concerns.
    pub scope: Scope,
    /// A CamelCase reason to show, in the kubelet's words where it has one; empty: the caller chooses.
    pub reason: String,
    /// One sentence for a person. Never a secret.
    pub message: String,
    /// When to try again at the earliest.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error about one pod.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, scope: Scope::Pod, reason: String::new(), message: message.into(), retry_after: None }
    }

    /// The same, shown with this reason.
    #[must_use]
    pub fn with_reason(mut self, reason: impl Into<String>) -> Self {
        self.reason = reason.into();
        self
    }

    /// The same, concerning every call to the provider.
    #[must_use]
    pub const fn of_provider(mut self) -> Self {
        self.scope = Scope::Provider;
        self
    }

    /// The answer to a call of an export that the provider does not have.
    pub fn lacks(export: &str) -> Self {
        Self::new(Code::Unsupported, format!("the provider has no `{export}` export"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_reads_back_from_its_word() {
        for code in [
            Code::NotFound,
            Code::Invalid,
            Code::Conflict,
            Code::Throttled,
            Code::Unavailable,
            Code::Unauthorized,
            Code::Unsupported,
            Code::Denied,
            Code::Limit,
            Code::Timeout,
            Code::Closed,
            Code::Internal,
        ] {
            assert_eq!(Code::parse(code.as_str()), code);
        }
        assert_eq!(Code::parse("from-a-newer-contract"), Code::Internal);
    }
}
