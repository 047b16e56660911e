//! The provider's `describe`, every 10 s: whether the backend can be used, and what the Node shows of it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use provider::{Description, Error, Provider};
use tokio::sync::watch;

use super::GRACE;
use crate::clock;

const INTERVAL: Duration = Duration::from_secs(10);
/// While the backend can't be used it is asked more often.
const FAILING_INTERVAL: Duration = Duration::from_secs(2);
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is known of the backend.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Heartbeat {
    /// What it said last when it could.
    pub description: Option<Arc<Description>>,
    /// Since when it fails, and its words.
    failing: Option<(Since, String)>,
    /// It never answered.
    never: bool,
}

/// When something began, on a clock that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Since(Timestamp);

impl Since {
    fn of(at: Timestamp) -> Self {
        Self(at.saturating_sub(clock::set_by()).unwrap_or(at))
    }

    /// How long ago that was.
    fn until(self, now: Timestamp) -> Duration {
        Duration::try_from(Self::of(now).0.duration_since(self.0)).unwrap_or(Duration::ZERO)
    }
}

impl Heartbeat {
    pub fn new(first: Result<Description, Error>) -> Self {
        match first {
            Ok(description) => Self { description: Some(Arc::new(description)), failing: None, never: false },
            Err(error) => {
                let since = Since::of(clock::now());
                Self { description: None, failing: Some((since, error.message)), never: true }
            }
        }
    }

    /// Why the node is not ready, reason and message; none: it is.
    pub fn trouble(&self, now: Timestamp) -> Option<(String, String)> {
        if let Some((since, message)) = &self.failing {
            let judged = self.never || since.until(now) >= GRACE;
            if judged {
                return Some(("ProviderFailed".to_owned(), message.clone()));
            }
        }
        let description = self.description.as_ref()?;
        if description.ready {
            return None;
        }
        let or = |text: &str, other: &str| if text.is_empty() { other.to_owned() } else { text.to_owned() };
        Some((or(&description.reason, "BackendNotReady"), or(&description.message, "the backend is not ready")))
    }

    /// How long until a failure that goes on makes the node not ready.
    pub fn until_judged(&self, now: Timestamp) -> Duration {
        match &self.failing {
            Some((since, _)) if !self.never => {
                let failing_for = since.until(now);
                if failing_for >= GRACE { Duration::MAX } else { GRACE - failing_for }
            }
            _ => Duration::MAX,
        }
    }

    fn next(&self, answer: Result<Description, String>) -> Self {
        match answer {
            Ok(description) => {
                let description = match &self.description {
                    Some(known) if **known == description => known.clone(),
                    _ => Arc::new(description),
                };
                Self { description: Some(description), failing: None, never: false }
            }
            Err(message) => {
                let since = self.failing.as_ref().map_or_else(|| Since::of(clock::now()), |(since, _)| *since);
                Self { failing: Some((since, message)), ..self.clone() }
            }
        }
    }
}

/// Asks, for ever. `described` hears of what changed.
pub(super) async fn beat(
    provider: Arc<dyn Provider>,
    beat: watch::Sender<Heartbeat>,
    described: impl Fn(&Description),
) {
    loop {
        let failing = beat.borrow().failing.is_some();
        tokio::time::sleep(if failing { FAILING_INTERVAL } else { INTERVAL }).await;
        let answer = match tokio::time::timeout(TIMEOUT, provider.describe()).await {
            Ok(answer) => answer.map_err(|error| error.message),
            Err(_) => Err(format!("the provider did not describe the node within {} s", TIMEOUT.as_secs())),
        };
        if let Err(error) = &answer
            && !failing
        {
            tracing::warn!(error, "the provider fails");
        }
        let next = beat.borrow().next(answer);
        let changed = next.description != beat.borrow().description;
        if changed && let Some(description) = &next.description {
            described(description);
        }
        beat.send_if_modified(|known| {
            let changed = *known != next;
            *known = next;
            changed
        });
    }
}
