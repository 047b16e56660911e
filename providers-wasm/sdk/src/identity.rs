//! Whose a backend object is: labels (tags, names) that every object carries, so that a provider finds its own again after
//! a crash, and never touches an object of another cluster or node.
//!
//! | label | value |
//! | --- | --- |
//! | `io.vk-runtime.node` | `CLUSTER/NODE`: one label, since backends differ in how they combine filters |
//! | `io.kubernetes.pod.namespace`, `io.kubernetes.pod.name`, `io.kubernetes.pod.uid` | the pod |

use crate::host::config::NodeIdentity;
use crate::host::types::PodKey;

/// Label that holds cluster and node.
pub const NODE: &str = "io.vk-runtime.node";
/// Label that holds the pod's namespace.
pub const POD_NAMESPACE: &str = "io.kubernetes.pod.namespace";
/// Label that holds the pod's name.
pub const POD_NAME: &str = "io.kubernetes.pod.name";
/// Label that holds the pod's UID.
pub const POD_UID: &str = "io.kubernetes.pod.uid";

/// The value of [`NODE`] for a node.
pub fn node(identity: &NodeIdentity) -> String {
    format!("{}/{}", identity.cluster, identity.name)
}

/// The labels of an object that belongs to a pod. `node` is what [`node`] says.
pub fn labels(node: &str, pod: &PodKey) -> [(&'static str, String); 4] {
    [
        (NODE, node.to_owned()),
        (POD_NAMESPACE, pod.namespace.clone()),
        (POD_NAME, pod.name.clone()),
        (POD_UID, pod.uid.clone()),
    ]
}

/// Whose an object is, read from its labels; none if it is not of this node, or of no pod.
pub fn read<'a>(node: &str, label: impl Fn(&str) -> Option<&'a str>) -> Option<PodKey> {
    if label(NODE) != Some(node) {
        return None;
    }
    let uid = label(POD_UID).filter(|uid| !uid.is_empty())?;
    Some(PodKey {
        uid: uid.to_owned(),
        namespace: label(POD_NAMESPACE).unwrap_or_default().to_owned(),
        name: label(POD_NAME).unwrap_or_default().to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_objects_of_this_node_are_read_back() {
        let key = PodKey { uid: "u".into(), namespace: "default".into(), name: "web".into() };
        let labels = labels("c/n", &key);
        let find = |name: &str| labels.iter().find(|(label, _)| *label == name).map(|(_, value)| value.as_str());
        assert_eq!(read("c/n", find), Some(key));
        assert_eq!(read("c/other", find), None);
        assert_eq!(read("c/n", |name| if name == NODE { Some("c/n") } else { None }), None);
    }
}
