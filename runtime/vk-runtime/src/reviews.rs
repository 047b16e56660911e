//! Who may use the kubelet API: asked of the API server (TokenReview, SubjectAccessReview), as a kubelet asks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use controllers::Api;
use k8s_openapi::api::authentication::v1::TokenReview as TokenAnswer;
use k8s_openapi::api::authorization::v1::SubjectAccessReview as AccessAnswer;
use kubelet_api::{AccessReview, Attributes, ReviewError, TokenReview, User};
use serde_json::json;

/// Asks under the node's identity.
pub struct Reviews(pub Api);

#[async_trait]
impl TokenReview for Reviews {
    async fn review(&self, token: &str) -> Result<Option<User>, ReviewError> {
        let question = json!({
            "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": { "token": token },
        });
        let answer: TokenAnswer = self
            .0
            .create("/apis/authentication.k8s.io/v1/tokenreviews", &question)
            .await
            .map_err(|error| ReviewError(error.to_string()))?;
        let status = answer.status.unwrap_or_default();
        if status.authenticated != Some(true) {
            return Ok(None);
        }
        let user = status.user.unwrap_or_default();
        Ok(Some(User {
            name: user.username.unwrap_or_default(),
            uid: user.uid.unwrap_or_default(),
            groups: user.groups.unwrap_or_default(),
            extra: user.extra.unwrap_or_default().into_iter().collect::<BTreeMap<_, _>>(),
        }))
    }
}

#[async_trait]
impl AccessReview for Reviews {
    async fn review(&self, user: &User, wants: &Attributes) -> Result<bool, ReviewError> {
        let question = json!({
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SubjectAccessReview",
            "spec": {
                "user": user.name,
                "uid": user.uid,
                "groups": user.groups,
                "extra": user.extra,
                "resourceAttributes": {
                    "verb": wants.verb,
                    "version": "v1",
                    "resource": "nodes",
                    "subresource": wants.subresource,
                    "name": &*wants.name,
                },
            },
        });
        let answer: AccessAnswer = self
            .0
            .create("/apis/authorization.k8s.io/v1/subjectaccessreviews", &question)
            .await
            .map_err(|error| ReviewError(error.to_string()))?;
        Ok(answer.status.unwrap_or_default().allowed)
    }
}
