//! One call of a provider, as the capabilities see it: who calls, for which pod, and what it has open.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use provider::PodKey;
use wasmtime::component::{Accessor, HasData, ResourceTable};

use crate::Capabilities;
use crate::log::Logger;
use crate::mask::Mask;
use crate::secrets::Placeholders;

/// Handles that a call may have open at once.
const MAX_RESOURCES: usize = 10_000;

/// What a call is about; it stands on every log line and refusal.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The export called, as `pods.create`.
    pub export: &'static str,
    /// The pod it is for, where it is for one.
    pub pod: Option<PodKey>,
    /// Number of the call, unique while the host runs.
    pub id: u64,
    /// The version of the provider that runs it: its digest, shortened.
    pub version: Arc<str>,
}

/// What the capabilities keep for one call; dropped with it, and with it all that is still open.
pub struct Call {
    pub(crate) table: ResourceTable,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) logger: Logger,
    /// What stands for secrets in its requests.
    pub(crate) placeholders: Arc<Placeholders>,
    /// Bytes that it gave to the host to hold.
    pub(crate) spooled: usize,
    /// Its host functions that wait.
    tasks: Arc<AtomicU64>,
}

impl Call {
    /// A call with these capabilities. `mask` holds the pod's secret values that it was given.
    pub fn new(capabilities: Arc<Capabilities>, subject: Subject, mask: Arc<Mask>) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let logger = Logger::new(capabilities.clone(), subject, mask);
        Self { table, capabilities, logger, placeholders: Arc::default(), spooled: 0, tasks: Arc::default() }
    }

    /// The handles of this call.
    pub const fn table(&mut self) -> &mut ResourceTable {
        &mut self.table
    }

    /// Writes its lines.
    pub const fn logger(&self) -> &Logger {
        &self.logger
    }
}

/// A host function that may wait; the guest may have as many of them at once as the limit `tasks` says.
pub(crate) struct Task(Arc<AtomicU64>);

/// Counts a host function from here to its end. One too many ends the call: whoever starts so many reads no errors.
pub(crate) fn task<T>(accessor: &Accessor<T, CallData>) -> wasmtime::Result<Task> {
    accessor.with(|mut access| {
        let call = access.get();
        let now = call.tasks.fetch_add(1, Ordering::Relaxed) + 1;
        let task = Task(call.tasks.clone());
        let gauge = &call.capabilities.quotas.tasks;
        if now > gauge.maximum() {
            return Err(wasmtime::Error::new(gauge.refuse()));
        }
        gauge.observe(now);
        Ok(task)
    })
}

impl Drop for Task {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Marks [`Call`] as the data that the capabilities work on.
pub struct CallData;

impl HasData for CallData {
    type Data<'a> = &'a mut Call;
}
