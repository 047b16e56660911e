//! The pod's status as Kubernetes shows it, computed from what is known: one pure function for backends of every kind.
//!
//! [`compute`] makes the whole status, [`patch`] what of it the API server has to be told. Costs a few microseconds and
//! the memory of the result. Fields and conditions that are others' are passed through untouched; the aggregated
//! `resources` and `allocatedResources` of the pod as a whole are left alone too.

mod addresses;
mod conditions;
mod containers;
mod end;
mod patch;
mod phase;
mod qos;
mod quantity;

use std::net::IpAddr;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{ContainerStatus, PodCondition, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::host::{TerminationMessage, Verdict, Waiting, Work, whole_seconds};
use crate::observation::{Object, ObjectState, Observation};
use crate::over::{has_run, is_over};
use crate::pod::{PodView, is_terminal};
use crate::start_error::with_ends;

pub use patch::{is_news, patch};
pub use quantity::nanos;

/// All that a pod's status follows from.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The pod; its present status is where start time, transition times and restart counts go on from.
    pub pod: PodView<'a>,
    /// What the backend has of it; must have been read at least once.
    pub observation: &'a Observation,
    /// How far the [`Machine`](crate::machine::Machine) is; none: the backend runs the pod as a whole, and what it
    /// reports tells.
    pub work: Option<Work>,
    /// Why containers don't run, as the host knows it.
    pub waiting: &'a [Waiting],
    /// What the host knows of ends.
    pub messages: &'a [TerminationMessage],
    /// A decision about the pod as a whole.
    pub verdict: Option<&'a Verdict>,
    /// The conditions `PodResizePending` and `PodResizeInProgress` as they are to be; those that are missing go.
    pub resize: &'a [PodCondition],
    /// Addresses of the node, the primary one first.
    pub host_ips: &'a [IpAddr],
    /// Now.
    pub now: Timestamp,
}

impl Input<'_> {
    fn object(&self) -> Option<&Object> {
        self.observation.object()
    }

    fn object_is(&self, state: ObjectState) -> bool {
        self.object().is_some_and(|object| object.state == state)
    }

    /// Nothing of the pod runs any more, nor ever will.
    fn is_over(&self) -> bool {
        match self.work {
            Some(work) => work.is_over(),
            None => is_over(self.pod, self.observation, self.verdict.is_some()),
        }
    }

    /// The time that the API server will keep.
    fn now(&self) -> Time {
        Time(whole_seconds(self.now))
    }
}

/// A pod's container statuses, each list in the order of the manifest.
struct Containers {
    init: Vec<ContainerStatus>,
    app: Vec<ContainerStatus>,
    ephemeral: Vec<ContainerStatus>,
}

/// Computes a pod's status. Equal input gives an equal status; a status that is fed back as the present one comes out
/// again.
pub fn compute(input: &Input<'_>) -> PodStatus {
    if let Some(verdict) = input.verdict.filter(|verdict| verdict.rejected) {
        return rejected(input, verdict);
    }
    let observation = with_ends(input.observation, input.messages);
    let input = &Input { observation: &observation, ..*input };
    let over = input.is_over();
    let mut containers = containers::statuses(input, over);
    if over {
        end::settle(&input.pod, &mut containers);
    }
    let natural = phase::phase(&input.pod, &containers, over, phase::has_started(input));
    let outcome = outcome(input, natural, over);
    let shown = if is_terminal(Some(outcome.phase)) { outcome.phase } else { natural };
    let conditions = conditions::conditions(input, &containers, shown, over);
    let addresses = addresses::addresses(input, over);
    let present = input.pod.status;
    PodStatus {
        observed_generation: present.observed_generation.max(generation(input)),
        phase: Some(outcome.phase.into()),
        reason: outcome.reason,
        message: outcome.message,
        conditions: Some(conditions),
        start_time: present.start_time.clone().or_else(|| Some(input.now())),
        qos_class: Some(qos::class(&input.pod)),
        host_ip: addresses.host_ips.first().map(|host| host.ip.clone()),
        host_ips: not_empty(addresses.host_ips),
        pod_ip: addresses.pod_ips.first().map(|pod| pod.ip.clone()),
        pod_ips: not_empty(addresses.pod_ips),
        init_container_statuses: not_empty(containers.init),
        container_statuses: not_empty(containers.app),
        ephemeral_container_statuses: not_empty(containers.ephemeral),
        allocated_resources: present.allocated_resources.clone(),
        resources: present.resources.clone(),
        resize: present.resize.clone(),
        nominated_node_name: present.nominated_node_name.clone(),
        resource_claim_statuses: present.resource_claim_statuses.clone(),
        extended_resource_claim_status: present.extended_resource_claim_status.clone(),
        node_allocatable_resource_claim_statuses: present.node_allocatable_resource_claim_statuses.clone(),
    }
}

/// `metadata.generation`, as `observedGeneration` says it.
fn generation(input: &Input<'_>) -> Option<i64> {
    input.pod.metadata.generation.filter(|generation| *generation > 0)
}

fn not_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    (!list.is_empty()).then_some(list)
}

fn words(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// A pod that the node does not take: nothing of it is here to be told.
fn rejected(input: &Input<'_>, verdict: &Verdict) -> PodStatus {
    let mut status = input.pod.status.clone();
    if !is_terminal(status.phase.as_deref()) {
        status.phase = Some("Failed".into());
        status.reason = words(&verdict.reason);
        status.message = words(&verdict.message);
    }
    status.observed_generation = status.observed_generation.max(generation(input));
    status.qos_class = Some(qos::class(&input.pod));
    status.start_time.get_or_insert_with(|| input.now());
    status
}

/// Phase, reason and message of the pod.
struct Outcome {
    phase: &'static str,
    reason: Option<String>,
    message: Option<String>,
}

/// The phase is never left once it is terminal, and it only becomes terminal when nothing can run any more.
fn outcome(input: &Input<'_>, natural: &'static str, over: bool) -> Outcome {
    let present = input.pod.status;
    let as_it_is = |phase| Outcome { phase, reason: present.reason.clone(), message: present.message.clone() };
    let phase_now = match present.phase.as_deref() {
        Some("Running") => "Running",
        Some("Succeeded") => "Succeeded",
        Some("Failed") => "Failed",
        _ => "Pending",
    };
    if is_terminal(Some(phase_now)) {
        return as_it_is(phase_now);
    }
    if over {
        let phase = if is_terminal(Some(natural)) { natural } else { "Failed" };
        return failure(input).unwrap_or(Outcome { phase, reason: None, message: None });
    }
    let may_end = input.work.is_none() && input.verdict.is_none();
    if natural == phase_now || (is_terminal(Some(natural)) && !may_end) {
        return as_it_is(phase_now);
    }
    Outcome { phase: natural, reason: None, message: None }
}

/// Why a pod that is over failed, if that is not its containers' doing.
fn failure(input: &Input<'_>) -> Option<Outcome> {
    let failed = |reason, message| Outcome { phase: "Failed", reason, message };
    if let Some(verdict) = input.verdict {
        return Some(failed(words(&verdict.reason), words(&verdict.message)));
    }
    // A sandbox that is gone says nothing about the pod: the machine makes another one.
    let object = input.object().filter(|_| input.work.is_none())?;
    let lost = object.state == ObjectState::Lost && has_run(input.pod, input.observation);
    let taken_away = matches!(object.state, ObjectState::Ended | ObjectState::Failed | ObjectState::Lost)
        && !object.disruption.is_empty();
    if object.state != ObjectState::Failed && !lost && !taken_away {
        return None;
    }
    let reason = words(&object.reason).or_else(|| words(&object.disruption));
    Some(failed(reason.or_else(|| lost.then(|| "NodeLost".into())), words(&object.message)))
}
