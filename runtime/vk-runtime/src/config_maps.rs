//! ConfigMaps for components (`configmap://…`), read and watched by the host identity.
//!
//! Each is read and watched by its name, so a Role that names the objects (`resourceNames`) is enough: `get` for all of
//! them, `watch` for the one in the address. Of a watched object only the metadata comes. A watch that breaks is begun anew
//! after a second at first, half a minute at most.

use std::time::Duration;

use async_trait::async_trait;
use components::source::{ConfigMap, ConfigMapError, ConfigMaps};
use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::ConfigMap as Object;
use kube::api::{PartialObjectMeta, WatchEvent, WatchParams};
use kube::{Api, Client};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// Begins a watch with the object as it is now, without a list.
const FROM_NOW: &str = "0";

/// The host identity's view of ConfigMaps.
pub struct KubeConfigMaps {
    client: Client,
}

impl KubeConfigMaps {
    /// Reads under this client's identity.
    pub const fn new(client: Client) -> Self {
        Self { client }
    }
}

#[async_trait]
impl ConfigMaps for KubeConfigMaps {
    async fn get(&self, namespace: &str, name: &str) -> Result<Option<ConfigMap>, ConfigMapError> {
        let api: Api<Object> = Api::namespaced(self.client.clone(), namespace);
        match api.get_opt(name).await {
            Ok(found) => Ok(found.map(content)),
            Err(kube::Error::Api(status)) if status.code < 500 && status.code != 429 => {
                Err(ConfigMapError::Refused(format!("the ConfigMap {namespace}/{name}: {}", status.message)))
            }
            Err(error) => Err(ConfigMapError::Unreachable(format!("the ConfigMap {namespace}/{name}: {error}"))),
        }
    }

    fn watch(&self, namespace: &str, name: &str) -> BoxStream<'static, ()> {
        let watching = Watching {
            api: Api::namespaced(self.client.clone(), namespace),
            name: name.to_owned(),
            events: None,
            pause: FIRST_PAUSE,
        };
        stream::unfold(watching, async |mut watching| {
            watching.next().await;
            Some(((), watching))
        })
        .boxed()
    }
}

struct Watching {
    api: Api<Object>,
    name: String,
    events: Option<BoxStream<'static, kube::Result<WatchEvent<PartialObjectMeta<Object>>>>>,
    pause: Duration,
}

impl Watching {
    async fn next(&mut self) {
        loop {
            let Some(events) = &mut self.events else {
                let selected = WatchParams::default().fields(&format!("metadata.name={}", self.name));
                match self.api.watch_metadata(&selected, FROM_NOW).await {
                    Ok(events) => self.events = Some(events.boxed()),
                    Err(error) => self.rest(&error.to_string()).await,
                }
                continue;
            };
            match events.try_next().await {
                Ok(Some(WatchEvent::Added(_) | WatchEvent::Modified(_) | WatchEvent::Deleted(_))) => {
                    self.pause = FIRST_PAUSE;
                    return;
                }
                Ok(Some(WatchEvent::Bookmark(_))) => {}
                Ok(Some(WatchEvent::Error(status))) => self.rest(&status.message).await,
                // Watches end after minutes.
                Ok(None) => self.rest("it ended").await,
                Err(error) => self.rest(&error.to_string()).await,
            }
        }
    }

    async fn rest(&mut self, reason: &str) {
        tracing::debug!(config_map = self.name, reason, "the watch is begun anew");
        self.events = None;
        tokio::time::sleep(self.pause).await;
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
    }
}

fn content(object: Object) -> ConfigMap {
    let text = object.data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.into()));
    let binary = object.binary_data.unwrap_or_default().into_iter().map(|(key, value)| (key, value.0.into()));
    ConfigMap {
        resource_version: object.metadata.resource_version.unwrap_or_default(),
        data: text.chain(binary).collect(),
    }
}
