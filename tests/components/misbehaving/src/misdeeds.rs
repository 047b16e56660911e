//! What can go wrong inside a call. Most of it does not return.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use vk_provider_sdk::bindings::wit_stream;
use vk_provider_sdk::host::{clock, secrets};
use vk_provider_sdk::{Error, Result};
use wit_bindgen::spawn_local;

use crate::garbage;

/// Does this; the empty misdeed is none.
pub async fn commit(misdeed: &str) -> Result<()> {
    match misdeed {
        "" => {}
        "spin" => spin(),
        "allocate" => allocate(),
        "trap" => garbage::trap(),
        "panic" => panic!("these are the words of a panic"),
        "recurse" => {
            black_box(recurse(1));
        }
        // Waits for what the host will not give.
        "never" => clock::sleep(u64::MAX).await,
        // Waits for what it would have to write itself.
        "stuck" => {
            let (writer, mut reader) = wit_stream::new::<u8>();
            reader.next().await;
            drop(writer);
        }
        "flood" => flood(),
        // Answers, and goes on.
        "after" => drop(spawn_local(async { spin() })),
        "level" => garbage::level(),
        "log-pointer" => garbage::log_pointer(),
        "pointer" => garbage::pointer(),
        "discriminant" => garbage::discriminant(),
        "slow" => clock::sleep(500_000_000).await,
        "ask-for-more" => return Err(tell_the_operators().await?),
        other => return Err(Error::invalid(format!("`{other}` is no misdeed"))),
    }
    Ok(())
}

pub fn spin() {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

fn allocate() {
    let mut all = Vec::new();
    loop {
        all.push(black_box(vec![1_u8; 1 << 20]));
    }
}

/// Recursion that keeps nothing in memory fills the stack; else the guest's own memory for frames would end first.
#[inline(never)]
fn recurse(depth: u64) -> u64 {
    static BOTTOM: AtomicU64 = AtomicU64::new(u64::MAX);
    if depth == BOTTOM.load(Ordering::Relaxed) { 0 } else { recurse(depth + 1).wrapping_mul(depth) ^ depth }
}

fn flood() {
    for line in 0_u64.. {
        vk_provider_sdk::error!("line {line} of a flood that never ends: {}", "x".repeat(1_000));
    }
}

/// An error with the value of the operator's secret `key`.
pub async fn tell_the_operators() -> Result<Error> {
    let opened = secrets::open(vec!["key".into()]).await?;
    let value = opened.first().ok_or_else(|| Error::internal("no secret"))?.reveal()?;
    Ok(Error::unavailable(format!("refused with {}", String::from_utf8_lossy(&value))))
}
