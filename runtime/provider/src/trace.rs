//! Spans that become traces, where traces are wanted: they have [`TRACES`] for their target, and nobody else looks at them.
//! Where traces are not wanted they are disabled, and cost a comparison.
//!
//! Attributes have the names of OpenTelemetry's semantic conventions, or begin with `vk.`:
//!
//! | span | attributes |
//! | --- | --- |
//! | of work on a pod (`pod.create`, `containers.create-container`, …) | `k8s.node.name`, `k8s.namespace.name`, `k8s.pod.name`, `k8s.pod.uid`, `k8s.container.name` |
//! | of a call of a provider (`pods.create`, …) | those of the pod and the node, `vk.provider.name`, `vk.provider.version`, `vk.call.id`, `vk.call.queue_time` and `vk.call.cpu_time` (seconds), `vk.call.peak_memory` (bytes) |
//! | of a request of the provider (`GET`, …) | `http.request.method`, `url.full` (without user, password, query and fragment), `server.address`, `server.port`, `http.response.status_code`, `http.request.resend_count` |
//!
//! One that failed has the status `error` and an `error.type`: the code of the provider's error, or the HTTP status.

/// The target of spans that are traces.
pub const TRACES: &str = "traces";
