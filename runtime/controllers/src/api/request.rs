//! Requests, by path.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use http::{Method, Request, header};
use kube::Client;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::ApiError;

/// A request that takes longer has failed.
const TIMEOUT: Duration = Duration::from_secs(30);

/// How a patch is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patch {
    /// `application/merge-patch+json`.
    Merge,
    /// `application/strategic-merge-patch+json`.
    Strategic,
}

impl Patch {
    const fn content_type(self) -> &'static str {
        match self {
            Self::Merge => "application/merge-patch+json",
            Self::Strategic => "application/strategic-merge-patch+json",
        }
    }
}

/// The whole object.
const OBJECT: &str = "application/json";
/// Its metadata alone, where the answer is not looked at: the server need not write out, nor send, the rest.
const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";

/// What is read of the answer to a patch.
#[derive(Deserialize)]
struct Changed {
    metadata: Version,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: String,
}

/// Requests under one identity. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub struct Api {
    client: Arc<RwLock<Client>>,
    /// How many urgent things are under way.
    urgent: Arc<AtomicUsize>,
}

/// Something urgent is under way until this is dropped.
pub(crate) struct Urgent(Arc<AtomicUsize>);

impl Drop for Urgent {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How often is looked whether something urgent is still under way.
const LOOK: Duration = Duration::from_millis(10);

impl Api {
    /// Requests through this client.
    pub fn new(client: Client) -> Self {
        Self { client: Arc::new(RwLock::new(client)), urgent: Arc::default() }
    }

    /// Something begins that others give way to.
    pub(crate) fn urgent(&self) -> Urgent {
        self.urgent.fetch_add(1, Ordering::Relaxed);
        Urgent(self.urgent.clone())
    }

    /// Waits until nothing urgent is under way, at most so long.
    pub(crate) async fn give_way(&self, longest: Duration) {
        let until = Instant::now() + longest;
        while self.urgent.load(Ordering::Relaxed) > 0 && Instant::now() < until {
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Makes requests through another client from the next one on, under renewed credentials of the same identity. A
    /// watch that is open goes on until it ends, which it does within minutes.
    pub fn renew(&self, client: Client) {
        *self.client.write().unwrap_or_else(PoisonError::into_inner) = client;
    }

    pub(crate) fn client(&self) -> Client {
        self.client.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    async fn send<R: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        accept: &str,
        kind: Option<&str>,
        body: Vec<u8>,
    ) -> Result<R, ApiError> {
        let mut request = Request::builder().method(method).uri(path).header(header::ACCEPT, accept);
        if let Some(kind) = kind {
            request = request.header(header::CONTENT_TYPE, kind);
        }
        let request = request.body(body).map_err(|error| ApiError::Unreachable(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, self.client().request::<R>(request)).await {
            Ok(answer) => Ok(answer?),
            Err(_) => Err(ApiError::Unreachable(format!("no answer within {} s", TIMEOUT.as_secs()))),
        }
    }

    /// Reads an object.
    pub async fn get<R: DeserializeOwned>(&self, path: &str) -> Result<R, ApiError> {
        self.send(Method::GET, path, OBJECT, None, Vec::new()).await
    }

    /// Makes an object, or asks for something (a token, a review).
    pub async fn create<R: DeserializeOwned>(&self, path: &str, object: &impl Serialize) -> Result<R, ApiError> {
        self.send(Method::POST, path, OBJECT, Some("application/json"), bytes(object)?).await
    }

    /// Makes an object, and does not look at the answer.
    pub async fn post(&self, path: &str, object: &impl Serialize) -> Result<(), ApiError> {
        let kind = Some("application/json");
        self.send::<IgnoredAny>(Method::POST, path, METADATA, kind, bytes(object)?).await.map(|_| ())
    }

    /// Replaces an object.
    pub async fn put<R: DeserializeOwned>(&self, path: &str, object: &impl Serialize) -> Result<R, ApiError> {
        self.send(Method::PUT, path, OBJECT, Some("application/json"), bytes(object)?).await
    }

    /// Changes an object.
    pub async fn patch(&self, path: &str, patch: Patch, change: &Value) -> Result<(), ApiError> {
        let kind = patch.content_type();
        self.send::<IgnoredAny>(Method::PATCH, path, METADATA, Some(kind), bytes(change)?).await.map(|_| ())
    }

    /// Changes an object; returns its new version.
    pub async fn patch_versioned(&self, path: &str, patch: Patch, change: &Value) -> Result<String, ApiError> {
        let kind = Some(patch.content_type());
        let changed: Changed = self.send(Method::PATCH, path, METADATA, kind, bytes(change)?).await?;
        Ok(changed.metadata.resource_version)
    }

    /// Deletes the object of this UID at once. One that is gone is success; that it is another by now is a conflict, as
    /// others are that pass.
    pub async fn delete_now(&self, path: &str, uid: &str) -> Result<(), ApiError> {
        let options = json!({ "gracePeriodSeconds": 0, "preconditions": { "uid": uid } });
        let kind = Some("application/json");
        match self.send::<IgnoredAny>(Method::DELETE, path, METADATA, kind, bytes(&options)?).await {
            Ok(_) => Ok(()),
            Err(error) if error.is_not_found() => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn bytes(object: &impl Serialize) -> Result<Vec<u8>, ApiError> {
    serde_json::to_vec(object).map_err(|error| ApiError::Unreachable(error.to_string()))
}
