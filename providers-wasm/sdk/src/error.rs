//! Errors: the contract's own record, so that what the host answered travels on with `?`.

pub use crate::bindings::vk::host::types::Error;

/// What a provider's functions return.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// What an [`Error`] says to do next.
pub mod code {
    /// The thing named does not exist (any more).
    pub const NOT_FOUND: &str = "not-found";
    /// Can't be done as it is written; not retried.
    pub const INVALID: &str = "invalid";
    /// Changed by somebody else, or in use; read again, retried.
    pub const CONFLICT: &str = "conflict";
    /// Too many requests.
    pub const THROTTLED: &str = "throttled";
    /// No answer, or not now; retried with back-off.
    pub const UNAVAILABLE: &str = "unavailable";
    /// The backend refuses the credentials.
    pub const UNAUTHORIZED: &str = "unauthorized";
    /// Never done by this provider.
    pub const UNSUPPORTED: &str = "unsupported";
    /// Not granted by the operator.
    pub const DENIED: &str = "denied";
    /// A limit of the operator's is reached.
    pub const LIMIT: &str = "limit";
    /// No answer in time.
    pub const TIMEOUT: &str = "timeout";
    /// The other side closed the connection.
    pub const CLOSED: &str = "closed";
    /// A defect.
    pub const INTERNAL: &str = "internal";
}

impl Error {
    /// An error with one of the codes of [`code`], about the pod of this call.
    pub fn new(code: &str, message: impl Into<String>) -> Self {
        Self { code: code.to_owned(), message: message.into(), ..Self::default() }
    }

    /// What was named is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(code::NOT_FOUND, message)
    }

    /// Can't be done as it is written.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(code::INVALID, message)
    }

    /// Changed by somebody else, or in use.
    pub fn conflict(message: impl Into<String>) -> Self {
        Self::new(code::CONFLICT, message)
    }

    /// Not now.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(code::UNAVAILABLE, message)
    }

    /// Never done by this provider.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(code::UNSUPPORTED, message)
    }

    /// A defect, of ours or the backend's.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(code::INTERNAL, message)
    }

    /// The same, shown with this CamelCase reason.
    #[must_use]
    pub fn with_reason(mut self, reason: &str) -> Self {
        reason.clone_into(&mut self.reason);
        self
    }

    /// The same, concerning every call to this provider.
    #[must_use]
    pub fn of_provider(mut self) -> Self {
        "provider".clone_into(&mut self.scope);
        self
    }

    /// The same, to be tried again after so many nanoseconds.
    #[must_use]
    pub const fn after(mut self, nanos: u64) -> Self {
        self.retry_after = Some(nanos);
        self
    }

    /// The same, with what was being done before its message.
    #[must_use]
    pub fn while_doing(mut self, what: &str) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// Whether it has this code.
    pub fn is(&self, code: &str) -> bool {
        self.code == code
    }
}

/// JSON that can't be read or written: what the backend answered is not what its documentation says.
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::internal(format!("JSON: {error}"))
    }
}
