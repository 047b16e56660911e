//! Calls that fail on purpose, always the same ones for the same seed: whether the n-th call of a kind for a pod fails
//! depends on the seed, the kind, the pod's UID and n alone, and not on what else goes on. n starts at 0 when the host
//! does.

use vk_provider_sdk::host::{cache, store::Condition};
use vk_provider_sdk::{Error, Result, code, time};

use crate::hash;

/// The calls that can fail. `describe` never does.
const CALLS: &[&str] =
    &["create", "update", "delete", "forget", "list", "refresh", "logs", "stats", "restart-container"];

/// Which calls fail, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Share of the calls that fail, 0 to 1.
    pub rate: f64,
    /// Kinds of calls that may; empty: all.
    pub calls: Vec<String>,
    /// The code of the error.
    pub code: String,
    /// Chooses which.
    pub seed: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rate: 0.0, calls: Vec::new(), code: code::UNAVAILABLE.to_owned(), seed: 0 }
    }
}

impl Faults {
    /// Reads a list of kinds; none if one of them is no call that can fail.
    pub fn calls(text: &str) -> Option<Vec<String>> {
        text.split(',').map(|call| CALLS.contains(&call).then(|| call.to_owned())).collect()
    }

    /// Fails if it is this call's turn. `uid` is empty for calls that are for no one pod.
    pub fn check(&self, call: &str, uid: &str) -> Result<()> {
        if self.rate <= 0.0 || !(self.calls.is_empty() || self.calls.iter().any(|own| own == call)) {
            return Ok(());
        }
        let number = count(call, uid)?;
        if self.fails(call, uid, number) {
            return Err(Error::new(
                &self.code,
                format!("mock: call {number} of {call} fails, as the setting `fail` has it"),
            ));
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of all calls needs no more")]
    fn fails(&self, call: &str, uid: &str, number: u64) -> bool {
        let drawn = hash(&[&self.seed.to_le_bytes(), call.as_bytes(), uid.as_bytes(), &number.to_le_bytes()]);
        (drawn >> 11) as f64 / ((1_u64 << 53) as f64) < self.rate
    }
}

/// How many calls of this kind were made for this pod before.
fn count(call: &str, uid: &str) -> Result<u64> {
    let key = format!("calls/{call}/{uid}");
    loop {
        let entry = cache::get(&key);
        let number = entry.as_ref().map_or(0, |entry| entry.value.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)));
        let condition = entry.map_or(Condition::Absent, |entry| Condition::Version(entry.version));
        match cache::put(&key, &(number + 1).to_be_bytes(), condition, 3600 * time::SECOND) {
            Ok(_) => return Ok(number),
            Err(error) if error.is(code::CONFLICT) => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_that_fails_is_the_one_asked_for_and_the_same_every_time() {
        let faults = Faults { rate: 0.3, seed: 1, ..Faults::default() };
        let failed = |faults: &Faults| (0..10_000).filter(|n| faults.fails("create", "uid", *n)).collect::<Vec<_>>();
        let first = failed(&faults);
        assert!((2_800..3_200).contains(&first.len()), "{}", first.len());
        assert_eq!(first, failed(&faults));
        assert_ne!(first, failed(&Faults { seed: 2, ..faults.clone() }));
        assert_eq!(failed(&Faults { rate: 1.0, ..faults }).len(), 10_000);
    }
}
