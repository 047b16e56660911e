//! What a backend has for a node, whose it is, since when, and what became of it.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::time::Duration;

use futures::StreamExt;
use provider::{ContainerPhase, Error, Kind, ObjectState, PodState};
use serde::Serialize;

use super::removal;

/// Objects that are removed at once.
const AT_ONCE: usize = 8;

/// What there is of one node.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Survey {
    node: String,
    provider: String,
    /// False: the backend has more than it could tell now.
    complete: bool,
    objects: Vec<Object>,
}

/// What there is of one attempt at a pod.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Object {
    namespace: String,
    name: String,
    uid: String,
    attempt: u32,
    /// The backend's; empty where only containers or volumes are left.
    id: String,
    state: &'static str,
    /// When the backend accepted it (RFC 3339).
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    containers: Vec<Container>,
    /// Whether the API server has the pod.
    owned: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    removal: Option<Removal>,
    #[serde(skip)]
    seen: PodState,
}

#[derive(Debug, Serialize)]
struct Container {
    name: String,
    attempt: u32,
    id: String,
    state: &'static str,
}

/// What became of what no pod owns.
#[derive(Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
enum Removal {
    Removed,
    Failed(String),
}

/// Everything that the backend has, page by page, and whether that is all.
pub async fn listed(kind: Kind<'_>) -> Result<(Vec<PodState>, bool), Error> {
    let (mut states, mut complete, mut cursor) = (Vec::new(), true, None);
    loop {
        let page = match kind {
            Kind::Pods(pods) => pods.list(cursor).await?,
            Kind::Containers(containers) => containers.list(cursor).await?,
        };
        states.extend(page.pods);
        complete &= page.complete;
        match page.next {
            Some(next) => cursor = Some(next),
            None => return Ok((states, complete)),
        }
    }
}

impl Survey {
    /// Of what was listed, while the API server has pods of these UIDs.
    pub fn new(node: &str, provider: &str, states: Vec<PodState>, complete: bool, pods: &BTreeSet<String>) -> Self {
        let mut objects: Vec<Object> = states.into_iter().map(|state| Object::new(state, pods)).collect();
        objects.sort_by(|a, b| {
            (&a.namespace, &a.name, &a.uid, a.attempt).cmp(&(&b.namespace, &b.name, &b.uid, b.attempt))
        });
        Self { node: node.to_owned(), provider: provider.to_owned(), complete, objects }
    }

    /// Removes what no pod owns.
    pub async fn remove(&mut self, kind: Kind<'_>, grace: Duration) {
        let orphans = self.objects.iter_mut().filter(|object| !object.owned);
        let removals = orphans.map(|object| async move {
            object.removal = Some(match removal::remove(kind, &object.seen, grace).await {
                Ok(()) => Removal::Removed,
                Err(error) => Removal::Failed(error.to_string()),
            });
        });
        futures::stream::iter(removals).buffer_unordered(AT_ONCE).collect::<()>().await;
    }

    /// Why some of it could not be removed.
    pub fn failures(&self) -> impl Iterator<Item = &str> {
        self.objects.iter().filter_map(|object| match &object.removal {
            Some(Removal::Failed(why)) => Some(why.as_str()),
            Some(Removal::Removed) | None => None,
        })
    }
}

impl Object {
    fn new(seen: PodState, pods: &BTreeSet<String>) -> Self {
        let container = |own: &provider::ContainerState| Container {
            name: own.name.clone(),
            attempt: own.attempt,
            id: own.id.clone(),
            state: phase(own.phase),
        };
        Self {
            namespace: seen.key.namespace.to_string(),
            name: seen.key.name.to_string(),
            uid: seen.key.uid.to_string(),
            attempt: seen.attempt,
            id: seen.id.clone(),
            state: state(seen.state),
            since: seen.created_at.map(|at| format!("{at:.0}")),
            containers: seen.containers.iter().map(container).collect(),
            owned: pods.contains(&*seen.key.uid),
            removal: None,
            seen,
        }
    }

    fn outcome(&self) -> String {
        match (&self.removal, self.owned) {
            (Some(Removal::Removed), _) => "no: removed".to_owned(),
            (Some(Removal::Failed(why)), _) => format!("no: not removed: {why}"),
            (None, true) => "yes".to_owned(),
            (None, false) => "no".to_owned(),
        }
    }
}

/// A table of all, and what it comes to.
pub fn text(surveys: &[Survey], dry_run: bool) -> String {
    let heads = ["NODE", "NAMESPACE", "POD", "UID", "ATTEMPT", "STATE", "CONTAINERS", "SINCE", "OWNED"];
    let mut rows = vec![heads.map(str::to_owned)];
    for survey in surveys {
        rows.extend(survey.objects.iter().map(|own| {
            [
                survey.node.clone(),
                own.namespace.clone(),
                own.name.clone(),
                own.uid.clone(),
                own.attempt.to_string(),
                own.state.to_owned(),
                own.containers.len().to_string(),
                own.since.clone().unwrap_or_else(|| "-".to_owned()),
                own.outcome(),
            ]
        }));
    }
    let mut out = String::new();
    if rows.len() > 1 {
        let widths: Vec<usize> = (0..heads.len())
            .map(|column| {
                rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
            })
            .collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            // A String takes whatever is written to it.
            let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("   ").trim_end());
        }
    }
    let all: Vec<&Object> = surveys.iter().flat_map(|survey| &survey.objects).collect();
    let orphans = all.iter().filter(|own| !own.owned).count();
    let removed = all.iter().filter(|own| own.removal == Some(Removal::Removed)).count();
    let what = if dry_run { "nothing was removed (--dry-run)".to_owned() } else { format!("{removed} removed") };
    let _ = writeln!(out, "{} at the backend, {orphans} of no pod; {what}", all.len());
    for survey in surveys.iter().filter(|survey| !survey.complete) {
        let _ = writeln!(out, "of the node {} the backend could not tell all: there may be more", survey.node);
    }
    out
}

const fn state(state: ObjectState) -> &'static str {
    match state {
        ObjectState::Queued => "queued",
        ObjectState::Starting => "starting",
        ObjectState::Running => "running",
        ObjectState::Suspended => "suspended",
        ObjectState::Ended => "ended",
        ObjectState::Failed => "failed",
        ObjectState::Lost => "lost",
        ObjectState::Deleting => "deleting",
        ObjectState::Unknown => "unknown",
    }
}

const fn phase(phase: ContainerPhase) -> &'static str {
    match phase {
        ContainerPhase::Waiting => "waiting",
        ContainerPhase::Created => "created",
        ContainerPhase::Running => "running",
        ContainerPhase::Exited => "exited",
        ContainerPhase::Unknown => "unknown",
    }
}

#[cfg(test)]
mod tests {
    use provider::PodKey;

    use super::*;

    fn object(uid: &str, name: &str) -> PodState {
        PodState::new(PodKey::new(uid, "default", name), 0, ObjectState::Running)
    }

    fn survey(complete: bool) -> Survey {
        let mut gone = object("u-2", "gone");
        gone.created_at = Some("2026-11-21T10:00:00.123Z".parse().unwrap());
        let pods = BTreeSet::from(["u-1".to_owned()]);
        // A pod of the same name with another UID is another pod.
        Survey::new("n", "hyper", vec![object("u-3", "web"), object("u-1", "web"), gone], complete, &pods)
    }

    #[test]
    fn what_no_pod_of_the_same_uid_owns_is_an_orphan() {
        let shown = text(&[survey(true)], true);
        let lines: Vec<_> = shown.lines().collect();
        assert!(lines[1].contains("gone") && lines[1].ends_with("2026-11-21T10:00:00Z   no"), "{shown}");
        assert!(lines[2].contains("u-1") && lines[2].ends_with("yes"), "{shown}");
        assert!(lines[3].contains("u-3") && lines[3].ends_with("no"), "{shown}");
        assert_eq!(lines[4], "3 at the backend, 2 of no pod; nothing was removed (--dry-run)");
    }

    #[test]
    fn an_incomplete_list_is_said() {
        assert!(
            text(&[survey(false)], true).ends_with("of the node n the backend could not tell all: there may be more\n")
        );
    }

    #[test]
    fn json_has_whose_it_is_and_since_when() {
        let json = serde_json::to_value(survey(true)).unwrap();
        let first = &json["objects"][0];
        assert_eq!((&first["uid"], &first["owned"]), (&"u-2".into(), &false.into()));
        assert_eq!(first["since"], "2026-11-21T10:00:00Z");
    }
}
