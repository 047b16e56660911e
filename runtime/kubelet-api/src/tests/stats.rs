//! Use of resources over HTTPS.

use std::sync::atomic::Ordering;

use http::{Method, StatusCode};
use provider::{Code, Error, PodUsage, Summary, Usage};

use super::doubles::{Backend, Fixture, reference};

fn usage(cpu_nanos: u64) -> Usage {
    Usage {
        at: "2026-01-02T03:04:05Z".parse().unwrap(),
        since: None,
        cpu_nanos: Some(cpu_nanos),
        cpu_nanocores: Some(1),
        memory_usage: Some(2),
        memory_working_set: Some(3),
        memory_rss: None,
        storage_used: Some(4),
        others: Vec::new(),
    }
}

fn backend() -> Backend {
    Backend::with_stats(|pods| {
        assert_eq!(pods, [reference()]);
        let pod = PodUsage {
            key: reference().key,
            total: usage(3_000_000_000),
            containers: vec![("app".into(), usage(3_000_000_000))],
            networks: Vec::new(),
        };
        Ok(Summary { node: None, pods: vec![pod] })
    })
}

#[tokio::test]
async fn one_reading_serves_all_who_ask_at_once() {
    let server = Fixture::start(backend()).await;
    let client = server.master();
    let paths = ["/stats/summary", "/metrics/resource", "/stats/summary?only_cpu_and_memory=true", "/stats/summary/"];
    let replies = futures::future::join_all(paths.map(|path| client.get(path))).await;
    assert!(replies.iter().all(|reply| reply.status == StatusCode::OK), "{replies:?}");
    assert_eq!(server.backend.stats_read.load(Ordering::SeqCst), 1);
    let summary: serde_json::Value = serde_json::from_str(&replies[0].text).unwrap();
    assert_eq!(summary["node"]["nodeName"], "node-1");
    assert_eq!(summary["node"]["cpu"]["usageCoreNanoSeconds"], 3_000_000_000_u64);
    assert_eq!(summary["pods"][0]["podRef"]["uid"], "uid-1");
    assert_eq!(summary["pods"][0]["ephemeral-storage"]["usedBytes"], 4);
    let short: serde_json::Value = serde_json::from_str(&replies[2].text).unwrap();
    assert_eq!(short["pods"][0].get("ephemeral-storage"), None);
    tokio::time::sleep(std::time::Duration::from_millis(1100)).await;
    let posted = client.connect().await.send(Method::POST, "/stats/summary").await.unwrap();
    assert_eq!(posted.status(), StatusCode::OK);
    assert_eq!(server.backend.stats_read.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn metrics_are_valid_prometheus_text() {
    let server = Fixture::start(backend()).await;
    let reply = server.master().get("/metrics/resource").await;
    assert_eq!(reply.headers["content-type"], "text/plain; version=0.0.4; charset=utf-8");
    let mut family = "";
    let mut pod_labels = None;
    for line in reply.text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(["counter", "gauge"].contains(&kind), "{line}");
            family = name;
        } else if let Some(rest) = line.strip_prefix("# HELP ") {
            assert!(rest.contains(' '), "{line}");
        } else {
            let sample = line.strip_prefix(family).unwrap_or_else(|| panic!("{line} is not of {family}"));
            let (labels, numbers) = match sample.strip_prefix('{') {
                Some(labelled) => labelled.split_once("} ").unwrap(),
                None => ("", sample.strip_prefix(' ').unwrap()),
            };
            let values: Vec<_> = labels.split_terminator(',').map(|label| label.split_once("=\"").unwrap()).collect();
            assert!(values.iter().all(|(_, value)| value.ends_with('"')), "{line}");
            let mut numbers = numbers.split(' ');
            numbers.next().unwrap().parse::<f64>().unwrap();
            assert!(numbers.next().is_none_or(|time| time.parse::<i64>().is_ok()), "{line}");
            assert_eq!(numbers.next(), None, "{line}");
            if family == "pod_cpu_usage_seconds_total" {
                pod_labels = Some(values.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>());
            }
        }
    }
    assert_eq!(pod_labels.unwrap(), [r#"namespace=ns""#, r#"pod=web""#], "the pod's name is the second label's value");
}

#[tokio::test]
async fn a_reading_that_fails_is_an_error_here_and_a_metric_there() {
    let server = Fixture::start(Backend::with_stats(|_| Err(Error::new(Code::Unavailable, "engine away")))).await;
    let client = server.master();
    let reply = client.get("/stats/summary").await;
    assert_eq!((reply.status.as_u16(), reply.text.as_str()), (500, "Internal Error: engine away"));
    let reply = client.get("/metrics/resource").await;
    assert_eq!(reply.status, StatusCode::OK);
    assert!(reply.text.ends_with("resource_scrape_error 1\n"), "{}", reply.text);
}
