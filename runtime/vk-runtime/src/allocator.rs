//! Large buffers go back to the system when they are freed.
//!
//! Components, their code and lists of pods are megabytes, and live for a moment. glibc maps such by themselves, until the first
//! of them is freed: from then on it takes them for ordinary, and keeps them in arenas that grow with each swap and each
//! thread. Where it is told a size, it keeps to it: [`LARGE`]. Cost: page faults for each buffer as large.

/// From this size on a buffer is mapped by itself: glibc's own first choice.
#[cfg(target_env = "gnu")]
const LARGE: libc::c_int = 128 << 10;

/// Before there are threads.
pub fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[expect(unsafe_code, reason = "there is no other way to tell it")]
    // SAFETY: it changes a number of the allocator's own, and nobody allocates beside it yet.
    let told = unsafe { libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE) };
    #[cfg(target_env = "gnu")]
    debug_assert_eq!(told, 1, "glibc takes every size up to half of an arena");
}
