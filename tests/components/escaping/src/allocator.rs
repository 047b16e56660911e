//! What the host is given when it asks for memory to put a value into: an allocation of one of these sizes is answered as no
//! allocator would.

use std::alloc::{Layout, alloc, realloc};
use std::arch::wasm32::{memory_grow, unreachable};
use std::hint::black_box;

use crate::arguments::end;
use crate::raw;

/// From here on each size means something.
const FIRST: usize = 40_000;

/// The component model's own way to ask; stands in for the one of the toolchain.
#[unsafe(export_name = "cabi_realloc")]
unsafe extern "C" fn cabi_realloc(old: *mut u8, old_size: usize, align: usize, size: usize) -> *mut u8 {
    if let Some(kind) = size.checked_sub(FIRST)
        && let Some(wild) = answer(kind)
    {
        return wild as *mut u8;
    }
    // SAFETY: as whoever asks has to see to.
    unsafe {
        match (old_size, size) {
            (0, 0) => align as *mut u8,
            (0, _) => alloc(Layout::from_size_align_unchecked(size, align)),
            _ => realloc(old, Layout::from_size_align_unchecked(old_size, align), size),
        }
    }
}

fn answer(kind: usize) -> Option<usize> {
    match kind {
        1 => Some(0xffff_0000),
        2 => Some(usize::MAX),
        3 => Some(end() - 8),
        4 => unreachable(),
        5 => loop {
            black_box(());
        },
        // SAFETY: see `raw`.
        6 => unsafe {
            raw::log(2, 0, 0, 0, 0);
            None
        },
        // SAFETY: see `raw`.
        7 => unsafe {
            raw::drop_secret(1);
            None
        },
        8 => {
            while memory_grow(0, 16) != usize::MAX {}
            unreachable()
        }
        // A list's, which must be aligned.
        16 => Some(17),
        _ => None,
    }
}
