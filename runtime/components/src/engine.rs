//! The one wasmtime engine of the process: its pool of instances, and the clock that interrupts guests.
//!
//! Default: [`INSTANCES`] instances at once over all providers, each of which is sure of its part ([`Pool`]); a full
//! pool queues. Each slot reserves address space, not
//! memory. Slots that were used keep pages, at most [`WARM_MEMORY`] each: as many as calls ever ran at once, and at most
//! [`WARM`] more for versions that are gone. The clock ticks every [`TICK`], and only
//! while guests run: after [`IDLE_TICKS`] without any it sleeps, and an idle process has no timer. While one spins it ticks
//! every [`SHORT_TICK`], which costs two thousand wake-ups of its thread a second.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use wasmtime::component::Component;
use wasmtime::{Config, Enabled, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::limits::{MAX_MEMORY, MAX_TABLE_ELEMENTS};
use crate::pool::Pool;

/// Instances at once.
pub const INSTANCES: u32 = 1_000;
/// Unused slots of other versions, beyond which one of them is taken before a slot that was never used.
const WARM: u32 = 8;
/// Pages of linear memory that a slot keeps, bytes: those that were written, where the kernel tells which these are
/// (Linux 6.7). Elsewhere all of them would have to be cleared, which costs more than to take new ones. An ordinary call
/// writes less; what a list of a thousand pods writes is given back, or slot after slot would come to hold as much.
const WARM_MEMORY: usize = 128 << 10;
/// How often the clock ticks.
const TICK: Duration = Duration::from_millis(2);
/// How often while a guest spins. A tick is also when its thread enters the kernel, and a kernel with lazy preemption gives
/// its core to who was woken meanwhile not before that.
const SHORT_TICK: Duration = Duration::from_micros(500);
/// Ticks without a running guest before the clock sleeps: waking it costs a call more than a tick does.
const IDLE_TICKS: u32 = 50;
/// Stack of guest code.
const GUEST_STACK: usize = 512 << 10;
/// Stack of guest code and the host functions that it calls.
const STACK: usize = 1 << 20;
/// Core modules of a component: the guest's own, and the adapters that the toolchains add.
const MODULES_PER_COMPONENT: u32 = 8;

/// The engine.
#[derive(Clone)]
pub struct Engine {
    pub(crate) wasmtime: wasmtime::Engine,
    pub(crate) pool: Arc<Pool>,
    clock: Arc<Clock>,
}

/// The engine can't be made on this machine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine can't be started: {0}")]
pub struct EngineError(String);

impl Engine {
    /// Makes the engine, and the clock's thread. Once in a process.
    pub fn new() -> Result<Self, EngineError> {
        let fail = |error: &dyn std::fmt::Display| EngineError(format!("{error:#}"));
        let kept = if PoolingAllocationConfig::is_pagemap_scan_available() { WARM_MEMORY } else { 0 };
        let mut pool = PoolingAllocationConfig::new();
        pool.total_component_instances(INSTANCES)
            .total_core_instances(INSTANCES * MODULES_PER_COMPONENT)
            .total_memories(INSTANCES)
            .total_tables(INSTANCES * 2)
            .total_stacks(INSTANCES)
            .max_core_instances_per_component(MODULES_PER_COMPONENT)
            .max_memories_per_component(2)
            .max_tables_per_component(4)
            .max_memory_size(MAX_MEMORY as usize)
            .table_elements(MAX_TABLE_ELEMENTS)
            .max_unused_warm_slots(WARM)
            .pagemap_scan(Enabled::Auto)
            .linear_memory_keep_resident(kept)
            .table_keep_resident(64 << 10)
            .async_stack_keep_resident(32 << 10);
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
        let wasmtime = wasmtime::Engine::new(&config).map_err(|error| fail(&error))?;
        let clock = Arc::new(Clock::default());
        let ticking = (Arc::downgrade(&clock), wasmtime.weak());
        std::thread::Builder::new()
            .name("guest-clock".to_owned())
            .spawn(move || {
                let mut idle = 0;
                while let (Some(clock), Some(engine)) = (ticking.0.upgrade(), ticking.1.upgrade()) {
                    idle = clock.pass(idle, || engine.increment_epoch());
                }
            })
            .map_err(|error| fail(&error))?;
        Ok(Self { wasmtime, pool: Pool::new(INSTANCES as usize), clock })
    }

    /// An engine that only compiles, for one that was made with [`Engine::new`].
    pub(crate) fn compiling() -> wasmtime::Result<wasmtime::Engine> {
        wasmtime::Engine::new(&config())
    }

    /// Loads code that a process of ours has just made.
    pub(crate) fn load_own(&self, code: &[u8]) -> wasmtime::Result<Component> {
        #[expect(unsafe_code, reason = "machine code is trusted as much as the binary that made it, which is this one")]
        // SAFETY: it comes from the compiler of this version, through a pipe that nobody else has.
        unsafe {
            Component::deserialize(&self.wasmtime, code)
        }
    }

    /// The clock, to be kept ticking while a guest runs.
    pub(crate) fn clock(&self) -> Arc<Clock> {
        self.clock.clone()
    }
}

/// What compiled code depends on.
fn config() -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true).max_wasm_stack(GUEST_STACK).async_stack_size(STACK).memory_init_cow(true);
    config
}

/// Ticks while guests run.
#[derive(Default)]
pub(crate) struct Clock {
    running: AtomicUsize,
    spinning: AtomicUsize,
    asleep: Mutex<bool>,
    wake: Condvar,
}

/// How long the clock sleeps before it looks whether the engine is still there.
const LOOK: Duration = Duration::from_secs(10);

impl Clock {
    /// Ticks as long as the answer lives, more often for a guest that spins.
    pub(crate) fn tick(&self, spins: bool) -> Ticking<'_> {
        if spins {
            self.spinning.fetch_add(1, Ordering::Relaxed);
        }
        if self.running.fetch_add(1, Ordering::SeqCst) == 0 {
            let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
            if *asleep {
                *asleep = false;
                self.wake.notify_one();
            }
        }
        Ticking { clock: self, spins }
    }

    /// Lets a tick pass, or sleeps. Takes and returns how many ticks have passed without a guest.
    fn pass(&self, idle: u32, tick: impl Fn()) -> u32 {
        if self.running.load(Ordering::SeqCst) > 0 {
            std::thread::sleep(if self.spinning.load(Ordering::Relaxed) > 0 { SHORT_TICK } else { TICK });
            tick();
            return 0;
        }
        if idle < IDLE_TICKS {
            std::thread::sleep(TICK);
            return idle + 1;
        }
        let mut asleep = self.asleep.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at again under the lock: who begins between the two would not find us asleep.
        if self.running.load(Ordering::SeqCst) == 0 {
            *asleep = true;
            let (mut asleep, _) =
                self.wake.wait_timeout_while(asleep, LOOK, |asleep| *asleep).unwrap_or_else(PoisonError::into_inner);
            *asleep = false;
        }
        0
    }
}

/// A guest runs.
pub(crate) struct Ticking<'a> {
    clock: &'a Clock,
    spins: bool,
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.clock.running.fetch_sub(1, Ordering::SeqCst);
        if self.spins {
            self.clock.spinning.fetch_sub(1, Ordering::Relaxed);
        }
    }
}
