//! What calls cost, as Prometheus series. All programs of the process share the families, so that a page has each once.
//!
//! | series                                    | labels                      |
//! |-------------------------------------------|-----------------------------|
//! | `vk_component_calls_total`                | provider, export, outcome   |
//! | `vk_component_call_duration_seconds`      | provider, export            |
//! | `vk_component_call_queue_seconds`         | provider, export            |
//! | `vk_component_call_cpu_seconds_total`     | provider, export            |
//! | `vk_component_call_memory_peak_bytes`     | provider, export            |
//! | `vk_component_call_failures_total`        | provider, export, kind      |
//! | `vk_component_calls_throttled_total`      | provider, export            |
//! | `vk_component_calls_running`              | provider, export            |
//! | `vk_component_limit`, `…_limit_used`      | provider, limit             |
//! | `vk_component_versions`                   | provider, stage             |
//! | `vk_component_version_info`               | provider, digest            |
//!
//! Bound: exports that were called; some 30 series each.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use crate::program::Program;

/// Tells which programs there are.
type Programs = Box<dyn Fn() -> Vec<Arc<Program>> + Send + Sync>;

/// The series of all programs; register it as a collector, once.
pub struct Series(Programs);

impl Series {
    /// Of the programs that there are whenever the page is asked for.
    pub fn of(programs: impl Fn() -> Vec<Arc<Program>> + Send + Sync + 'static) -> Self {
        Self(Box::new(programs))
    }
}

impl fmt::Debug for Series {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Series").finish()
    }
}

/// A family: its name without a suffix, what it says, and what it is.
struct Family(&'static str, &'static str, MetricType);

const CALLS: Family = Family("vk_component_calls", "Calls of a provider, by outcome.", MetricType::Counter);
const DURATION: Family =
    Family("vk_component_call_duration_seconds", "Time to the answer of a call.", MetricType::Histogram);
const QUEUE: Family = Family("vk_component_call_queue_seconds", "Time that a call waited.", MetricType::Histogram);
const CPU: Family = Family("vk_component_call_cpu_seconds", "CPU time of calls.", MetricType::Counter);
const MEMORY: Family =
    Family("vk_component_call_memory_peak_bytes", "Most linear memory that a call had.", MetricType::Gauge);
const FAILURES: Family =
    Family("vk_component_call_failures", "Calls that a trap or a limit ended.", MetricType::Counter);
const THROTTLED: Family =
    Family("vk_component_calls_throttled", "Calls that had to wait for a slot.", MetricType::Counter);
const RUNNING: Family = Family("vk_component_calls_running", "Calls that wait or run.", MetricType::Gauge);
const LIMIT: Family = Family("vk_component_limit", "Limits of a provider.", MetricType::Gauge);
const USED: Family = Family("vk_component_limit_used", "What is in use of a limit.", MetricType::Gauge);
const VERSIONS: Family = Family("vk_component_versions", "Versions that are loaded.", MetricType::Gauge);
const INFO: Family = Family("vk_component_version", "The version that serves.", MetricType::Info);

fn family<'e>(encoder: &'e mut DescriptorEncoder<'_>, family: &'e Family) -> Result<MetricEncoder<'e>, fmt::Error> {
    let Family(name, help, kind) = family;
    encoder.encode_descriptor(name, help, None, *kind)
}

impl Collector for Series {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let programs = (self.0)();
        let all = || programs.iter().map(|program| (program.name(), program));
        macro_rules! each {
            ($family:ident, |$one:ident, $account:ident| $encode:expr) => {{
                let mut metric = family(&mut encoder, &$family)?;
                for (name, program) in all() {
                    for (export, $account) in program.accounts.called() {
                        let labels = [("provider", name), ("export", export)];
                        let mut $one = metric.encode_family(&labels)?;
                        $encode?;
                    }
                }
            }};
        }
        let mut metric = family(&mut encoder, &CALLS)?;
        for (name, program) in all() {
            for (export, account) in program.accounts.called() {
                for (outcome, count) in account.outcomes() {
                    metric
                        .encode_family(&[("provider", name), ("export", export), ("outcome", outcome)])?
                        .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
                }
            }
        }
        each!(DURATION, |one, account| {
            let (sum, count, buckets) = account.duration.read();
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        });
        each!(QUEUE, |one, account| {
            let (sum, count, buckets) = account.queue.read();
            one.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        });
        each!(CPU, |one, account| one.encode_counter::<NoLabelSet, f64, f64>(&account.cpu_seconds(), None));
        each!(MEMORY, |one, account| one.encode_gauge(&account.peak_memory()));
        each!(THROTTLED, |one, account| one.encode_counter::<NoLabelSet, u64, u64>(&account.throttled(), None));
        each!(RUNNING, |one, account| one.encode_gauge(&account.running()));
        let mut metric = family(&mut encoder, &FAILURES)?;
        for (name, program) in all() {
            for (export, kind, count) in program.accounts.failures() {
                metric
                    .encode_family(&[("provider", name), ("export", export), ("kind", kind)])?
                    .encode_counter::<NoLabelSet, u64, u64>(&count, None)?;
            }
        }
        let mut metric = family(&mut encoder, &LIMIT)?;
        for (name, program) in all() {
            for own in program.limits_in_use() {
                metric.encode_family(&[("provider", name), ("limit", own.limit)])?.encode_gauge(&own.at_most)?;
            }
        }
        let mut metric = family(&mut encoder, &USED)?;
        for (name, program) in all() {
            for own in program.limits_in_use() {
                metric.encode_family(&[("provider", name), ("limit", own.limit)])?.encode_gauge(&own.used)?;
            }
        }
        let mut metric = family(&mut encoder, &VERSIONS)?;
        for (name, program) in all() {
            for (stage, count) in [("serving", 1), ("draining", program.draining().len() as u64)] {
                metric.encode_family(&[("provider", name), ("stage", stage)])?.encode_gauge(&count)?;
            }
        }
        let mut metric = family(&mut encoder, &INFO)?;
        for (name, program) in all() {
            let digest = program.live().version.digest.to_string();
            metric.encode_info(&[("provider", name), ("digest", digest.as_str())])?;
        }
        Ok(())
    }
}
