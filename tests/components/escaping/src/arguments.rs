//! What is passed to the host.

use std::arch::wasm32::memory_size;

use vk_provider_sdk::Result;

use crate::{raw, unknown};

const OUTSIDE: usize = 0xffff_0000;
const LEVEL: u32 = 2;

/// Where the memory ends.
pub fn end() -> usize {
    memory_size(0) << 16
}

/// Logs what need not be a text.
fn log(bytes: &[u8]) {
    // SAFETY: see `raw`.
    unsafe { raw::log(LEVEL, bytes.as_ptr() as usize, bytes.len(), 0, 0) }
}

pub fn attempt(words: &[&str]) -> Result<String> {
    let result = [0_u64; 64];
    let result = &raw const result as usize;
    // Of a name and a value, each an address and a length.
    let wild = [0_usize, 0, OUTSIDE, 16];
    // SAFETY: see `raw`.
    unsafe {
        match words {
            ["text-outside"] => raw::log(LEVEL, OUTSIDE, 16, 0, 0),
            ["text-past-the-end"] => raw::log(LEVEL, end() - 8, 16, 0, 0),
            ["text-that-wraps"] => raw::log(LEVEL, usize::MAX - 15, 32, 0, 0),
            ["text-of-all-the-memory-and-more"] => raw::log(LEVEL, 0, usize::MAX, 0, 0),
            ["text-of-half-the-addresses"] => raw::log(LEVEL, 0, 0x8000_0000, 0, 0),
            ["text-of-other-bytes"] => log(b"a\xff\xfe"),
            ["text-of-a-surrogate"] => log(b"\xed\xa0\x80"),
            ["text-longer-than-it-must-be"] => log(b"\xc0\x80"),
            ["text-cut-in-a-character"] => log(b"\xe2\x82"),
            ["text-beyond-unicode"] => log(b"\xf4\x90\x80\x80"),
            ["list-outside"] => raw::log(LEVEL, 0, 0, OUTSIDE, 1),
            ["list-past-the-end"] => raw::log(LEVEL, 0, 0, end() - 16, 2),
            ["list-misaligned"] => raw::log(LEVEL, 0, 0, 17, 1),
            // Sixteen bytes each: together as many as there are addresses, and so none.
            ["list-whose-size-wraps"] => raw::log(LEVEL, 0, 0, 16, 0x1000_0000),
            ["list-without-end"] => raw::log(LEVEL, 0, 0, 16, usize::MAX),
            ["text-in-a-list-outside"] => raw::log(LEVEL, 0, 0, wild.as_ptr() as usize, 1),
            ["bytes-outside"] => raw::spool(OUTSIDE, 16, result),
            ["bytes-without-end"] => raw::spool(0, usize::MAX, result),
            ["result-outside"] => raw::node(OUTSIDE),
            ["result-past-the-end"] => raw::node(end() - 8),
            ["result-misaligned"] => raw::node(result + 1),
            ["result-of-bytes-outside"] => raw::random(16, OUTSIDE),
            ["result-of-a-waiting-call-outside"] => drop(raw::read(1, 0, 1, OUTSIDE)),
            ["enum", discriminant] => raw::log(number(discriminant)?, 0, 0, 0, 0),
            ["enum-of-a-question", discriminant] => drop(raw::enabled(number(discriminant)?)),
            ["variant", discriminant] => {
                raw::cache("k".as_ptr() as usize, 1, 0, 0, number(discriminant)?, 0, 1, result)
            }
            ["variant-in-memory", discriminant] => put(&arguments(number(discriminant)?, 0)),
            ["option-in-memory", discriminant] => put(&arguments(0, number(discriminant)?)),
            ["arguments-outside"] => drop(raw::store(OUTSIDE, result)),
            ["arguments-misaligned"] => drop(raw::store(&raw const *Box::new(arguments(0, 0)) as usize + 1, result)),
            // The allocator does the rest.
            ["allocation", size] => raw::random(number(size)?, result),
            ["allocation-of-a-text", length] => {
                // The key's value is as long as that.
                let key = format!("long-{length}");
                raw::config(key.as_ptr() as usize, key.len(), result);
            }
            _ => return Err(unknown(words)),
        }
    }
    Ok(format!("{}: not refused", words.join(" ")))
}

fn number(text: &str) -> Result<u32> {
    text.parse().map_err(|_| unknown(&[text]))
}

/// Arguments of `store.put` in memory: key, value, condition, time to live.
fn arguments(condition: u32, time_to_live: u32) -> [u64; 8] {
    let key = "k".as_ptr() as u64 | 1 << 32;
    [key, 0, u64::from(condition), 0, u64::from(time_to_live), 0, 0, 0]
}

/// Writes to the store, and does not wait for it.
fn put(arguments: &[u64; 8]) {
    let mut result = [0_u64; 16];
    // SAFETY: see `raw`.
    unsafe { raw::store(arguments.as_ptr() as usize, &raw mut result as usize) };
}
