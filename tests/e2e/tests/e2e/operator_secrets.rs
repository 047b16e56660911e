//! Secrets of the operator in the cluster: a key of a Kubernetes Secret and a token of a ServiceAccount reach the backend,
//! follow what changes, and reach neither the provider nor anybody else.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use e2e::{NodeBuilder, eventually, test_component};
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::core::v1::{Event, Secret, ServiceAccount};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::Kubeconfig;
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::shared::{cluster, create, event, pod, pods};

const FIRST: &str = "canary-operator-7a41";
const SECOND: &str = "canary-operator-9c02-renewed";

/// A backend on a socket that echoes the key it is sent, and keeps all keys.
struct Backend {
    path: PathBuf,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Backend {
    fn start(name: &str) -> Result<Self> {
        let path = cluster().folder.join(format!("{name}.sock"));
        let (listener, keys) = (UnixListener::bind(&path)?, Arc::new(Mutex::new(Vec::new())));
        let kept = keys.clone();
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(echo(socket, kept.clone()));
            }
        });
        Ok(Self { path, keys })
    }

    fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Waits for a key that fits.
    async fn key(&self, what: &str, fits: impl Fn(&str) -> bool) -> Result<String> {
        eventually(what, 90, async || {
            let keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
            Ok(keys.iter().find(|key| fits(key)).cloned())
        })
        .await
    }
}

async fn echo(mut socket: UnixStream, keys: Arc<Mutex<Vec<String>>>) -> Result<()> {
    let mut request = String::new();
    loop {
        let mut bytes = [0; 8192];
        let read = socket.read(&mut bytes).await?;
        if read == 0 {
            return Ok(());
        }
        request.push_str(std::str::from_utf8(&bytes[..read])?);
        if !request.ends_with("\r\n\r\n") {
            continue;
        }
        let key = request.lines().find_map(|line| line.strip_prefix("x-key: ")).context("no key")?.to_owned();
        request.clear();
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{key}", key.len());
        keys.lock().unwrap_or_else(PoisonError::into_inner).push(key);
        socket.write_all(answer.as_bytes()).await?;
    }
}

/// Gives a user all that a node needs, and these rights in a namespace.
async fn allow(client: &Client, namespace: &str, subject: Value, rules: Value) -> Result<()> {
    let role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role",
        "metadata": { "name": "host", "namespace": namespace }, "rules": rules,
    });
    let of_role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
        "metadata": { "name": "host", "namespace": namespace }, "subjects": [subject],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "host" },
    });
    let of_node = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
        "metadata": { "name": format!("host-{namespace}") }, "subjects": [subject],
        "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "system:node" },
    });
    let own = PostParams::default();
    Api::namespaced(client.clone(), namespace).create(&own, &serde_json::from_value::<RoleObject>(role)?).await?;
    Api::namespaced(client.clone(), namespace).create(&own, &serde_json::from_value::<BindingObject>(of_role)?).await?;
    Api::all(client.clone()).create(&own, &serde_json::from_value::<ClusterBindingObject>(of_node)?).await?;
    Ok(())
}

type RoleObject = k8s_openapi::api::rbac::v1::Role;
type BindingObject = k8s_openapi::api::rbac::v1::RoleBinding;
type ClusterBindingObject = k8s_openapi::api::rbac::v1::ClusterRoleBinding;

/// A node whose pods have the provider send the operator's secret to this backend, in the place of its value.
fn node(name: &str, backend: &Backend, source: &str) -> Result<NodeBuilder> {
    let (address, secret) = (backend.address(), format!("key={source}:inject,{}", backend.address()));
    let config = format!("socket={address}");
    let arguments = ["--secret", &secret, "--allow-dial", &address, "--config", &config, "--log-level", "trace"];
    Ok(NodeBuilder::new(cluster(), name, test_component("fetching"))?.with(&arguments))
}

fn sender(name: &str, node: &str) -> Value {
    let mut wanted = pod(name, node, &[json!({ "name": "c", "image": "any:1" })]);
    wanted["metadata"]["annotations"] = json!({ "misbehave": "send-the-operators" });
    wanted
}

/// Neither the log nor the state folder nor an Event nor a status says it.
async fn told_nobody(client: &Client, namespace: &str, node: &NodeBuilder, values: &[&str]) -> Result<()> {
    let events = Api::<Event>::namespaced(client.clone(), namespace).list(&ListParams::default()).await?.items;
    let all = pods(client, namespace).list(&ListParams::default()).await?.items;
    let mut said = format!("{events:?}{all:?}{}", node.log());
    let mut folders = vec![node.state()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            match path.metadata() {
                Ok(own) if own.is_dir() => folders.push(path),
                Ok(own) if own.is_file() => said.push_str(&String::from_utf8_lossy(&std::fs::read(&path)?)),
                _ => {}
            }
        }
    }
    for value in values {
        assert!(!said.contains(value), "a value was told");
    }
    Ok(())
}

#[tokio::test]
async fn a_key_of_a_secret_reaches_the_backend_alone_and_follows_its_secret() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "operators").await?;
    let secrets = Api::<Secret>::namespaced(client.clone(), &namespace);
    let wanted = json!({ "metadata": { "name": "backend" }, "stringData": { "key": FIRST } });
    secrets.create(&PostParams::default(), &serde_json::from_value(wanted)?).await?;
    let user = format!("host-{namespace}");
    let subject = json!({ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user });
    // One Secret, by its name.
    let rules = json!([
        { "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["backend"], "verbs": ["get", "list", "watch"] },
    ]);
    allow(&client, &namespace, subject, rules).await?;
    let backend = Backend::start(&namespace)?;
    let name = "operators-secret";
    let builder = node(name, &backend, &format!("kube:{namespace}/backend/key"))?.identity(cluster().kubeconfig(
        &user,
        &[],
        true,
    )?);
    let node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, sender("one", name)).await?;
    backend.key("the first key", |key| key == FIRST).await?;
    // The provider saw stars: what it saw itself would be masked as three.
    let message = event(&client, &namespace, "one", "FailedCreatePodSandBox").await?;
    assert!(message.contains(&format!("sent, and got {}", "*".repeat(FIRST.len()))), "{message}");

    let change = json!({ "stringData": { "key": SECOND } });
    secrets.patch("backend", &PatchParams::default(), &Patch::Merge(&change)).await?;
    create(&pods, sender("two", name)).await?;
    backend.key("the renewed key", |key| key == SECOND).await?;

    // One that is gone is not used any more.
    secrets.delete("backend", &DeleteParams::default()).await?;
    create(&pods, sender("three", name)).await?;
    let message = event(&client, &namespace, "three", "FailedCreatePodSandBox").await?;
    assert!(message.contains(&format!("there is no Secret {namespace}/backend")), "{message}");
    told_nobody(&client, &namespace, &builder, &[FIRST, SECOND]).await?;
    drop(node);
    Ok(())
}

#[tokio::test]
async fn a_token_of_the_hosts_service_account_is_for_its_audience() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "operators").await?;
    let accounts = Api::<ServiceAccount>::namespaced(client.clone(), &namespace);
    let account = serde_json::from_value(json!({ "metadata": { "name": "host" } }))?;
    accounts.create(&PostParams::default(), &account).await?;
    let subject = json!({ "kind": "ServiceAccount", "name": "host", "namespace": namespace });
    let rules = json!([
        { "apiGroups": [""], "resources": ["serviceaccounts/token"], "resourceNames": ["host"], "verbs": ["create"] },
    ]);
    allow(&client, &namespace, subject, rules).await?;
    let own = cluster().kubectl(&["create", "token", "host", "-n", &namespace])?;
    let name = "operators-token";
    let kubeconfig = with_token(&cluster().kubeconfig(name, &[], true)?, own.trim())?;
    let backend = Backend::start(&namespace)?;
    let builder = node(name, &backend, "token:https://sts.backend.test")?.identity(kubeconfig);
    let node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, sender("one", name)).await?;
    let token = backend.key("a token", |key| key.starts_with("eyJ")).await?;
    let review = |audience: &str| json!({ "metadata": {}, "spec": { "token": token, "audiences": [audience] } });
    let reviews = Api::<TokenReview>::all(client.clone());
    for (audience, good) in [("https://sts.backend.test", true), ("https://kubernetes.default.svc", false)] {
        let answer = reviews.create(&PostParams::default(), &serde_json::from_value(review(audience))?).await?;
        let status = answer.status.context("no status")?;
        assert_eq!(status.authenticated.unwrap_or_default(), good, "{audience}: {status:?}");
        let user = status.user.and_then(|user| user.username).unwrap_or_default();
        assert_eq!(user == format!("system:serviceaccount:{namespace}:host"), good, "{user}");
    }
    create(&pods, sender("two", name)).await?;
    event(&client, &namespace, "two", "FailedCreatePodSandBox").await?;
    // Kept as long as it is good.
    let keys: std::collections::BTreeSet<_> =
        backend.keys.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect();
    assert_eq!(keys.len(), 1);
    told_nobody(&client, &namespace, &builder, &[&token]).await?;
    drop(node);
    Ok(())
}

/// The same cluster, under a bearer token.
fn with_token(kubeconfig: &PathBuf, token: &str) -> Result<PathBuf> {
    let read = Kubeconfig::read_from(kubeconfig)?;
    let place = read.clusters.first().and_then(|own| own.cluster.as_ref()).context("no cluster")?;
    let own = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "c",
        "clusters": [{ "name": "c", "cluster": {
            "server": place.server, "certificate-authority-data": place.certificate_authority_data,
        }}],
        "users": [{ "name": "c", "user": { "token": token } }],
        "contexts": [{ "name": "c", "context": { "cluster": "c", "user": "c" } }],
    });
    let path = kubeconfig.with_extension("token.kubeconfig");
    std::fs::write(&path, serde_json::to_vec(&own)?)?;
    Ok(path)
}
