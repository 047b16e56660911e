//! The limits of all providers as Prometheus reads them. A provider's own series begin with `vk_provider_`, these with
//! `vk_limit_`: none can pass for the other.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::gauge::Unit;
use super::{Quotas, Usage};

/// A collector of the limits of every provider that was added. A provider that is gone is left out.
#[derive(Clone, Debug, Default)]
pub struct LimitMetrics {
    providers: Arc<RwLock<Vec<Weak<Quotas>>>>,
}

/// One family of series.
struct Family {
    name: &'static str,
    help: &'static str,
    is_counter: bool,
    value: fn(&Usage) -> f64,
}

fn in_base_unit(usage: &Usage, value: u64) -> f64 {
    match usage.unit {
        Unit::Nanoseconds => value as f64 / 1e9,
        _ if value == u64::MAX => f64::INFINITY,
        _ => value as f64,
    }
}

const FAMILIES: [Family; 6] = [
    Family {
        name: "vk_limit_bound",
        help: "The bound of a limit of a provider, in its own unit (bytes, seconds, a number, or these a second).",
        is_counter: false,
        value: |usage| in_base_unit(usage, usage.maximum),
    },
    Family {
        name: "vk_limit_used",
        help: "What is used of a limit; of a rate, in the last second.",
        is_counter: false,
        value: |usage| in_base_unit(usage, usage.used),
    },
    Family {
        name: "vk_limit_peak",
        help: "The most that was used of a limit.",
        is_counter: false,
        value: |usage| in_base_unit(usage, usage.peak),
    },
    Family {
        name: "vk_limit_use",
        help: "Units of a limit used since the start.",
        is_counter: true,
        value: |usage| in_base_unit(usage, usage.total),
    },
    Family {
        name: "vk_limit_refusals",
        help: "Uses that a limit refused.",
        is_counter: true,
        value: |usage| usage.refused as f64,
    },
    Family {
        name: "vk_limit_wait_seconds",
        help: "Time that uses waited for their turn.",
        is_counter: true,
        value: |usage| usage.waited as f64 / 1e9,
    },
];

impl LimitMetrics {
    /// Shows a provider's limits from now on, as long as it lives.
    pub fn add(&self, quotas: &Arc<Quotas>) {
        let mut providers = self.providers.write().unwrap_or_else(PoisonError::into_inner);
        providers.retain(|known| known.strong_count() > 0);
        providers.push(Arc::downgrade(quotas));
    }
}

impl Collector for LimitMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all: Vec<_> = {
            let providers = self.providers.read().unwrap_or_else(PoisonError::into_inner);
            providers.iter().filter_map(Weak::upgrade).map(|own| (own.provider().clone(), own.usage())).collect()
        };
        for Family { name, help, is_counter, value } in FAMILIES {
            let metric_type = if is_counter { MetricType::Counter } else { MetricType::Gauge };
            let mut family = encoder.encode_descriptor(name, help, None, metric_type)?;
            for (provider, usages) in &all {
                for usage in usages {
                    let labels = [("provider", &**provider), ("limit", usage.limit)];
                    let mut one = family.encode_family(&labels)?;
                    match is_counter {
                        true => one.encode_counter::<NoLabelSet, f64, f64>(&value(usage), None)?,
                        false => one.encode_gauge(&value(usage))?,
                    }
                }
            }
        }
        Ok(())
    }
}
