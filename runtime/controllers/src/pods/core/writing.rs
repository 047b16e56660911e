//! What the API server is told of a pod, and when.
//!
//! A status is written when it differs from what the API server has: at once, or gathered with what comes within
//! [`GATHER`], [`APART`] and [`ENDING`]. A write that failed is made again after [`FIRST_PAUSE`] doubling to
//! [`LONGEST_PAUSE`], for ever. The object is deleted once nothing of the pod runs and its last states are written.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::PodStatus;
use pod_worker::observation::Observation;
use pod_worker::{Work, status};
use serde_json::Value;

use super::{Context, Core, Parsed, Plan, has_anything, later, move_by, unsure, view};

/// While something is being done for a pod at the backend, what there is to be told of it waits so long for the outcome:
/// a pod that begins at once makes one write.
const GATHER: Duration = Duration::from_millis(20);
/// That a pod's end was seen is told along with its end, if that comes within this time.
const ENDING: Duration = Duration::from_secs(10);
/// Two writes of one pod's status are at least this far apart: what changes in between makes one.
const APART: Duration = Duration::from_millis(20);
/// The first pause after a write failed; doubles up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// What the API server is to be told.
#[derive(Debug)]
pub(crate) enum Report {
    /// Nothing.
    Nothing,
    /// Nothing as long as a write is under way.
    Busy,
    /// Nothing before this time.
    Later(Timestamp),
    /// This patch of the status.
    Patch(Value),
    /// That the pod is gone.
    Delete,
}

/// How far the object's deletion by us is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::pods) enum Deletion {
    #[default]
    NotAsked,
    /// It was asked for, since nothing of the pod runs any more.
    Asked,
    Done,
}

/// What was written to the API server.
#[derive(Debug, Default)]
pub(super) struct Writing {
    in_flight: bool,
    /// What is being written.
    pending: Option<Arc<PodStatus>>,
    /// What the API server took last, until it tells of it.
    taken: Option<Arc<PodStatus>>,
    /// What was written, if nobody knows whether that came to anything: the answer may have been lost.
    unsure: Option<Arc<PodStatus>>,
    /// Version of the object that the last write made.
    own_version: String,
    /// A write was lost since the API server told of all that was written: the object may have what that one wrote, too.
    after_unsure: bool,
    failures: u32,
    /// After a failure: nothing is written before.
    not_before: Option<Timestamp>,
    /// After a success: no status is written before.
    apart_until: Option<Timestamp>,
    /// Until when what there is to be told waits for calls that are under way.
    gather_until: Option<Timestamp>,
    /// Until when only news is written: somebody asked for its deletion.
    news_until: Option<Timestamp>,
    deletion: Deletion,
}

impl Writing {
    /// The API server tells of this version of the object; returns whether it is what was written last, and nothing else.
    pub fn told(&mut self, version: &str) -> bool {
        let is_own = !self.own_version.is_empty() && version == self.own_version && !self.after_unsure;
        if !is_older(version, &self.own_version) {
            self.taken = None;
            self.after_unsure &= self.in_flight;
        }
        is_own
    }

    /// Somebody asked for its deletion.
    pub fn is_to_end(&mut self, now: Timestamp) {
        self.news_until.get_or_insert_with(|| later(now, ENDING));
    }

    /// What is waited for is moved by so much.
    pub fn clock_set(&mut self, moved: SignedDuration) {
        let waits = [&mut self.not_before, &mut self.apart_until, &mut self.gather_until, &mut self.news_until];
        for at in waits.into_iter().flatten() {
            move_by(at, moved);
        }
    }
}

impl Core {
    /// The status that the next one goes on from: the last that was computed, or the API server's.
    pub(in crate::pods) fn base_status(&self, parsed: &Parsed) -> Arc<PodStatus> {
        if let Some(pending) = &self.writing.pending {
            return pending.clone();
        }
        let mut status = self.writing.taken.clone().unwrap_or_else(|| parsed.status.clone());
        if let Some(unsure) = &self.writing.unsure {
            unsure::carry_over(Arc::make_mut(&mut status), unsure);
        }
        status
    }

    /// What the API server is to be told now. After [`Report::Patch`] and [`Report::Delete`] the answer is to be told with
    /// [`Core::written`] and [`Core::deleted`].
    pub fn report(&mut self, now: Timestamp, context: &Context) -> Report {
        if self.writing.in_flight {
            return Report::Busy;
        }
        if self.writing.deletion == Deletion::Done || self.seen.is_none() {
            return Report::Nothing;
        }
        if let Some(at) = self.writing.not_before.filter(|at| *at > now) {
            return Report::Later(at);
        }
        if let Some(at) = self.gathers_until(now) {
            return Report::Later(at);
        }
        self.withhold();
        let Some(parsed) = self.parsed() else { return Report::Nothing };
        let status = self.base_status(&parsed);
        let empty = Observation::default();
        let computed = if self.finished_before() {
            (*status).clone()
        } else {
            status::compute(&status::Input {
                pod: view(&parsed, &status),
                observation: self.seen.as_ref().unwrap_or(&empty),
                work: self.told.work,
                waiting: &self.told.waiting,
                messages: &self.told.messages,
                verdict: self.verdict.as_ref(),
                resize: &[],
                host_ips: &context.host_ips,
                now,
            })
        };
        // What the API server took is there, though it was not told of it yet.
        let taken = self.writing.taken.clone();
        match status::patch(&self.key.uid, taken.as_deref().unwrap_or(&*parsed.status), &computed) {
            Some(patch) if !self.is_gone() => {
                let news_until = self.writing.news_until.filter(|_| !status::is_news(&patch));
                if let Some(at) = self.writing.apart_until.max(news_until).filter(|at| *at > now) {
                    return Report::Later(at);
                }
                self.writing.in_flight = true;
                self.writing.gather_until = None;
                self.writing.pending = Some(Arc::new(computed));
                Report::Patch(patch)
            }
            _ if self.is_to_be_deleted(&parsed, &computed) => {
                self.writing.in_flight = true;
                self.writing.deletion = Deletion::Asked;
                Report::Delete
            }
            _ => Report::Nothing,
        }
    }

    /// It had finished before anything of it was seen here, and the backend has nothing of it: what is written of it stays.
    fn finished_before(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.finished)
            && self.writing.own_version.is_empty()
            && self.writing.pending.is_none()
            && self.writing.taken.is_none()
            && !self.seen.as_ref().is_some_and(has_anything)
    }

    /// Until when what there is to be told waits for the calls that are under way; none: it does not.
    fn gathers_until(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.calls == 0 {
            self.writing.gather_until = None;
            return None;
        }
        let until = *self.writing.gather_until.get_or_insert_with(|| later(now, GATHER));
        (until > now).then_some(until)
    }

    const fn is_gone(&self) -> bool {
        self.record.is_none()
    }

    /// Nothing runs any more, the last states are written, and somebody asked for its deletion.
    fn is_to_be_deleted(&self, parsed: &Parsed, computed: &PodStatus) -> bool {
        if parsed.metadata.deletion_timestamp.is_none() {
            return false;
        }
        match &self.plan {
            Plan::Containers(_) => self.told.work.is_some_and(Work::is_over),
            Plan::Whole(whole) => whole.is_over(self.seen.as_ref(), parsed, computed, self.verdict.is_some()),
        }
    }

    /// The API server took the patch, and the object has this version now; or it did not. Returns when to report again, if
    /// that is not left to what happens.
    pub fn written(&mut self, now: Timestamp, result: Result<String, Option<Duration>>) -> Option<Timestamp> {
        self.writing.in_flight = false;
        match result {
            Ok(version) => {
                let is_there = !version.is_empty();
                self.writing.failures = 0;
                self.writing.after_unsure |= self.writing.unsure.take().is_some();
                let told = is_there && self.record.as_ref().is_some_and(|record| !is_older(&record.version, &version));
                self.writing.taken = self.writing.pending.take().filter(|_| !told);
                self.writing.own_version = version;
                self.writing.not_before = None;
                self.writing.apart_until = Some(later(now, APART));
                // The last states may have been these: then it can be deleted.
                self.delete_by.filter(|_| is_there).map(|_| now)
            }
            Err(retry_after) => {
                self.writing.unsure = self.writing.pending.take().or_else(|| self.writing.unsure.take());
                let own = || FIRST_PAUSE * 2_u32.saturating_pow(self.writing.failures.min(10));
                let pause = retry_after.unwrap_or_else(own).min(LONGEST_PAUSE);
                self.writing.failures = self.writing.failures.saturating_add(1);
                let at = later(now, pause);
                self.writing.not_before = Some(at);
                Some(at)
            }
        }
    }

    /// The API server deleted the object, or did not. Returns when to report again.
    pub fn deleted(&mut self, now: Timestamp, result: Result<(), Option<Duration>>) -> Option<Timestamp> {
        match result {
            Ok(()) => {
                self.writing.in_flight = false;
                self.writing.deletion = Deletion::Done;
                None
            }
            Err(retry_after) => {
                self.writing.deletion = Deletion::NotAsked;
                self.written(now, Err(retry_after))
            }
        }
    }

    /// How far the object's deletion by us is; that it is gone is told later.
    pub(in crate::pods) const fn deletion(&self) -> Deletion {
        self.writing.deletion
    }
}

/// Whether a version of an object is older than another; versions of one object can be compared (KEP-5504).
fn is_older(version: &str, than: &str) -> bool {
    matches!((version.parse::<u128>(), than.parse::<u128>()), (Ok(version), Ok(than)) if version < than)
}
