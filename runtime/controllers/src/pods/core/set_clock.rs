//! The clock was set: what a pod waits for is moved with it, so that no pause, and no grace period, becomes longer or
//! shorter by that.

use jiff::{SignedDuration, Timestamp};

use super::{Core, Plan};

impl Core {
    /// By how much the clock was set since the process began.
    pub fn clock_set(&mut self, by: SignedDuration) {
        if by == self.set_by {
            return;
        }
        let moved = by.saturating_sub(self.set_by);
        self.set_by = by;
        if let Some(by) = &mut self.delete_by {
            move_by(by, moved);
        }
        self.writing.clock_set(moved);
        match &mut self.plan {
            Plan::Whole(whole) => whole.clock_set(moved),
            Plan::Containers(machine) => machine.clock_set(moved),
        }
    }
}

/// Moves a time, unless it stands for always or never.
pub(in crate::pods) fn move_by(at: &mut Timestamp, by: SignedDuration) {
    if *at != Timestamp::MIN && *at != Timestamp::MAX {
        *at = at.saturating_add(by).unwrap_or(*at);
    }
}
