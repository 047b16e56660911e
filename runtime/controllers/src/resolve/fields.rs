//! Fields of the pod, as `fieldRef` names them (Kubernetes, "Downward API").

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use std::collections::BTreeMap;

use super::NodeFacts;
use crate::record::Parsed;

/// What a field holds.
pub(super) enum Field {
    /// A value.
    Value(String),
    /// One that only the backend knows, by its path.
    Late(&'static str),
}

/// A field for an environment variable.
pub(super) fn for_environment(
    path: &str,
    pod: &Parsed,
    node: &NodeFacts,
    ips: &[std::net::IpAddr],
) -> Result<Field, String> {
    let list = |ips: &[std::net::IpAddr]| ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
    let value = match path {
        "spec.nodeName" => node.name.to_string(),
        "spec.serviceAccountName" => pod.spec.service_account_name.clone().unwrap_or_default(),
        "status.hostIP" | "status.hostIPs" if !node.runs_containers => {
            return Ok(Field::Late(if path == "status.hostIP" { "status.hostIP" } else { "status.hostIPs" }));
        }
        "status.hostIP" => list(node.addresses.get(..1).unwrap_or_default()),
        "status.hostIPs" => list(&node.addresses),
        "status.podIP" | "status.podIPs" if ips.is_empty() => {
            return Ok(Field::Late(if path == "status.podIP" { "status.podIP" } else { "status.podIPs" }));
        }
        "status.podIP" => list(ips.get(..1).unwrap_or_default()),
        "status.podIPs" => list(ips),
        _ => return of_metadata(path, &pod.metadata).map(Field::Value),
    };
    Ok(Field::Value(value))
}

/// A field for a file; labels and annotations as a whole are allowed here too.
pub(super) fn for_file(path: &str, metadata: &ObjectMeta) -> Result<String, String> {
    match path {
        "metadata.labels" => Ok(lines(metadata.labels.as_ref())),
        "metadata.annotations" => Ok(lines(metadata.annotations.as_ref())),
        _ => of_metadata(path, metadata),
    }
}

fn of_metadata(path: &str, metadata: &ObjectMeta) -> Result<String, String> {
    let unsupported = || format!("unsupported fieldPath: {path}");
    if let Some((map, key)) = path.strip_suffix("']").and_then(|rest| rest.split_once("['")) {
        let map = match map {
            "metadata.labels" => metadata.labels.as_ref(),
            "metadata.annotations" => metadata.annotations.as_ref(),
            _ => return Err(unsupported()),
        };
        return Ok(map.and_then(|map| map.get(key)).cloned().unwrap_or_default());
    }
    match path {
        "metadata.name" => Ok(metadata.name.clone().unwrap_or_default()),
        "metadata.namespace" => Ok(metadata.namespace.clone().unwrap_or_default()),
        "metadata.uid" => Ok(metadata.uid.clone().unwrap_or_default()),
        _ => Err(unsupported()),
    }
}

/// A map as lines `key="value"`, sorted, quoted as Go does.
fn lines(map: Option<&BTreeMap<String, String>>) -> String {
    let lines: Vec<String> = map.into_iter().flatten().map(|(key, value)| format!("{key}={}", quoted(value))).collect();
    lines.join("\n")
}

fn quoted(value: &str) -> String {
    let mut out = String::with_capacity(value.len() + 2);
    out.push('"');
    for c in value.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{b}' => out.push_str("\\v"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 || c as u32 == 0x7f => out.push_str(&format!("\\x{:02x}", c as u32)),
            c if c.is_ascii() || is_printable(c) => out.push(c),
            c if (c as u32) < 0x1_0000 => out.push_str(&format!("\\u{:04x}", c as u32)),
            c => out.push_str(&format!("\\U{:08x}", c as u32)),
        }
    }
    out.push('"');
    out
}

/// Letters, marks, numbers, punctuation and symbols; no other blank than the ASCII one.
fn is_printable(c: char) -> bool {
    // A mark at the beginning would be escaped for its place alone.
    format!("a{c}").escape_debug().count() == 2
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn metadata() -> ObjectMeta {
        serde_json::from_value(json!({
            "name": "web", "namespace": "default", "uid": "u",
            "labels": { "b": "2", "a": "say \"hi\"\n" },
            "annotations": { "example.com/it's": "x" },
        }))
        .unwrap()
    }

    #[test]
    fn labels_are_written_as_the_kubelet_writes_them() {
        assert_eq!(for_file("metadata.labels", &metadata()).unwrap(), "a=\"say \\\"hi\\\"\\n\"\nb=\"2\"");
    }

    #[test]
    fn what_can_not_be_printed_is_escaped_as_go_does() {
        for (value, shown) in [
            ("größe €", "größe €"),
            ("e\u{301}", "e\u{301}"),
            ("a\u{a0}b", "a\\u00a0b"),
            ("\u{200b}", "\\u200b"),
            ("\u{1}\u{7f}", "\\x01\\x7f"),
            ("\u{e0001}", "\\U000e0001"),
            ("😀\\", "😀\\\\"),
        ] {
            assert_eq!(quoted(value), format!("\"{shown}\""), "{value:?}");
        }
    }

    #[test]
    fn single_labels_and_annotations_are_found() {
        assert_eq!(for_file("metadata.labels['b']", &metadata()).unwrap(), "2");
        assert_eq!(for_file("metadata.annotations['example.com/it's']", &metadata()).unwrap(), "x");
        assert_eq!(for_file("metadata.labels['none']", &metadata()).unwrap(), "");
        assert!(for_file("metadata.finalizers", &metadata()).is_err());
        assert!(for_file("spec['x']", &metadata()).is_err());
    }
}
