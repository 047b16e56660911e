//! Where a provider's own Events go: to pods of this node, and to the Node.
//!
//! The node's identity may write Events on any pod; a provider may not. One on a pod that is not this node's is dropped.

use std::sync::{Arc, OnceLock};

use controllers::{PodEvent, PodIndex, Recorder};
use host_capabilities::events::{EventSink, ProviderEvent};

/// The node's pods, as soon as they are known.
pub type Pods = Arc<OnceLock<Arc<PodIndex>>>;

/// Passes Events on.
pub fn sink(recorder: Recorder, node: String, pods: Pods) -> EventSink {
    Box::new(move |event: ProviderEvent| {
        let told = PodEvent {
            warning: event.warning,
            reason: event.reason,
            message: event.message,
            field_path: match event.container.as_str() {
                "" => String::new(),
                container => format!("spec.containers{{{container}}}"),
            },
        };
        match &event.pod {
            Some(pod) if pods.get().is_some_and(|pods| pods.has(pod)) => recorder.pod_at(pod, told, event.at),
            Some(pod) => tracing::debug!(%pod, uid = %pod.uid, "an Event on a pod that is not this node's is dropped"),
            None => recorder.node(&node, "", told),
        }
    })
}
