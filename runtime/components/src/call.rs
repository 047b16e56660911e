//! One call: a slot, a fresh store and instance, the deadline, and what a failure means.
//!
//! | step                                              | counts as      |
//! |---------------------------------------------------|----------------|
//! | wait for a slot in the lane, then in the pool     | queueing       |
//! | make store and instance, call, lift the result    | wall time, CPU |
//! | answer the caller, leave the lane                 |                |
//! | drop store and instance, leave the pool           | nobody's wait  |
//!
//! A caller that goes away ends its call. A guest that traps or breaks a limit costs its own call and nothing else. What a
//! guest does after its answer is part of its call too, unless it waits.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use host_capabilities::bindings::vk::host::types::Error as WitError;
use host_capabilities::error::to_provider;
use host_capabilities::log::Logger;
use host_capabilities::mask::Mask;
use host_capabilities::{Call, Capabilities, Subject};
use provider::{Code, Error, Output, PodKey, Result};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;
use wasmtime::component::{Accessor, ComponentNamedList, Instance, Lift, Lower};
use wasmtime::{Store, UpdateDeadline};

use crate::accounting::Outcome;
use crate::bindings::vk::provider::types::Output as WitOutput;
use crate::cause::{Cause, OverBudget};
use crate::component::check_grants;
use crate::cpu::Meter;
use crate::engine::Engine;
use crate::export::Export;
use crate::function::Function;
use crate::limits::{HANDLES, Limits, Reached};
use crate::masks::PodMasks;
use crate::memory::Memory;
use crate::output::{self, Handed};
use crate::pool::Slot;
use crate::program::{Live, Program, ReconfigureError};
use crate::state::State;
use crate::trace::{self, Taken};
use crate::version::{self, Stage};

static CALLS: AtomicU64 = AtomicU64::new(0);

/// A future that a call's closure returns.
pub(crate) type Boxed<'a, R> = Pin<Box<dyn Future<Output = R> + Send + 'a>>;

/// What calls for one node share, whatever the version.
pub(crate) struct Caller {
    pub(crate) program: Arc<Program>,
    capabilities: RwLock<Arc<Capabilities>>,
    pub(crate) masks: PodMasks,
}

/// What a call takes at its beginning and keeps to its end.
#[derive(Clone)]
pub(crate) struct Begun {
    pub(crate) live: Arc<Live>,
    pub(crate) capabilities: Arc<Capabilities>,
}

/// What a call is for.
pub(crate) struct About {
    pub(crate) export: Export,
    pub(crate) pod: Option<PodKey>,
    /// Secret values of the pod that the guest is given in this call.
    pub(crate) mask: Mask,
}

impl About {
    pub(crate) fn node(export: Export) -> Self {
        Self { export, pod: None, mask: Mask::default() }
    }

    pub(crate) fn pod(export: Export, pod: &PodKey) -> Self {
        Self { export, pod: Some(pod.clone()), mask: Mask::default() }
    }
}

pub(crate) fn store(engine: &Engine, limits: &Limits, call: Call, meter: &Arc<Meter>) -> Store<State> {
    let memory = Memory::new(limits.memory, limits.table_elements);
    let mut store = Store::new(&engine.wasmtime, State::new(call, memory));
    store.limiter(|state| &mut state.memory);
    store.set_hostcall_fuel(limits.host_memory);
    store.set_max_component_handles(HANDLES);
    store.set_epoch_deadline(1);
    let meter = meter.clone();
    store.epoch_deadline_callback(move |_| {
        let budget = meter.budget();
        if meter.spent_now() > budget.limit {
            return Err(wasmtime::Error::new(OverBudget(budget)));
        }
        Ok(UpdateDeadline::YieldCustom(1, Box::pin(tokio::task::yield_now())))
    });
    store
}

/// What a call's closure works with.
#[derive(Clone, Copy)]
pub(crate) struct Guest {
    instance: Instance,
}

impl Guest {
    /// Calls a function of this instance.
    pub(crate) async fn call<P, R>(
        self,
        accessor: &Accessor<State>,
        function: Function<P, R>,
        parameters: P,
    ) -> wasmtime::Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync + 'static,
        R: Lift + Send + Sync + 'static,
    {
        let callable = accessor.with(|mut access| function.of(&mut access, &self.instance))?;
        callable.call(accessor, parameters).await
    }
}

/// The end of a call, as its closure tells it.
struct Answer<R> {
    sender: oneshot::Sender<Result<R>>,
    logger: Logger,
    _lane: Option<OwnedSemaphorePermit>,
}

impl<R> Answer<R> {
    fn give(self, result: Result<R, WitError>) {
        let result = result.map_err(|error| to_provider(error, |text| self.logger.mask(text)));
        // Who asked may have gone.
        let _ = self.sender.send(result);
    }

    fn fail(self, error: Error) {
        let _ = self.sender.send(Err(error));
    }
}

impl Caller {
    /// Calls of this program, with what it was granted for one node.
    pub(crate) fn new(program: Arc<Program>, capabilities: Arc<Capabilities>) -> Arc<Self> {
        let caller = Arc::new(Self { program, capabilities: RwLock::new(capabilities), masks: PodMasks::default() });
        caller.program.join(&caller);
        caller
    }

    /// What it is granted now.
    pub(crate) fn capabilities(&self) -> Arc<Capabilities> {
        self.capabilities.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Changes what it is granted.
    pub(crate) fn regrant(&self, capabilities: Arc<Capabilities>) -> Result<(), ReconfigureError> {
        let own = self.capabilities();
        if own.namespace() != capabilities.namespace() {
            return Err(ReconfigureError {
                provider: self.program.name().to_owned(),
                what: format!("the store {} (to {})", own.namespace(), capabilities.namespace()),
                why: "what it remembers of its pods is kept under the provider's name, the cluster and the node"
                    .to_owned(),
            });
        }
        let version = self.program.live().version.clone();
        if let Err(error) = check_grants(self.program.name(), &version.inspection, &capabilities) {
            tracing::warn!(provider = self.program.name(), %error, "the version that serves is granted less than it imports");
        }
        *self.capabilities.write().unwrap_or_else(PoisonError::into_inner) = capabilities;
        Ok(())
    }

    /// What a call that begins now has.
    pub(crate) fn begin(&self) -> Begun {
        Begun { live: self.program.live(), capabilities: self.capabilities() }
    }

    /// The text without the secret values of a pod, and of the provider.
    pub(crate) fn mask(&self, capabilities: &Capabilities, uid: &str, text: String) -> String {
        capabilities.mask(self.masks.apply(uid, text))
    }

    /// Calls a function of the guest.
    pub(crate) async fn call<R, F>(self: &Arc<Self>, begun: &Begun, about: About, call: F) -> Result<R>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Accessor<State>, Guest) -> Boxed<'a, wasmtime::Result<Result<R, WitError>>>
            + Send
            + 'static,
    {
        self.run(begun, about, |_, _| {
            move |accessor, guest, answer: Answer<R>| {
                Box::pin(async move {
                    answer.give(call(accessor, guest).await?);
                    Ok(())
                })
            }
        })
        .await
    }

    /// Calls a function of the guest that hands back a stream, and something else beside it.
    pub(crate) async fn open<R, F>(self: &Arc<Self>, begun: &Begun, about: About, call: F) -> Result<(Output, R)>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Accessor<State>, Guest) -> Boxed<'a, wasmtime::Result<Result<(WitOutput, R), WitError>>>
            + Send
            + 'static,
    {
        let export = about.export;
        let live = begun.live.clone();
        let stream_slot = self.program.lanes.stream(&live.limits).map_err(|reached| {
            self.program.accounts.failed(export, reached.name());
            self.program.accounts.enter(export).end(Outcome::Limit);
            error(export, &Cause::Reached(reached))
        })?;
        let program = self.program.clone();
        self.run(begun, about, |meter, died| {
            move |accessor, guest, answer: Answer<(Output, R)>| {
                Box::pin(async move {
                    let (handed, beside) = match call(accessor, guest).await? {
                        Ok((handed, beside)) => (output::take(accessor, handed, died, &answer.logger)?, beside),
                        Err(error) => {
                            answer.give(Err(error));
                            return Ok(());
                        }
                    };
                    match handed {
                        Handed::Spliced(output) => answer.give(Ok((output::hold(output, stream_slot), beside))),
                        Handed::Pumped(output, ended) => match program.lanes.session(&live.limits) {
                            Err(reached) => {
                                program.accounts.failed(export, reached.name());
                                answer.fail(error(export, &Cause::Reached(reached)));
                            }
                            Ok(session_slot) => {
                                meter.becomes_session();
                                answer.give(Ok((output::hold(output, stream_slot), beside)));
                                // Fails when the stream has ended or nobody reads it: the instance may go.
                                let _ = ended.await;
                                drop(session_slot);
                            }
                        },
                    }
                    Ok(())
                })
            }
        })
        .await
    }

    /// Runs a closure in a fresh instance, and waits for its answer.
    async fn run<R, M, F>(self: &Arc<Self>, begun: &Begun, about: About, make: M) -> Result<R>
    where
        R: Send + 'static,
        M: FnOnce(Arc<Meter>, oneshot::Receiver<Error>) -> F,
        F: for<'a> FnOnce(&'a Accessor<State>, Guest, Answer<R>) -> Boxed<'a, wasmtime::Result<()>> + Send + 'static,
    {
        let Begun { live, capabilities } = begun;
        let About { export, pod, mask } = about;
        let mask = pod.as_ref().map(|pod| self.masks.with(&pod.uid, mask)).unwrap_or_default();
        let span = trace::span(self.program.name(), export, pod.as_ref());
        let mut entry = self.program.accounts.enter(export);
        let (lane, waited) = self.program.lanes.enter(export.lane).await;
        let slot = self.program.slots.enter().await;
        let queued = entry.begin(waited);
        let id = CALLS.fetch_add(1, Ordering::Relaxed);
        let subject = Subject { export: export.name, pod, id, version: live.version.short.clone() };
        let call = Call::new(capabilities.clone(), subject, mask);
        trace::begins(&span, call.logger(), queued);
        let (sender, answered) = oneshot::channel();
        let answer = Answer { sender, logger: call.logger().clone(), _lane: lane };
        let meter = Meter::new(live.limits.cpu(export), self.program.engine.clock());
        let (last_words, died) = oneshot::channel();
        let body = make(meter.clone(), died);
        let instance = InInstance {
            program: self.program.clone(),
            live: live.clone(),
            export,
            meter: meter.clone(),
            last_words,
            slot,
        };
        let running = self.program.threads.spawn(meter, instance.run(call, answer, body).instrument(span.clone()));
        // Until there is an answer the call is its caller's: who goes away ends it. After it, it may be a session.
        let mut running = AbortOnDropHandle::new(running);
        let result = match answered.await {
            Ok(result) => {
                drop(running.detach());
                entry.end(Outcome::answered(&result));
                if let Err(error) = &result
                    && error.code == Code::Denied
                {
                    live.version.health.failed(export, &error.message);
                    self.program.failed.notify_one();
                }
                result
            }
            Err(_) => match (&mut running).await {
                Ok(Err((outcome, error))) => {
                    entry.end(outcome);
                    Err(error)
                }
                Ok(Ok(())) => Err(Error::new(Code::Internal, format!("{} ended without an answer", export.name))),
                Err(error) => Err(Error::new(Code::Internal, format!("{} did not end well: {error}", export.name))),
            },
        };
        trace::answered(&span, &result);
        result
    }
}

/// What a call needs on the guest's threads.
struct InInstance {
    program: Arc<Program>,
    live: Arc<Live>,
    export: Export,
    meter: Arc<Meter>,
    /// Tells the reader of the guest's stream, if there is one, what the guest died of.
    last_words: oneshot::Sender<Error>,
    slot: Slot,
}

impl InInstance {
    /// An error is what ended it, and what there is to say of that.
    async fn run<R, F>(self, call: Call, answer: Answer<R>, body: F) -> Result<(), (Outcome, Error)>
    where
        R: Send + 'static,
        F: for<'a> FnOnce(&'a Accessor<State>, Guest, Answer<R>) -> Boxed<'a, wasmtime::Result<()>> + Send + 'static,
    {
        let Self { program, live, export, meter, last_words, slot } = self;
        let Live { version, limits } = &*live;
        let begun = Instant::now();
        let logger = call.logger().clone();
        let mut spent = Spent { program: &program, export, meter: &meter, cpu: None, memory: 0 };
        let mut store = store(&program.engine, limits, call, &meter);
        let wall = limits.wall(export);
        let outcome = {
            let mut running = std::pin::pin!(async {
                let instance = version.pre.instantiate_async(&mut store).await?;
                store.run_concurrent(async move |accessor| body(accessor, Guest { instance }, answer).await).await?
            });
            let deadline = tokio::time::sleep(wall.limit);
            tokio::select! {
                biased;
                done = &mut running => End::Done(done),
                () = deadline => if meter.is_session() {
                    // Outside of the guest: one that spins does not keep it from being ended.
                    tokio::select! {
                        biased;
                        done = &mut running => End::Done(done),
                        () = version::reached(version.stages(), Stage::Over) => End::Drained,
                    }
                } else {
                    End::Wall
                },
            }
        };
        let memory = store.data().memory.peak();
        (spent.cpu, spent.memory) = (Some(meter.spent_now()), memory);
        let result = match outcome {
            End::Done(Ok(())) => Ok(()),
            End::Done(Err(failure)) => Err(Cause::of(&failure, &store, limits)),
            End::Wall => Err(Cause::Reached(Reached::Wall(wall))),
            End::Drained => Err(Cause::Drained(version.short.clone(), limits.drain)),
        };
        version.health.called(export);
        let result = result.map_err(|cause| {
            let error = error(export, &cause);
            let error = Error { message: logger.mask(error.message), ..error };
            let outcome = match &cause {
                Cause::Drained(..) => Outcome::Drained,
                Cause::Reached(_) => Outcome::Limit,
                Cause::Trapped(..) | Cause::Failed(_) => Outcome::Trap,
            };
            if outcome != Outcome::Drained {
                program.accounts.failed(export, cause.kind());
                version.health.failed(export, &error.message);
                program.failed.notify_one();
            }
            (outcome, error)
        });
        drop(store);
        drop(slot);
        let taken = Taken { duration: begun.elapsed(), cpu: meter.spent_now(), memory };
        trace::ended(&logger, &taken, result.as_ref().map(|_| ()).map_err(|(_, error)| error));
        if let Err((_, error)) = &result {
            // Mostly there is no such reader.
            let _ = last_words.send(error.clone());
        }
        result
    }
}

/// How what runs in an instance came to its end.
enum End {
    Done(wasmtime::Result<()>),
    Wall,
    Drained,
}

/// Accounts for what an instance takes, also when nobody waits for its end.
struct Spent<'a> {
    program: &'a Program,
    export: Export,
    meter: &'a Meter,
    /// None: it was ended from outside, where the thread's clock is another's.
    cpu: Option<Duration>,
    memory: u64,
}

impl Drop for Spent<'_> {
    fn drop(&mut self) {
        let cpu = self.cpu.unwrap_or_else(|| self.meter.spent());
        self.program.accounts.spent(self.export, cpu, self.memory);
    }
}

/// The error of a call that ended so.
fn error(export: Export, cause: &Cause) -> Error {
    let code = match cause {
        Cause::Reached(_) => Code::Limit,
        Cause::Drained(..) => Code::Closed,
        Cause::Trapped(..) | Cause::Failed(_) => Code::Internal,
    };
    Error::new(code, format!("{} {cause}", export.name))
}
