//! What `--config KEY=VALUE` tells the mock; see the README for the keys. A key or value that is not understood is an
//! error that names it, and keeps the node from becoming ready.

use std::net::Ipv4Addr;

use vk_provider_sdk::{Error, Result, host, quantity, time};

use crate::faults::Faults;

/// Everything that can be set.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// How many pods there may be.
    pub pods: u64,
    /// Thousandths of a core.
    pub cpu: u64,
    /// Bytes.
    pub memory: u64,
    /// Further resources, by name: extended ones, `ephemeral-storage`, `hugepages-2Mi`.
    pub others: Vec<(String, u64)>,
    /// `spec.providerID`; may be empty.
    pub provider_id: String,
    /// Where pods get their addresses.
    pub range: Range,
    /// How long each call takes at least, nanoseconds.
    pub delay: u64,
    /// How long containers run before they end by themselves, nanoseconds.
    pub run_for: Option<u64>,
    /// With which code they then end.
    pub exit_code: i32,
    /// Which calls fail or hang.
    pub faults: Faults,
}

/// A range of IPv4 addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    first: u32,
    bits: u32,
}

impl Range {
    fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = text.split_once('/')?;
        let prefix: u32 = prefix.parse().ok().filter(|prefix| (8..=30).contains(prefix))?;
        let bits = 32 - prefix;
        let first = address.parse::<Ipv4Addr>().ok()?.to_bits();
        (first.trailing_zeros() >= bits).then_some(Self { first, bits })
    }

    /// How many addresses there are for pods: all but the first and the last.
    pub const fn len(self) -> u32 {
        (1 << self.bits) - 2
    }

    /// One of them; `index` wraps round.
    pub fn address(self, index: u32) -> String {
        Ipv4Addr::from_bits(self.first + 1 + index % self.len()).to_string()
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            pods: 110,
            cpu: 64_000,
            memory: 256 << 30,
            others: Vec::new(),
            provider_id: String::new(),
            range: Range { first: 0x0a5a_0000, bits: 16 },
            delay: 0,
            run_for: None,
            exit_code: 0,
            faults: Faults::default(),
        }
    }
}

impl Settings {
    /// Reads what the host was told.
    pub fn read() -> Result<Self> {
        Self::parse(&host::config::list())
    }

    fn parse(values: &[(String, String)]) -> Result<Self> {
        let mut own = Self::default();
        for (key, value) in values {
            let understood = match key.as_str() {
                "pods" => set(&mut own.pods, value.parse().ok()),
                "cpu" => set(&mut own.cpu, quantity::millicores(value)),
                "memory" => set(&mut own.memory, quantity::whole(value)),
                "providerID" => set(&mut own.provider_id, Some(value.clone())),
                "ip-range" => set(&mut own.range, Range::parse(value)),
                "delay" => set(&mut own.delay, time::parse_duration(value)),
                "run-for" => set(&mut own.run_for, time::parse_duration(value).map(Some)),
                "exit-code" => set(&mut own.exit_code, value.parse().ok().filter(|code| (0..=255).contains(code))),
                "fail" => set(&mut own.faults.rate, value.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))),
                "hang" => set(&mut own.faults.hang, value.parse().ok().filter(|rate| (0.0..=1.0).contains(rate))),
                "fail-in" => set(&mut own.faults.calls, Faults::calls(value)),
                "fail-with" => set(&mut own.faults.code, Some(value.clone())),
                "seed" => set(&mut own.faults.seed, value.parse().ok()),
                other => {
                    let missing = || Error::invalid(format!("mock: there is no setting `{other}`"));
                    let name = other.strip_prefix("others.").filter(|name| !name.is_empty()).ok_or_else(missing)?;
                    quantity::whole(value).map(|amount| own.others.push((name.to_owned(), amount))).is_some()
                }
            };
            if !understood {
                return Err(Error::invalid(format!("mock: `{value}` is no value for the setting `{key}`")));
            }
        }
        Ok(own)
    }
}

fn set<T>(field: &mut T, value: Option<T>) -> bool {
    value.map(|value| *field = value).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(values: &[(&str, &str)]) -> Result<Settings> {
        let values: Vec<_> = values.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Settings::parse(&values)
    }

    #[test]
    fn every_setting_is_read() {
        let own = parse(&[
            ("pods", "20000"),
            ("cpu", "1500m"),
            ("memory", "4Gi"),
            ("others.nvidia.com/gpu", "8"),
            ("others.ephemeral-storage", "1Ti"),
            ("providerID", "mock://rack-1/web"),
            ("ip-range", "10.96.0.0/12"),
            ("delay", "20ms"),
            ("run-for", "5s"),
            ("exit-code", "3"),
            ("fail", "0.3"),
            ("hang", "0.05"),
            ("fail-in", "create,list"),
            ("fail-with", "throttled"),
            ("seed", "7"),
        ])
        .unwrap();
        assert_eq!((own.pods, own.cpu, own.memory), (20_000, 1500, 4 << 30));
        assert_eq!(own.others, [("nvidia.com/gpu".to_owned(), 8), ("ephemeral-storage".to_owned(), 1 << 40)]);
        assert_eq!(own.provider_id, "mock://rack-1/web");
        assert_eq!((own.delay, own.run_for, own.exit_code), (20_000_000, Some(5 * time::SECOND), 3));
        assert_eq!(own.faults.calls, ["create", "list"]);
        assert_eq!((own.faults.rate, own.faults.hang), (0.3, 0.05));
        assert_eq!((own.faults.code.as_str(), own.faults.seed), ("throttled", 7));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (key, value) in [
            ("pod", "3"),
            ("pods", "many"),
            ("others.nvidia.com/gpu", "some"),
            ("others.", "1"),
            ("fail", "1.5"),
            ("hang", "-1"),
            ("fail-in", "create,exec"),
            ("exit-code", "256"),
            ("ip-range", "10.90.0.1/16"),
            ("ip-range", "fd00::/64"),
        ] {
            let error = parse(&[(key, value)]).unwrap_err();
            assert!(error.is("invalid") && error.message.contains(key), "{error:?}");
        }
    }

    #[test]
    fn a_range_gives_all_addresses_but_the_first_and_the_last() {
        let range = Range::parse("10.90.0.0/30").unwrap();
        assert_eq!(range.len(), 2);
        assert_eq!([0, 1, 2].map(|index| range.address(index)), ["10.90.0.1", "10.90.0.2", "10.90.0.1"]);
        assert_eq!(Settings::default().range, Range::parse("10.90.0.0/16").unwrap());
    }
}
