//! What a provider or a setting says of the node and the API server would refuse. One such word would keep back all
//! others, and the node with them: it is left out, and a condition of the Node tells of it.

use provider::{Condition, Description, Quantity, Taint};

/// The condition that tells.
pub(super) const CONDITION: &str = "DescriptionInvalid";

/// The condition for what was left out.
pub(super) fn condition(left_out: &[String]) -> Option<Condition> {
    (!left_out.is_empty()).then(|| Condition {
        kind: CONDITION.to_owned(),
        status: "True".to_owned(),
        reason: "LeftOut".to_owned(),
        message: format!("the API server would refuse: {}", left_out.join(", ")),
    })
}

/// Takes out of a description what can't be said; returns it as words.
pub(super) fn clean(own: &mut Description) -> Vec<String> {
    let mut left_out = Vec::new();
    let mut keep = |fits: bool, what: String| {
        if !fits {
            left_out.push(what);
        }
        fits
    };
    own.labels.retain(|(key, value)| keep(is_label(key, value), format!("label {key:?}={value:?}")));
    own.taints.retain(|own| keep(is_taint(own), format!("taint {:?}={:?}:{:?}", own.key, own.value, own.effect)));
    own.resources.retain(|own| keep(is_resource(own), format!("resource {:?}", own.name)));
    own.conditions.retain(|own| keep(is_condition(own), format!("condition {:?}: {:?}", own.kind, own.status)));
    left_out
}

/// Whether a label can be set.
pub(super) fn is_label(key: &str, value: &str) -> bool {
    is_qualified(key) && is_value(value)
}

fn is_taint(own: &Taint) -> bool {
    is_label(&own.key, &own.value) && matches!(own.effect.as_str(), "NoSchedule" | "PreferNoSchedule" | "NoExecute")
}

fn is_resource(own: &Quantity) -> bool {
    let standard = matches!(own.name.as_str(), "cpu" | "memory" | "pods" | "ephemeral-storage");
    standard || (is_qualified(&own.name) && (own.name.contains('/') || own.name.starts_with("hugepages-")))
}

fn is_condition(own: &Condition) -> bool {
    is_qualified(&own.kind) && matches!(own.status.as_str(), "True" | "False" | "Unknown")
}

/// A label's value: at most 63 letters, digits, `-`, `_` and `.`, the first and last of them a letter or digit; or empty.
fn is_value(text: &str) -> bool {
    text.is_empty() || is_name(text)
}

fn is_name(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() <= 63
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(byte))
        && bytes.first().is_some_and(u8::is_ascii_alphanumeric)
        && bytes.last().is_some_and(u8::is_ascii_alphanumeric)
}

/// A qualified name: `name` or `dns.domain/name`.
fn is_qualified(text: &str) -> bool {
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
    };
    match text.split_once('/') {
        Some((domain, name)) => domain.len() <= 253 && domain.split('.').all(label) && is_name(name),
        None => is_name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_api_server_takes_is_kept() {
        for (key, value) in [("team", "a"), ("example.com/Team_1", "A-b.c"), ("empty", "")] {
            assert!(is_label(key, value), "{key}={value}");
        }
        for (key, value) in
            [("", "a"), ("-a", "a"), ("a/b/c", "a"), ("Example.com/a", "a"), ("a", "with space"), ("a", "-")]
        {
            assert!(!is_label(key, value), "{key}={value}");
        }
        assert!(!is_value(&"a".repeat(64)));
    }

    #[test]
    fn what_would_be_refused_is_left_out_and_told() {
        let quantity = |name: &str| Quantity { name: name.into(), capacity: 1, allocatable: 1 };
        let mut own = Description {
            labels: vec![("zone".into(), "a b".into()), ("region".into(), "a".into())],
            taints: vec![Taint { key: "k".into(), value: String::new(), effect: "Never".into() }],
            resources: vec![quantity("cpu"), quantity("gpu"), quantity("example.com/gpu"), quantity("hugepages-2Mi")],
            ..Description::default()
        };
        let told = condition(&clean(&mut own)).unwrap().message;
        assert_eq!(own.labels, [("region".to_owned(), "a".to_owned())]);
        assert_eq!(own.taints, []);
        let names: Vec<_> = own.resources.iter().map(|own| own.name.as_str()).collect();
        assert_eq!(names, ["cpu", "example.com/gpu", "hugepages-2Mi"]);
        for word in ["label \"zone\"=\"a b\"", "taint \"k\"", "resource \"gpu\""] {
            assert!(told.contains(word), "{told}");
        }
        assert_eq!(condition(&clean(&mut own)), None);
    }
}
