//! Who calls a provider waits while it says that it can't be called: for one function or for all, all pods together.
//!
//! Default: [`PAUSE`], unless the provider says how long. Bound: [`LONGEST_PAUSE`], whatever it says.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use provider::{Code, Error, Scope};
use tokio::time::Instant;

/// The pause of all callers when a provider is not available and does not say how long.
const PAUSE: Duration = Duration::from_secs(1);
/// What a provider may say at most: one that is wrong about it is asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// All functions.
const EVERY: &str = "";

/// Until when nobody calls a provider, or one of its functions.
#[derive(Default)]
pub(crate) struct Gate {
    until: Mutex<HashMap<&'static str, Instant>>,
}

impl Gate {
    /// Waits until this function may be called.
    pub async fn pass(&self, function: &'static str) {
        loop {
            let until = {
                let until = self.until.lock().unwrap_or_else(PoisonError::into_inner);
                until.get(function).max(until.get(EVERY)).copied()
            };
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Notes what came of a call.
    pub fn note<T>(&self, function: &'static str, result: &Result<T, Error>) {
        let Err(error) = result else { return };
        if !matches!(error.code, Code::Throttled | Code::Unavailable) {
            return;
        }
        let function = match error.scope {
            Scope::Pod => return,
            Scope::Export => function,
            Scope::Provider => EVERY,
        };
        let until = Instant::now() + error.retry_after.unwrap_or(PAUSE).min(LONGEST_PAUSE);
        self.until.lock().unwrap_or_else(PoisonError::into_inner).insert(function, until);
    }
}
