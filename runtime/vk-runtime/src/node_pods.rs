//! The node's pods as the kubelet API asks for them, out of the pod controller's index.

use std::sync::Arc;

use bytes::Bytes;
use controllers::{ContainerView, PodIndex};
use futures::StreamExt;
use kubelet_api::{Container, ContainerState, ContainerStatus, NodePods, Pod, PodStream};
use provider::PodRef;

pub struct Pods(pub Arc<PodIndex>);

impl NodePods for Pods {
    fn pod(&self, namespace: &str, name: &str) -> Option<Pod> {
        let pod = self.0.pod(namespace, name)?;
        Some(Pod { reference: pod.reference, containers: pod.containers.into_iter().map(container).collect() })
    }

    fn references(&self) -> Vec<PodRef> {
        self.0.references()
    }

    fn bound(&self) -> PodStream {
        stream(self.0.bound())
    }

    fn running(&self) -> PodStream {
        stream(self.0.running())
    }
}

fn stream(objects: impl Iterator<Item = String> + Send + 'static) -> PodStream {
    futures::stream::iter(objects).map(|object| Ok(Bytes::from(object))).boxed()
}

fn container(own: ContainerView) -> Container {
    let status = own.status.map(|status| {
        let last = status.last_state.and_then(|state| state.terminated);
        let state = status.state.unwrap_or_default();
        let id = status.container_id.unwrap_or_default();
        ContainerStatus {
            last_terminated: last.map(|ended| ended.container_id.unwrap_or_default()),
            state: if state.running.is_some() {
                ContainerState::Running { id }
            } else if let Some(ended) = state.terminated {
                ContainerState::Terminated { id: ended.container_id.unwrap_or(id) }
            } else {
                let waiting = state.waiting.unwrap_or_default();
                ContainerState::Waiting { reason: waiting.reason.unwrap_or_default() }
            },
        }
    });
    Container { name: own.name, status }
}
