//! What changed of a pod since its provider was given it: the fields that Kubernetes lets change while it runs.

use std::sync::Arc;

use crate::record::Record;

/// The paths that differ, as `spec.containers[0].image`.
pub(super) fn between(given: &Arc<Record>, record: &Arc<Record>) -> Vec<String> {
    let mut changed = Vec::new();
    if !given.same_metadata(record)
        && let (Ok(before), Ok(after)) = (given.parse(), record.parse())
    {
        if before.metadata.labels != after.metadata.labels {
            changed.push("metadata.labels".to_owned());
        }
        if before.metadata.annotations != after.metadata.annotations {
            changed.push("metadata.annotations".to_owned());
        }
    }
    if given.same_spec(record) {
        return changed;
    }
    let (Ok(before), Ok(after)) = (given.parse(), record.parse()) else { return changed };
    let (before, after) = (&before.spec, &after.spec);
    for (field, before, after) in [
        ("initContainers", before.init_containers.as_deref(), after.init_containers.as_deref()),
        ("containers", Some(before.containers.as_slice()), Some(after.containers.as_slice())),
    ] {
        let pairs = before.unwrap_or_default().iter().zip(after.unwrap_or_default()).enumerate();
        for (at, (before, after)) in pairs {
            if before.image != after.image {
                changed.push(format!("spec.{field}[{at}].image"));
            }
            if before.resources != after.resources {
                changed.push(format!("spec.{field}[{at}].resources"));
            }
        }
    }
    let known = before.ephemeral_containers.as_ref().map_or(0, Vec::len);
    for at in known..after.ephemeral_containers.as_ref().map_or(0, Vec::len) {
        changed.push(format!("spec.ephemeralContainers[{at}]"));
    }
    if before.resources != after.resources {
        changed.push("spec.resources".to_owned());
    }
    if before.active_deadline_seconds != after.active_deadline_seconds {
        changed.push("spec.activeDeadlineSeconds".to_owned());
    }
    if before.termination_grace_period_seconds != after.termination_grace_period_seconds {
        changed.push("spec.terminationGracePeriodSeconds".to_owned());
    }
    if before.tolerations != after.tolerations {
        changed.push("spec.tolerations".to_owned());
    }
    changed
}
