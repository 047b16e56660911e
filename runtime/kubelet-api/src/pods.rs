//! What the server must know of the node's pods, and the two lists of them.
//!
//! Lists are streamed pod by pod: a list of ten thousand pods costs the memory of one.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt, TryStreamExt};
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use provider::PodRef;

use crate::respond::{self, BodyError, JSON, Response};

/// Pods as JSON, one `v1.Pod` object an item, without `apiVersion` and `kind`.
pub type PodStream = BoxStream<'static, provider::Result<Bytes>>;

/// The pods bound to the node. Implemented by who watches them; asked at every request.
pub trait NodePods: Send + Sync {
    /// One pod by its name; none: not bound to this node.
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod>;

    /// Every pod that the backend has, to ask for its use of resources.
    fn references(&self) -> Vec<PodRef>;

    /// All pods bound to the node, for `/pods`.
    fn bound(&self) -> PodStream;

    /// The pods that the backend runs and that are not being deleted, for `/runningpods/`.
    fn running(&self) -> PodStream;
}

/// What the server must know of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Which, and how to name it to the provider.
    pub reference: PodRef,
    /// All its containers: init, app and ephemeral.
    pub containers: Vec<Container>,
}

/// What the server must know of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Container {
    /// Its name in the pod.
    pub name: String,
    /// Its status; none: there is none yet.
    pub status: Option<ContainerStatus>,
}

/// The part of a `v1.ContainerStatus` that chooses a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerStatus {
    /// `state`.
    pub state: ContainerState,
    /// `lastState.terminated.containerID`, which may be empty; none: no `lastState.terminated`.
    pub last_terminated: Option<String>,
}

/// The `state` of a container. Ids are the backend's, with their scheme, and may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerState {
    /// `waiting`.
    Waiting {
        /// `reason`; may be empty.
        reason: String,
    },
    /// `running`.
    Running {
        /// `containerID`.
        id: String,
    },
    /// `terminated`.
    Terminated {
        /// `containerID` in it.
        id: String,
    },
}

/// A `v1.PodList`. An error before the first pod is an answer, one after it cuts the list off.
pub(crate) async fn list(mut pods: PodStream) -> Response {
    let first = match pods.next().await.transpose() {
        Ok(first) => first.unwrap_or_default(),
        Err(error) => {
            tracing::warn!(%error, "pods could not be listed");
            return respond::provider_error(&error);
        }
    };
    let head = [br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#, &first[..]].concat();
    let others = pods.map(|pod| match pod {
        Ok(pod) => Ok([b",", &pod[..]].concat().into()),
        Err(error) => {
            tracing::warn!(%error, "list of pods cut off");
            Err(BodyError::from(error))
        }
    });
    let pieces = stream::iter([Ok(head.into())]).chain(others).chain(stream::iter([Ok(Bytes::from_static(b"]}\n"))]));
    respond::with_body(StatusCode::OK, JSON, BodyExt::boxed_unsync(StreamBody::new(pieces.map_ok(Frame::data))))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn body_of(pods: Vec<provider::Result<Bytes>>) -> Result<String, BodyError> {
        let body = list(stream::iter(pods).boxed()).await.into_body().collect().await?;
        Ok(String::from_utf8(body.to_bytes().to_vec())?)
    }

    #[tokio::test]
    async fn a_list_is_valid_json_however_long() {
        for count in 0..4 {
            let pods = (0..count).map(|i| Ok(format!(r#"{{"metadata":{{"name":"p{i}"}}}}"#).into())).collect();
            let list: serde_json::Value = serde_json::from_str(&body_of(pods).await.unwrap()).unwrap();
            assert_eq!(list["kind"], "PodList");
            assert_eq!(list["items"].as_array().unwrap().len(), count);
        }
    }

    #[tokio::test]
    async fn an_error_in_the_middle_cuts_the_list_off() {
        let error = provider::Error::new(provider::Code::Internal, "lost");
        assert!(body_of(vec![Ok("{}".into()), Err(error)]).await.is_err());
    }

    #[tokio::test]
    async fn an_error_at_the_start_is_an_answer() {
        let error = provider::Error::new(provider::Code::Internal, "lost");
        let response = list(stream::iter([Err(error)]).boxed()).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    }
}
