//! `/containerLogs/{namespace}/{pod}/{container}`: the log of a container, with all of Kubernetes' `PodLogOptions`.
//!
//! The provider does what it can of the options, the rest is done here, exactly: see [`source`] for how that is found
//! out, [`reader`] for what it costs. A bounded number of logs is read at a time; more are answered with 429.

mod framing;
pub(crate) mod line;
pub(crate) mod options;
mod progress;
pub(crate) mod reader;
mod run;
mod select;
pub(crate) mod source;
mod tail;
mod time;

use std::sync::Arc;
use std::time::Duration;

use futures::stream;
use http::StatusCode;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use jiff::Timestamp;
use provider::{Provider, Target};
use tokio::sync::{Semaphore, watch};
use tokio::time::sleep;

use self::options::Wanted;
use self::reader::{LogError, Reader};
use self::run::Run;
use self::source::Source;
use crate::pods::NodePods;
use crate::respond::{self, BodyError, PLAIN, Response};

/// Time for what was good to reach the client before the rest is cut off.
const BEFORE_CUT: Duration = Duration::from_millis(100);

/// Serves logs.
pub(crate) struct Logs {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) pods: Arc<dyn NodePods>,
    /// A permit for each log that is read.
    pub(crate) streams: Arc<Semaphore>,
    pub(crate) max_streams: usize,
    /// Bytes of last lines that a log may keep back.
    pub(crate) tail_memory: usize,
    /// True once the server stops.
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Logs {
    pub(crate) async fn serve(&self, namespace: &str, pod_name: &str, container_name: &str, query: &str) -> Response {
        let wanted = match Wanted::parse(query, Timestamp::now()) {
            Ok(wanted) => wanted,
            Err(refusal) => return refusal.response(),
        };
        let Some(pod) = self.pods.pod(namespace, pod_name) else {
            return respond::text(StatusCode::NOT_FOUND, format!("pod {pod_name:?} does not exist"));
        };
        let Some(container) = pod.containers.iter().find(|container| container.name == container_name) else {
            let message = format!("container {container_name:?} not found in pod {pod_name:?}");
            return respond::text(StatusCode::NOT_FOUND, message);
        };
        if self.provider.logs().is_none() {
            return respond::provider_error(&provider::Error::lacks("logs"));
        }
        let run = match Run::choose(container, pod_name, wanted.previous) {
            Ok(run) => run,
            Err(message) => return respond::text(StatusCode::BAD_REQUEST, message),
        };
        let Ok(permit) = self.streams.clone().try_acquire_owned() else {
            let message = format!("{} logs are being read already, which is the most at a time", self.max_streams);
            return respond::later(StatusCode::TOO_MANY_REQUESTS, 1, message);
        };
        let target = Target { pod: pod.reference, container: container_name.to_owned(), id: run.id };
        let source = Source { provider: self.provider.clone(), pods: self.pods.clone(), target };
        let reader = match Reader::open(source, &wanted, run.running, self.tail_memory).await {
            Ok(reader) => reader,
            Err(LogError::Provider(error)) => return respond::provider_error(&error),
            Err(error @ LogError::Framing(_)) => {
                return respond::text(StatusCode::INTERNAL_SERVER_ERROR, error.to_string());
            }
        };
        let state = Some((reader, self.stopping.clone(), permit));
        let pieces = stream::unfold(state, async |state| {
            let (mut reader, mut stopping, permit) = state?;
            let next = tokio::select! {
                next = reader.next() => next.map_err(BodyError::from),
                _ = stopping.wait_for(|stopping| *stopping) => Err("the server stops".into()),
            };
            match next {
                Ok(None) => None,
                Ok(Some(piece)) => Some((Ok(Frame::data(piece)), Some((reader, stopping, permit)))),
                Err(error) => {
                    tracing::error!(%error, "a container's log was cut off");
                    sleep(BEFORE_CUT).await;
                    Some((Err(error), None))
                }
            }
        });
        respond::with_body(StatusCode::OK, PLAIN, BodyExt::boxed_unsync(StreamBody::new(pieces)))
    }
}
