//! What `pods.create` returns.

use vk_provider_sdk::Result;

use crate::arguments::end;
use crate::{raw, unknown};

const OUTSIDE: u32 = 0xffff_0000;

/// A result in memory: a discriminant, and from the eighth byte on a pod's state or an error.
type Words = [u32; 96];

/// The UID, text and length.
const UID: usize = 2;
/// The discriminant of `ends-at`.
const ENDS_AT: usize = 20;
/// The addresses, list and count.
const IPS: usize = 24;

fn give(change: impl FnOnce(&mut Words)) {
    // As aligned as it must be.
    let mut result = Box::new([0_u64; 48]);
    // SAFETY: as large, and less aligned.
    change(unsafe { &mut *result.as_mut_ptr().cast::<Words>() });
    // SAFETY: see `raw`.
    unsafe { raw::return_from_create(result.as_ptr() as usize) }
}

fn text(at: usize, text: u32, length: u32) {
    give(|words| (words[at], words[at + 1]) = (text, length));
}

pub fn attempt(words: &[&str]) -> Result<String> {
    let whole = [0_u64; 48];
    let whole = whole.as_ptr() as usize;
    match words {
        // SAFETY: see `raw`.
        ["outside"] => unsafe { raw::return_from_create(OUTSIDE as usize) },
        // SAFETY: see `raw`.
        ["past-the-end"] => unsafe { raw::return_from_create(end() - 8) },
        // SAFETY: see `raw`.
        ["misaligned"] => unsafe { raw::return_from_create(whole + 1) },
        ["discriminant", value] => {
            let value = value.parse().map_err(|_| unknown(words))?;
            give(|words| words[0] = value);
        }
        ["text-outside"] => text(UID, OUTSIDE, 16),
        ["text-that-wraps"] => text(UID, u32::MAX - 15, 32),
        ["text-without-end"] => text(UID, 0, u32::MAX),
        ["text-of-other-bytes"] => text(UID, b"\xff\xfe".as_ptr() as u32, 2),
        ["option"] => give(|words| words[ENDS_AT] = 7),
        ["list-outside"] => text(IPS, OUTSIDE, 1),
        ["list-misaligned"] => text(IPS, 17, 1),
        ["list-whose-size-wraps"] => text(IPS, 16, 0x2000_0000),
        ["list-without-end"] => text(IPS, 16, u32::MAX),
        ["twice"] => {
            give(|_| ());
            give(|_| ());
        }
        // SAFETY: see `raw`.
        ["as-another-function"] => unsafe { raw::return_from_update(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) },
        // SAFETY: see `raw`.
        ["cancelled"] => unsafe { raw::cancel_own() },
        _ => return Err(unknown(words)),
    }
    Ok(format!("{}: not refused", words.join(" ")))
}
