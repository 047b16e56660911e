//! Resources as control groups take them, by the kubelet's arithmetic.

use vk_provider_sdk::types::Resources;
use vk_provider_sdk::{Error, Result};

/// Microseconds.
pub const PERIOD: i64 = 100_000;
/// The kernel's least quota, microseconds.
const MIN_QUOTA: u64 = 1000;
/// The kernel's least and greatest shares.
const SHARES: (u64, u64) = (2, 262_144);

/// What is asked of the control group; none: nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Relative weight, 1024 a core.
    pub shares: Option<i64>,
    /// Microseconds of CPU time each [`PERIOD`].
    pub quota: Option<i64>,
    /// Bytes.
    pub memory: Option<i64>,
    /// Bytes to keep under pressure.
    pub reservation: Option<i64>,
}

impl Limits {
    /// What a container's resources ask for. Those that an engine can't count are `invalid`, but for ephemeral storage,
    /// which is only announced ([`has_storage_limit`]).
    pub fn of(resources: &Resources) -> Result<Self> {
        for own in &resources.extended {
            let is_asked = own.request.unwrap_or(0) > 0 || own.limit.unwrap_or(0) > 0;
            if is_asked && own.name != "ephemeral-storage" {
                return Err(Error::invalid(format!("there is no resource `{}` at this engine", own.name)));
            }
        }
        let bytes = |amount: Option<u64>| amount.filter(|bytes| *bytes > 0).and_then(|bytes| i64::try_from(bytes).ok());
        let shares = resources.cpu_request.unwrap_or(0).saturating_mul(1024) / 1000;
        let quota = |millis: u64| millis.saturating_mul(PERIOD.unsigned_abs()) / 1000;
        let memory = bytes(resources.memory_limit);
        Ok(Self {
            shares: i64::try_from(shares.clamp(SHARES.0, SHARES.1)).ok(),
            quota: resources
                .cpu_limit
                .filter(|millis| *millis > 0)
                .and_then(|millis| i64::try_from(quota(millis).max(MIN_QUOTA)).ok()),
            memory,
            reservation: bytes(resources.memory_request).map(|own| memory.map_or(own, |limit| own.min(limit))),
        })
    }
}

/// Whether there is a limit of ephemeral storage.
pub fn has_storage_limit(resources: &Resources) -> bool {
    resources.extended.iter().any(|own| own.name == "ephemeral-storage" && own.limit.unwrap_or(0) > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::types::ExtendedResource;

    fn extended(name: &str) -> Resources {
        let own = ExtendedResource { name: name.into(), request: Some(1), limit: Some(1) };
        Resources { extended: vec![own], ..Resources::default() }
    }

    #[test]
    fn amounts_become_shares_quota_and_bytes() {
        let resources = Resources {
            cpu_request: Some(100),
            cpu_limit: Some(500),
            memory_request: Some(32 << 20),
            memory_limit: Some(64 << 20),
            extended: Vec::new(),
        };
        let expected =
            Limits { shares: Some(102), quota: Some(50_000), memory: Some(64 << 20), reservation: Some(32 << 20) };
        assert_eq!(Limits::of(&resources).unwrap(), expected);
    }

    #[test]
    fn the_kernels_least_amounts_are_kept() {
        let resources = Resources { cpu_request: Some(1), cpu_limit: Some(1), ..Resources::default() };
        let limits = Limits::of(&resources).unwrap();
        assert_eq!((limits.shares, limits.quota), (Some(2), Some(1000)));
        assert_eq!(Limits::of(&Resources::default()).unwrap(), Limits { shares: Some(2), ..Limits::default() });
    }

    #[test]
    fn what_an_engine_can_not_count_is_refused() {
        let error = Limits::of(&extended("hugepages-2Mi")).unwrap_err();
        assert!(error.is("invalid") && error.message.contains("hugepages-2Mi"));
        assert!(Limits::of(&extended("ephemeral-storage")).is_ok());
        assert!(has_storage_limit(&extended("ephemeral-storage")) && !has_storage_limit(&extended("x")));
    }
}
