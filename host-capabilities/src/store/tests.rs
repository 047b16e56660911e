//! What is kept, what is refused, and what a crash leaves.

mod cache;
mod crash;
mod embedded;
mod guests;

use super::{Condition, Embedded, Entry, OpenError, Store, StoreError};

const ALWAYS: Condition = Condition::Always;

fn open(folder: &tempfile::TempDir) -> Embedded {
    Embedded::open(&folder.path().join("store.redb")).unwrap()
}
