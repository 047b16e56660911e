//! Errors at the boundary: the contract's record, made from a code and a sentence.

use std::time::Duration;

use provider::{Code, Scope};

pub use crate::bindings::vk::host::types::Error;

/// An error about the call's own pod.
pub fn error(code: Code, message: impl Into<String>) -> Error {
    Error {
        code: code.as_str().to_owned(),
        scope: String::new(),
        reason: String::new(),
        message: message.into(),
        retry_after: None,
    }
}

/// The answer to a call that the operator did not grant; `how` is the flag that would.
pub fn denied(what: impl AsRef<str>, how: impl AsRef<str>) -> Error {
    error(Code::Denied, format!("{} is not granted to this provider: {} would", what.as_ref(), how.as_ref()))
}

/// What a provider returned, as the host knows it. `mask` is applied to all that people may read.
pub fn to_provider(error: Error, mask: impl Fn(String) -> String) -> provider::Error {
    provider::Error {
        code: Code::parse(&error.code),
        scope: match error.scope.as_str() {
            "provider" => Scope::Provider,
            "export" => Scope::Export,
            _ => Scope::Pod,
        },
        reason: mask(error.reason),
        message: mask(error.message),
        retry_after: error.retry_after.map(Duration::from_nanos),
    }
}

/// What the host says, as a provider reads it.
pub fn from_provider(error: provider::Error) -> Error {
    Error {
        code: error.code.as_str().to_owned(),
        scope: match error.scope {
            Scope::Pod => "pod",
            Scope::Export => "export",
            Scope::Provider => "provider",
        }
        .to_owned(),
        reason: error.reason,
        message: error.message,
        retry_after: error.retry_after.map(|after| u64::try_from(after.as_nanos()).unwrap_or(u64::MAX)),
    }
}
