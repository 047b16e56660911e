//! What the tests of several parts have in common.

use std::sync::Arc;
use std::time::Duration;

use provider::{Description, Provider, Quantity};

use crate::api::Api;
use crate::events::Recorder;
use crate::pods::{PodController, PodSettings};
use crate::resolve::ClusterDns;

/// The node of most tests.
pub const NODE: &str = "web-node";

/// Settings of its pods.
pub fn pod_settings() -> PodSettings {
    PodSettings { node: NODE.to_owned(), addresses: vec!["10.0.0.1".parse().unwrap()], dns: ClusterDns::default() }
}

/// Runs its pods.
pub fn run_pods(api: &Api, provider: Arc<dyn Provider>, description: &Description) -> PodController {
    let (recorder, events) = Recorder::new(api.clone(), NODE);
    tokio::spawn(events);
    PodController::start(pod_settings(), provider, api.clone(), recorder, description)
}

/// A provider that is ready and has so much.
pub fn ready(resources: &[(&str, u64)]) -> Description {
    let of = |(name, amount): &(&str, u64)| Quantity { name: (*name).into(), capacity: *amount, allocatable: *amount };
    Description { ready: true, resources: resources.iter().map(of).collect(), ..Description::default() }
}

/// Waits until this is so.
pub async fn until(what: &str, mut is: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if is() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}
