//! Sizes of containers: Hyper.sh sells machines of ten sizes, and a container is one. The smallest that has the pod's
//! memory and cores; what is larger than the largest is refused.

use vk_provider_sdk::types::Resources;
use vk_provider_sdk::{Error, Result};

/// The label that asks for a size.
pub const LABEL: &str = "sh_hyper_instancetype";
/// The size of a container that asks for nothing: Hyper.sh's own default.
pub const DEFAULT: &str = "s4";

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// Name, cores, bytes of memory; from the smallest to the largest.
const SIZES: &[(&str, u64, u64)] = &[
    ("s1", 1, 64 * MIB),
    ("s2", 1, 128 * MIB),
    ("s3", 1, 256 * MIB),
    ("s4", 1, 512 * MIB),
    ("m1", 1, GIB),
    ("m2", 2, 2 * GIB),
    ("m3", 2, 4 * GIB),
    ("l1", 4, 4 * GIB),
    ("l2", 4, 8 * GIB),
    ("l3", 8, 16 * GIB),
];

/// The names of all sizes.
fn names() -> String {
    SIZES.iter().map(|size| size.0).collect::<Vec<_>>().join(", ")
}

/// The size for these resources: by the limits, else by the requests, else `default`.
pub fn of(resources: &Resources, default: &'static str) -> Result<&'static str> {
    let memory = resources.memory_limit.or(resources.memory_request).unwrap_or(0);
    let cpu = resources.cpu_limit.or(resources.cpu_request).unwrap_or(0);
    if memory == 0 && cpu == 0 {
        return Ok(default);
    }
    let found = SIZES.iter().find(|size| size.1 * 1000 >= cpu && size.2 >= memory);
    found.map(|size| size.0).ok_or_else(|| {
        Error::invalid(format!(
            "{cpu}m of CPU and {memory} bytes of memory are more than Hyper.sh's largest size l3 has (8 cores, 16 GiB)"
        ))
    })
}

/// The size of this name.
pub fn named(name: &str) -> Result<&'static str> {
    let found = SIZES.iter().find(|size| size.0 == name);
    found.map(|size| size.0).ok_or_else(|| Error::invalid(format!("`{name}` is none of Hyper.sh's sizes: {}", names())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(cpu: Option<u64>, memory: Option<u64>) -> Resources {
        Resources { cpu_limit: cpu, memory_limit: memory, ..Resources::default() }
    }

    #[test]
    fn the_smallest_size_that_fits_is_taken() {
        for (cpu, memory, size) in [
            (None, None, "m1"),
            (Some(100), None, "s1"),
            (Some(1000), Some(64 * MIB), "s1"),
            (None, Some(64 * MIB + 1), "s2"),
            (None, Some(300_000_000), "s4"),
            (Some(1001), None, "m2"),
            (Some(2000), Some(2 * GIB + 1), "m3"),
            (Some(2500), Some(GIB), "l1"),
            (Some(100), Some(5 * GIB), "l2"),
            (Some(8000), Some(16 * GIB), "l3"),
        ] {
            assert_eq!(of(&resources(cpu, memory), "m1").unwrap(), size, "{cpu:?} {memory:?}");
        }
    }

    #[test]
    fn requests_count_where_there_is_no_limit() {
        let own = Resources { cpu_request: Some(4000), memory_request: Some(GIB), ..Resources::default() };
        assert_eq!(of(&own, DEFAULT).unwrap(), "l1");
        let limited = Resources { cpu_limit: Some(2000), ..own };
        assert_eq!(of(&limited, DEFAULT).unwrap(), "m2");
    }

    #[test]
    fn what_no_size_has_is_refused() {
        for (cpu, memory) in [(Some(8001), None), (None, Some(16 * GIB + 1))] {
            let error = of(&resources(cpu, memory), DEFAULT).unwrap_err();
            assert!(error.is("invalid") && error.message.contains("l3"), "{error:?}");
        }
        let error = named("xl").unwrap_err();
        assert!(error.message.contains("`xl`") && error.message.contains("s1, s2"), "{error:?}");
        assert_eq!(named("l2").unwrap(), "l2");
    }
}
