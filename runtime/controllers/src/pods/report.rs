//! Tells the API server: states, and that a pod is gone.
//!
//! A pod's status is computed when it is its turn to be written, so that what changed in between makes one write.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use super::Shared;
use super::core::Report;
use super::index::{Cell, Queue, next_report};
use crate::api::Patch;
use crate::clock;
use crate::record::Record;

/// Takes pods from the queue, for ever.
pub(super) async fn write(shared: Arc<Shared>, queue: Queue) {
    while let Some(cell) = next_report(&queue).await {
        while one(&shared, &cell).await {}
    }
}

/// Returns whether there is more to be told at once: a pod whose last states were written is deleted while it is at hand.
async fn one(shared: &Shared, cell: &Arc<Cell>) -> bool {
    cell.report_again.store(false, Ordering::Release);
    let (report, key) = {
        let mut core = cell.core();
        let report = core.report(clock::now(), &shared.context());
        if matches!(report, Report::Busy) {
            // As long as the one that writes can't have looked yet.
            cell.report_again.store(true, Ordering::Release);
        }
        (report, core.key().clone())
    };
    let path = Record::path(&key);
    match report {
        Report::Nothing | Report::Busy => false,
        Report::Later(at) => {
            shared.index.report_at(cell, at);
            false
        }
        Report::Patch(patch) => {
            let urgent = shared.api.urgent();
            let written = shared.api.patch_versioned(&format!("{path}/status"), Patch::Strategic, &patch).await;
            drop(urgent);
            let result = match written {
                Ok(version) => Ok(version),
                // Its deletion, or another pod of its name, is told by the watch.
                Err(error) if error.is_not_found() => Ok(String::new()),
                Err(error) => {
                    tracing::debug!(pod = %key, uid = %key.uid, %error, "the pod's status can't be written");
                    Err(error.retry_after())
                }
            };
            let again = cell.core().written(clock::now(), result);
            follow(shared, cell, again)
        }
        Report::Delete => {
            let result = shared.api.delete_now(&path, &key.uid).await.map_err(|error| {
                tracing::debug!(pod = %key, uid = %key.uid, %error, "the pod can't be deleted");
                error.retry_after()
            });
            let again = cell.core().deleted(clock::now(), result);
            // What the backend still has of it can go; or what it does meanwhile counts again.
            shared.index.plan(cell);
            follow(shared, cell, again)
        }
    }
}

/// Reports again at a time, or when something came up meanwhile. Returns whether that is now.
fn follow(shared: &Shared, cell: &Arc<Cell>, again: Option<Timestamp>) -> bool {
    match again {
        Some(at) if at <= clock::now() => return true,
        Some(at) => shared.index.report_at(cell, at),
        None if cell.report_again.load(Ordering::Acquire) => shared.index.report(cell),
        None => {}
    }
    false
}
