//! Environment, command and arguments.

use std::collections::BTreeMap;

use super::*;

fn objects() -> Value {
    json!({
        "configmaps": [config("cfg", json!({ "A": "cfg-a", "with.dot": "d", "B": "cfg-b" }))],
        "secrets": [
            config("sec", json!({ "A": "c2VjLWE=", "raw": "/w==" })),
        ],
        "services": [
            { "metadata": { "name": "kubernetes", "namespace": "default" },
              "spec": { "clusterIP": "10.96.0.1", "ports": [{ "name": "https", "port": 443 }] } },
            { "metadata": { "name": "db", "namespace": "default" },
              "spec": { "clusterIP": "10.96.0.9", "ports": [{ "port": 5432 }] } },
        ],
    })
}

async fn env(container: Value) -> (BTreeMap<String, String>, Vec<PodEvent>) {
    let (resolved, events) = world(objects()).container(container).await;
    (resolved.unwrap().env.into_iter().map(|own| (own.name, plain(&own.value))).collect(), events)
}

async fn refused(container: Value) -> (Unresolved, Vec<PodEvent>) {
    let (resolved, events) = world(objects()).container(container).await;
    (resolved.unwrap_err(), events)
}

#[tokio::test]
async fn env_from_takes_all_keys_with_its_prefix_and_later_sources_win() {
    let (env, events) = env(json!({ "envFrom": [
        { "configMapRef": { "name": "cfg" } },
        { "prefix": "P_", "configMapRef": { "name": "cfg" } },
        { "secretRef": { "name": "sec" } },
        { "configMapRef": { "name": "none", "optional": true } },
    ], "env": [{ "name": "B", "value": "own" }] }))
    .await;
    for (name, value) in [("A", "sec-a"), ("P_A", "cfg-a"), ("with.dot", "d"), ("P_with.dot", "d"), ("B", "own")] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    let said: Vec<&str> = events.iter().map(|event| event.reason.as_str()).collect();
    assert_eq!(said, ["InvalidEnvironmentVariableNames", "OptionalConfigMapNotFound"]);
    assert!(events[0].message.contains("[raw]"), "a value that is no text: {}", events[0].message);
}

#[tokio::test]
async fn what_a_variable_refers_to_and_is_missing_is_left_out_if_it_is_optional() {
    let from = |kind: &str, name: &str, key: &str, optional: bool| json!([{ "name": "X", "valueFrom": { kind: { "name": name, "key": key, "optional": optional } } }]);
    for (kind, name, key) in
        [("configMapKeyRef", "none", "A"), ("configMapKeyRef", "cfg", "none"), ("secretKeyRef", "sec", "none")]
    {
        let (env, events) = env(json!({ "env": from(kind, name, key, true) })).await;
        assert_eq!((env.get("X"), events.len()), (None, 1), "{kind} {name} {key}");
    }
    for (kind, name, key, message) in [
        ("configMapKeyRef", "none", "A", "configmap \"none\" not found"),
        ("configMapKeyRef", "cfg", "none", "couldn't find key none in ConfigMap default/cfg"),
        ("secretKeyRef", "sec", "none", "couldn't find key none in Secret default/sec"),
        ("secretKeyRef", "sec", "raw", "key raw in Secret default/sec is not valid UTF-8"),
    ] {
        let (error, _) = refused(json!({ "env": from(kind, name, key, false) })).await;
        assert_eq!((error.reason, error.message.as_str()), ("CreateContainerConfigError", message));
        assert!(!error.is_final, "it may come to be");
    }
}

#[tokio::test]
async fn variables_refer_to_those_before_them_and_to_services() {
    let (env, _) = env(json!({
        "envFrom": [{ "configMapRef": { "name": "cfg" } }],
        "env": [
            { "name": "ONE", "value": "1" },
            { "name": "TWO", "value": "$(ONE)-$(A)-$(LATER)-$$(ONE)" },
            { "name": "LATER", "value": "l" },
            { "name": "DB", "value": "$(DB_SERVICE_HOST):$(DB_SERVICE_PORT)" },
            { "name": "KUBERNETES_SERVICE_HOST", "value": "mine" },
            { "name": "EMPTY", "value": "" },
        ],
    }))
    .await;
    for (name, value) in [
        ("TWO", "1-cfg-a-$(LATER)-$(ONE)"),
        ("DB", "10.96.0.9:5432"),
        ("KUBERNETES_SERVICE_HOST", "mine"),
        ("KUBERNETES_SERVICE_PORT_HTTPS", "443"),
        ("DB_PORT_5432_TCP_ADDR", "10.96.0.9"),
        ("EMPTY", ""),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
}

#[tokio::test]
async fn without_service_links_only_the_api_servers_variables_are_there() {
    let world = world(objects());
    let (record, parsed) = pod(json!({ "enableServiceLinks": false }));
    let resolved = world.resolver.container(&record, &parsed, &world.node, "c", 0, &Started::default()).await;
    let names: Vec<String> = resolved.result.unwrap().env.into_iter().map(|own| own.name).collect();
    assert!(names.iter().any(|name| name == "KUBERNETES_SERVICE_HOST"), "{names:?}");
    assert!(!names.iter().any(|name| name.starts_with("DB_")), "{names:?}");
}

#[tokio::test]
async fn fields_and_resources_are_read_off_the_pod() {
    let field = |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let resource = |name: &str, resource: &str, divisor: &str| json!({ "name": name, "valueFrom": { "resourceFieldRef": { "resource": resource, "divisor": divisor } } });
    let (env, _) = env(json!({
        "resources": { "requests": { "cpu": "250m" }, "limits": { "memory": "100Mi" } },
        "env": [
            field("NAME", "metadata.name"), field("SPACE", "metadata.namespace"), field("UID", "metadata.uid"),
            field("LABEL", "metadata.labels['app']"), field("NODE", "spec.nodeName"),
            field("IP", "status.podIP"), field("IPS", "status.podIPs"), field("HOST", "status.hostIP"),
            resource("CPU", "requests.cpu", "1m"), resource("CPUS", "requests.cpu", "0"),
            resource("MEMORY", "limits.memory", "1Mi"), resource("NODES", "limits.cpu", "0"),
        ],
    }))
    .await;
    for (name, value) in [
        ("NAME", "web"),
        ("SPACE", "default"),
        ("UID", "u1"),
        ("LABEL", "web"),
        ("NODE", "web-node"),
        ("IP", "10.1.0.5"),
        ("IPS", "10.1.0.5,fd00::5"),
        ("HOST", "10.0.0.1"),
        ("CPU", "250"),
        ("CPUS", "1"),
        ("MEMORY", "100"),
        ("NODES", "4"),
    ] {
        assert_eq!(env.get(name).map(String::as_str), Some(value), "{name}");
    }
    let (error, _) = refused(json!({ "env": [field("X", "metadata.finalizers")] })).await;
    assert!(error.message.contains("metadata.finalizers"), "{error:?}");
}

#[tokio::test]
async fn command_and_arguments_are_expanded_and_remember_what_is_secret() {
    let (resolved, _) = world(objects())
        .container(json!({
            "command": ["run", "--key=$(KEY)"], "args": ["$(NONE)", "$$(KEY)"],
            "env": [{ "name": "KEY", "valueFrom": { "secretKeyRef": { "name": "sec", "key": "A" } } }],
        }))
        .await;
    let own = resolved.unwrap();
    let texts = |all: &[Text]| all.iter().map(plain).collect::<Vec<_>>();
    assert_eq!(texts(&own.command), ["run", "--key=sec-a"]);
    assert_eq!(texts(&own.arguments), ["$(NONE)", "$(KEY)"]);
    assert!(own.command[1].is_sensitive() && !own.arguments[1].is_sensitive());
    assert!(!format!("{own:?}").contains("sec-a"));
}

#[tokio::test]
async fn a_variable_from_a_file_is_refused_by_its_path() {
    let from = json!({ "fileKeyRef": { "volumeName": "v", "path": "p", "key": "k" } });
    let (error, _) = refused(json!({ "env": [{ "name": "X", "valueFrom": from }] })).await;
    assert!(error.message.starts_with("spec.containers{c}.env{X}.valueFrom.fileKeyRef: "), "{error:?}");
    assert!(error.is_final);
}

#[tokio::test]
async fn nothing_is_read_that_the_pod_does_not_refer_to() {
    let world = world(objects());
    let (resolved, _) = world.container(json!({ "envFrom": [{ "configMapRef": { "name": "cfg" } }] })).await;
    assert!(resolved.is_ok());
    let asked = world.log.all();
    assert!(asked.iter().all(|asked| !asked.path.contains("secrets")), "{asked:?}");
    assert!(
        asked
            .iter()
            .filter(|asked| asked.path.contains("configmaps"))
            .all(|asked| asked.path.starts_with("/api/v1/namespaces/default/configmaps?")
                && asked.path.contains("fieldSelector=metadata.name%3Dcfg")),
        "{asked:?}"
    );
}
