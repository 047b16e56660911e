//! A pod on a backend that runs whole pods: made once, told of changes, ended, forgotten.
//!
//! What it was given last is remembered, so that it is told of changes alone; after each create, and after a start of the
//! host, what it shows is held against the pod once: what it made may be of what it was given before. What the backend does
//! not show, and changed while no host ran, is told where the generation says that there was a change; that of labels and
//! annotations says nothing: they reach the backend with their next change, as does what failed when the host ended.
//!
//! What the backend loses is made again as the next attempt where the restart policy has it. A call that failed is made
//! again with back-off ([`FIRST_PAUSE`] doubling to [`LONGEST_PAUSE`], a fifth of it at random), for ever; what is invalid
//! waits for a change of the pod.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{PodStatus, ResourceRequirements};
use pod_worker::observation::{Object, ObjectState, Observation, Phase};
use pod_worker::{Waiting, is_over, may_be_over, spec_hash};
use provider::{PodKey, PodRef};

use super::changes;
use super::core::{Context, Core, Deletion, Effect, Plan, Todo, Told, move_by, parsed, view};
use crate::record::{Parsed, Record};

const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);
/// When the end of something that is still there is asked for again.
const LOST_ON_ITS_WAY: Duration = Duration::from_secs(10);

/// A call that failed.
#[derive(Debug, Default)]
struct Trouble {
    reason: String,
    message: String,
    failures: u32,
    retry_at: Option<Timestamp>,
    /// Only another generation of the pod can help.
    of_generation: Option<i64>,
    /// It runs, and could not be told of a change.
    of_update: bool,
}

/// What is remembered of a pod.
#[derive(Debug, Default)]
pub(super) struct Whole {
    /// The attempt that runs, or is to run.
    attempt: u32,
    /// The backend took it.
    accepted: bool,
    /// A call that makes or changes it is under way.
    busy: bool,
    /// What the backend was given last.
    given: Option<Arc<Record>>,
    /// What it shows is to be held against the pod.
    is_unproven: bool,
    /// What may be another at the backend, until that was told: what changed before the host started, and what it was being
    /// told when that failed.
    untold: Vec<String>,
    trouble: Option<Trouble>,
    ending: Option<Ending>,
    /// Create it again at this time, to hand something over.
    again_at: Option<Timestamp>,
    /// What was asked of replaced attempts.
    replaced: Vec<Replaced>,
}

/// The end of a replaced attempt was asked for, or that it is forgotten.
#[derive(Debug)]
struct Replaced {
    attempt: u32,
    to_forget: bool,
    again_at: Timestamp,
}

/// The pod is being ended.
#[derive(Debug)]
struct Ending {
    until: Timestamp,
    busy: bool,
    /// What the backend was told last: by when.
    told: Option<Timestamp>,
    failures: u32,
    retry_at: Option<Timestamp>,
    forgetting: bool,
}

impl Ending {
    const fn new(until: Timestamp) -> Self {
        Self { until, busy: false, told: None, failures: 0, retry_at: None, forgetting: false }
    }
}

/// A failure of a call, as the pod shows it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct CallFailed {
    pub reason: String,
    pub message: String,
    pub retry_after: Option<Duration>,
    /// It can't be done as the pod is written.
    pub is_final: bool,
    /// The backend has a higher attempt.
    pub is_stale: bool,
}

fn pause(failures: u32) -> Duration {
    let pause = (FIRST_PAUSE * 2_u32.saturating_pow(failures.min(12))).min(LONGEST_PAUSE);
    pause.mul_f64(0.8 + fastrand::f64() * 0.4)
}

fn later(now: Timestamp, pause: Duration) -> Timestamp {
    now.saturating_add(pause).unwrap_or(Timestamp::MAX)
}

impl Whole {
    pub fn retry_now(&mut self) {
        if let Some(trouble) = &mut self.trouble
            && trouble.of_generation.is_none()
        {
            trouble.retry_at = Some(Timestamp::MIN);
        }
    }

    /// What is waited for is moved by so much.
    pub fn clock_set(&mut self, moved: SignedDuration) {
        let trouble = self.trouble.as_mut().and_then(|trouble| trouble.retry_at.as_mut());
        let ending = self.ending.iter_mut();
        let ending = ending.flat_map(|own| [Some(&mut own.until), own.told.as_mut(), own.retry_at.as_mut()]);
        let replaced = self.replaced.iter_mut().map(|own| &mut own.again_at);
        for at in ending.flatten().chain(trouble).chain(&mut self.again_at).chain(replaced) {
            move_by(at, moved);
        }
    }

    /// The pod has this record now, which says the same of it: what was given need not be kept beside it.
    pub fn renew(&mut self, known: &Arc<Record>, record: &Arc<Record>) {
        if self.given.as_ref().is_some_and(|given| Arc::ptr_eq(given, known)) {
            self.given = Some(record.clone());
        }
    }

    /// A create or update came back.
    pub fn called(&mut self, now: Timestamp, given: Option<Arc<Record>>, result: Result<Option<Duration>, CallFailed>) {
        self.busy = false;
        let generation = given.as_ref().map(|record| record.generation);
        match result {
            Ok(again) => {
                self.accepted = true;
                self.trouble = None;
                self.untold = Vec::new();
                self.given = given;
                self.again_at = again.map(|again| later(now, again));
            }
            Err(failed) => {
                let of_update = self.accepted;
                self.is_unproven = true;
                if of_update && failed.is_final {
                    // It goes on as it was made, and is told of other changes.
                    (self.is_unproven, self.given) = (false, given);
                } else if self.given.is_none() {
                    // It may have been made of this all the same.
                    self.given = given;
                }
                if failed.is_stale {
                    self.attempt = self.attempt.saturating_add(1);
                }
                let failures = self.trouble.as_ref().map_or(0, |trouble| trouble.failures);
                self.trouble = Some(Trouble {
                    failures: failures.saturating_add(1),
                    retry_at: Some(later(now, failed.retry_after.unwrap_or_else(|| pause(failures)))),
                    of_generation: if failed.is_final { generation } else { None },
                    of_update,
                    reason: failed.reason,
                    message: failed.message,
                });
            }
        }
    }

    /// A delete or forget came back.
    pub fn ended(&mut self, now: Timestamp, result: Result<(), Option<Duration>>) {
        let Some(ending) = &mut self.ending else { return };
        ending.busy = false;
        let pause_for = match result {
            Ok(()) => {
                ending.failures = 0;
                LOST_ON_ITS_WAY
            }
            Err(retry_after) => {
                ending.failures = ending.failures.saturating_add(1);
                ending.told = None;
                ending.forgetting = false;
                retry_after.unwrap_or_else(|| pause(ending.failures.saturating_sub(1)).min(Duration::from_secs(30)))
            }
        };
        ending.retry_at = Some(later(now, pause_for));
    }

    /// Nothing of it runs any more.
    pub fn is_over(&self, seen: Option<&Observation>, parsed: &Parsed, computed: &PodStatus, evicted: bool) -> bool {
        !self.busy && seen.is_some_and(|seen| is_over(view(parsed, computed), seen, evicted))
    }

    fn reference(&self, core_key: &PodKey, object: Option<&Object>) -> PodRef {
        PodRef {
            key: core_key.clone(),
            attempt: object.map_or(self.attempt, |object| object.attempt),
            id: object.map(|object| object.id.to_string()).unwrap_or_default(),
        }
    }
}

pub(super) fn plan(core: &mut Core, now: Timestamp, context: &Context, todo: &mut Todo) {
    let record = core.record.clone();
    let evicted = core.verdict.is_some();
    let (deletion, delete_by) = (core.deletion(), core.delete_by);
    let Core { plan: Plan::Whole(whole), seen: Some(seen), key, told, .. } = core else { return };
    let object = seen.object();
    if let Some(object) = object {
        whole.attempt = whole.attempt.max(object.attempt);
        whole.accepted |= object.state != ObjectState::Lost;
    }
    if let Some(object) = object {
        end_replaced(whole, key, seen, object, now, todo);
    }
    let Some(record) = record else {
        // Its last states are nobody's to be told.
        if !whole.busy && object.is_some() && has_ended(seen) {
            forget(whole, key, object, now, todo);
        } else {
            end(whole, key, object, now, now, todo);
        }
        let nothing_left = object.is_none_or(|object| object.state == ObjectState::Lost && object.id.is_empty());
        if nothing_left && !whole.busy && whole.ending.as_ref().is_none_or(|ending| !ending.busy) {
            todo.effects.push(Effect::Drop);
        }
        return;
    };
    // Most pods are looked at to find that nothing is to be done: they are parsed only where that decides.
    let parsed = || parsed(key, &record);
    if let Some(until) = delete_by {
        match deletion {
            Deletion::NotAsked => end(whole, key, object, now, until, todo),
            // It has ended. That its grace period is over is told along with its deletion, and is nothing to the backend.
            Deletion::Asked => {}
            Deletion::Done if whole.busy => {}
            Deletion::Done => {
                let over = |parsed: Arc<Parsed>| is_over(view(&parsed, &parsed.status), seen, evicted);
                if object.is_none_or(|object| object.state.has_stopped()) || parsed().is_none_or(over) {
                    forget(whole, key, object, now, todo);
                } else {
                    // It was made after all.
                    end(whole, key, object, now, until, todo);
                }
            }
        }
    } else if evicted {
        let until = later(now, record.grace_period());
        end(whole, key, object, now, until, todo);
    } else if !record.finished {
        let over = |parsed: Arc<Parsed>| is_over(view(&parsed, &parsed.status), seen, false);
        if whole.busy || !may_be_over(seen, false) || !parsed().is_none_or(over) {
            if whole.accepted && !whole.busy && whole.given.is_none() {
                // What was given is not known: it is taken to be what is there, unless that says else.
                whole.untold = parsed().map_or_else(Vec::new, |own| unseen(&own, context.resizes));
                (whole.given, whole.is_unproven) = (Some(record.clone()), true);
            }
            let unlike = || parsed().map_or_else(Vec::new, |own| unlike(&own, seen));
            run(whole, &record, seen, unlike, now, todo);
        }
    }
    let waiting = if whole.trouble.is_some() { parsed().map(|own| whole.waiting(&own, seen)) } else { None };
    *told = Told { work: None, waiting: waiting.unwrap_or_default(), messages: Vec::new() };
}

impl Whole {
    /// Why containers don't run, as far as the host knows.
    fn waiting(&self, parsed: &Parsed, seen: &Observation) -> Vec<Waiting> {
        // What was refused of one that runs says nothing of why a container of it waits.
        let refused = |trouble: &Trouble| trouble.of_update && trouble.of_generation.is_some();
        let Some(trouble) = self.trouble.as_ref().filter(|own| !refused(own)) else { return Vec::new() };
        let all = parsed.spec.init_containers.iter().flatten().chain(&parsed.spec.containers);
        all.filter(|container| {
            seen.latest(&container.name).is_none_or(|start| matches!(start.phase, Phase::Waiting | Phase::Unknown))
        })
        .map(|container| Waiting {
            container: container.name.as_str().into(),
            reason: trouble.reason.as_str().into(),
            message: trouble.message.as_str().into(),
        })
        .collect()
    }
}

/// Paths of what may have changed since a status was written, where the backend does not show it.
fn unseen(parsed: &Parsed, resizes: bool) -> Vec<String> {
    if parsed.status.observed_generation.is_none_or(|known| parsed.metadata.generation <= Some(known)) {
        return Vec::new();
    }
    let (spec, nothing) = (&parsed.spec, ResourceRequirements::default());
    let asks = |own: &Option<ResourceRequirements>| resizes && own.as_ref().is_some_and(|own| *own != nothing);
    let inits = spec.init_containers.iter().flatten().enumerate().map(|(at, own)| ("initContainers", at, own));
    let all = inits.chain(spec.containers.iter().enumerate().map(|(at, own)| ("containers", at, own)));
    let own = all.filter(|(_, _, own)| asks(&own.resources));
    let own = own.map(|(field, at, _)| format!("spec.{field}[{at}].resources"));
    let whole = asks(&spec.resources).then(|| "spec.resources".to_owned());
    own.chain(whole).chain(spec.active_deadline_seconds.map(|_| "spec.activeDeadlineSeconds".to_owned())).collect()
}

/// Paths of what the pod has otherwise than the backend, by what the backend shows.
fn unlike(parsed: &Parsed, seen: &Observation) -> Vec<String> {
    let inits = parsed.spec.init_containers.iter().flatten().enumerate().map(|(at, own)| ("initContainers", at, own));
    let all = inits.chain(parsed.spec.containers.iter().enumerate().map(|(at, own)| ("containers", at, own)));
    let is_other = |name: &str, image: &str| {
        let made = seen.latest(name).and_then(|start| start.spec_hash);
        made.is_some_and(|made| made != spec_hash(name, image))
    };
    let images = all.filter(|(_, _, own)| is_other(&own.name, own.image.as_deref().unwrap_or_default()));
    let images = images.map(|(field, at, _)| format!("spec.{field}[{at}].image"));
    let began = |name: &str| {
        let mut statuses = parsed.status.ephemeral_container_statuses.iter().flatten();
        let state = statuses.find(|own| own.name == name).and_then(|own| own.state.as_ref());
        state.is_some_and(|state| state.running.is_some() || state.terminated.is_some())
    };
    let ephemeral = parsed.spec.ephemeral_containers.iter().flatten().enumerate();
    let unmade = ephemeral.filter(|(_, own)| seen.latest(&own.name).is_none() && !began(&own.name));
    images.chain(unmade.map(|(at, _)| format!("spec.ephemeralContainers[{at}]"))).collect()
}

/// Makes it, makes it again, or tells what changed.
fn run(
    whole: &mut Whole,
    record: &Arc<Record>,
    seen: &Observation,
    unlike: impl FnOnce() -> Vec<String>,
    now: Timestamp,
    todo: &mut Todo,
) {
    if whole.busy {
        return;
    }
    let object = seen.object();
    let lost = object.is_some_and(|object| object.state == ObjectState::Lost);
    let is_refused = whole.trouble.as_ref().is_some_and(|trouble| trouble.of_generation == Some(record.generation));
    if let Some(trouble) = &whole.trouble {
        if is_refused && !trouble.of_update {
            return;
        }
        // One that is lost need not be told anything.
        let at_once = is_refused || (trouble.of_update && lost);
        if let Some(at) = trouble.retry_at.filter(|at| *at > now && !at_once) {
            todo.wake(at);
            return;
        }
        whole.is_unproven |= trouble.of_update && trouble.of_generation.is_some() && !is_refused;
    }
    if lost && object.is_some_and(|object| object.attempt >= whole.attempt) {
        whole.attempt = whole.attempt.saturating_add(1);
        whole.accepted = false;
    }
    let handed_over = whole.again_at.is_some_and(|at| at <= now);
    if !whole.accepted || object.is_none() || lost || handed_over {
        // What was accepted and is not told of yet will be.
        if whole.accepted && object.is_none() && !handed_over {
            return;
        }
        whole.busy = true;
        whole.is_unproven = true;
        whole.again_at = None;
        todo.effects.push(Effect::Create { attempt: whole.attempt });
        return;
    }
    if let Some(at) = whole.again_at {
        todo.wake(at);
    }
    let mut changed = whole.given.as_ref().map_or_else(Vec::new, |given| changes::between(given, record));
    let mut others = if is_refused { Vec::new() } else { whole.untold.clone() };
    // What shows no container yet will.
    if whole.is_unproven && !seen.starts.is_empty() {
        others.extend(unlike());
        whole.is_unproven = false;
    }
    for path in others {
        if !changed.contains(&path) {
            changed.push(path);
        }
    }
    if changed.is_empty() {
        whole.trouble = whole.trouble.take().filter(|trouble| !trouble.of_update || trouble.of_generation.is_some());
    } else {
        whole.busy = true;
        whole.untold.clone_from(&changed);
        todo.effects.push(Effect::Update { attempt: whole.attempt, changed });
    }
}

/// Ends it by a time; told again when the time is shorter, when it has passed, and when a call failed.
fn end(whole: &mut Whole, key: &PodKey, object: Option<&Object>, now: Timestamp, until: Timestamp, todo: &mut Todo) {
    // What is being made must be made before it can be ended.
    let there = object.is_some_and(|object| !(object.state == ObjectState::Lost && object.id.is_empty()));
    if whole.busy || (!there && !whole.accepted) || (!there && object.is_some()) {
        return;
    }
    let reference = whole.reference(key, object);
    let ending = whole.ending.get_or_insert_with(|| Ending::new(until));
    ending.until = ending.until.min(until);
    if ending.busy || ending.forgetting {
        return;
    }
    let failed_lately = ending.failures > 0 && ending.retry_at.is_some_and(|at| at > now);
    if failed_lately {
        ending.retry_at.into_iter().for_each(|at| todo.wake(at));
        return;
    }
    // By force once the time has passed.
    let goal = if ending.until <= now { Timestamp::MIN } else { ending.until };
    let is_told = ending.told.is_some_and(|told| told <= goal);
    let lost_on_its_way = goal == Timestamp::MIN && ending.retry_at.is_some_and(|at| at <= now);
    if is_told && !lost_on_its_way {
        let next = if goal == Timestamp::MIN { ending.retry_at } else { Some(ending.until) };
        next.into_iter().for_each(|at| todo.wake(at));
        return;
    }
    ending.busy = true;
    ending.told = Some(goal);
    let grace = Duration::try_from(ending.until.duration_since(now)).unwrap_or(Duration::ZERO);
    todo.effects.push(Effect::Delete { reference, grace });
}

/// A replaced attempt that is still there is not wanted any more: it is ended, and then forgotten.
fn end_replaced(whole: &mut Whole, key: &PodKey, seen: &Observation, last: &Object, now: Timestamp, todo: &mut Todo) {
    whole.replaced.retain(|asked| asked.again_at > now);
    for old in seen.objects.iter().filter(|old| old.attempt < last.attempt) {
        let over = old.state.has_stopped();
        let asked = whole.replaced.iter().find(|asked| asked.attempt == old.attempt && asked.to_forget == over);
        if let Some(asked) = asked {
            todo.wake(asked.again_at);
            continue;
        }
        whole.replaced.push(Replaced { attempt: old.attempt, to_forget: over, again_at: later(now, LOST_ON_ITS_WAY) });
        let (reference, grace) = (whole.reference(key, Some(old)), Duration::ZERO);
        todo.effects.push(if over { Effect::Forget { reference } } else { Effect::Delete { reference, grace } });
    }
}

/// Nothing of it runs any more, as far as the backend says.
fn has_ended(seen: &Observation) -> bool {
    let over = |object: &Object| object.state.has_stopped();
    let exited = !seen.starts.is_empty() && seen.starts.iter().all(|start| start.phase == Phase::Exited);
    seen.object().is_some_and(over) || exited
}

/// Has the backend remove what is left, once the last states are written.
fn forget(whole: &mut Whole, key: &PodKey, object: Option<&Object>, now: Timestamp, todo: &mut Todo) {
    let reference = whole.reference(key, object);
    let ending = whole.ending.get_or_insert_with(|| Ending::new(now));
    if ending.busy || object.is_none() {
        return;
    }
    if (ending.forgetting || ending.failures > 0)
        && let Some(at) = ending.retry_at.filter(|at| *at > now)
    {
        todo.wake(at);
        return;
    }
    ending.forgetting = true;
    ending.busy = true;
    todo.effects.push(Effect::Forget { reference });
}
