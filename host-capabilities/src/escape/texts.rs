//! Lines, terminals and metrics pages that a guest's words could forge.

use std::sync::Arc;

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use super::attempts;
use crate::Grants;
use crate::bindings::vk::host::{events, log, metrics, types};
use crate::testing::guest::Guest;
use crate::testing::lines::Lines;

/// A message is one line, and moves no cursor.
async fn line(message: &str) {
    let lines = Lines::capture();
    let mut guest = Guest::new(Grants::default());
    let call = guest.store.data_mut();
    log::Host::write(call, log::Level::Info, message.to_owned(), Vec::new()).unwrap();
    let field = vec![(message.to_owned(), message.to_owned())];
    log::Host::write(call, log::Level::Info, "field".to_owned(), field).unwrap();
    let text = lines.text();
    assert_eq!(
        text.trim_end_matches('\n').split(['\n', '\r', '\u{85}', '\u{2028}', '\u{2029}']).count(),
        2,
        "{text:?}"
    );
    let is_control = |c: char| (c.is_control() && c != '\n' && c != '\t') || is_format(c);
    assert!(!text.contains(is_control), "{text:?}");
    assert!(text.lines().all(|line| line.contains("provider=")), "{text:?}");
}

/// Characters that reorder what stands beside them, or can't be seen.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

attempts! { line;
    a_line_end_and_a_line_of_the_hosts: "ok\n2026-11-21T00:00:00Z  INFO vk_runtime: all is well";
    a_carriage_return: "ok\rERROR gone";
    an_escape_sequence: "\u{1b}[2J\u{1b}[1;31mred";
    a_title_of_the_terminal: "\u{1b}]0;title\u{7}";
    a_single_byte_escape_sequence: "\u{9b}2J";
    a_backspace: "secret\u{8}\u{8}\u{8}";
    a_nul: "before\0after";
    a_next_line_character: "a\u{85}b";
    a_line_separator: "a\u{2028}b";
    a_paragraph_separator: "a\u{2029}b";
    a_bidirectional_override: "a\u{202e}b";
    a_zero_width_character: "a\u{200b}b";
    a_delete_character: "a\u{7f}b";
}

fn page(guest: &Guest) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(crate::metrics::Registered(guest.capabilities.metrics.clone())));
    let limits = crate::quota::LimitMetrics::default();
    limits.add(guest.capabilities.quotas());
    registry.register_collector(Box::new(limits));
    let mut page = String::new();
    encode(&mut page, &registry).unwrap();
    page
}

/// A name that makes no series of the host's, nor a second line.
async fn metric(name: &str) {
    let mut guest = Guest::new(Grants::default());
    let before = page(&guest).lines().count();
    for labels in [vec![], vec![("limit".to_owned(), "requests".to_owned())]] {
        let call = guest.store.data_mut();
        metrics::Host::set(call, name.to_owned(), labels.clone(), 4_711.0).unwrap();
        metrics::Host::add(call, name.to_owned(), labels.clone(), 4_711.0).unwrap();
        metrics::Host::observe(call, name.to_owned(), labels, 4_711.0).unwrap();
    }
    let page = page(&guest);
    for line in page.lines().filter(|line| line.contains("4711")) {
        assert!(line.starts_with("vk_provider_") && line.contains(r#"provider="mock""#), "{line}");
    }
    let of_host = |line: &&str| !line.contains("vk_provider_") || line.contains("metrics_refused");
    assert_eq!(page.lines().filter(of_host).count(), before, "{page}");
    assert!(page.ends_with("# EOF\n"), "{page}");
}

attempts! { metric;
    a_name_with_a_line_end: "a 1\nup";
    a_name_with_labels: "a{provider=\"other\"}";
    a_name_of_the_hosts: "vk_limit_used";
    a_name_that_meets_the_hosts_behind_the_prefix: "metrics_refused_total";
    a_name_that_is_a_comment: "# TYPE up gauge";
    a_name_that_ends_the_page: "# EOF";
    a_name_in_upper_case: "UP";
    a_name_with_a_colon: "job:up:sum";
    no_name: "";
    a_name_in_another_script: "\u{430}b";
    a_name_without_end: &"a".repeat(100_000);
}

#[tokio::test]
async fn a_label_that_ends_its_value_or_names_another_provider() {
    let mut guest = Guest::new(Grants::default());
    for (name, value) in [
        ("x", "\"} 1\nup{a=\""),
        ("x", "a\nup 1"),
        ("x", "\\"),
        ("provider", "other"),
        ("le", "+Inf"),
        ("__name__", "up"),
        ("a\"", "b"),
        ("a\n", "b"),
    ] {
        let labels = vec![(name.to_owned(), value.to_owned())];
        metrics::Host::set(guest.store.data_mut(), "g".to_owned(), labels, 4_711.0).unwrap();
    }
    let page = page(&guest);
    for line in page.lines().filter(|line| line.contains("4711")) {
        assert!(line.starts_with("vk_provider_g{provider=\"mock\",x=\""), "{line}");
    }
    assert!(!page.lines().any(|line| line.starts_with("up")), "{page}");
}

#[tokio::test]
async fn an_event_of_another_reason_or_without_end() {
    let mut guest = Guest::new(Grants::default());
    let pod = types::PodKey { uid: "u".to_owned(), namespace: "default".to_owned(), name: "web".to_owned() };
    let event = events::Event {
        severity: "Normal\nWarning".to_owned(),
        at: None,
        reason: "Killing\u{1b}[2J\n{}".to_owned(),
        message: format!("\u{1b}[2Ja\r\nb{}", "x".repeat(100_000)),
        container: String::new(),
        key: String::new(),
    };
    events::Host::emit(guest.store.data_mut(), Some(pod), event).unwrap();
    let told = guest.events.lock().unwrap().remove(0);
    assert!(!told.warning && told.reason.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{}", told.reason);
    assert!(told.message.len() <= 1_024);
    assert!(!told.message.contains('\u{1b}') && !told.reason.contains('\u{1b}'), "{:?}", told.message);
}

#[tokio::test]
async fn an_event_whose_pods_name_is_no_name() {
    let mut guest = Guest::new(Grants::default());
    let long = "x".repeat(300);
    for (uid, namespace, name) in [(&*long, "default", "web"), ("u", &*long, "web"), ("u", "default", &*long)] {
        let pod = types::PodKey { uid: uid.to_owned(), namespace: namespace.to_owned(), name: name.to_owned() };
        let event = events::Event {
            severity: "Normal".to_owned(),
            at: None,
            reason: "R".to_owned(),
            message: String::new(),
            container: String::new(),
            key: String::new(),
        };
        assert!(events::Host::emit(guest.store.data_mut(), Some(pod), event).is_err());
    }
    assert!(guest.events.lock().unwrap().is_empty());
    // The counts of what was let are the provider's own.
    assert!(Arc::ptr_eq(guest.capabilities.quotas(), guest.capabilities.quotas()));
}
