//! How fast pods begin and go, beside raw requests; and how soon one does on an idle node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::pods::rate;
use crate::raw::Raw;
use crate::watch::Watching;
use crate::{line, node, pods, scaled};

/// 3,000 waiting pods to Running, and from their deletion to gone.
pub async fn run(cluster: &Cluster, client: &Client) -> Result<()> {
    let count = scaled(3_000);
    let namespace = cluster.namespace(client, "speed").await?;
    let own = node::builder(cluster, "speed")?.start(client).await?;

    // What the runtime writes for such a pod is what the raw client writes.
    pods::create_one(client, &namespace, "speed", "sample").await?;
    let mut watching = Watching::start(client, &namespace).await?;
    watching.running("sample").await?;
    let running = status(client, &namespace, "sample").await?;
    let raw = Raw { client, namespace: &namespace, ended: &ended(&running), running: &running, count };
    // Somebody looks on all the time, for what is raw as for what is not.
    let patches = raw.best_of_patches().await?;
    let deletions = raw.best_of_deletions().await?;

    node::pause(&own)?;
    drop(watching);
    let mut watching = Watching::start(client, &namespace).await?;
    pods::create(client, &namespace, "speed", "web", count).await?;
    let (began, cpu) = (Instant::now(), node::cpu(&own)?);
    node::resume(&own)?;
    let done = watching.until("pods begin", |seen| seen.running.len() > count).await?;
    let cpu = node::cpu(&own)? - cpu;
    let own_rate = rate(count, done - began);
    let patches = patches.and(raw.patches(patches.at_once).await?);
    line(&format!("raw: status patches of {count} pods, before and after"), patches.to_string(), "");
    line(
        &format!("{count} waiting pods to Running"),
        format!("{own_rate:.0}/s = {:.2}", own_rate / patches.mean()),
        ">= 0.85 of raw (kwok 0.56, Virtual Kubelet 0.007 to 0.017)",
    );
    line("  CPU of the runtime for one", each(cpu, count), "");

    // The raw requests' pods have gone meanwhile.
    drop(watching);
    let mut watching = Watching::start(client, &namespace).await?;
    node::pause(&own)?;
    pods::delete(client, &namespace, "web", count).await?;
    let (began, cpu) = (Instant::now(), node::cpu(&own)?);
    node::resume(&own)?;
    let done = watching.until("pods go", |seen| seen.gone.len() >= count).await?;
    let cpu = node::cpu(&own)? - cpu;
    let own_rate = rate(count, done - began);
    let deletions = deletions.and(raw.deletions(deletions.at_once).await?);
    line(&format!("raw: status patch and delete of {count} pods, before and after"), deletions.to_string(), "");
    line(
        &format!("{count} deleted pods to gone"),
        format!("{own_rate:.0}/s = {:.2}", own_rate / deletions.mean()),
        ">= 0.8 of raw",
    );
    line("  CPU of the runtime for one", each(cpu, count), "");
    Ok(())
}

fn each(time: Duration, count: usize) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3 / rate(count, Duration::from_secs(1)))
}

async fn status(client: &Client, namespace: &str, name: &str) -> Result<Value> {
    let pod = Api::<Pod>::namespaced(client.clone(), namespace).get(name).await?;
    Ok(serde_json::to_value(pod.status.context("no status")?)?)
}

/// The status of a pod whose containers have ended.
fn ended(running: &Value) -> Value {
    let mut ended = running.clone();
    ended["phase"] = "Succeeded".into();
    for container in ended["containerStatuses"].as_array_mut().into_iter().flatten() {
        let started = container["state"]["running"]["startedAt"].clone();
        container["state"] = serde_json::json!({ "running": null, "terminated": {
            "exitCode": 0, "reason": "Completed", "startedAt": started, "finishedAt": started,
        } });
        container["ready"] = false.into();
        container["started"] = false.into();
    }
    for condition in ended["conditions"].as_array_mut().into_iter().flatten() {
        if ["Ready", "ContainersReady"].iter().any(|own| condition["type"] == **own) {
            condition["status"] = "False".into();
            condition["reason"] = "PodCompleted".into();
        }
    }
    ended
}

/// From bound to Running on an idle node, one after another.
pub async fn latency(cluster: &Cluster, client: &Client) -> Result<()> {
    let count = scaled(500);
    let namespace = cluster.namespace(client, "latency").await?;
    let _own = node::builder(cluster, "latency")?.start(client).await?;
    let mut watching = Watching::start(client, &namespace).await?;
    let mut times: Vec<Duration> = Vec::with_capacity(count);
    for number in 0..count {
        let name = format!("one-{number}");
        pods::create_one(client, &namespace, "latency", &name).await?;
        let bound = Instant::now();
        times.push(watching.running(&name).await?.saturating_duration_since(bound));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    times.sort();
    let at = |part: usize| times.get((times.len() * part / 100).min(times.len() - 1)).copied().unwrap_or_default();
    line(
        &format!("one pod, bound to Running, {count} times"),
        format!("p50 {:.1} ms", at(50).as_secs_f64() * 1e3),
        &format!("<= 30 ms; p99 {:.1} ms <= 100 ms", at(99).as_secs_f64() * 1e3),
    );
    // Pods of a node that is no more are written to by the control plane, and other parts count writes.
    let at_once = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    Api::<Pod>::namespaced(client.clone(), &namespace).delete_collection(&at_once, &ListParams::default()).await?;
    Ok(())
}
