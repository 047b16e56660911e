//! Whether the node takes a pod that is bound to it, as the kubelet decides it.
//!
//! | asked in this order | refused with |
//! | --- | --- |
//! | `spec.os` is the node's | `PodOSNotSupported` |
//! | `supplementalGroupsPolicy` is not `Strict` | `SupplementalGroupsPolicyNotSupported` |
//! | no feature that the node does not declare | `PodFeatureUnsupported` |
//! | place for one more pod, CPU, memory, storage, extended resources | `OutOfpods`, `OutOfcpu`, `OutOfmemory`, … |
//! | node selector and required node affinity | `NodeAffinity` |
//! | ports of the host | `NodePorts` |
//!
//! A pod that is refused becomes Failed, once; whoever made it makes another one, elsewhere. So only what the scheduler
//! knows too is a reason: what the provider alone can't do (`hostNetwork`, a kind of volume) is said on a pod that waits.
//! Taints are left to the scheduler and, those of the effect `NoExecute`, to their controller. Pods of DaemonSets are
//! pods as all others: the node's taint keeps away those that don't tolerate it, the others run here. No pod is ended
//! to make room for another one.
//!
//! A pod is decided about once. One that was begun, as its status or the backend says, is never asked again, so that a
//! restart refuses nothing that runs; the others are asked in the order in which they were made. A pod holds what it
//! takes until it has finished or its object is gone, which is when the scheduler gives it to others. Cost: some 100
//! bytes a pod. The node's labels are read when a pod asks for some, and again before one is refused for them.

mod desk;
mod needs;
mod selector;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::PodSpec;
use provider::{Description, PodKey};

pub(super) use self::desk::{Desk, read_labels};
use self::needs::{Needs, is_extended};
use self::selector::Labels;
use crate::record::Parsed;

/// Why a pod is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// `status.reason`.
    pub reason: String,
    /// One sentence.
    pub message: String,
}

/// What is decided about a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    Takes,
    Refuses(Refusal),
    /// Nothing before the node's labels were read.
    WantsLabels,
}

/// A pod that is asked about.
pub(super) struct Applicant {
    pub key: PodKey,
    /// `metadata.generation`: counts changes of the spec.
    pub generation: i64,
    /// `metadata.creationTimestamp`.
    pub made: Option<Timestamp>,
    /// It was begun: by its status, or as the backend says.
    pub begun: bool,
    pub parsed: Arc<Parsed>,
}

impl Applicant {
    /// Those that were begun come first, then by age; names decide what is left.
    pub fn rank(&self) -> (bool, Option<Timestamp>, Arc<str>, Arc<str>) {
        (!self.begun, self.made, self.key.namespace.clone(), self.key.name.clone())
    }
}

struct Holder {
    needs: Needs,
    generation: i64,
}

/// Who holds what of the node.
#[derive(Default)]
pub(super) struct Ledger {
    node: Arc<str>,
    /// None: the provider never said.
    system: Option<Box<str>>,
    allocatable: BTreeMap<String, u64>,
    labels: Option<Labels>,
    holders: HashMap<Arc<str>, Holder>,
    used: BTreeMap<Box<str>, u64>,
    /// They wait for the node's labels.
    waiting: HashSet<Arc<str>>,
}

impl Ledger {
    pub fn new(node: &str, description: &Description) -> Self {
        let mut own = Self { node: node.into(), ..Self::default() };
        own.describe(description);
        own
    }

    /// The provider describes the node. Whom it has taken it keeps.
    pub fn describe(&mut self, description: &Description) {
        if *description == Description::default() {
            return;
        }
        let system = &description.operating_system;
        self.system = Some(if system.is_empty() { "linux" } else { system }.into());
        self.allocatable = description.resources.iter().map(|own| (own.name.clone(), own.allocatable)).collect();
    }

    /// Whether anything is known of the node.
    pub const fn is_described(&self) -> bool {
        self.system.is_some()
    }

    /// The node's labels, and who waited for them.
    pub fn label(&mut self, labels: Labels) {
        self.labels = Some(labels);
    }

    /// Who waits for labels, from when they were asked for: what is read then is new to them.
    pub fn take_waiting(&mut self) -> HashSet<Arc<str>> {
        std::mem::take(&mut self.waiting)
    }

    /// Whether labels have to be read before this one and those after it can be decided about in order.
    pub fn must_read_labels(&self, applicant: &Applicant) -> bool {
        self.labels.is_none() && !applicant.begun && selector::asks(&applicant.parsed.spec)
    }

    /// Decides. `fresh`: the labels were read after the pod was bound.
    pub fn decide(&mut self, applicant: &Applicant, fresh: bool) -> Decision {
        let needs = Needs::of(&applicant.parsed.spec);
        if !applicant.begun {
            let refusal = self
                .unsupported(&applicant.parsed.spec)
                .or_else(|| self.lacks(&needs))
                .or_else(|| (!self.is_asked_for(&applicant.parsed.spec)).then(Refusal::not_asked_for));
            match refusal {
                Some(own) if own.reason == NODE_AFFINITY && !fresh => {
                    self.waiting.insert(applicant.key.uid.clone());
                    return Decision::WantsLabels;
                }
                Some(own) => return Decision::Refuses(own),
                None => {}
            }
            let taken = |port| self.holders.values().flat_map(|own| &own.needs.ports).any(|own| own.excludes(port));
            if needs.ports.iter().any(taken) {
                return Decision::Refuses(Refusal::predicate(
                    "NodePorts",
                    "node(s) didn't have free ports for the requested pod ports",
                ));
            }
        }
        self.hold(&applicant.key.uid, needs, applicant.generation);
        Decision::Takes
    }

    fn hold(&mut self, uid: &Arc<str>, needs: Needs, generation: i64) {
        self.release(uid);
        for (name, amount) in needs.amounts().filter(|(_, amount)| *amount > 0) {
            let used = self.used.entry(name.into()).or_default();
            *used = used.saturating_add(amount);
        }
        self.holders.insert(uid.clone(), Holder { needs, generation });
    }

    /// It does not hold anything any more.
    pub fn release(&mut self, uid: &str) {
        self.waiting.remove(uid);
        let Some(Holder { needs, .. }) = self.holders.remove(uid) else { return };
        for (name, amount) in needs.amounts() {
            if let Some(used) = self.used.get_mut(name) {
                *used = used.saturating_sub(amount);
            }
        }
    }

    /// Nobody but these is there.
    pub fn keep_only(&mut self, uids: &HashSet<Arc<str>>) {
        let gone: Vec<Arc<str>> = self.holders.keys().filter(|uid| !uids.contains(*uid)).cloned().collect();
        gone.iter().for_each(|uid| self.release(uid));
    }

    /// Whether it was taken with another spec than that of this generation.
    pub fn is_older(&self, uid: &str, generation: i64) -> bool {
        self.holders.get(uid).is_some_and(|own| own.generation != generation)
    }

    /// What it was taken with has changed.
    pub fn resize(&mut self, uid: &Arc<str>, spec: &PodSpec, generation: i64) {
        self.hold(uid, Needs::of(spec), generation);
    }

    fn unsupported(&self, spec: &PodSpec) -> Option<Refusal> {
        if let (Some(own), Some(system)) = (&spec.os, &self.system)
            && *own.name != **system
        {
            let message = "Failed to admit pod as the OS field doesn't match node OS";
            return Some(Refusal::new("PodOSNotSupported", message));
        }
        let policy = spec.security_context.as_ref().and_then(|own| own.supplemental_groups_policy.as_deref());
        if policy == Some("Strict") {
            let message = "SupplementalGroupsPolicy=Strict is not supported in this node";
            return Some(Refusal::new("SupplementalGroupsPolicyNotSupported", message));
        }
        let all = spec.init_containers.iter().flatten().chain(&spec.containers);
        let mut rules = all.flat_map(|container| container.restart_policy_rules.iter().flatten());
        let mut missing = Vec::new();
        if rules.any(|rule| rule.action == "RestartAllContainers") {
            missing.push("RestartAllContainersOnContainerExits");
        }
        if spec.host_network == Some(true) && spec.host_users == Some(false) {
            missing.push("UserNamespacesHostNetworkSupport");
        }
        (!missing.is_empty()).then(|| {
            let message = format!("Pod requires node features that are not available: {}", missing.join(", "));
            Refusal::new("PodFeatureUnsupported", &message)
        })
    }

    fn lacks(&self, needs: &Needs) -> Option<Refusal> {
        let has = |name: &str| self.allocatable.get(name).copied();
        let count = u64::try_from(self.holders.len()).unwrap_or(u64::MAX);
        let pods = has("pods").unwrap_or(0);
        if count >= pods {
            return Some(Refusal::out_of("pods", 1, count, pods));
        }
        let mut asked = needs.amounts().filter(|(_, amount)| *amount > 0);
        asked.find_map(|(name, amount)| {
            let has = has(name);
            if has.is_none() && is_extended(name) {
                return None;
            }
            let (has, used) = (has.unwrap_or(0), self.used.get(name).copied().unwrap_or(0));
            (amount > has.saturating_sub(used)).then(|| Refusal::out_of(name, amount, used, has))
        })
    }

    fn is_asked_for(&self, spec: &PodSpec) -> bool {
        let none = Labels::new();
        !selector::asks(spec) || selector::matches(spec, &self.node, self.labels.as_ref().unwrap_or(&none))
    }
}

const NODE_AFFINITY: &str = "NodeAffinity";

impl Refusal {
    fn new(reason: &str, message: &str) -> Self {
        Self { reason: reason.to_owned(), message: message.to_owned() }
    }

    fn predicate(name: &str, why: &str) -> Self {
        Self::new(name, &format!("Predicate {name} failed: {why}"))
    }

    fn not_asked_for() -> Self {
        Self::predicate(NODE_AFFINITY, "node(s) didn't match Pod's node affinity/selector")
    }

    fn out_of(name: &str, asked: u64, used: u64, has: u64) -> Self {
        let message =
            format!("Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {has}");
        Self::new(&format!("OutOf{name}"), &message)
    }
}

#[cfg(test)]
mod tests;
