//! The span of a piece of a pod's work, from which the calls of the provider that it takes hang ([`provider::TRACES`]).

use pod_worker::machine::Action;
use provider::{Error, PodKey, TRACES};
use tracing::Span;
use tracing::field::Empty;

use super::core::Effect;

/// The span of what is done for a pod.
pub(super) fn span(node: &str, pod: &PodKey, effect: &Effect) -> Span {
    let (name, container) = name(effect);
    tracing::info_span!(
        target: TRACES,
        "pod",
        otel.name = name,
        otel.status_code = Empty,
        k8s.node.name = node,
        k8s.namespace.name = &*pod.namespace,
        k8s.pod.name = &*pod.name,
        k8s.pod.uid = &*pod.uid,
        k8s.container.name = container,
        "error.type" = Empty,
    )
}

/// Notes on the present span what came of a call.
pub(super) fn note<T>(result: &Result<T, Error>) {
    if let Err(error) = result {
        failed(error.code.as_str());
    }
}

/// Notes on the present span why the work failed, in a word.
pub(super) fn failed(why: &str) {
    let span = Span::current();
    span.record("otel.status_code", "error");
    span.record("error.type", why);
}

/// What the work is called, and the container it is for.
fn name(effect: &Effect) -> (&'static str, Option<&str>) {
    match effect {
        Effect::Create { .. } => ("pod.create", None),
        Effect::Update { .. } => ("pod.update", None),
        Effect::Delete { .. } => ("pod.delete", None),
        Effect::Forget { .. } => ("pod.forget", None),
        Effect::Act(action) => match action {
            Action::RunSandbox { .. } => ("pod.run-sandbox", None),
            Action::StopSandbox { .. } => ("pod.stop-sandbox", None),
            Action::RemoveSandbox { .. } => ("pod.remove-sandbox", None),
            Action::CheckImage { container } => ("pod.check-image", Some(container)),
            Action::PullImage { container } => ("pod.pull-image", Some(container)),
            Action::CreateContainer { container, .. } => ("pod.create-container", Some(container)),
            Action::StartContainer { container, .. } => ("pod.start-container", Some(container)),
            Action::StopContainer { container, .. } => ("pod.stop-container", Some(container)),
            Action::RemoveContainer { container, .. } => ("pod.remove-container", Some(container)),
            Action::ReadTerminationMessage { container, .. } => ("pod.read-termination-message", Some(container)),
        },
        // Nothing is done at the backend.
        Effect::Refresh | Effect::Event(_) | Effect::Report | Effect::Drop => ("pod", None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_nobody_wants_traces_there_are_no_spans() {
        let key = PodKey::new("u", "default", "web");
        assert!(span("node", &key, &Effect::Create { attempt: 0 }).is_disabled());
    }
}
