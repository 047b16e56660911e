//! What the allocator is told, so that what is freed is used again or goes back to the system.
//!
//! Components, their code and lists of pods are megabytes, and live for a moment. glibc maps such by themselves, until the first
//! of them is freed: from then on it takes them for ordinary, and keeps them in arenas that grow with each swap and each
//! thread. Where it is told a size, it keeps to it: [`LARGE`]. Cost: page faults for each buffer as large.
//!
//! It has one arena for each core: its own bound is eight, and what is free in one is of no use to the others.
//!
//! It stays glibc's: mimalloc takes a tenth to a fifth less CPU for a burst of pods, and 40 MiB more memory.
//!
//! What a burst leaves free in between goes back once it rests: looked for every [`EVERY`], when [`MUCH`] or more is free
//! that was not before, and after [`ROUNDS`] of rest, for what came and went in between. Cost: a walk over what is free, and the page faults of the next burst.

use std::time::Duration;

const EVERY: Duration = Duration::from_secs(5);
const MUCH: usize = 8 << 20;
const ROUNDS: u32 = 12;

/// From this size on a buffer is mapped by itself: glibc's own first choice.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Before there are threads.
#[cfg(target_env = "gnu")]
pub fn tell() {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(cores).unwrap_or(libc::c_int::MAX);
    for (what, value) in [(libc::M_MMAP_THRESHOLD, LARGE), (libc::M_ARENA_MAX, arenas)] {
        #[expect(unsafe_code, reason = "there is no other way to tell it")]
        // SAFETY: it changes a number of the allocator's own, and nobody allocates beside it yet.
        let told = unsafe { libc::mallopt(what, value) };
        debug_assert_eq!(told, 1, "glibc takes every size up to half of an arena, and any number of arenas");
    }
}

/// Gives back what is free now and then, as long as the process lives.
#[cfg(target_env = "gnu")]
pub fn give_back() -> std::io::Result<()> {
    let own = std::thread::Builder::new().name("allocator".to_owned());
    own.spawn(|| {
        let (mut before, mut least, mut rounds) = (free(), 0, 0);
        loop {
            std::thread::sleep(EVERY);
            let now = free();
            least = now.min(least);
            // As long as it comes and goes it is in use.
            let rests = now.abs_diff(before) < MUCH;
            rounds = if rests { rounds + 1 } else { 0 };
            if rests && (now - least >= MUCH || rounds >= ROUNDS) {
                #[expect(unsafe_code, reason = "there is no other way to tell it")]
                // SAFETY: it returns pages on which nothing is allocated, under the allocator's own locks.
                unsafe {
                    libc::malloc_trim(0)
                };
                (least, rounds) = (now, 0);
            }
            before = now;
        }
    })?;
    Ok(())
}

/// Bytes that the arenas hold and nobody uses; those that went back count too.
#[cfg(target_env = "gnu")]
fn free() -> usize {
    #[expect(unsafe_code, reason = "there is no other way to ask it")]
    // SAFETY: it counts, under the allocator's own locks.
    unsafe { libc::mallinfo2() }.fordblks
}

/// Other allocators are told nothing.
#[cfg(not(target_env = "gnu"))]
pub const fn tell() {}

/// Other allocators do so by themselves.
#[cfg(not(target_env = "gnu"))]
pub const fn give_back() -> std::io::Result<()> {
    Ok(())
}
