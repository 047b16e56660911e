//! What people see of pods: a watch that counts those that run, and those that are gone.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use http::Request;
use kube::Client;
use kube::core::WatchEvent;
use serde::Deserialize;
use tokio::sync::watch;
use tokio_util::task::AbortOnDropHandle;

/// A watch that can't be opened is tried again after this.
const AGAIN: Duration = Duration::from_millis(50);
/// No progress for so long is a failure.
const STUCK: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, Deserialize)]
struct Seen {
    metadata: Metadata,
    #[serde(default)]
    status: Status,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    resource_version: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Status {
    #[serde(default)]
    phase: String,
}

/// What was seen until now.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    /// Names of pods that were seen running, and when first.
    pub running: HashMap<String, Instant>,
    /// Names of pods of ours that are gone; raw requests' pods may be told of again.
    pub gone: HashSet<String>,
    /// When the last pod began to run, or went.
    pub last: Option<Instant>,
}

/// A watch on the pods of a namespace.
pub struct Watching {
    counts: watch::Receiver<Counts>,
    _task: AbortOnDropHandle<()>,
}

impl Watching {
    /// Sees everything from now on.
    pub async fn start(client: &Client, namespace: &str) -> Result<Self> {
        let path = format!("/api/v1/namespaces/{namespace}/pods?watch=1&timeoutSeconds=3600");
        let mut events = client.request_events::<Seen>(Request::get(&path).body(Vec::new())?).await?.boxed();
        let (client, (sender, counts)) = (client.clone(), watch::channel(Counts::default()));
        let task = tokio::spawn(async move {
            let mut version = String::new();
            loop {
                let Some(Ok(event)) = events.next().await else {
                    // The server ends a watch that can't keep up.
                    let Ok(request) = Request::get(format!("{path}&resourceVersion={version}")).body(Vec::new()) else {
                        return;
                    };
                    match client.request_events::<Seen>(request).await {
                        Ok(again) => events = again.boxed(),
                        Err(_) => tokio::time::sleep(AGAIN).await,
                    }
                    continue;
                };
                let now = Instant::now();
                if let WatchEvent::Added(seen) | WatchEvent::Modified(seen) | WatchEvent::Deleted(seen) = &event {
                    version.clone_from(&seen.metadata.resource_version);
                }
                match event {
                    WatchEvent::Added(seen) | WatchEvent::Modified(seen) if seen.status.phase == "Running" => {
                        sender.send_if_modified(|counts| {
                            if counts.running.contains_key(&seen.metadata.name) {
                                return false;
                            }
                            counts.running.insert(seen.metadata.name, now);
                            counts.last = Some(now);
                            true
                        });
                    }
                    WatchEvent::Deleted(seen) if seen.metadata.name.starts_with("web-") => {
                        sender.send_modify(|counts| {
                            counts.gone.insert(seen.metadata.name);
                            counts.last = Some(now);
                        });
                    }
                    _ => {}
                }
            }
        });
        Ok(Self { counts, _task: AbortOnDropHandle::new(task) })
    }

    /// Waits until it is so; returns when the last change came.
    pub async fn until(&mut self, what: &str, is: impl Fn(&Counts) -> bool) -> Result<Instant> {
        loop {
            {
                let counts = self.counts.borrow_and_update();
                if is(&counts) {
                    return Ok(counts.last.unwrap_or_else(Instant::now));
                }
            }
            match tokio::time::timeout(STUCK, self.counts.changed()).await {
                Ok(changed) => changed.context("the watch has ended")?,
                Err(_) => {
                    let counts = self.counts.borrow();
                    bail!("{what}: stuck at {} running, {} gone", counts.running.len(), counts.gone.len())
                }
            }
        }
    }

    /// When this pod was first seen running.
    pub async fn running(&mut self, name: &str) -> Result<Instant> {
        self.until(name, |counts| counts.running.contains_key(name)).await?;
        let at = self.counts.borrow().running.get(name).copied();
        at.context("it was there")
    }
}
