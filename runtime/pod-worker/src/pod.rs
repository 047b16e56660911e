//! The pod as the API server has it, seen the way its containers are treated: init containers, sidecars, app and
//! ephemeral containers alike. Borrowed; copies nothing.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    Container, ContainerRestartRule, ContainerStatus, EphemeralContainer, PodSpec, PodStatus, ResourceRequirements,
    SecurityContext, VolumeMount,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use crate::host::Probe;

/// What a container is in its pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Runs to its end before the app containers start.
    Init,
    /// An init container that restarts always and runs beside the app containers.
    Sidecar,
    /// One of `spec.containers`.
    App,
    /// One of `spec.ephemeralContainers`.
    Ephemeral,
}

/// A pod, and what the host's probes say about it.
#[derive(Clone, Copy, Debug)]
pub struct PodView<'a> {
    /// `metadata`: name, namespace, UID, generation and deletion timestamp are read.
    pub metadata: &'a ObjectMeta,
    /// `spec`.
    pub spec: &'a PodSpec,
    /// `status` as it stands at the API server, or as it was last computed if that is on its way there.
    pub status: &'a PodStatus,
    /// At most one of each container.
    pub probes: &'a [Probe],
}

impl<'a> PodView<'a> {
    /// When `spec.activeDeadlineSeconds` ends: from then on the pod is to be terminated with
    /// [`Verdict::deadline_exceeded`](crate::Verdict::deadline_exceeded).
    pub fn active_deadline(&self) -> Option<Timestamp> {
        let start = self.status.start_time.as_ref()?.0;
        let seconds = u64::try_from(self.spec.active_deadline_seconds?).ok()?;
        Some(after(start, Duration::from_secs(seconds)))
    }

    /// `spec.terminationGracePeriodSeconds`.
    pub fn grace_period(&self) -> Duration {
        let seconds = self.spec.termination_grace_period_seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Duration::from_secs(seconds.unwrap_or(30))
    }

    /// Someone asked for its deletion.
    pub(crate) fn is_deleting(&self) -> bool {
        self.metadata.deletion_timestamp.is_some()
    }

    /// `NAME_NAMESPACE(UID)`, as the kubelet's messages name a pod.
    pub(crate) fn full_name(&self) -> String {
        let part = |part: &'a Option<String>| part.as_deref().unwrap_or_default();
        format!("{}_{}({})", part(&self.metadata.name), part(&self.metadata.namespace), part(&self.metadata.uid))
    }

    /// All containers: `initContainers`, `containers`, `ephemeralContainers`, each in the manifest's order. The place
    /// of one in it never changes, because only ephemeral containers can be added.
    pub(crate) fn containers(&self) -> impl Iterator<Item = ContainerView<'a>> + use<'a> {
        self.init_containers().chain(self.app_containers()).chain(self.ephemeral_containers())
    }

    pub(crate) fn init_containers(&self) -> impl DoubleEndedIterator<Item = ContainerView<'a>> + use<'a> {
        self.spec.init_containers.as_deref().unwrap_or_default().iter().map(|container| {
            let sidecar = container.restart_policy.as_deref() == Some("Always");
            ContainerView::new(container, if sidecar { Role::Sidecar } else { Role::Init })
        })
    }

    pub(crate) fn app_containers(&self) -> impl Iterator<Item = ContainerView<'a>> + use<'a> {
        self.spec.containers.iter().map(|container| ContainerView::new(container, Role::App))
    }

    pub(crate) fn ephemeral_containers(&self) -> impl Iterator<Item = ContainerView<'a>> + use<'a> {
        self.spec.ephemeral_containers.as_deref().unwrap_or_default().iter().map(ContainerView::ephemeral)
    }

    pub(crate) fn has_init_containers(&self) -> bool {
        self.spec.init_containers.as_ref().is_some_and(|containers| !containers.is_empty())
    }

    /// A container's status as the API server has it.
    pub(crate) fn status_of(&self, container: &ContainerView<'_>) -> Option<&'a ContainerStatus> {
        let statuses = match container.role {
            Role::Init | Role::Sidecar => &self.status.init_container_statuses,
            Role::App => &self.status.container_statuses,
            Role::Ephemeral => &self.status.ephemeral_container_statuses,
        };
        statuses.as_deref().unwrap_or_default().iter().find(|status| status.name == container.name)
    }

    pub(crate) fn probe(&self, container: &str) -> Option<&'a Probe> {
        self.probes.iter().find(|probe| &*probe.container == container)
    }
}

/// Whether a phase is one that is never left.
pub(crate) fn is_terminal(phase: Option<&str>) -> bool {
    matches!(phase, Some("Succeeded" | "Failed"))
}

/// `time` + `duration`, as far as time goes.
pub(crate) fn after(time: Timestamp, duration: Duration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// From `now` until `then`; none left: zero.
pub(crate) fn remaining(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or(Duration::ZERO)
}

/// What is needed of a container's definition, whichever of Kubernetes' types it has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ContainerView<'a> {
    pub role: Role,
    pub name: &'a str,
    pub image: &'a str,
    pub pull_policy: Option<&'a str>,
    pub restart_policy: Option<&'a str>,
    pub restart_rules: &'a [ContainerRestartRule],
    pub resources: Option<&'a ResourceRequirements>,
    pub mounts: &'a [VolumeMount],
    pub security: Option<&'a SecurityContext>,
    pub startup_probe: bool,
    pub readiness_probe: bool,
    pub message_path: &'a str,
    pub message_from_logs: bool,
}

macro_rules! view {
    ($container:ident, $role:expr) => {
        ContainerView {
            role: $role,
            name: &$container.name,
            image: $container.image.as_deref().unwrap_or_default(),
            pull_policy: $container.image_pull_policy.as_deref(),
            restart_policy: $container.restart_policy.as_deref(),
            restart_rules: $container.restart_policy_rules.as_deref().unwrap_or_default(),
            resources: $container.resources.as_ref(),
            mounts: $container.volume_mounts.as_deref().unwrap_or_default(),
            security: $container.security_context.as_ref(),
            startup_probe: $container.startup_probe.is_some(),
            readiness_probe: $container.readiness_probe.is_some(),
            message_path: $container.termination_message_path.as_deref().unwrap_or_default(),
            message_from_logs: $container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError"),
        }
    };
}

impl<'a> ContainerView<'a> {
    fn new(container: &'a Container, role: Role) -> Self {
        view!(container, role)
    }

    fn ephemeral(container: &'a EphemeralContainer) -> Self {
        view!(container, Role::Ephemeral)
    }

    /// Where it is in the pod, as events say it.
    pub(crate) fn field_path(&self) -> String {
        let list = match self.role {
            Role::Init | Role::Sidecar => "initContainers",
            Role::App => "containers",
            Role::Ephemeral => "ephemeralContainers",
        };
        format!("spec.{list}{{{}}}", self.name)
    }
}
