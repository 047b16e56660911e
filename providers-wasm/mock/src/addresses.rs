//! Pod addresses: one for each pod, unique in the range. An address is claimed by the store's key `address/IP`, whose value
//! is the pod's UID, and given back by `forget`. Which address a pod tries first depends on its UID.

use vk_provider_sdk::host::store::{self, Condition};
use vk_provider_sdk::{Error, Result, code};

use crate::hash;
use crate::settings::Range;

/// How many addresses are tried: in a range that is 90 % full all of them are taken once in 10^23 times.
const TRIES: u32 = 512;

fn candidates(range: Range, uid: &str) -> impl Iterator<Item = String> {
    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    let first = hash(&[uid.as_bytes()]) as u32 % range.len();
    (0..TRIES.min(range.len())).map(move |step| range.address(first + step))
}

fn key(address: &str) -> String {
    format!("address/{address}")
}

/// Claims an address for this pod; the one it has already, if it has one.
pub async fn claim(range: Range, uid: &str) -> Result<String> {
    for address in candidates(range, uid) {
        match store::put(key(&address), uid.as_bytes().to_vec(), Condition::Absent, None).await {
            Ok(_) => return Ok(address),
            Err(error) if error.is(code::CONFLICT) => {
                if store::get(key(&address)).await?.is_some_and(|entry| entry.value == uid.as_bytes()) {
                    return Ok(address);
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::unavailable("mock: no address is free in the range of the setting `ip-range`").of_provider())
}

/// Gives an address back.
pub async fn release(address: &str) -> Result<()> {
    store::delete(key(address), Condition::Always).await
}

/// Gives back what a pod claimed before the host crashed and the pod was remembered.
pub async fn release_of(range: Range, uid: &str) -> Result<()> {
    for address in candidates(range, uid).take(8) {
        match store::get(key(&address)).await? {
            Some(entry) if entry.value == uid.as_bytes() => return release(&address).await,
            Some(_) => {}
            None => return Ok(()),
        }
    }
    Ok(())
}
