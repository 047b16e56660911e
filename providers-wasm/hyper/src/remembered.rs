//! Answers that are kept in the host's cache for a while, to spare asking the engine again. Only ever a shortcut: what is
//! not there, or found no room, is asked for anew.

use serde::Serialize;
use serde::de::DeserializeOwned;
use vk_provider_sdk::host::cache;
use vk_provider_sdk::host::store::Condition;

/// What was kept under this key.
pub fn get<T: DeserializeOwned>(key: &str) -> Option<T> {
    serde_json::from_slice(&cache::get(key)?.value).ok()
}

/// Keeps this for so many nanoseconds.
pub fn put<T: Serialize>(key: &str, value: &T, time_to_live: u64) {
    if let Ok(value) = serde_json::to_vec(value) {
        let _ = cache::put(key, &value, Condition::Always, time_to_live);
    }
}
