//! Asking the engine for its objects: those of a node, the members of one sandbox, single containers.
//!
//! A list costs a Podman some 0.6 ms for each container that it tells and 0.1 ms for each that a filter leaves out; an
//! inspection 2 ms. So all is listed once, and single pods are found by their names.

use serde::Deserialize;
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::{Result, identity, time};

use crate::endpoint::{Dialect, Engine};
use crate::names::{Kind, Labels};
use crate::object::{DockerEntry, Inspected, LibpodEntry, Object};
use crate::refusal::{self, Refusal};

/// Until a removal is done: what a folder holds must go with it.
const SLOW: u64 = 300 * time::SECOND;

/// A sandbox, and what is in it.
#[derive(Debug)]
pub struct Sandbox {
    /// The engine's id.
    pub id: String,
    /// The container that holds its network.
    pub network: Member,
    /// The pod's containers.
    pub containers: Vec<Member>,
}

/// A container in a sandbox.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub struct Member {
    /// The engine's id.
    pub id: String,
    /// The engine's word for its state.
    #[serde(rename = "State")]
    pub status: String,
}

impl Member {
    /// Whether there is something to stop.
    pub fn runs(&self) -> bool {
        matches!(self.status.as_str(), "running" | "paused" | "stopping" | "restarting")
    }
}

/// A libpod pod, inspected.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct LibpodPod {
    id: String,
    labels: Option<Labels>,
    #[serde(rename = "InfraContainerID")]
    infra: String,
    containers: Option<Vec<Member>>,
}

impl Engine {
    /// All objects of this node with these labels.
    pub async fn objects(&self, labels: &[(&str, &str)]) -> Result<Vec<Object>> {
        let filters = self.filters(labels);
        let request = self.api("GET", "/containers/json").query("all", "true").query("filters", &filters);
        let answer = refusal::check(self.fetch(request).await?)?;
        Ok(match self.dialect {
            Dialect::Libpod { .. } => convert(answer.json::<Option<Vec<LibpodEntry>>>()?),
            Dialect::Docker { .. } | Dialect::Cloud { .. } => convert(answer.json::<Option<Vec<DockerEntry>>>()?),
        })
    }

    /// All objects of a pod.
    pub async fn objects_of(&self, pod: &PodKey) -> Result<Vec<Object>> {
        self.objects(&[(identity::POD_UID, &pod.uid)]).await
    }

    /// A filter by this node and these labels.
    pub fn filters(&self, labels: &[(&str, &str)]) -> String {
        let node = [(identity::NODE, self.node.as_str())];
        let labels: Vec<_> = node.iter().chain(labels).map(|(name, value)| format!("{name}={value}")).collect();
        serde_json::json!({ "label": labels }).to_string()
    }

    /// A sandbox of this pod, by id or name; none if it is gone, or another's.
    pub async fn sandbox(&self, pod: &PodKey, sandbox: &str) -> Result<Option<Sandbox>> {
        if self.is_libpod() {
            let answer = match refusal::check(self.fetch(self.api("GET", &format!("/pods/{sandbox}/json"))).await?) {
                Ok(answer) => answer,
                Err(refusal) if refusal.is_missing() => return Ok(None),
                Err(refusal) => return Err(refusal.into()),
            };
            let found: LibpodPod = answer.json()?;
            if !found.labels.is_some_and(|labels| labels.is_of(&self.node, pod)) {
                return Ok(None);
            }
            let members = found.containers.unwrap_or_default().into_iter();
            let (network, containers): (Vec<_>, _) = members.partition(|member| member.id == found.infra);
            let network = network.into_iter().next().unwrap_or_default();
            return Ok(Some(Sandbox { id: found.id, network, containers }));
        }
        let Some(found) = self.inspect_of(pod, sandbox).await? else { return Ok(None) };
        let attempt = found.labels().sandbox_attempt();
        let mut others = self.objects_of(pod).await?;
        others.retain(|own| own.labels.kind() == Some(Kind::Container) && own.labels.sandbox_attempt() == attempt);
        let containers = others.into_iter().map(|own| Member { id: own.id, status: own.status }).collect();
        let network = Member { id: found.id.clone(), status: found.status().to_owned() };
        Ok(Some(Sandbox { id: found.id, network, containers }))
    }

    /// A container, by id or name.
    pub async fn inspect(&self, container: &str) -> Result<Option<Inspected>> {
        let answer = self.fetch(self.api("GET", &format!("/containers/{container}/json"))).await?;
        match refusal::check(answer) {
            Ok(answer) => Ok(Some(answer.json()?)),
            Err(refusal) if refusal.is_missing() => Ok(None),
            Err(refusal) => Err(refusal.into()),
        }
    }

    /// A container of this pod, by id or name; none if it is gone, or another's.
    pub async fn inspect_of(&self, pod: &PodKey, container: &str) -> Result<Option<Inspected>> {
        let found = self.inspect(container).await?;
        Ok(found.filter(|found| found.labels().is_of(&self.node, pod)))
    }

    /// Does something to an object; one that is gone or needs nothing done is success.
    pub async fn act(&self, method: &str, path: &str) -> Result<Result<(), Refusal>> {
        let answer = self.fetch(self.api(method, path).timeout(SLOW)).await?;
        Ok(refusal::check_gone(answer))
    }
}

/// Entries of a list, of either dialect.
pub fn convert<T>(entries: Option<Vec<T>>) -> Vec<Object>
where
    Object: From<T>,
{
    entries.unwrap_or_default().into_iter().map(Object::from).collect()
}
