//! `clock` and `random`. Always granted.
//!
//! Bounds: 64 KiB of random bytes a call; a sleep counts against the call's wall time.

use std::sync::LazyLock;
use std::time::{Duration, Instant, SystemTime};

use ring::rand::{SecureRandom, SystemRandom};
use wasmtime::bail;
use wasmtime::component::Accessor;

use crate::bindings::vk::host::{clock, random};
use crate::call::task;
use crate::{Call, CallData};

const MAX_RANDOM: u32 = 64 * 1024;

static START: LazyLock<Instant> = LazyLock::new(Instant::now);
static RANDOM: LazyLock<SystemRandom> = LazyLock::new(SystemRandom::new);

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl clock::Host for Call {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, nanos))
    }

    fn monotonic(&mut self) -> wasmtime::Result<u64> {
        Ok(nanos(START.elapsed()))
    }
}

impl<T: Send> clock::HostWithStore<T> for CallData {
    async fn sleep(accessor: &Accessor<T, Self>, time: u64) -> wasmtime::Result<()> {
        let _task = task(accessor)?;
        tokio::time::sleep(Duration::from_nanos(time)).await;
        Ok(())
    }
}

impl random::Host for Call {
    fn bytes(&mut self, length: u32) -> wasmtime::Result<Vec<u8>> {
        if length > MAX_RANDOM {
            bail!("random.bytes: {length} bytes asked for, at most {MAX_RANDOM} are given at once");
        }
        let mut bytes = vec![0; length as usize];
        if RANDOM.fill(&mut bytes).is_err() {
            bail!("random.bytes: the operating system gave no random bytes");
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests;
