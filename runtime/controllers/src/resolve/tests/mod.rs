//! Pods as they are resolved out of what the API server has.

mod environment;
mod pull_secrets;
mod volumes;

use std::sync::Arc;

use provider::{ContainerConfig, Text, TextValue};
use serde_json::{Value, json};

use super::*;
use crate::api::FromWatch;
use crate::api::fake::{self, Asked, Log};
use crate::record::{Parsed, Record};

/// A resolver whose API server has these objects: `configmaps`, `secrets` and `services`, by kind.
struct World {
    resolver: Resolver,
    log: Log,
    node: NodeFacts,
}

fn named<'a>(all: &'a Value, name: Option<&str>) -> Vec<&'a Value> {
    let all = all.as_array().into_iter().flatten();
    all.filter(|own| name.is_none_or(|name| own["metadata"]["name"] == *name)).collect()
}

fn world(objects: Value) -> World {
    let (api, log) = fake::api(move |asked: &Asked| {
        let (path, query) = asked.path.split_once('?').unwrap_or((&asked.path, ""));
        let name = query.split("metadata.name%3D").nth(1).map(|rest| rest.split('&').next().unwrap_or_default());
        let kind = path.rsplit('/').next().unwrap_or_default();
        match path {
            _ if asked.watches() => (200, json!([])),
            _ => (200, json!({ "metadata": { "resourceVersion": "1" }, "items": named(&objects[kind], name) })),
        }
    });
    let resolver = Resolver {
        references: Arc::new(References::new(api.clone(), Box::new(|_| {}))),
        services: Arc::new(Services::new(api.clone())),
        tokens: Arc::new(Tokens::new(api.clone(), Box::new(|_, _| {}))),
        bundles: Arc::new(TrustBundles::new(api, Box::new(|_| {}))),
        dns: ClusterDns::default(),
    };
    let node = NodeFacts {
        name: "web-node".into(),
        addresses: vec!["10.0.0.1".parse().unwrap()],
        operating_system: "linux".into(),
        allocatable: vec![("cpu".to_owned(), 4_000), ("memory".to_owned(), 8 << 30)],
        runs_containers: true,
        ..NodeFacts::default()
    };
    World { resolver, log, node }
}

/// A pod with this spec, of which `containers` may be left out.
fn pod(mut spec: Value) -> (Arc<Record>, Arc<Parsed>) {
    if spec["containers"].is_null() {
        spec["containers"] = json!([{ "name": "c", "image": "busybox:1" }]);
    }
    let object = json!({
        "metadata": {
            "name": "web", "namespace": "default", "uid": "u1", "labels": { "app": "web" }, "resourceVersion": "1",
        },
        "spec": spec,
    });
    let record = Arc::new(Record::read(&serde_json::value::to_raw_value(&object).unwrap()).unwrap());
    let parsed = record.parse().unwrap();
    (record, parsed)
}

impl World {
    /// The container `c` of a pod that has this container.
    async fn container(&self, mut container: Value) -> (Result<ContainerConfig, Unresolved>, Vec<PodEvent>) {
        container["name"] = "c".into();
        container["image"] = "busybox:1".into();
        let (record, parsed) = pod(json!({ "enableServiceLinks": true, "containers": [container] }));
        let started = Started { ips: vec!["10.1.0.5".parse().unwrap(), "fd00::5".parse().unwrap()] };
        let resolved = self.resolver.container(&record, &parsed, &self.node, "c", 0, &started).await;
        (resolved.result, resolved.events)
    }

    /// The sandbox of a pod with this spec.
    async fn sandbox(&self, spec: Value) -> Result<SandboxConfig, Unresolved> {
        let (record, parsed) = pod(spec);
        self.resolver.sandbox(&record, &parsed, &self.node, 0).await.result
    }
}

/// The characters of a text.
fn plain(text: &Text) -> String {
    let of = |value: &TextValue| match value {
        TextValue::Literal(characters) => characters.clone(),
        TextValue::Late(field) => format!("<{field}>"),
    };
    text.0.iter().map(|part| of(&part.value)).collect()
}

fn config(name: &str, data: Value) -> Value {
    json!({ "metadata": { "name": name, "namespace": "default", "resourceVersion": "7" }, "data": data })
}
