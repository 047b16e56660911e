//! Asks the ledger about pods when it is time to, and tells pods what was decided.
//!
//! Nothing is decided before both the API server and the backend were listed, so that what runs is known, and before the
//! provider described the node. From then on a pod is decided about when it comes.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use provider::Description;
use serde::Deserialize;
use tokio::sync::Notify;

use super::super::Shared;
use super::super::index::Cell;
use super::{Applicant, Decision, Ledger};
use crate::events::PodEvent;

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Where pods are taken or refused.
pub(crate) struct Desk {
    ledger: Mutex<Ledger>,
    labels_wanted: Notify,
}

#[derive(Deserialize)]
struct Labelled {
    metadata: Metadata,
}

#[derive(Deserialize)]
struct Metadata {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

impl Desk {
    pub fn new(node: &str, description: &Description) -> Self {
        Self { ledger: Mutex::new(Ledger::new(node, description)), labels_wanted: Notify::new() }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The provider describes the node anew.
    pub fn described(&self, shared: &Shared, description: &Description) {
        let first = {
            let mut ledger = self.ledger();
            let before = ledger.is_described();
            ledger.describe(description);
            !before
        };
        if first {
            self.settle(shared, &HashSet::new());
        }
    }

    /// The API server has this pod, which the index has taken over.
    pub fn applied(&self, shared: &Shared, uid: &Arc<str>) {
        let Some(cell) = shared.index.cell(uid) else { return };
        let (record, is_taken) = {
            let core = cell.core();
            (core.record().cloned(), core.is_taken())
        };
        let Some(record) = record else { return };
        if record.finished {
            self.gone(uid);
        } else if is_taken {
            // What it takes until it is gone does not change any more.
            if record.deletion_grace.is_some() {
                return;
            }
            let mut ledger = self.ledger();
            if ledger.is_older(uid, record.generation)
                && let Ok(parsed) = record.parse()
            {
                ledger.resize(uid, &parsed.spec, record.generation);
            }
        } else if self.is_open(shared) {
            let mut ledger = self.ledger();
            let applicant = cell.core().applicant();
            if let Some(applicant) = applicant {
                self.decide(shared, &mut ledger, &cell, &applicant, false);
            }
        }
    }

    /// The pod has finished, or is not there any more.
    pub fn gone(&self, uid: &str) {
        self.ledger().release(uid);
    }

    /// Nobody but these is there.
    pub fn keep_only(&self, uids: &HashSet<Arc<str>>) {
        self.ledger().keep_only(uids);
    }

    fn is_open(&self, shared: &Shared) -> bool {
        let context = shared.context();
        context.is_listed && context.is_known && self.ledger().is_described()
    }

    /// Decides about every pod that is not decided about, in order. `fresh`: the node's labels were read after these came.
    pub fn settle(&self, shared: &Shared, fresh: &HashSet<Arc<str>>) {
        if !self.is_open(shared) {
            return;
        }
        let mut ledger = self.ledger();
        let mut others = Vec::new();
        let mut must_read = false;
        for cell in shared.index.cells() {
            let Some(applicant) = cell.core().applicant() else { continue };
            if applicant.begun {
                self.decide(shared, &mut ledger, &cell, &applicant, false);
            } else {
                must_read |= ledger.must_read_labels(&applicant);
                others.push((applicant.rank(), cell));
            }
        }
        if must_read {
            self.labels_wanted.notify_one();
            return;
        }
        others.sort_by(|(own, _), (other, _)| own.cmp(other));
        for (_, cell) in others {
            // Parsed again: all of them at once would take much memory.
            let Some(applicant) = cell.core().applicant() else { continue };
            let is_fresh = fresh.contains(&applicant.key.uid);
            self.decide(shared, &mut ledger, &cell, &applicant, is_fresh);
        }
    }

    fn decide(&self, shared: &Shared, ledger: &mut Ledger, cell: &Arc<Cell>, applicant: &Applicant, fresh: bool) {
        match ledger.decide(applicant, fresh) {
            Decision::Takes => cell.core().take(),
            Decision::Refuses(refusal) => {
                tracing::info!(pod = %applicant.key, uid = %applicant.key.uid, reason = refusal.reason, "refused");
                cell.core().refuse(&refusal);
                shared.recorder.pod(&applicant.key, PodEvent::warning(refusal.reason, refusal.message));
            }
            Decision::WantsLabels => {
                self.labels_wanted.notify_one();
                return;
            }
        }
        shared.index.plan(cell);
    }
}

/// Reads the node's labels when they are wanted, for ever.
pub(in crate::pods) async fn read_labels(shared: Arc<Shared>) {
    let desk = &shared.desk;
    let path = format!("/api/v1/nodes/{}", shared.settings.node);
    loop {
        desk.labels_wanted.notified().await;
        let mut pause = FIRST_PAUSE;
        let mut waiting = HashSet::new();
        loop {
            waiting.extend(desk.ledger().take_waiting());
            match shared.api.get::<Labelled>(&path).await {
                Ok(node) => {
                    desk.ledger().label(node.metadata.labels.unwrap_or_default());
                    desk.settle(&shared, &waiting);
                    break;
                }
                Err(error) => {
                    // It may not be registered yet.
                    tracing::debug!(node = shared.settings.node, %error, "the node's labels can't be read");
                    tokio::time::sleep(error.retry_after().unwrap_or(pause)).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
