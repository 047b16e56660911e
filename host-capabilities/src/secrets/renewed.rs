//! A credential that lives for a while: it is asked for again when four fifths of its life have passed.
//!
//! One that is not renewed in time is kept until its end, and asked for again every 10 s; after its end there is none. One
//! without an end is kept until the backend refuses it. Asked for no more than once in 10 s, also when it is refused and when
//! there is none: what went wrong then is said again.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::source::{SecretSource, SourceError};

/// Between two tries.
const PAUSE: Duration = Duration::from_secs(10);

/// What issues a credential.
#[async_trait]
pub(super) trait Issuer: Send + Sync {
    /// A new one.
    async fn issue(&self) -> Result<Issued, SourceError>;
}

/// A new credential.
pub(super) struct Issued {
    pub(super) value: Zeroizing<Vec<u8>>,
    /// How long it is good; none: nobody knows.
    pub(super) life: Option<Duration>,
}

/// A source that keeps what its issuer issued.
pub(super) struct Renewed<I> {
    issuer: I,
    state: Mutex<State>,
}

#[derive(Clone, Default)]
struct State {
    /// What was issued last, and is good.
    held: Option<Held>,
    /// When the issuer was asked last.
    asked: Option<Instant>,
    /// How that went wrong.
    failure: Option<SourceError>,
}

#[derive(Clone, Copy)]
struct Held {
    renew: Option<Instant>,
    end: Option<Instant>,
}

impl<I> Renewed<I> {
    pub(super) fn new(issuer: I) -> Self {
        Self { issuer, state: Mutex::default() }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl<I: Issuer> SecretSource for Renewed<I> {
    async fn read(&self) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let now = Instant::now();
        let State { held, asked, failure } = self.state().clone();
        let good = held.is_some_and(|held| held.end.is_none_or(|end| now < end));
        let due = held.is_none_or(|held| held.renew.is_some_and(|renew| now >= renew));
        let shortly = asked.is_some_and(|asked| now < asked + PAUSE);
        if good && (!due || shortly) {
            return Err(SourceError::Unchanged);
        }
        if let Some(failure) = failure.filter(|_| shortly) {
            return Err(failure);
        }
        let issued = self.issuer.issue().await;
        let now = Instant::now();
        let mut state = self.state();
        state.asked = Some(now);
        let issued = match issued {
            Ok(Issued { value, life }) => {
                let renew = life.map(|life| now + life.mul_f64(0.8));
                state.held = Some(Held { renew, end: life.map(|life| now + life) });
                Ok(value)
            }
            // It is good until its end; only then there is none.
            Err(failure) if good && !matches!(failure, SourceError::Missing(_)) => Err(failure),
            Err(failure) => {
                state.held = None;
                Err(match failure {
                    SourceError::Missing(reason) => SourceError::Missing(reason),
                    other => SourceError::Expired(other.to_string()),
                })
            }
        };
        state.failure = issued.as_ref().err().cloned();
        issued
    }

    fn forget(&self) -> bool {
        let mut state = self.state();
        let shortly = state.asked.is_some_and(|asked| Instant::now() < asked + PAUSE);
        if !shortly {
            state.held = None;
        }
        !shortly
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    #[derive(Default)]
    struct Counting {
        issued: AtomicU32,
        failing: AtomicBool,
    }

    #[async_trait]
    impl Issuer for Counting {
        async fn issue(&self) -> Result<Issued, SourceError> {
            if self.failing.load(Ordering::Relaxed) {
                return Err(SourceError::Unavailable("down".to_owned()));
            }
            let number = self.issued.fetch_add(1, Ordering::Relaxed);
            Ok(Issued { value: Zeroizing::new(number.to_string().into_bytes()), life: Some(Duration::from_secs(1000)) })
        }
    }

    async fn read(source: &Renewed<Counting>) -> Result<String, SourceError> {
        source.read().await.map(|value| String::from_utf8(value.to_vec()).unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_renewed_after_four_fifths_of_its_life() {
        let source = Renewed::new(Counting::default());
        assert_eq!(read(&source).await.unwrap(), "0");
        tokio::time::advance(Duration::from_secs(799)).await;
        assert_eq!(read(&source).await, Err(SourceError::Unchanged));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(read(&source).await.unwrap(), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_kept_to_its_end_while_it_cannot_be_renewed() {
        let source = Renewed::new(Counting::default());
        read(&source).await.unwrap();
        source.issuer.failing.store(true, Ordering::Relaxed);
        tokio::time::advance(Duration::from_secs(900)).await;
        assert!(matches!(read(&source).await, Err(SourceError::Unavailable(_))));
        // Not asked again at once.
        assert_eq!(read(&source).await, Err(SourceError::Unchanged));
        tokio::time::advance(Duration::from_secs(100)).await;
        assert!(matches!(read(&source).await, Err(SourceError::Expired(_))));
        source.issuer.failing.store(false, Ordering::Relaxed);
        assert!(matches!(read(&source).await, Err(SourceError::Expired(_))));
        tokio::time::advance(PAUSE).await;
        assert_eq!(read(&source).await.unwrap(), "1");
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_refused_is_asked_for_again_but_not_all_the_time() {
        let source = Renewed::new(Counting::default());
        read(&source).await.unwrap();
        assert!(!source.forget());
        assert_eq!(read(&source).await, Err(SourceError::Unchanged));
        tokio::time::advance(PAUSE).await;
        assert!(source.forget());
        assert_eq!(read(&source).await.unwrap(), "1");
    }
}
