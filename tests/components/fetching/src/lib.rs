//! A provider that sends requests and does nothing else, so that what a request costs can be measured inside one call:
//! `pods.list` with the cursor `COUNT URL` gets the URL so many times, one after the other.

use vk_provider_sdk::host::types::Duration;
use vk_provider_sdk::http::Request;
use vk_provider_sdk::node::Description;
use vk_provider_sdk::types::{PodConfig, PodRef, PodState, Snapshot};
use vk_provider_sdk::{Error, Node, Pods, Result};

struct Fetching;

vk_provider_sdk::export_node!(Fetching);
vk_provider_sdk::export_pods!(Fetching);

impl Node for Fetching {
    async fn describe() -> Result<Description> {
        Ok(Description { ready: true, operating_system: "linux".into(), ..Description::default() })
    }
}

fn unsupported<T>() -> Result<T> {
    Err(Error::unsupported("it only sends requests"))
}

impl Pods for Fetching {
    async fn create(_pod: PodConfig) -> Result<PodState> {
        unsupported()
    }

    async fn update(_pod: PodConfig, _changed: Vec<String>) -> Result<()> {
        unsupported()
    }

    async fn delete(_pod: PodRef, _grace: Duration) -> Result<()> {
        unsupported()
    }

    async fn forget(_pod: PodRef) -> Result<()> {
        unsupported()
    }

    async fn list(cursor: Option<String>) -> Result<Snapshot> {
        let cursor = cursor.unwrap_or_default();
        let (count, url) = cursor.split_once(' ').ok_or_else(|| Error::invalid("the cursor is no `COUNT URL`"))?;
        let count: u32 = count.parse().map_err(|_| Error::invalid("the count is no number"))?;
        for _ in 0..count {
            Request::get(url).fetch().await?.ok()?;
        }
        Ok(Snapshot { pods: Vec::new(), next: None, complete: true })
    }

    async fn refresh(_pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        Ok(Vec::new())
    }
}
