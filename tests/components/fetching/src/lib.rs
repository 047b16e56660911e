//! A provider that sends requests and does nothing else.
//!
//! - `pods.list` with the cursor `COUNT URL` gets the URL so many times, one after the other: what a request costs can be
//!   measured inside one call.
//! - `pods.create` sends the operator's secret `key` to the socket of the configuration, without seeing it, and fails with
//!   what came back.

use vk_provider_sdk::host::types::Duration;
use vk_provider_sdk::host::{config, secrets};
use vk_provider_sdk::http::Request;
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::types::{PodConfig, PodRef, PodState, Snapshot};
use vk_provider_sdk::{Error, Node, Pods, Result};

struct Fetching;

vk_provider_sdk::export_node!(Fetching);
vk_provider_sdk::export_pods!(Fetching);

impl Node for Fetching {
    async fn describe() -> Result<Description> {
        let quantity = |name: &str, amount| Quantity { name: name.into(), capacity: amount, allocatable: amount };
        Ok(Description {
            ready: true,
            resources: vec![quantity("cpu", 1_000_000), quantity("memory", 1 << 40), quantity("pods", 1_000)],
            operating_system: "linux".into(),
            ..Description::default()
        })
    }
}

impl Pods for Fetching {
    async fn create(_pod: PodConfig) -> Result<PodState> {
        let socket = config::get("socket").ok_or_else(|| Error::invalid("no socket is configured"))?;
        let opened = secrets::open(vec!["key".into()]).await?;
        let placeholder = opened.first().ok_or_else(|| Error::internal("no secret"))?.placeholder("plain")?;
        let request = Request::get("http://backend.test/").endpoint(&socket).header("x-key", placeholder);
        let answer = request.fetch().await?;
        Err(Error::unavailable(format!("sent, and got {}", String::from_utf8_lossy(&answer.body))))
    }

    async fn update(_pod: PodConfig, _changed: Vec<String>) -> Result<()> {
        Ok(())
    }

    async fn delete(_pod: PodRef, _grace: Duration) -> Result<()> {
        Ok(())
    }

    async fn forget(_pod: PodRef) -> Result<()> {
        Ok(())
    }

    async fn list(cursor: Option<String>) -> Result<Snapshot> {
        if let Some(cursor) = cursor {
            let (count, url) = cursor.split_once(' ').ok_or_else(|| Error::invalid("the cursor is no `COUNT URL`"))?;
            let count: u32 = count.parse().map_err(|_| Error::invalid("the count is no number"))?;
            for _ in 0..count {
                Request::get(url).fetch().await?.ok()?;
            }
        }
        Ok(Snapshot { pods: Vec::new(), next: None, complete: true })
    }

    async fn refresh(_pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        Ok(Vec::new())
    }
}
