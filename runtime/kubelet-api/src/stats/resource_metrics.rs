//! `/metrics/resource`: what metrics-server and Prometheus read, in the text format 0.0.4.
//!
//! Labels come in the order container, pod, namespace for containers and namespace, pod for pods: some readers go by
//! place. A container's figure of zero is written as the least there is, a nanosecond or a byte, because metrics-server
//! takes zero for missing and drops the whole pod.

use std::fmt::Write;

use provider::{Summary, Usage};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    Container,
    Node,
    Pod,
}

/// A family of metrics.
struct Metric {
    scope: Scope,
    name: &'static str,
    kind: &'static str,
    help: &'static str,
    value: fn(&Usage) -> Option<f64>,
    /// Samples say when they were taken.
    timed: bool,
}

impl Metric {
    const fn counter(scope: Scope, name: &'static str, help: &'static str, value: fn(&Usage) -> Option<f64>) -> Self {
        Self { scope, name, kind: "counter", help, value, timed: true }
    }

    const fn gauge(scope: Scope, name: &'static str, help: &'static str, value: fn(&Usage) -> Option<f64>) -> Self {
        Self { scope, name, kind: "gauge", help, value, timed: true }
    }
}

/// In the order of their names, as the kubelet writes them.
const METRICS: [Metric; 11] = [
    Metric::counter(
        Scope::Container,
        "container_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the container in core-seconds",
        |usage| usage.cpu_nanos.map(|nanos| seconds(nanos.max(1))),
    ),
    Metric::gauge(
        Scope::Container,
        "container_memory_working_set_bytes",
        "[STABLE] Current working set of the container in bytes",
        |usage| usage.memory_working_set.map(|bytes| bytes.max(1) as f64),
    ),
    Metric {
        timed: false,
        ..Metric::gauge(
            Scope::Container,
            "container_start_time_seconds",
            "[STABLE] Start time of the container since unix epoch in seconds",
            |usage| usage.since.map(|since| since.as_nanosecond() as f64 / 1e9).filter(|&since| since > 0.0),
        )
    },
    Metric::gauge(
        Scope::Container,
        "container_swap_limit_bytes",
        "[ALPHA] Current amount of the container swap limit in bytes. Reported only on non-windows systems",
        |usage| Some(other(usage, "swap.swapAvailableBytes")? + other(usage, "swap.swapUsageBytes").unwrap_or(0.0)),
    ),
    Metric::gauge(
        Scope::Container,
        "container_swap_usage_bytes",
        "[ALPHA] Current amount of the container swap usage in bytes. Reported only on non-windows systems",
        |usage| other(usage, "swap.swapUsageBytes"),
    ),
    Metric::counter(
        Scope::Node,
        "node_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the node in core-seconds",
        |usage| usage.cpu_nanos.map(seconds),
    ),
    Metric::gauge(
        Scope::Node,
        "node_memory_working_set_bytes",
        "[STABLE] Current working set of the node in bytes",
        |usage| usage.memory_working_set.map(|bytes| bytes as f64),
    ),
    Metric::gauge(
        Scope::Node,
        "node_swap_usage_bytes",
        "[ALPHA] Current swap usage of the node in bytes. Reported only on non-windows systems",
        |usage| other(usage, "swap.swapUsageBytes"),
    ),
    Metric::counter(
        Scope::Pod,
        "pod_cpu_usage_seconds_total",
        "[STABLE] Cumulative cpu time consumed by the pod in core-seconds",
        |usage| usage.cpu_nanos.map(seconds),
    ),
    Metric::gauge(
        Scope::Pod,
        "pod_memory_working_set_bytes",
        "[STABLE] Current working set of the pod in bytes",
        |usage| usage.memory_working_set.map(|bytes| bytes as f64),
    ),
    Metric::gauge(
        Scope::Pod,
        "pod_swap_usage_bytes",
        "[ALPHA] Current amount of the pod swap usage in bytes. Reported only on non-windows systems",
        |usage| other(usage, "swap.swapUsageBytes"),
    ),
];

/// The metrics of a reading; none: it failed.
pub(super) fn text(summary: Option<&Summary>) -> String {
    let mut out = String::new();
    let pods = summary.map(|summary| summary.pods.as_slice()).unwrap_or_default();
    for metric in &METRICS {
        let mut family = Family { metric, out: &mut out, has_head: false };
        match metric.scope {
            Scope::Node => {
                if let Some(usage) = summary.and_then(|summary| summary.node.as_ref()) {
                    family.sample([], usage);
                }
            }
            Scope::Pod => {
                for pod in pods {
                    family.sample([("namespace", &*pod.key.namespace), ("pod", &pod.key.name)], &pod.total);
                }
            }
            Scope::Container => {
                for pod in pods {
                    for (name, usage) in &pod.containers {
                        let (pod, namespace) = (&*pod.key.name, &*pod.key.namespace);
                        family.sample([("container", name.as_str()), ("pod", pod), ("namespace", namespace)], usage);
                    }
                }
            }
        }
    }
    let failed = u8::from(summary.is_none());
    out.push_str(
        "# HELP resource_scrape_error [STABLE] 1 if there was an error while getting container metrics, 0 otherwise\n\
         # TYPE resource_scrape_error gauge\n",
    );
    // Writing to a String can't fail.
    let _ = writeln!(out, "resource_scrape_error {failed}");
    out
}

/// Samples of one metric; the head comes with the first.
struct Family<'a> {
    metric: &'static Metric,
    out: &'a mut String,
    has_head: bool,
}

impl Family<'_> {
    fn sample<const N: usize>(&mut self, labels: [(&str, &str); N], usage: &Usage) {
        let Metric { name, kind, help, .. } = self.metric;
        let Some(value) = (self.metric.value)(usage) else { return };
        // Writing to a String can't fail.
        if !self.has_head {
            self.has_head = true;
            let _ = write!(self.out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        }
        self.out.push_str(name);
        let mut before = '{';
        for (label, text) in labels {
            let escaped = text.replace('\\', r"\\").replace('"', r#"\""#).replace('\n', r"\n");
            let _ = write!(self.out, "{before}{label}=\"{escaped}\"");
            before = ',';
        }
        if N > 0 {
            self.out.push('}');
        }
        let _ = write!(self.out, " {value}");
        if self.metric.timed {
            let _ = write!(self.out, " {}", usage.at.as_millisecond());
        }
        self.out.push('\n');
    }
}

fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}

fn other(usage: &Usage, path: &str) -> Option<f64> {
    usage.others.iter().find(|(name, _)| name == path).map(|(_, value)| *value as f64)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use provider::{PodKey, PodUsage};

    use super::*;

    fn usage(cpu_nanos: u64, working_set: u64) -> Usage {
        Usage {
            at: Timestamp::from_millisecond(1_700_000_000_123).unwrap(),
            since: Timestamp::from_millisecond(1_600_000_000_500).ok(),
            cpu_nanos: Some(cpu_nanos),
            cpu_nanocores: None,
            memory_usage: None,
            memory_working_set: Some(working_set),
            memory_rss: None,
            storage_used: None,
            others: Vec::new(),
        }
    }

    #[test]
    fn figures_are_written_as_the_kubelet_does() {
        let pod = PodUsage {
            key: PodKey::new("u", "ns", "p"),
            total: usage(2_500_000_000, 4096),
            containers: vec![("c".into(), usage(1_500_000_000, 1024)), ("idle".into(), usage(0, 0))],
            networks: Vec::new(),
        };
        let summary = Summary { node: Some(usage(9_000_000_000, 1 << 40)), pods: vec![pod] };
        let text = text(Some(&summary));
        let samples: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert_eq!(
            samples,
            [
                r#"container_cpu_usage_seconds_total{container="c",pod="p",namespace="ns"} 1.5 1700000000123"#,
                r#"container_cpu_usage_seconds_total{container="idle",pod="p",namespace="ns"} 0.000000001 1700000000123"#,
                r#"container_memory_working_set_bytes{container="c",pod="p",namespace="ns"} 1024 1700000000123"#,
                r#"container_memory_working_set_bytes{container="idle",pod="p",namespace="ns"} 1 1700000000123"#,
                r#"container_start_time_seconds{container="c",pod="p",namespace="ns"} 1600000000.5"#,
                r#"container_start_time_seconds{container="idle",pod="p",namespace="ns"} 1600000000.5"#,
                "node_cpu_usage_seconds_total 9 1700000000123",
                "node_memory_working_set_bytes 1099511627776 1700000000123",
                r#"pod_cpu_usage_seconds_total{namespace="ns",pod="p"} 2.5 1700000000123"#,
                r#"pod_memory_working_set_bytes{namespace="ns",pod="p"} 4096 1700000000123"#,
                "resource_scrape_error 0",
            ]
        );
        assert_eq!(text.matches("# TYPE container_cpu_usage_seconds_total counter\n").count(), 1);
    }

    #[test]
    fn a_failed_reading_is_a_metric() {
        assert!(text(None).ends_with("\nresource_scrape_error 1\n"));
    }

    #[test]
    fn metrics_are_in_the_order_of_their_names() {
        assert!(METRICS.iter().map(|metric| metric.name).is_sorted());
    }
}
