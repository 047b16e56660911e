//! Secrets of the cluster for providers: keys of Kubernetes Secrets, and tokens of ServiceAccounts, read by the host identity.
//!
//! A Secret that a provider's grant names is watched by its name, once for all providers and keys that name it; reading a key
//! costs no request then. The identity needs `get`, `list` and `watch` on that Secret (a Role with `resourceNames` does); one
//! that may only `get` it reads it every 30 s. A Secret is kept while the API server can't be reached. For tokens the identity
//! needs `create` on `serviceaccounts/token` of that ServiceAccount.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::{StreamExt, TryStreamExt};
use host_capabilities::secrets::{Cluster, SourceError, Token};
use k8s_openapi::api::authentication::v1::{SelfSubjectReview, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Secret, ServiceAccount};
use kube::api::{GetParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube::{Api, Client};
use tokio::sync::{OnceCell, watch};
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

/// Between two tries, and between two readings of a Secret that may not be watched.
const PAUSE: Duration = Duration::from_secs(30);
/// Between the end of one watch and the next.
const SHORT_PAUSE: Duration = Duration::from_secs(1);
/// Until a Secret was read first.
const PATIENCE: Duration = Duration::from_secs(10);

/// The host identity's view of the cluster's secrets.
pub struct KubeSecrets {
    client: Client,
    objects: Mutex<HashMap<(String, String), Arc<Watched>>>,
    own_account: OnceCell<(String, String)>,
}

/// One Secret, watched.
struct Watched {
    seen: watch::Receiver<Seen>,
    _task: AbortOnDropHandle<()>,
}

/// What is known of a Secret.
#[derive(Clone)]
enum Seen {
    /// Nothing yet; the last failure, if there was one.
    Nothing(Option<String>),
    /// There is none.
    Missing,
    /// Its data.
    Data(Arc<BTreeMap<String, Zeroizing<Vec<u8>>>>),
}

impl KubeSecrets {
    /// Reads under this client's identity.
    pub fn new(client: Client) -> Self {
        Self { client, objects: Mutex::default(), own_account: OnceCell::new() }
    }

    fn watched(&self, namespace: &str, name: &str) -> Arc<Watched> {
        let mut objects = self.objects.lock().unwrap_or_else(PoisonError::into_inner);
        let place = (namespace.to_owned(), name.to_owned());
        let make = || {
            let (teller, seen) = watch::channel(Seen::Nothing(None));
            let api = Api::namespaced(self.client.clone(), namespace);
            let task = tokio::spawn(follow(api, name.to_owned(), teller));
            Arc::new(Watched { seen, _task: AbortOnDropHandle::new(task) })
        };
        objects.entry(place).or_insert_with(make).clone()
    }

    /// Namespace and name of the ServiceAccount that this identity is.
    async fn own_account(&self) -> Result<&(String, String), SourceError> {
        self.own_account
            .get_or_try_init(|| async {
                let reviews: Api<SelfSubjectReview> = Api::all(self.client.clone());
                let asked = reviews.create(&PostParams::default(), &SelfSubjectReview::default()).await;
                let review = asked.map_err(|error| {
                    SourceError::Unavailable(format!("the API server does not say who this is: {error}"))
                })?;
                let user = review.status.and_then(|status| status.user_info?.username).unwrap_or_default();
                let account = user.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
                account.map(|(namespace, name)| (namespace.to_owned(), name.to_owned())).ok_or_else(|| {
                    SourceError::Missing(format!("`{user}` is no ServiceAccount, and none is named for the token"))
                })
            })
            .await
    }
}

#[async_trait]
impl Cluster for KubeSecrets {
    async fn secret_key(&self, namespace: &str, name: &str, key: &str) -> Result<Zeroizing<Vec<u8>>, SourceError> {
        let mut seen = self.watched(namespace, name).seen.clone();
        // What is known after that is looked at, whatever came of it.
        let _ = tokio::time::timeout(PATIENCE, seen.wait_for(|seen| !matches!(seen, Seen::Nothing(_)))).await;
        let known = seen.borrow().clone();
        match known {
            Seen::Nothing(failure) => Err(SourceError::Unavailable(format!(
                "the Secret {namespace}/{name} can't be read: {}",
                failure.as_deref().unwrap_or("the API server does not answer")
            ))),
            Seen::Missing => Err(SourceError::Missing(format!("there is no Secret {namespace}/{name}"))),
            Seen::Data(data) => data
                .get(key)
                .cloned()
                .ok_or_else(|| SourceError::Missing(format!("the Secret {namespace}/{name} has no key {key}"))),
        }
    }

    async fn token(
        &self,
        service_account: Option<(&str, &str)>,
        audience: &str,
        life: Duration,
    ) -> Result<Token, SourceError> {
        let (namespace, name) = match service_account {
            Some(named) => named,
            None => {
                let (namespace, name) = self.own_account().await?;
                (namespace.as_str(), name.as_str())
            }
        };
        let request = TokenRequest {
            spec: Some(TokenRequestSpec {
                audiences: Some(vec![audience.to_owned()]),
                expiration_seconds: Some(i64::try_from(life.as_secs()).unwrap_or(i64::MAX)),
                ..TokenRequestSpec::default()
            }),
            ..TokenRequest::default()
        };
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client.clone(), namespace);
        let answer = accounts.create_token_request(name, &PostParams::default(), &request).await;
        let status = match answer {
            Ok(answer) => answer.status.unwrap_or_default(),
            Err(kube::Error::Api(status)) if status.code == 404 => {
                return Err(SourceError::Missing(format!("there is no ServiceAccount {namespace}/{name}")));
            }
            Err(error) => {
                let message = format!("no token of the ServiceAccount {namespace}/{name} for {audience}: {error}");
                return Err(SourceError::Unavailable(message));
            }
        };
        let until = status.expiration_timestamp.map(|time| time.0);
        let left = until.map(|until| until.duration_since(jiff::Timestamp::now()));
        Ok(Token {
            value: Zeroizing::new(status.token.unwrap_or_default().into_bytes()),
            life: left.and_then(|left| Duration::try_from(left).ok()).unwrap_or_default(),
        })
    }
}

/// Keeps what is known of one Secret up to date, until nobody asks any more.
async fn follow(api: Api<Secret>, name: String, teller: watch::Sender<Seen>) {
    loop {
        let pause = match once(&api, &name, &teller).await {
            Ok(()) => SHORT_PAUSE,
            Err(failure) => {
                let mut first = false;
                teller.send_if_modified(|seen| {
                    first = matches!(seen, Seen::Nothing(None));
                    if let Seen::Nothing(known) = seen {
                        *known = Some(failure.to_string());
                    }
                    first
                });
                tracing::debug!(secret = name, "a Secret can't be watched: {failure}");
                if first { SHORT_PAUSE } else { PAUSE }
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Lists and watches one Secret until the watch ends.
async fn once(api: &Api<Secret>, name: &str, teller: &watch::Sender<Seen>) -> kube::Result<()> {
    let selector = format!("metadata.name={name}");
    let listed = match api.list(&ListParams::default().fields(&selector)).await {
        Err(kube::Error::Api(status)) if status.code == 403 => return read(api, name, teller).await,
        listed => listed?,
    };
    let version = listed.metadata.resource_version.unwrap_or_default();
    teller.send_replace(listed.items.into_iter().next().map_or(Seen::Missing, seen));
    let events = match api.watch(&WatchParams::default().fields(&selector), &version).await {
        Err(kube::Error::Api(status)) if status.code == 403 => return read(api, name, teller).await,
        events => events?,
    };
    let mut events = events.boxed();
    while let Some(event) = events.try_next().await? {
        match event {
            WatchEvent::Added(secret) | WatchEvent::Modified(secret) => {
                teller.send_replace(seen(secret));
            }
            WatchEvent::Deleted(_) => {
                teller.send_replace(Seen::Missing);
            }
            WatchEvent::Bookmark(_) => {}
            // The version is too old: what there is now is listed anew.
            WatchEvent::Error(_) => break,
        }
    }
    Ok(())
}

/// Reads a Secret that may not be listed or watched.
async fn read(api: &Api<Secret>, name: &str, teller: &watch::Sender<Seen>) -> kube::Result<()> {
    let found = api.get_with(name, &GetParams::default()).await;
    match found {
        Ok(secret) => teller.send_replace(seen(secret)),
        Err(kube::Error::Api(status)) if status.code == 404 => teller.send_replace(Seen::Missing),
        Err(error) => return Err(error),
    };
    tokio::time::sleep(PAUSE).await;
    Ok(())
}

fn seen(secret: Secret) -> Seen {
    let data = secret.data.unwrap_or_default().into_iter();
    Seen::Data(Arc::new(data.map(|(key, value)| (key, Zeroizing::new(value.0))).collect()))
}
