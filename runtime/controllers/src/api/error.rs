//! Why a request to the API server failed.

use std::time::Duration;

/// A request that failed.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The server answered with a Status.
    #[error("{message}")]
    Status {
        /// HTTP status code.
        code: u16,
        /// `reason`, as `NotFound`, `Conflict`, `Forbidden`.
        reason: String,
        /// `message`.
        message: String,
        /// `details.retryAfterSeconds`.
        retry_after: Option<Duration>,
    },
    /// The server did not answer, or not so that it can be read.
    #[error("the API server does not answer: {0}")]
    Unreachable(String),
}

impl ApiError {
    /// The object does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Status { code: 404, .. })
    }

    /// The object is not what the request says, or exists already.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Status { code: 409, .. })
    }

    /// This identity may not do that.
    pub fn is_forbidden(&self) -> bool {
        matches!(self, Self::Status { code: 401 | 403, .. })
    }

    /// The version asked for is no longer kept.
    pub fn is_gone(&self) -> bool {
        matches!(self, Self::Status { code: 410, .. })
            || matches!(self, Self::Status { reason, .. } if reason == "Expired")
    }

    /// What is wrong is the request itself: sent again it fails again.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Status { code: 400 | 405 | 413 | 415 | 422, .. })
    }

    /// When the server wants to be asked again.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            Self::Unreachable(_) => None,
        }
    }
}

impl From<kube::Error> for ApiError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => {
                let details = status.details.as_ref();
                Self::Status {
                    code: status.code,
                    retry_after: details
                        .map(|details| u64::from(details.retry_after_seconds))
                        .filter(|seconds| *seconds > 0)
                        .map(Duration::from_secs),
                    reason: status.reason,
                    message: status.message,
                }
            }
            other => {
                let mut cause: &dyn std::error::Error = &other;
                while let Some(deeper) = cause.source() {
                    cause = deeper;
                }
                Self::Unreachable(cause.to_string())
            }
        }
    }
}
