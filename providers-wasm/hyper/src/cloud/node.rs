//! The node that stands for an account: as large as anyone may ask for, since Hyper.sh's machines are not counted. What limits
//! it are the account's quotas, and these are told on the pod that meets them.

use serde::Deserialize;
use vk_provider_sdk::node::{Description, Quantity};
use vk_provider_sdk::{Result, time};

use crate::endpoint::{Dialect, Engine};
use crate::refusal;

/// Thousandths of cores.
const CPU: u64 = 100_000 * 1000;
/// Bytes: a PiB.
const MEMORY: u64 = 1 << 50;
const PODS: u64 = 100_000;
/// How often states are asked for while nothing changes: nothing tells of a change.
const LIST: u64 = 5 * time::SECOND;

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Info {
    operating_system: String,
    kernel_version: String,
    server_version: String,
}

/// Describes it; one request, which proves the keys.
pub async fn describe(engine: &Engine) -> Result<Description> {
    let answer = engine.fetch(engine.api("GET", "/info")).await?;
    let info: Info = refusal::check(answer)?.json()?;
    let settings = &engine.settings;
    let quantity = |name: &str, amount| Quantity { name: name.to_owned(), capacity: amount, allocatable: amount };
    let Dialect::Cloud { region } = &engine.dialect else { return Ok(Description::default()) };
    Ok(Description {
        ready: true,
        resources: vec![
            quantity("cpu", settings.cpu.unwrap_or(CPU)),
            quantity("memory", settings.memory.unwrap_or(MEMORY)),
            quantity("pods", settings.pods.unwrap_or(PODS)),
        ],
        labels: vec![("topology.kubernetes.io/region".to_owned(), region.clone())],
        operating_system: "linux".to_owned(),
        architecture: "amd64".to_owned(),
        os_image: info.operating_system,
        kernel_version: info.kernel_version,
        runtime_version: format!("{}://{}", engine.scheme(), info.server_version),
        list_interval: Some(LIST),
        watches: "nothing".to_owned(),
        ..Description::default()
    })
}
