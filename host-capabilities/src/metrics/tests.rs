//! A provider's series as Prometheus reads them, and what never becomes one.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;
use crate::testing::guest::Guest;
use crate::{Grants, bindings::vk::host::metrics::Host as _};

fn label(name: &str, value: &str) -> Labels {
    vec![(name.to_owned(), value.to_owned())]
}

fn page(metrics: &Arc<Metrics>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Registered(metrics.clone())));
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    text
}

fn metrics() -> Arc<Metrics> {
    Arc::new(Metrics::new("hyper".into()))
}

fn refused(metrics: &Arc<Metrics>) -> u64 {
    metrics.state.lock().unwrap().refused
}

#[test]
fn series_are_shown_with_their_provider() {
    let metrics = metrics();
    metrics.record(Kind::Counter, "pulls_total", label("result", "ok"), 2.0);
    metrics.record(Kind::Counter, "pulls_total", label("result", "ok"), 0.5);
    metrics.record(Kind::Gauge, "quota", vec![], 7.0);
    metrics.record(Kind::Gauge, "quota", vec![], -3.0);
    metrics.record(Kind::Histogram, "start_seconds", vec![], 0.02);
    metrics.record(Kind::Histogram, "start_seconds", vec![], 10_000.0);
    let text = page(&metrics);
    for line in [
        "vk_provider_pulls_total{provider=\"hyper\",result=\"ok\"} 2.5",
        "vk_provider_quota{provider=\"hyper\"} -3.0",
        "vk_provider_start_seconds_bucket{le=\"0.01\",provider=\"hyper\"} 0",
        "vk_provider_start_seconds_bucket{le=\"0.025\",provider=\"hyper\"} 1",
        "vk_provider_start_seconds_bucket{le=\"600.0\",provider=\"hyper\"} 1",
        "vk_provider_start_seconds_bucket{le=\"+Inf\",provider=\"hyper\"} 2",
        "vk_provider_start_seconds_count{provider=\"hyper\"} 2",
        "vk_provider_metrics_refused_total{provider=\"hyper\"} 0",
    ] {
        assert!(text.lines().any(|own| own == line), "{line}: {text}");
    }
}

#[test]
fn what_is_not_a_metric_is_refused_and_counted() {
    let metrics = metrics();
    let long = "x".repeat(MAX_TEXT + 1);
    for value in [f64::NAN, f64::INFINITY, -1.0] {
        metrics.record(Kind::Counter, "a_total", vec![], value);
    }
    for name in ["", "Bad", "bad name", "1st", "_x", "a{b=\"c\"} 1\nother", "_total", long.as_str(), "pulls"] {
        metrics.record(Kind::Counter, name, vec![], 1.0);
    }
    metrics.record(Kind::Gauge, "a_total", vec![], 1.0);
    metrics.record(Kind::Counter, "metrics_refused_total", vec![], 1.0);
    for labels in [
        label("provider", "other"),
        label("le", "1"),
        label("Bad", "x"),
        label("a\"", "x"),
        label("long", &long),
        [label("twice", "1"), label("twice", "2")].concat(),
        (0..=MAX_LABELS).map(|n| (format!("l{n}"), String::new())).collect(),
    ] {
        metrics.record(Kind::Gauge, "g", labels, 1.0);
    }
    assert_eq!(refused(&metrics), 21);
    let text = page(&metrics);
    assert!(text.contains("vk_provider_metrics_refused_total{provider=\"hyper\"} 21"), "{text}");
    assert_eq!(text.lines().filter(|line| !line.starts_with('#')).count(), 1, "{text}");
}

#[test]
fn the_number_of_series_is_bounded_over_all_names_and_labels() {
    let metrics = metrics();
    for n in 0..MAX_SERIES / 2 {
        metrics.record(Kind::Gauge, &format!("name_{n}"), vec![], 1.0);
        metrics.record(Kind::Gauge, "labels", label("n", &n.to_string()), 1.0);
    }
    for n in 0..100 {
        metrics.record(Kind::Gauge, &format!("more_{n}"), vec![], 1.0);
        metrics.record(Kind::Gauge, "labels", label("more", &n.to_string()), 1.0);
    }
    assert_eq!(refused(&metrics), 200);
    // Nothing is kept of what was refused, and what is known goes on.
    assert_eq!(metrics.state.lock().unwrap().families.len(), MAX_SERIES / 2 + 1);
    metrics.record(Kind::Gauge, "name_0", vec![], 5.0);
    let text = page(&metrics);
    assert!(text.contains("vk_provider_name_0{provider=\"hyper\"} 5.0") && !text.contains("more"), "{text}");
}

#[test]
fn one_name_has_one_kind() {
    let metrics = metrics();
    metrics.record(Kind::Counter, "a_total", vec![], 1.0);
    metrics.record(Kind::Gauge, "a", vec![], 1.0);
    metrics.record(Kind::Histogram, "a", vec![], 1.0);
    metrics.record(Kind::Histogram, "h", vec![], 1.0);
    for part in PARTS {
        metrics.record(Kind::Gauge, &format!("h{part}"), vec![], 1.0);
        metrics.record(Kind::Gauge, &format!("g{part}"), vec![], 1.0);
    }
    metrics.record(Kind::Histogram, "g", vec![], 1.0);
    assert_eq!(refused(&metrics), 6);
    let text = page(&metrics);
    let mut types: Vec<_> = text.lines().filter(|line| line.starts_with("# TYPE")).collect();
    types.sort_unstable();
    let all = types.len();
    types.dedup();
    assert_eq!(types.len(), all, "{text}");
}

#[tokio::test]
async fn a_value_cannot_write_lines_of_its_own() {
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    let value = "x\"} 1\nvk_node_ready{} 1\n#\\";
    call.set("state".to_owned(), label("message", value), 1.0).unwrap();
    let text = page(&guest.capabilities.metrics);
    assert!(!text.lines().any(|line| line.starts_with("vk_node_ready")), "{text}");
    assert!(text.contains("vk_provider_state{provider=\"mock\",message=\"x\\\"} 1\\n"), "{text}");
}
