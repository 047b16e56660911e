//! Traces: from a pod's work through the provider's calls to its requests, without a secret, and only where they are wanted.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use e2e::{Node, NodeBuilder, component, eventually};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};

use crate::collector::{Collector, attribute};
use crate::shared::{IMAGE, cluster, create, engine, gone, patient, pod, pods, ready};

const CANARY: &str = "canary-trace-5c1e";

/// Stands before the engine and hears what it is asked.
struct Ear {
    path: PathBuf,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Ear {
    fn new(name: &str) -> Result<Self> {
        let path = cluster().folder.join(format!("{name}.sock"));
        let engine = engine().endpoint.strip_prefix("unix://").context("the engine has no socket")?.to_owned();
        let (listener, heard) = (UnixListener::bind(&path)?, Arc::new(Mutex::new(Vec::new())));
        let kept = heard.clone();
        tokio::spawn(async move {
            while let Ok((guest, _)) = listener.accept().await {
                tokio::spawn(pass(guest, Path::new(&engine).to_owned(), kept.clone()));
            }
        });
        Ok(Self { path, heard })
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.heard.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

async fn pass(guest: UnixStream, engine: PathBuf, heard: Arc<Mutex<Vec<u8>>>) -> Result<()> {
    let (mut from_guest, mut to_guest) = guest.into_split();
    let (mut from_engine, mut to_engine) = UnixStream::connect(engine).await?.into_split();
    let back = tokio::spawn(async move { tokio::io::copy(&mut from_engine, &mut to_guest).await });
    let mut bytes = vec![0; 64 * 1024];
    loop {
        match from_guest.read(&mut bytes).await? {
            0 => break,
            read => {
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&bytes[..read]);
                to_engine.write_all(&bytes[..read]).await?;
            }
        }
    }
    to_engine.shutdown().await?;
    back.await??;
    Ok(())
}

async fn node(client: &Client, name: &str, ear: &Ear, more: &[&str]) -> Result<Node> {
    let endpoint = format!("unix://{}", ear.path.display());
    let config = format!("endpoint={endpoint}");
    let builder = NodeBuilder::new(cluster(), name, component("hyper"))?;
    builder.with(&["--config", &config, "--allow-dial", &endpoint]).with(more).start(client).await
}

/// A pod that runs, with a Secret's value in its environment; and one whose command is not there and says that value.
async fn run_pods(client: &Client, namespace: &str, node: &str) -> Result<String> {
    let secret: Secret = serde_json::from_value(json!({ "metadata": { "name": "s" }, "stringData": { "k": CANARY } }))?;
    Api::<Secret>::namespaced(client.clone(), namespace).create(&PostParams::default(), &secret).await?;
    let from = json!([{ "name": "K", "valueFrom": { "secretKeyRef": { "name": "s", "key": "k" } } }]);
    let pods = pods(client, namespace);
    let with = |mut container: Value| {
        container["env"] = from.clone();
        container
    };
    let good = create(&pods, pod("good", node, &[with(patient("c"))])).await?;
    let bad = json!({ "name": "c", "image": IMAGE, "command": ["/no/$(K)"] });
    create(&pods, pod("bad", node, &[with(bad)])).await?;
    ready(&pods, "good").await?;
    eventually("the failure", 30, async || {
        let events = crate::shared::events(client, namespace, "bad").await?;
        Ok(events.into_iter().find(|(reason, _)| reason == "Failed"))
    })
    .await?;
    Ok(good.metadata.uid.unwrap_or_default())
}

fn says(span: &Span, key: &str) -> Result<String> {
    attribute(&span.attributes, key).with_context(|| format!("{} has no {key}: {:?}", span.name, span.attributes))
}

// The collector answers while the test waits for the node's end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pods_work_is_traced_through_the_call_to_the_request_and_says_no_secret() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "traces").await?;
    let (collector, ear) = (Collector::start(cluster())?, Ear::new("traces")?);
    let arguments = ["--otlp-endpoint", &collector.url, "--propagate-traces"];
    let mut node = node(&client, "traced", &ear, &arguments).await?;
    let uid = run_pods(&client, &namespace, "traced").await?;

    let of_pod = |span: &Span| attribute(&span.attributes, "k8s.pod.uid").as_deref() == Some(&uid);
    let work = collector.span("the pod's work", |own| own.name == "pod.create-container" && of_pod(own)).await?;
    assert!(work.parent_span_id.is_empty());
    for (key, value) in [
        ("k8s.pod.name", "good"),
        ("k8s.namespace.name", &*namespace),
        ("k8s.node.name", "traced"),
        ("k8s.container.name", "c"),
    ] {
        assert_eq!(says(&work, key)?, value);
    }
    let child_of = |parent: &Span, name: &'static str| {
        let id = parent.span_id.clone();
        move |own: &Span| own.parent_span_id == id && own.name == name
    };
    let call = collector.span("the call", child_of(&work, "containers.create-container")).await?;
    assert_eq!(call.trace_id, work.trace_id);
    for (key, value) in [("vk.provider.name", "hyper"), ("k8s.pod.uid", &*uid), ("k8s.node.name", "traced")] {
        assert_eq!(says(&call, key)?, value);
    }
    assert!(says(&call, "vk.provider.version")?.len() >= 8);
    says(&call, "vk.call.id")?.parse::<u64>()?;
    assert!((0.0..1.0).contains(&says(&call, "vk.call.queue_time")?.parse::<f64>()?));
    assert!(says(&call, "vk.call.cpu_time")?.parse::<f64>()? > 0.0);
    assert!(says(&call, "vk.call.peak_memory")?.parse::<u64>()? > 10_000);

    let request = collector.span("the request", child_of(&call, "POST")).await?;
    assert_eq!((request.kind(), &request.trace_id), (SpanKind::Client, &work.trace_id));
    assert_eq!(says(&request, "http.request.method")?, "POST");
    assert!(says(&request, "http.response.status_code")?.starts_with('2'));
    let url = says(&request, "url.full")?;
    assert!(url.starts_with("http://") && !url.contains(['?', '@', '#']), "{url}");
    assert!(!says(&request, "server.address")?.is_empty());

    // The request itself says which span it is.
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let traceparent = format!("traceparent: 00-{}-{}-01\r\n", hex(&work.trace_id), hex(&request.span_id));
    assert!(ear.text().contains(&traceparent), "{traceparent} was not heard");

    let failed = |own: &Span| own.name == "containers.start-container" && own.status.as_ref().is_some_and(is_error);
    let failed = collector.span("the failed start", failed).await?;
    assert_eq!(says(&failed, "error.type")?, "invalid");

    let pods = pods(&client, &namespace);
    pods.delete("good", &DeleteParams::default()).await?;
    gone(&pods, "good", 30).await?;
    // What is left is sent at the end.
    assert_eq!(node.stop()?, Some(0));
    collector.span("the removal", |own| own.name == "pod.remove-sandbox" && of_pod(own)).await?;
    let raw = String::from_utf8_lossy(&collector.raw()).into_owned();
    assert!(raw.contains("/no/***"), "what the engine says of the command is masked");
    assert!(!raw.contains(CANARY), "a Secret's value is in the traces");
    Ok(())
}

fn is_error(status: &opentelemetry_proto::tonic::trace::v1::Status) -> bool {
    status.code() == StatusCode::Error
}

#[tokio::test]
async fn requests_say_nothing_of_traces_unless_that_is_asked_for() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "untold").await?;
    let (collector, ear) = (Collector::start(cluster())?, Ear::new("untold")?);
    let _node = node(&client, "untold", &ear, &["--otlp-endpoint", &collector.url]).await?;
    run_pods(&client, &namespace, "untold").await?;
    collector.span("a request", |own| own.name == "POST").await?;
    let heard = ear.text();
    assert!(heard.contains("POST /"), "{heard}");
    assert!(!heard.contains("traceparent"), "the engine was told of traces");
    Ok(())
}

#[tokio::test]
async fn a_collector_that_is_not_there_is_said_once_and_harms_nobody() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "unheard").await?;
    let builder = NodeBuilder::mock(cluster(), "unheard")?.with(&["--otlp-endpoint", "http://127.0.0.1:9"]);
    let node = builder.start(&client).await?;
    let pods = pods(&client, &namespace);
    create(&pods, pod("web", "unheard", &[patient("c")])).await?;
    ready(&pods, "web").await?;
    let says = "traces can't be sent, and are lost";
    eventually("the warning", 20, async || Ok(node.log().contains(says).then_some(()))).await?;
    assert_eq!(node.log().matches(says).count(), 1, "{}", node.log());
    Ok(())
}
