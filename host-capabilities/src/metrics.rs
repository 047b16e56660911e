//! `metrics`: a provider's own series on the host's Prometheus endpoint. Always granted.
//!
//! Default bound: 1,000 series a provider; what is over it is dropped and counted. Names get the prefix
//! `vk_provider_`, and a label `provider`. Cost: one lock and one map look-up a call.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::Call;
use crate::bindings::vk::host::metrics;

const MAX_SERIES: usize = 1_000;
const MAX_LABELS: usize = 16;
const MAX_TEXT: usize = 256;

/// Bounds of a histogram's buckets, seconds.
const BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0, 600.0];

type Labels = Vec<(String, String)>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

#[derive(Debug)]
enum Series {
    Value(f64),
    Buckets { sum: f64, count: u64, buckets: [u64; BUCKETS.len()] },
}

#[derive(Debug)]
struct Family {
    kind: Kind,
    series: BTreeMap<Labels, Series>,
}

#[derive(Debug, Default)]
struct State {
    families: BTreeMap<String, Family>,
    series: usize,
    refused: u64,
}

/// The series of one provider; register it as a collector.
pub struct Metrics {
    provider: Arc<str>,
    state: Mutex<State>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").field("provider", &self.provider).finish_non_exhaustive()
    }
}

impl Metrics {
    /// No series yet.
    pub fn new(provider: Arc<str>) -> Self {
        Self { provider, state: Mutex::default() }
    }

    fn record(&self, kind: Kind, name: String, mut labels: Labels, value: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let state = &mut *state;
        labels.sort();
        if !value.is_finite() || !is_name(&name) || !are_labels(&labels) || (kind == Kind::Counter && value < 0.0) {
            state.refused += 1;
            return;
        }
        let family = state.families.entry(name).or_insert(Family { kind, series: BTreeMap::new() });
        if family.kind != kind || (state.series >= MAX_SERIES && !family.series.contains_key(&labels)) {
            state.refused += 1;
            return;
        }
        let series = family.series.entry(labels).or_insert_with(|| {
            state.series += 1;
            match kind {
                Kind::Counter | Kind::Gauge => Series::Value(0.0),
                Kind::Histogram => Series::Buckets { sum: 0.0, count: 0, buckets: [0; BUCKETS.len()] },
            }
        });
        match series {
            Series::Value(own) if kind == Kind::Counter => *own += value,
            Series::Value(own) => *own = value,
            Series::Buckets { sum, count, buckets } => {
                *sum += value;
                *count += 1;
                if let Some((bucket, _)) = buckets.iter_mut().zip(BUCKETS).find(|(_, bound)| value <= *bound) {
                    *bucket += 1;
                }
            }
        }
    }
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_TEXT
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
}

fn are_labels(labels: &Labels) -> bool {
    labels.len() <= MAX_LABELS
        && labels.iter().all(|(name, value)| is_name(name) && name != "provider" && value.len() <= MAX_TEXT)
        && labels.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a != b))
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in &state.families {
            // The encoder adds the suffix of a counter by itself.
            let name = format!("vk_provider_{}", name.strip_suffix("_total").unwrap_or(name));
            let metric_type = match family.kind {
                Kind::Counter => MetricType::Counter,
                Kind::Gauge => MetricType::Gauge,
                Kind::Histogram => MetricType::Histogram,
            };
            let mut metric = encoder.encode_descriptor(&name, "Reported by the provider.", None, metric_type)?;
            for (labels, series) in &family.series {
                let mut all = vec![("provider".to_owned(), self.provider.to_string())];
                all.extend(labels.iter().cloned());
                let mut one = metric.encode_family(&all)?;
                match series {
                    Series::Value(value) if family.kind == Kind::Counter => {
                        one.encode_counter::<NoLabelSet, f64, f64>(value, None)?;
                    }
                    Series::Value(value) => one.encode_gauge(value)?,
                    Series::Buckets { sum, count, buckets } => {
                        let within = buckets.iter().sum::<u64>();
                        let mut bounds: Vec<(f64, u64)> = BUCKETS.into_iter().zip(buckets.iter().copied()).collect();
                        bounds.push((f64::MAX, count - within));
                        one.encode_histogram::<NoLabelSet>(*sum, *count, &bounds, None)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl metrics::Host for Call {
    fn add(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.capabilities.metrics.record(Kind::Counter, name, labels, value);
        Ok(())
    }

    fn set(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.capabilities.metrics.record(Kind::Gauge, name, labels, value);
        Ok(())
    }

    fn observe(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.capabilities.metrics.record(Kind::Histogram, name, labels, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;

    use super::*;

    fn shown(metrics: Metrics) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics));
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        text
    }

    #[test]
    fn series_are_shown_with_their_provider() {
        let metrics = Metrics::new("hyper".into());
        metrics.record(Kind::Counter, "pulls_total".into(), vec![("result".into(), "ok".into())], 2.0);
        metrics.record(Kind::Gauge, "quota".into(), vec![], 7.0);
        metrics.record(Kind::Histogram, "start_seconds".into(), vec![], 0.02);
        let text = shown(metrics);
        assert!(text.contains("vk_provider_pulls_total{provider=\"hyper\",result=\"ok\"} 2.0"), "{text}");
        assert!(text.contains("vk_provider_quota{provider=\"hyper\"} 7.0"), "{text}");
        assert!(text.contains("vk_provider_start_seconds_bucket{le=\"0.025\",provider=\"hyper\"} 1"), "{text}");
    }

    #[test]
    fn what_is_not_a_metric_is_refused() {
        let metrics = Metrics::new("p".into());
        metrics.record(Kind::Counter, "a_total".into(), vec![], f64::NAN);
        metrics.record(Kind::Counter, "a_total".into(), vec![], -1.0);
        metrics.record(Kind::Counter, "Bad Name".into(), vec![], 1.0);
        metrics.record(Kind::Gauge, "g".into(), vec![("provider".into(), "other".into())], 1.0);
        metrics.record(Kind::Gauge, "g".into(), vec![("l".into(), "1".into()), ("l".into(), "2".into())], 1.0);
        for n in 0..MAX_SERIES + 5 {
            metrics.record(Kind::Gauge, "many".into(), vec![("n".into(), n.to_string())], 1.0);
        }
        assert_eq!(metrics.state.lock().unwrap().series, MAX_SERIES);
        assert_eq!(metrics.state.lock().unwrap().refused, 10);
    }
}
