//! ServiceAccount tokens, bound to their pods (TokenRequest).
//!
//! A token is asked for when a provider first reads it, and replaced when 80 % of its life have passed, or 24 h, less up to
//! [`MAX_JITTER`] at random, so that the tokens of pods that began together don't end together. Its life is what the API
//! server granted, counted from when it was asked: the two clocks need not agree. Whoever delivers files is told when a
//! pod's token wants to be replaced ([`Due`]); nobody polls. A refusal is asked about again every [`ASK_AGAIN`] until
//! [`RIGHTS_ARRIVE`] is over.
//!
//! Cost: one request a token; a provider that never looks costs none. Tokens are wiped from memory when they are dropped,
//! and are in no message: what a request for one answers is not told but for its error.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use k8s_openapi::api::authentication::v1::TokenRequest;
use provider::{Code, Content, Error, PodKey, Result};
use serde_json::json;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::api::{Api, RIGHTS_ARRIVE};

/// No token is used longer, however long it is valid.
const OLDEST: Duration = Duration::from_secs(24 * 3_600);
/// By how much a token may be replaced earlier.
const MAX_JITTER: Duration = Duration::from_secs(10);

/// Pause after a refusal that may be over at once.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    pub pod: PodKey,
    pub service_account: String,
    /// Empty: the API server's own.
    pub audience: String,
    pub lifetime: Duration,
}

struct Held {
    wanted: Wanted,
    token: Arc<Zeroizing<String>>,
    refresh_at: Instant,
    number: u64,
}

/// Called with the pod's UID and the time when one of its tokens wants to be replaced.
pub(crate) type Due = Box<dyn Fn(&Arc<str>, Instant) + Send + Sync>;

/// The tokens of this node's pods.
pub(crate) struct Tokens {
    api: Api,
    held: Mutex<HashMap<Arc<str>, Vec<Held>>>,
    due: Due,
}

/// How long a token that is valid so long is used.
fn used_for(life: Duration) -> Duration {
    let jitter = MAX_JITTER.min(life / 20).mul_f64(fastrand::f64());
    life.mul_f64(0.8).min(OLDEST).saturating_sub(jitter)
}

impl Tokens {
    /// None yet.
    pub fn new(api: Api, due: Due) -> Self {
        Self { api, held: Mutex::default(), due }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, Vec<Held>>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// When a token of this pod wants to be replaced next.
    pub fn next_refresh(&self, uid: &str) -> Option<Instant> {
        self.lock().get(uid)?.iter().map(|own| own.refresh_at).min()
    }

    fn fresh(&self, wanted: &Wanted) -> Option<Arc<Zeroizing<String>>> {
        let held = self.lock();
        let own = held.get(&wanted.pod.uid)?.iter().find(|own| own.wanted == *wanted)?;
        (Instant::now() < own.refresh_at).then(|| own.token.clone())
    }

    /// Changes when the token that is held wants to be replaced.
    fn version(&self, wanted: &Wanted) -> u64 {
        let held = self.lock();
        match held.get(&wanted.pod.uid).and_then(|all| all.iter().find(|own| own.wanted == *wanted)) {
            Some(own) if Instant::now() < own.refresh_at => own.number,
            Some(own) => own.number + 1,
            None => 1,
        }
    }

    async fn token(&self, wanted: &Wanted) -> std::result::Result<Arc<Zeroizing<String>>, crate::ApiError> {
        if let Some(token) = self.fresh(wanted) {
            return Ok(token);
        }
        let Wanted { pod, service_account, audience, lifetime } = wanted;
        let path = format!("/api/v1/namespaces/{}/serviceaccounts/{service_account}/token", pod.namespace);
        let audiences: Vec<&str> =
            Some(audience.as_str()).filter(|audience| !audience.is_empty()).into_iter().collect();
        let request = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {
                "audiences": audiences,
                "expirationSeconds": lifetime.as_secs(),
                "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": &*pod.name, "uid": &*pod.uid },
            },
        });
        let began = Instant::now();
        let (asked, answer) = loop {
            let asked = Instant::now();
            match self.api.create::<TokenRequest>(&path, &request).await {
                Err(error) if error.is_forbidden() && began.elapsed() < RIGHTS_ARRIVE => {
                    tokio::time::sleep(ASK_AGAIN).await;
                }
                answer => break (asked, answer?),
            }
        };
        let granted =
            answer.spec.and_then(|spec| spec.expiration_seconds).and_then(|seconds| u64::try_from(seconds).ok());
        let life = granted.map_or(*lifetime, Duration::from_secs);
        let token = answer.status.map(|status| Zeroizing::new(status.token.unwrap_or_default()));
        let Some(token) = token.filter(|token| !token.is_empty()) else {
            return Err(crate::ApiError::Unreachable("the answer holds no token".to_owned()));
        };
        let (token, refresh_at) = (Arc::new(token), asked + used_for(life));
        {
            let mut held = self.lock();
            let all = held.entry(pod.uid.clone()).or_default();
            let place = all.iter().position(|own| own.wanted == *wanted);
            let number = place.map_or(0, |place| all.swap_remove(place).number) + 1;
            all.push(Held { wanted: wanted.clone(), token: token.clone(), refresh_at, number });
        }
        (self.due)(&pod.uid, refresh_at);
        Ok(token)
    }
}

/// The content of a token's file.
pub(super) struct TokenFile {
    pub tokens: Arc<Tokens>,
    pub wanted: Wanted,
}

#[async_trait]
impl Content for TokenFile {
    fn size(&self) -> Option<u64> {
        None
    }

    fn version(&self) -> String {
        format!("token-{}", self.tokens.version(&self.wanted))
    }

    async fn read(&self) -> Result<Bytes> {
        match self.tokens.token(&self.wanted).await {
            Ok(token) => Ok(Bytes::from_owner(Shared(token))),
            Err(error) => Err(Error::new(
                Code::Unavailable,
                format!("a token of the service account {:?} can't be had: {error}", self.wanted.service_account),
            )),
        }
    }
}

/// The bytes of a token, where they are.
struct Shared(Arc<Zeroizing<String>>);

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::api::fake::{self, Answer, Asked};

    /// Grants what it is asked for, at most `longest` seconds; the token says how many there were before.
    fn granting(longest: i64) -> (Api, fake::Log) {
        let count = std::sync::atomic::AtomicU64::new(0);
        fake::api(move |asked: &Asked| -> Answer {
            let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let mut answer = asked.body.clone();
            let seconds = answer["spec"]["expirationSeconds"].as_i64().unwrap().min(longest);
            answer["spec"]["expirationSeconds"] = seconds.into();
            // The server's clock is another one.
            answer["status"] = json!({ "token": format!("t{number}"), "expirationTimestamp": "2001-01-01T00:00:00Z" });
            (201, answer)
        })
    }

    fn wanted(audience: &str, seconds: u64) -> Wanted {
        Wanted {
            pod: PodKey::new("u", "default", "web"),
            service_account: "robot".into(),
            audience: audience.into(),
            lifetime: Duration::from_secs(seconds),
        }
    }

    fn tokens(api: Api) -> (Arc<Tokens>, Arc<Mutex<Vec<Instant>>>) {
        let told: Arc<Mutex<Vec<Instant>>> = Arc::default();
        let due = told.clone();
        (Arc::new(Tokens::new(api, Box::new(move |_, at| due.lock().unwrap().push(at)))), told)
    }

    async fn read(file: &TokenFile) -> String {
        String::from_utf8(file.read().await.unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_is_replaced_at_four_fifths_of_the_life_that_was_granted() {
        let (api, log) = granting(600);
        let (tokens, told) = tokens(api);
        let file = TokenFile { tokens: tokens.clone(), wanted: wanted("vault", 7_200) };
        assert_eq!(log.all().len(), 0, "nobody has read it yet");
        let began = Instant::now();
        assert_eq!((read(&file).await, file.version()), ("t0".to_owned(), "token-1".to_owned()));
        let at = tokens.next_refresh("u").unwrap();
        assert_eq!(told.lock().unwrap().as_slice(), [at]);
        let after = at - began;
        assert!(after <= Duration::from_secs(480) && after >= Duration::from_secs(470), "{after:?}");
        tokio::time::sleep_until(at - Duration::from_millis(1)).await;
        assert_eq!((read(&file).await, file.version()), ("t0".to_owned(), "token-1".to_owned()));
        tokio::time::sleep_until(at).await;
        assert_eq!(file.version(), "token-2", "said before it is read");
        assert_eq!((read(&file).await, file.version()), ("t1".to_owned(), "token-2".to_owned()));
        assert_eq!(log.all().len(), 2);
        tokens.release("u");
        assert_eq!(tokens.next_refresh("u"), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_names_audience_life_and_the_pod_that_the_token_is_bound_to() {
        let (api, log) = granting(i64::MAX);
        let (tokens, _) = tokens(api);
        for (audience, audiences) in [("vault", json!(["vault"])), ("", json!([]))] {
            read(&TokenFile { tokens: tokens.clone(), wanted: wanted(audience, 3_607) }).await;
            let asked = log.all().pop().unwrap();
            assert_eq!(asked.path, "/api/v1/namespaces/default/serviceaccounts/robot/token");
            assert_eq!(
                asked.body["spec"],
                json!({
                    "audiences": audiences, "expirationSeconds": 3_607,
                    "boundObjectRef": { "apiVersion": "v1", "kind": "Pod", "name": "web", "uid": "u" },
                })
            );
        }
    }

    #[test]
    fn no_token_is_used_for_longer_than_a_day_and_those_of_many_pods_not_equally_long() {
        let day = Duration::from_secs(24 * 3_600);
        let times: Vec<Duration> = (0..100).map(|_| used_for(365 * day)).collect();
        assert!(times.iter().all(|time| *time <= day && *time >= day - MAX_JITTER));
        assert!(times.iter().any(|time| *time != times[0]));
    }

    #[tokio::test(start_paused = true)]
    async fn a_refusal_right_after_the_binding_is_waited_out() {
        let refusals = std::sync::atomic::AtomicU64::new(2);
        let (api, log) = fake::api(move |asked: &Asked| -> Answer {
            let left = refusals.load(std::sync::atomic::Ordering::Relaxed);
            if left > 0 {
                refusals.store(left - 1, std::sync::atomic::Ordering::Relaxed);
                return fake::error(403, "Forbidden", "no relationship found between node 'n' and this object");
            }
            let mut answer = asked.body.clone();
            answer["status"] = json!({ "token": "granted", "expirationTimestamp": "2001-01-01T00:00:00Z" });
            (201, answer)
        });
        let (tokens, _) = tokens(api);
        assert_eq!(read(&TokenFile { tokens, wanted: wanted("", 600) }).await, "granted");
        assert_eq!(log.all().len(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_token_that_is_refused_is_an_error_that_says_why_and_none_that_shows_a_token() {
        let (api, _) = fake::api(|_: &Asked| fake::error(403, "Forbidden", "robot may not"));
        let (tokens, told) = tokens(api);
        let error = TokenFile { tokens, wanted: wanted("", 600) }.read().await.unwrap_err();
        assert_eq!(error.code, Code::Unavailable);
        assert!(error.message.contains("\"robot\"") && error.message.contains("robot may not"), "{error}");
        assert!(told.lock().unwrap().is_empty());
        let (api, _) =
            fake::api(|_: &Asked| -> Answer { (201, json!({ "spec": { "audiences": [] }, "status": Value::Null })) });
        let (tokens, _) = self::tokens(api);
        let error = TokenFile { tokens, wanted: wanted("", 600) }.read().await.unwrap_err();
        assert!(error.message.contains("no token"), "{error}");
    }
}
