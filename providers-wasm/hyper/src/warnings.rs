//! What a pod asks for and does not get, where it is not refused for it: an Event, once for each pod.

use vk_provider_sdk::host::events::{self, Event};
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};

use crate::limits;

/// Limits of folders on the disk.
pub fn of_volumes(sandbox: &SandboxConfig) {
    let on_disk = sandbox.volumes.iter().filter(|own| own.kind == "empty-dir" && own.medium.is_empty());
    for volume in on_disk.filter(|own| own.size_limit.is_some()) {
        let message = format!("The sizeLimit of volume {} is not enforced by this engine", volume.name);
        warn(&sandbox.key, "", "SizeLimitNotEnforced", message);
    }
}

/// Limits of what a container writes.
pub fn of_container(pod: &PodKey, container: &ContainerConfig) {
    if limits::has_storage_limit(&container.resources) {
        let message = "The limit of ephemeral-storage is not enforced by this engine".to_owned();
        warn(pod, &container.name, "StorageLimitNotEnforced", message);
    }
}

fn warn(pod: &PodKey, container: &str, reason: &str, message: String) {
    events::emit(
        Some(pod),
        &Event {
            severity: "Warning".to_owned(),
            reason: reason.to_owned(),
            key: format!("{reason}/{message}"),
            message,
            container: container.to_owned(),
            at: None,
        },
    );
}
