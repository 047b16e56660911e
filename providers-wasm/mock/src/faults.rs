//! Calls that fail or hang on purpose, always the same ones for the same seed: what becomes of the n-th call of a kind for
//! a pod depends on the seed, the kind, the pod's UID and n alone, and not on what else goes on. n starts at 0 when the
//! host does. One that hangs does nothing and never returns: the host ends it when its time is over.

use vk_provider_sdk::host::{cache, clock, store::Condition};
use vk_provider_sdk::{Error, Result, code, time};

use crate::hash;

/// The calls that can fail or hang. `describe` never does.
const CALLS: &[&str] =
    &["create", "update", "delete", "forget", "list", "refresh", "logs", "stats", "restart-container"];

/// Which calls fail or hang, and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Faults {
    /// Share of the calls that fail, 0 to 1.
    pub rate: f64,
    /// Share of the calls that hang, 0 to 1; of those that don't fail.
    pub hang: f64,
    /// Kinds of calls that may; empty: all.
    pub calls: Vec<String>,
    /// The code of the error.
    pub code: String,
    /// Chooses which.
    pub seed: u64,
}

impl Default for Faults {
    fn default() -> Self {
        Self { rate: 0.0, hang: 0.0, calls: Vec::new(), code: code::UNAVAILABLE.to_owned(), seed: 0 }
    }
}

impl Faults {
    /// Reads a list of kinds; none if one of them is no call that can fail.
    pub fn calls(text: &str) -> Option<Vec<String>> {
        text.split(',').map(|call| CALLS.contains(&call).then(|| call.to_owned())).collect()
    }

    /// Fails or hangs if it is this call's turn. `uid` is empty for calls that are for no one pod.
    pub async fn check(&self, call: &str, uid: &str) -> Result<()> {
        let may = self.calls.is_empty() || self.calls.iter().any(|own| own == call);
        if !may || self.rate <= 0.0 && self.hang <= 0.0 {
            return Ok(());
        }
        let number = count(call, uid)?;
        if self.is_drawn("fail", self.rate, call, uid, number) {
            return Err(Error::new(
                &self.code,
                format!("mock: call {number} of {call} fails, as the setting `fail` has it"),
            ));
        }
        while self.is_drawn("hang", self.hang, call, uid, number) {
            clock::sleep(3600 * time::SECOND).await;
        }
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "a share of all calls needs no more")]
    fn is_drawn(&self, what: &str, share: f64, call: &str, uid: &str, number: u64) -> bool {
        let seed = self.seed.to_le_bytes();
        let drawn = hash(&[&seed, what.as_bytes(), call.as_bytes(), uid.as_bytes(), &number.to_le_bytes()]);
        (drawn >> 11) as f64 / ((1_u64 << 53) as f64) < share
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

    fn drawn(faults: &Faults, what: &str, share: f64) -> Vec<u64> {
        (0..10_000).filter(|n| faults.is_drawn(what, share, "create", "uid", *n)).collect()
    }

    #[test]
    fn the_share_that_fails_is_the_one_asked_for_and_the_same_every_time() {
        let faults = Faults { seed: 1, ..Faults::default() };
        let first = drawn(&faults, "fail", 0.3);
        assert!((2_800..3_200).contains(&first.len()), "{}", first.len());
        assert_eq!(first, drawn(&faults, "fail", 0.3));
        assert_ne!(first, drawn(&Faults { seed: 2, ..Faults::default() }, "fail", 0.3));
        assert_eq!(drawn(&faults, "fail", 1.0).len(), 10_000);
        assert!(drawn(&faults, "fail", 0.0).is_empty());
    }

    #[test]
    fn which_calls_hang_has_nothing_to_do_with_which_fail() {
        let faults = Faults { seed: 1, ..Faults::default() };
        let (fail, hang) = (drawn(&faults, "fail", 0.3), drawn(&faults, "hang", 0.3));
        let both = fail.iter().filter(|n| hang.contains(n)).count();
        assert!((700..1_100).contains(&both), "{both}");
    }
}
