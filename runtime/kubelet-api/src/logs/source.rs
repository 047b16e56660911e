//! The provider's side of a log: opened so that what it can't do can be done here.
//!
//! A provider is first asked for all that the client wants, and says what its answer reflects. What is missing is done
//! here; where that needs the times of the lines it is asked again, with times before them. What can't be done without
//! times that the provider does not tell is refused before the first byte.

use std::sync::Arc;

use provider::{Code, Error, Framing, Log, LogOption, LogOptions, Provider, Result, Target};

use super::options::Wanted;
use crate::pods::{ContainerState, NodePods};

/// A run of a container whose log is read.
pub(crate) struct Source {
    pub(crate) provider: Arc<dyn Provider>,
    pub(crate) pods: Arc<dyn NodePods>,
    pub(crate) target: Target,
}

/// A log, and what remains to be done with it.
pub(crate) struct Opened {
    pub(crate) log: Log,
    /// What it was asked for.
    pub(crate) asked: LogOptions,
    /// Lines have a time before them that the client may not want.
    pub(crate) stamped: bool,
    /// It ends without the container's end: to follow it, it is read again and again.
    pub(crate) polled: bool,
}

impl Source {
    /// Opens the log. `follow`: it is wanted, and the container runs.
    pub(crate) async fn negotiate(&self, wanted: &Wanted, follow: bool) -> Result<Opened> {
        let mut asked = LogOptions {
            follow,
            tail: wanted.tail,
            since: wanted.since,
            timestamps: wanted.timestamps,
            previous: wanted.previous,
            streams: wanted.streams,
        };
        let mut polled = false;
        loop {
            let log = self.open(asked.clone()).await?;
            let has = |option| log.applied.contains(&option);
            let cri = log.output.framing == Framing::Cri;
            let stamped = !cri && asked.timestamps && has(LogOption::Timestamps);
            if asked.follow && !has(LogOption::Follow) {
                // The last lines are counted here then: where lines share a time, only a count of all of them tells
                // later which were shown.
                polled = true;
                asked = LogOptions { follow: false, tail: None, timestamps: !cri, ..asked };
                continue;
            }
            let needs_times = polled || wanted.timestamps || wanted.since.is_some() && !has(LogOption::Since);
            if needs_times && !cri && !stamped {
                if !asked.timestamps {
                    asked.timestamps = true;
                    continue;
                }
                let option = match (wanted.timestamps, polled) {
                    (true, _) => "timestamps",
                    (false, true) => "follow",
                    (false, false) => "sinceTime or sinceSeconds",
                };
                let message = format!("the provider does not tell the times of log lines, which {option} needs");
                return Err(Error::new(Code::Unsupported, message));
            }
            return Ok(Opened { log, asked, stamped, polled });
        }
    }

    pub(crate) async fn open(&self, options: LogOptions) -> Result<Log> {
        match self.provider.logs() {
            Some(logs) => logs.open(self.target.clone(), options).await,
            None => Err(Error::lacks("logs")),
        }
    }

    /// Whether the run goes on, as far as the node knows.
    pub(crate) fn is_running(&self) -> bool {
        let key = &self.target.pod.key;
        let Some(pod) = self.pods.pod(&key.namespace, &key.name).filter(|pod| pod.reference.key == *key) else {
            return false;
        };
        let container = pod.containers.iter().find(|container| container.name == self.target.container);
        let status = container.and_then(|container| container.status.as_ref());
        status.is_some_and(|status| matches!(&status.state, ContainerState::Running { id } if *id == self.target.id))
    }
}
