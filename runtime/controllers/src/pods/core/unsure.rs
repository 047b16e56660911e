//! After a write of which nobody knows whether it came to anything.
//!
//! The API server may have it, and tell of it later than of something else. What must not go back, when a pod began and how
//! often its containers were restarted, goes on from what was written until a write is answered.

use k8s_openapi::api::core::v1::{ContainerStatus, PodStatus};

/// Takes over what must not go back.
pub(super) fn carry_over(status: &mut PodStatus, written: &PodStatus) {
    if status.start_time.is_none() {
        status.start_time.clone_from(&written.start_time);
    }
    containers(&mut status.init_container_statuses, written.init_container_statuses.as_ref());
    containers(&mut status.container_statuses, written.container_statuses.as_ref());
    containers(&mut status.ephemeral_container_statuses, written.ephemeral_container_statuses.as_ref());
}

fn containers(statuses: &mut Option<Vec<ContainerStatus>>, written: Option<&Vec<ContainerStatus>>) {
    match (statuses, written) {
        (Some(statuses), Some(written)) => {
            for status in statuses {
                let further =
                    |own: &&ContainerStatus| own.name == status.name && own.restart_count > status.restart_count;
                if let Some(own) = written.iter().find(further) {
                    status.clone_from(own);
                }
            }
        }
        (statuses @ None, Some(written)) => *statuses = Some(written.clone()),
        (_, None) => {}
    }
}
