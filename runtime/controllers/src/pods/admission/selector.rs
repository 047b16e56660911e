//! Whether a node's labels and name are those that a pod asks for: `nodeSelector` and required node affinity
//! (Kubernetes, "Assigning Pods to Nodes").
//!
//! What can't be read matches no node, as the scheduler has it.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{NodeSelector, NodeSelectorRequirement, NodeSelectorTerm, PodSpec};

/// The labels of a node.
pub(super) type Labels = BTreeMap<String, String>;

fn required(spec: &PodSpec) -> Option<&NodeSelector> {
    let affinity = spec.affinity.as_ref()?.node_affinity.as_ref()?;
    affinity.required_during_scheduling_ignored_during_execution.as_ref()
}

/// Whether the pod asks for anything of the node.
pub(super) fn asks(spec: &PodSpec) -> bool {
    spec.node_selector.as_ref().is_some_and(|own| !own.is_empty()) || required(spec).is_some()
}

/// Whether the node is one that the pod asks for.
pub(super) fn matches(spec: &PodSpec, name: &str, labels: &Labels) -> bool {
    let selected = spec.node_selector.iter().flatten().all(|(key, value)| labels.get(key) == Some(value));
    // Terms are alternatives; of none, none holds.
    selected && required(spec).is_none_or(|own| own.node_selector_terms.iter().any(|term| holds(term, name, labels)))
}

fn holds(term: &NodeSelectorTerm, name: &str, labels: &Labels) -> bool {
    let expressions = term.match_expressions.as_deref().unwrap_or_default();
    let fields = term.match_fields.as_deref().unwrap_or_default();
    let of_labels = |own: &NodeSelectorRequirement| fulfils(own, labels.get(&own.key).map(String::as_str));
    let of_fields = |own: &NodeSelectorRequirement| own.key == "metadata.name" && fulfils(own, Some(name));
    !(expressions.is_empty() && fields.is_empty()) && expressions.iter().all(of_labels) && fields.iter().all(of_fields)
}

fn fulfils(own: &NodeSelectorRequirement, present: Option<&str>) -> bool {
    let values = own.values.as_deref().unwrap_or_default();
    let named = present.is_some_and(|present| values.iter().any(|value| value == present));
    let numbers = || {
        let [value] = values else { return None };
        Some((present?.parse::<i64>().ok()?, value.parse::<i64>().ok()?))
    };
    match own.operator.as_str() {
        "In" => named,
        "NotIn" => !named,
        "Exists" => present.is_some(),
        "DoesNotExist" => present.is_none(),
        "Gt" => numbers().is_some_and(|(present, value)| present > value),
        "Lt" => numbers().is_some_and(|(present, value)| present < value),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn fits(spec: Value) -> bool {
        let mut whole = json!({ "containers": [] });
        whole.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        let labels: Labels = [("kubernetes.io/os", "linux"), ("zone", "a"), ("cores", "8")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into();
        matches(&serde_json::from_value(whole).unwrap(), "web", &labels)
    }

    fn affinity(terms: Value) -> Value {
        json!({ "affinity": { "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": { "nodeSelectorTerms": terms },
        } } })
    }

    fn expression(key: &str, operator: &str, values: &[&str]) -> Value {
        affinity(json!([{ "matchExpressions": [{ "key": key, "operator": operator, "values": values }] }]))
    }

    #[test]
    fn a_pod_that_asks_for_nothing_fits_everywhere() {
        assert!(fits(json!({})));
        assert!(!asks(&PodSpec::default()));
    }

    #[test]
    fn every_label_of_the_selector_is_needed() {
        assert!(fits(json!({ "nodeSelector": { "kubernetes.io/os": "linux", "zone": "a" } })));
        assert!(!fits(json!({ "nodeSelector": { "kubernetes.io/os": "linux", "zone": "b" } })));
        assert!(!fits(json!({ "nodeSelector": { "no-such": "" } })));
    }

    #[test]
    fn every_operator_means_what_kubernetes_says() {
        for (key, operator, values, holds) in [
            ("zone", "In", &["b", "a"][..], true),
            ("zone", "In", &["b"], false),
            ("other", "In", &["a"], false),
            ("zone", "NotIn", &["a"], false),
            ("other", "NotIn", &["a"], true),
            ("zone", "Exists", &[], true),
            ("other", "Exists", &[], false),
            ("other", "DoesNotExist", &[], true),
            ("cores", "Gt", &["4"], true),
            ("cores", "Gt", &["8"], false),
            ("cores", "Lt", &["16"], true),
            ("zone", "Lt", &["16"], false),
            ("other", "Gt", &["1"], false),
            ("zone", "Near", &["a"], false),
        ] {
            assert_eq!(fits(expression(key, operator, values)), holds, "{key} {operator} {values:?}");
        }
    }

    #[test]
    fn terms_are_alternatives_and_an_empty_one_is_none() {
        let zone = |zone: &str| json!({ "matchExpressions": [{ "key": "zone", "operator": "In", "values": [zone] }] });
        assert!(fits(affinity(json!([zone("b"), zone("a")]))));
        assert!(!fits(affinity(json!([zone("b"), {}]))));
        assert!(!fits(affinity(json!([]))));
    }

    #[test]
    fn a_node_is_also_asked_for_by_its_name() {
        let named = |name: &str| {
            affinity(json!([{ "matchFields": [{ "key": "metadata.name", "operator": "In", "values": [name] }] }]))
        };
        assert!(fits(named("web")));
        assert!(!fits(named("other")));
    }
}
