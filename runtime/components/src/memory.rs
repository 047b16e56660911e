//! Keeps a call inside its linear memory and tables.

use wasmtime::ResourceLimiter;

use crate::limits::Reached;

/// Counts what one call has, over all its memories and tables.
pub(crate) struct Memory {
    limit: u64,
    table_limit: usize,
    used: u64,
    table_used: usize,
    /// What was refused; the guest then traps by itself.
    pub(crate) reached: Option<Reached>,
}

impl Memory {
    pub(crate) const fn new(limit: u64, table_limit: usize) -> Self {
        Self { limit, table_limit, used: 0, table_used: 0, reached: None }
    }

    /// The most that was in use, bytes.
    pub(crate) const fn peak(&self) -> u64 {
        self.used
    }
}

impl ResourceLimiter for Memory {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let after = self.used + desired.saturating_sub(current) as u64;
        if after > self.limit {
            self.reached = Some(Reached::Memory(self.limit));
            return Ok(false);
        }
        self.used = after;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let after = self.table_used + desired.saturating_sub(current);
        if after > self.table_limit {
            self.reached = Some(Reached::TableElements(self.table_limit));
            return Ok(false);
        }
        self.table_used = after;
        Ok(true)
    }
}
