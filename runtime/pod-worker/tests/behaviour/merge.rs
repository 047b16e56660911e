//! Strategic merge patches as the API server applies them, as far as a pod's status needs them.

use serde_json::{Map, Value};

/// The merge key of a list; none: it is replaced as a whole.
fn merge_key(list: &str) -> Option<&'static str> {
    match list {
        "conditions" => Some("type"),
        "hostIPs" | "podIPs" => Some("ip"),
        _ => None,
    }
}

pub fn apply(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (target, patch) else { panic!("no objects") };
    for (name, change) in patch {
        match (change, merge_key(name)) {
            (Value::Null, _) => {
                target.remove(name);
            }
            (Value::Array(changes), Some(key)) => {
                let list = target.entry(name.clone()).or_insert(Value::Array(vec![]));
                merge_list(list.as_array_mut().unwrap(), changes, key);
            }
            // The patches here never change a part of a nested object, only of `metadata` and `status`.
            (Value::Object(_), _) if target.get(name).is_some_and(Value::is_object) => {
                apply(target.get_mut(name).unwrap(), change);
            }
            _ => {
                target.insert(name.clone(), change.clone());
            }
        }
    }
}

fn merge_list(list: &mut Vec<Value>, changes: &[Value], key: &str) {
    let directive = |change: &Value| change.get("$patch").and_then(Value::as_str).map(str::to_owned);
    if changes.iter().any(|change| directive(change).as_deref() == Some("replace")) {
        *list = changes.iter().filter(|change| directive(change).is_none()).cloned().collect();
        return;
    }
    for change in changes {
        let place = list.iter().position(|item| item[key] == change[key]);
        match (directive(change).as_deref(), place) {
            (Some("delete"), place) => {
                list.remove(place.unwrap());
            }
            (Some(other), _) => panic!("no such directive: {other}"),
            (None, Some(place)) => apply(&mut list[place], change),
            (None, None) => {
                let mut item = Value::Object(Map::new());
                apply(&mut item, change);
                list.push(item);
            }
        }
    }
}
