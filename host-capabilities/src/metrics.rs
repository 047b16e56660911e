//! `metrics`: a provider's own series on the host's Prometheus endpoint. Always granted.
//!
//! Default bound: 1,000 series a provider, 16 labels each, 256 bytes a name or value. What is over it, or would make the
//! page unreadable (one name of two kinds, a label `le`), is dropped and counted in `vk_provider_metrics_refused_total`.
//! Names get the prefix `vk_provider_`, and a label `provider`. Values of secrets that the provider was shown are masked.
//! Cost: one lock and one map look-up a call.

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
/// The host's own counter among the provider's; without `_total`, as all families are kept.
const REFUSED: &str = "metrics_refused";
/// What a histogram of a name takes beside it.
const PARTS: [&str; 3] = ["_bucket", "_count", "_sum"];

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

impl State {
    /// Whether a new family would share a name with another.
    fn clashes(&self, kind: Kind, name: &str) -> bool {
        let of_histogram = |part| {
            let family = name.strip_suffix(part).and_then(|of| self.families.get(of));
            family.is_some_and(|family| family.kind == Kind::Histogram)
        };
        PARTS.into_iter().any(of_histogram)
            || (kind == Kind::Histogram
                && PARTS.iter().any(|part| self.families.contains_key(&format!("{name}{part}"))))
    }

    /// The series to record into, made if there is room for it.
    fn series(&mut self, kind: Kind, name: &str, labels: Labels) -> Option<&mut Series> {
        if !self.families.contains_key(name) && (self.series >= MAX_SERIES || self.clashes(kind, name)) {
            return None;
        }
        let family = self.families.entry(name.to_owned()).or_insert(Family { kind, series: BTreeMap::new() });
        if family.kind != kind || (self.series >= MAX_SERIES && !family.series.contains_key(&labels)) {
            return None;
        }
        Some(family.series.entry(labels).or_insert_with(|| {
            self.series += 1;
            match kind {
                Kind::Counter | Kind::Gauge => Series::Value(0.0),
                Kind::Histogram => Series::Buckets { sum: 0.0, count: 0, buckets: [0; BUCKETS.len()] },
            }
        }))
    }
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

    fn record(&self, kind: Kind, name: &str, mut labels: Labels, value: f64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        labels.sort();
        // A counter's name says that it is one, and no other's does.
        let family = match name.strip_suffix("_total") {
            Some(family) => (kind == Kind::Counter && value >= 0.0).then_some(family),
            None => (kind != Kind::Counter).then_some(name),
        };
        let family = family.filter(|family| is_name(family) && *family != REFUSED);
        let fits = value.is_finite() && are_labels(&labels);
        let series = family.filter(|_| fits).and_then(|family| state.series(kind, family, labels));
        let Some(series) = series else {
            state.refused += 1;
            return;
        };
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
        && labels
            .iter()
            .all(|(name, value)| is_name(name) && name != "provider" && name != "le" && value.len() <= MAX_TEXT)
        && labels.windows(2).all(|pair| matches!(pair, [(a, _), (b, _)] if a != b))
}

/// The same series, as a registry takes them.
#[derive(Debug)]
pub struct Registered(pub Arc<Metrics>);

impl Collector for Registered {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

impl Collector for Metrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        for (name, family) in &state.families {
            // The encoder adds the suffix of a counter by itself.
            let name = format!("vk_provider_{name}");
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
                        bounds.push((f64::INFINITY, count - within));
                        one.encode_histogram::<NoLabelSet>(*sum, *count, &bounds, None)?;
                    }
                }
            }
        }
        let name = format!("vk_provider_{REFUSED}");
        let help = "What the provider reported and is not shown.";
        let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
        let labels = [("provider", &*self.provider)];
        metric.encode_family(&labels)?.encode_counter::<NoLabelSet, u64, u64>(&state.refused, None)
    }
}

impl Call {
    fn record(&self, kind: Kind, name: &str, mut labels: Labels, value: f64) {
        for (_, value) in &mut labels {
            *value = self.logger.mask(std::mem::take(value));
        }
        self.capabilities.metrics.record(kind, name, labels, value);
    }
}

impl metrics::Host for Call {
    fn add(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.record(Kind::Counter, &name, labels, value);
        Ok(())
    }

    fn set(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.record(Kind::Gauge, &name, labels, value);
        Ok(())
    }

    fn observe(&mut self, name: String, labels: Labels, value: f64) -> wasmtime::Result<()> {
        self.record(Kind::Histogram, &name, labels, value);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
