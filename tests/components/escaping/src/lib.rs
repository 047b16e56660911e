//! A provider that tries to get out of its sandbox, in the ways that only a real component can: the tests of the host say
//! which, by the pod's annotation `misbehave`, as `ROOM ATTEMPT...`.
//!
//! | room        | what is tried                                                           |
//! |-------------|-------------------------------------------------------------------------|
//! | `handles`   | handles that were never given, of another kind, dropped, or not its own |
//! | `arguments` | what it passes to the host: pointers, lengths, texts, discriminants     |
//! | `results`   | what its own function returns, likewise                                 |
//! | `wasi`      | the outside world, by WASI                                              |
//!
//! [`allocator`] gives the host wild memory. Asked for nothing, it runs pods that it forgets. An attempt that is not
//! refused is told in the pod's message.

// Nothing of this means anything elsewhere.
#![cfg(target_family = "wasm")]

mod allocator;
mod arguments;
mod handles;
mod raw;
mod results;
mod wasi;

use vk_provider_sdk::host::clock;
use vk_provider_sdk::host::types::Duration;
use vk_provider_sdk::node::Description;
use vk_provider_sdk::types::{PodConfig, PodRef, PodState, Snapshot};
use vk_provider_sdk::{Error, Node, Pods, Result};

struct Escaping;

vk_provider_sdk::export_node!(Escaping);
vk_provider_sdk::export_pods!(Escaping);

const ANNOTATION: &str = "misbehave";
/// What a call takes beside which something is tried.
const BESIDE: u64 = 100_000_000;

/// There is no such attempt.
fn unknown(words: &[&str]) -> Error {
    Error::invalid(format!("`{}` is no attempt", words.join(" ")))
}

impl Node for Escaping {
    async fn describe() -> Result<Description> {
        Ok(Description { ready: true, operating_system: "linux".into(), ..Description::default() })
    }
}

impl Pods for Escaping {
    async fn create(pod: PodConfig) -> Result<PodState> {
        let asked = pod.sandbox.annotations.iter().find(|(name, _)| name == ANNOTATION);
        let words: Vec<&str> = asked.map(|(_, asked)| asked.split(' ').collect()).unwrap_or_default();
        let message = match words.as_slice() {
            [] | [""] => String::new(),
            ["handles", words @ ..] => handles::attempt(words, &pod).await?,
            ["arguments", words @ ..] => arguments::attempt(words)?,
            ["results", words @ ..] => results::attempt(words)?,
            ["wasi", words @ ..] => wasi::attempt(words)?,
            words => return Err(unknown(words)),
        };
        Ok(PodState { key: pod.sandbox.key.clone(), state: "running".into(), message, ..PodState::default() })
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

    async fn list(_cursor: Option<String>) -> Result<Snapshot> {
        clock::sleep(BESIDE).await;
        Ok(Snapshot { pods: Vec::new(), next: None, complete: true })
    }

    async fn refresh(_pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        Ok(Vec::new())
    }
}
