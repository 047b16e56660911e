//! The span of a call, from waiting for a slot to the end of its instance ([`provider::TRACES`]), and the line that says
//! what the call took.
//!
//! Cost where neither is wanted: two comparisons.

use std::time::Duration;

use host_capabilities::line_of_call;
use host_capabilities::log::Logger;
use provider::{Error, PodKey, TRACES};
use tracing::field::Empty;
use tracing::{Level, Span};

use crate::export::Export;

/// The span of a call that is to wait for its slot.
pub(crate) fn span(provider: &str, export: Export, pod: Option<&PodKey>) -> Span {
    tracing::info_span!(
        target: TRACES,
        "call",
        otel.name = export.name,
        otel.status_code = Empty,
        otel.status_description = Empty,
        k8s.node.name = Empty,
        k8s.namespace.name = pod.map(|pod| &*pod.namespace),
        k8s.pod.name = pod.map(|pod| &*pod.name),
        k8s.pod.uid = pod.map(|pod| &*pod.uid),
        vk.provider.name = provider,
        vk.provider.version = Empty,
        vk.call.id = Empty,
        vk.call.queue_time = Empty,
        vk.call.cpu_time = Empty,
        vk.call.peak_memory = Empty,
        "error.type" = Empty,
    )
}

/// The call has its slot, for which it waited so long.
pub(crate) fn begins(span: &Span, call: &Logger, queued: Duration) {
    span.record("k8s.node.name", call.node());
    span.record("vk.provider.version", &*call.subject().version);
    span.record("vk.call.id", call.subject().id);
    span.record("vk.call.queue_time", queued.as_secs_f64());
}

/// What a call took of the host.
pub(crate) struct Taken {
    pub(crate) duration: Duration,
    pub(crate) cpu: Duration,
    /// Bytes.
    pub(crate) memory: u64,
}

/// The instance of the present span's call has ended.
pub(crate) fn ended(call: &Logger, taken: &Taken, result: Result<(), &Error>) {
    let Taken { duration, cpu, memory } = taken;
    let span = Span::current();
    span.record("vk.call.cpu_time", cpu.as_secs_f64());
    span.record("vk.call.peak_memory", *memory);
    let outcome = result.map_or_else(|error| error.code.as_str(), |()| "answered");
    line_of_call!(call, Level::DEBUG, ?duration, ?cpu, memory, outcome, "called");
}

/// What came of a call. The words of its error are masked already.
pub(crate) fn answered<R>(span: &Span, result: &Result<R, Error>) {
    if let Err(error) = result {
        span.record("otel.status_code", "error");
        span.record("otel.status_description", &*error.message);
        span.record("error.type", error.code.as_str());
    }
}
