//! Use of resources: the same small numbers for every container, growing with its age.

use vk_provider_sdk::stats::{Network, PodUsage, Usage};
use vk_provider_sdk::time::SECOND;

use crate::record::{Life, Record};

/// Billionths of a core.
const NANOCORES: u64 = 10_000_000;
/// Bytes.
const MEMORY: u64 = 8 << 20;
/// Bytes a second, each way.
const TRAFFIC: u64 = 1000;

/// Use by a pod at `now`.
pub fn of(record: &Record, uid: &str, life: Life, now: u64) -> PodUsage {
    let running: Vec<_> = record
        .containers
        .iter()
        .filter(|own| own.run.end(own.role, record.deleted, life, now).is_none())
        .map(|own| (own.name.clone(), own.run.started))
        .collect();
    let seconds = now.saturating_sub(record.created) / SECOND;
    PodUsage {
        key: record.key(uid),
        total: usage(running.len() as u64, record.created, now),
        networks: vec![Network {
            name: "eth0".to_owned(),
            rx_bytes: TRAFFIC * (seconds + 1),
            rx_errors: 0,
            tx_bytes: TRAFFIC * (seconds + 1),
            tx_errors: 0,
        }],
        containers: running.into_iter().map(|(name, started)| (name, usage(1, started, now))).collect(),
    }
}

/// Use by so many containers that started at `since`.
pub fn usage(containers: u64, since: u64, now: u64) -> Usage {
    // In whole milliseconds, so that nothing overflows in a century.
    let age = now.saturating_sub(since) / 1_000_000 + 1;
    Usage {
        at: now,
        since: Some(since),
        cpu_nanos: Some(containers * age * (NANOCORES / 1000)),
        cpu_nanocores: Some(containers * NANOCORES),
        memory_usage: Some(containers * MEMORY),
        memory_working_set: Some(containers * MEMORY * 3 / 4),
        memory_rss: Some(containers * MEMORY / 2),
        storage_used: Some(containers << 20),
        others: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::{Container, Role, Run};

    #[test]
    fn every_running_container_uses_something_and_ended_ones_nothing() {
        let container = |name: &str, role| Container {
            name: name.into(),
            image: "busybox".into(),
            role,
            run: Run { attempt: 0, started: SECOND, ended: None },
            previous: None,
        };
        let record = Record {
            namespace: "default".into(),
            name: "web".into(),
            attempt: 0,
            address: String::new(),
            created: SECOND,
            deleted: None,
            containers: vec![container("setup", Role::Init), container("a", Role::Always), container("b", Role::Once)],
        };
        let used = of(&record, "u", None, 11 * SECOND);
        assert_eq!(used.containers.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b"]);
        assert!(used.containers.iter().all(|(_, own)| own.cpu_nanos > Some(0) && own.memory_working_set > Some(0)));
        assert_eq!(used.total.memory_usage, Some(2 * MEMORY));
        let later = of(&record, "u", None, 12 * SECOND);
        assert!(later.total.cpu_nanos > used.total.cpu_nanos);
    }
}
