//! Limits as they are written, reached, waited for and shown.

use std::time::{Duration, Instant};

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::*;

fn quotas(limits: &[(&str, &str)]) -> Arc<Quotas> {
    let mut bounds = Bounds::default();
    for (name, value) in limits {
        bounds.set(name, value).unwrap().unwrap();
    }
    Quotas::new("hyper", &bounds)
}

fn usage(quotas: &Quotas, limit: &str) -> Usage {
    quotas.usage().into_iter().find(|usage| usage.limit == limit).unwrap()
}

#[test]
fn limits_are_written_as_they_are_read() {
    let mut bounds = Bounds::default();
    let defaults: Vec<_> = bounds.written().collect();
    for shown in ["2000/s", "256Mi/s", "none", "64Ki/s", "100000"] {
        assert!(defaults.iter().any(|(_, value)| value == shown), "{shown}: {defaults:?}");
    }
    for (name, value) in defaults {
        bounds.set(name, &value).unwrap().unwrap();
    }
    assert_eq!(bounds, Bounds::default());
    bounds.set("requests", "7").unwrap().unwrap();
    bounds.set("bytes-in", "1Gi/s").unwrap().unwrap();
    bounds.set("store-bytes", "3Ki").unwrap().unwrap();
    assert_eq!(bounds.get(Limit::Requests), 7);
    assert_eq!(bounds.get(Limit::BytesIn), 1 << 30);
    assert_eq!(bounds.get(Limit::StoreBytes), 3072);
    assert!(bounds.set("speed", "1").is_none());
}

#[test]
fn a_value_out_of_bounds_is_refused_with_what_could_be() {
    for (name, value, says) in [
        ("requests", "0", "a number a second from 1 to 1000000"),
        ("requests", "1/m", "a number a second"),
        ("bytes-out", "1Ki", "a size from 64Ki/s to 64Gi/s"),
        ("connections", "none", "a number from 1 to 100000"),
        ("connections", "5/s", "a number from 1"),
        ("response-size", "2Gi", "a size from 1 to 1Gi"),
        ("stream-size", "all", "a size as 1Gi, or none"),
        ("held-bytes", "18446744073709551616Ki", "a size"),
        ("store-keys", "-1", "a number"),
    ] {
        let error = Bounds::default().set(name, value).unwrap().unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("the limit {name} can't be `{value}`: ")) && error.contains(says),
            "{error}"
        );
    }
}

#[test]
fn a_burst_is_granted_and_then_refused_and_counted() {
    let quotas = quotas(&[("events", "1")]);
    for _ in 0..10 {
        assert_eq!(quotas.events.take(1), Ok(0));
    }
    let reached = quotas.events.take(1).unwrap_err();
    assert_eq!(reached.to_string(), "reached the limit events=1/s (Events); --limit events=VALUE raises it");
    assert!(quotas.events.take(1).is_err());
    std::thread::sleep(Duration::from_millis(1_050));
    assert_eq!(quotas.events.take(1), Ok(2), "what was refused before is told once");
    let usage = usage(&quotas, "events");
    assert_eq!((usage.total, usage.refused, usage.maximum), (11, 2, 1));
}

#[test]
fn what_is_larger_than_any_burst_passes_alone() {
    let quotas = quotas(&[("log-bytes", "1Ki")]);
    assert_eq!(quotas.log_bytes.take(16 << 10), Ok(0));
    assert!(quotas.log_bytes.take(1).is_err(), "and is paid for afterwards");
}

#[tokio::test]
async fn a_turn_is_waited_for_in_order_and_not_too_long() {
    let quotas = quotas(&[("requests", "100")]);
    for _ in 0..100 {
        quotas.requests.turn(1, Duration::ZERO).await.unwrap();
    }
    let began = Instant::now();
    quotas.requests.turn(5, Duration::from_secs(1)).await.unwrap();
    assert!(began.elapsed() >= Duration::from_millis(40), "{:?}", began.elapsed());
    let reached = quotas.requests.turn(100, Duration::from_millis(300)).await.unwrap_err();
    assert!(reached.to_string().contains("requests=100/s"), "{reached}");
    let usage = usage(&quotas, "requests");
    assert_eq!((usage.total, usage.refused), (105, 1));
    assert!(usage.waited >= 40_000_000, "{usage:?}");
}

#[tokio::test]
async fn who_leaves_before_its_turn_gives_it_back() {
    let quotas = quotas(&[("requests", "10")]);
    for _ in 0..10 {
        quotas.requests.turn(1, Duration::ZERO).await.unwrap();
    }
    let left = tokio::time::timeout(Duration::from_millis(10), quotas.requests.turn(50, Duration::from_secs(60)));
    assert!(left.await.is_err());
    quotas.requests.turn(1, Duration::from_millis(200)).await.unwrap();
}

#[tokio::test]
async fn room_is_taken_waited_for_and_given_back() {
    let quotas = quotas(&[("connections", "2")]);
    let (one, _two) = (quotas.connections.take(1).unwrap(), quotas.connections.take(1).unwrap());
    let reached = quotas.connections.take(1).unwrap_err();
    assert_eq!(
        reached.to_string(),
        "reached the limit connections=2 (open connections); --limit connections=VALUE raises it"
    );
    assert!(quotas.connections.wait(1, Duration::from_millis(20)).await.is_err());
    let waiting = tokio::spawn({
        let connections = quotas.connections.clone();
        async move { connections.wait(1, Duration::from_secs(10)).await }
    });
    tokio::task::yield_now().await;
    drop(one);
    let three = waiting.await.unwrap().unwrap();
    assert_eq!(quotas.connections.used(), 2);
    drop(three);
    assert_eq!(quotas.connections.used(), 1);
    assert_eq!(usage(&quotas, "connections").peak, 2);
}

#[tokio::test]
async fn bounds_move_while_the_provider_runs() {
    let quotas = quotas(&[("connections", "1"), ("requests", "1")]);
    let _one = quotas.connections.take(1).unwrap();
    quotas.requests.turn(1, Duration::ZERO).await.unwrap();
    let waiting = tokio::spawn({
        let connections = quotas.connections.clone();
        async move { connections.wait(1, Duration::from_secs(10)).await }
    });
    tokio::time::sleep(Duration::from_millis(10)).await;
    let mut bounds = Bounds::default();
    bounds.set("requests", "1000").unwrap().unwrap();
    quotas.adjust(&bounds);
    let _two = waiting.await.unwrap().unwrap();
    quotas.requests.turn(1, Duration::from_millis(100)).await.unwrap();
    assert_eq!(usage(&quotas, "connections").maximum, 1_024);
    bounds.set("connections", "1").unwrap().unwrap();
    quotas.adjust(&bounds);
    assert!(quotas.connections.take(1).is_err(), "what is above a lowered bound stays, and no more comes");
}

#[tokio::test]
async fn bytes_of_a_socket_are_counted_and_slowed() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let quotas = quotas(&[("bytes-out", "1Mi"), ("bytes-in", "1Mi")]);
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let mut near = Metered::new(near, quotas.clone(), quotas.connections.take(1).unwrap());
    let echo = tokio::spawn(async move {
        let mut bytes = vec![0; 64 << 10];
        loop {
            let count = far.read(&mut bytes).await.unwrap();
            if count == 0 || far.write_all(&bytes[..count]).await.is_err() {
                return;
            }
        }
    });
    let began = Instant::now();
    let mut back = vec![0; 16 << 10];
    for _ in 0..96 {
        near.write_all(&[1; 16 << 10]).await.unwrap();
        near.read_exact(&mut back).await.unwrap();
    }
    // A mebibyte and a half, of which one is the burst.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(450), "{took:?}");
    for limit in ["bytes-out", "bytes-in"] {
        assert_eq!(usage(&quotas, limit).total, 1_572_864);
    }
    drop(near);
    echo.await.unwrap();
    assert_eq!(quotas.connections.used(), 0);
}

#[test]
fn the_page_shows_every_limit_of_every_provider_that_is_there() {
    let metrics = LimitMetrics::default();
    let (one, other) = (quotas(&[("requests", "7")]), Quotas::new("kip", &Bounds::default()));
    let own = Arc::new(Gauge::new("cpu", "CPU time of one call", gauge::Unit::Nanoseconds, 2_000_000_000));
    own.observe(500_000_000);
    one.show(own);
    drop(one.connections.take(3).unwrap());
    metrics.add(&one);
    metrics.add(&other);
    let page = || {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(metrics.clone()));
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    };
    let shown = page();
    for line in [
        r#"vk_limit_bound{provider="hyper",limit="requests"} 7.0"#,
        r#"vk_limit_bound{provider="kip",limit="requests"} 2000.0"#,
        r#"vk_limit_peak{provider="hyper",limit="connections"} 3.0"#,
        r#"vk_limit_used{provider="hyper",limit="connections"} 0.0"#,
        r#"vk_limit_bound{provider="hyper",limit="cpu"} 2.0"#,
        r#"vk_limit_peak{provider="hyper",limit="cpu"} 0.5"#,
        r#"vk_limit_refusals_total{provider="kip",limit="events"} 0.0"#,
    ] {
        assert!(shown.lines().any(|own| own == line), "{line}: {shown}");
    }
    assert_eq!(shown.matches("# TYPE vk_limit_used ").count(), 1);
    for limit in Limit::ALL {
        assert!(shown.contains(&format!(r#"vk_limit_wait_seconds_total{{provider="kip",limit="{}"}}"#, limit.name())));
    }
    drop(other);
    assert!(!page().contains("kip"));
}
