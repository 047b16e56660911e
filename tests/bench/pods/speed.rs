//! How fast pods begin and go, beside raw requests; and how soon one does on an idle node.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use e2e::Cluster;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams};
use kube::{Api, Client};
use serde_json::Value;

use crate::pods::rate;
use crate::raw::{Rates, Raw};
use crate::watch::Watching;
use crate::{line, node, pods, scaled};

/// How often everything is measured: the machine gets faster and slower, and what counts is the ratio in the middle.
const ROUNDS: usize = 3;

/// 3,000 waiting pods to Running, and from their deletion to gone.
pub async fn run(cluster: &Cluster, client: &Client) -> Result<()> {
    let count = scaled(3_000);
    let namespace = cluster.namespace(client, "speed").await?;
    let own = node::builder(cluster, "speed")?.start(client).await?;

    // What the runtime writes for such a pod is what the raw client writes.
    pods::create_one(client, &namespace, "speed", "sample").await?;
    // Somebody looks on all the time, for what is raw as for what is not.
    let mut watching = Watching::start(client, &namespace).await?;
    watching.running("sample").await?;
    let running = status(client, &namespace, "sample").await?;
    let raw = Raw { client, namespace: &namespace, ended: &ended(&running), running: &running, count };
    let mut patches = raw.best_of_patches().await?;
    let mut deletions = raw.best_of_deletions().await?;

    let (mut begins, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        node::pause(&own)?;
        drop(watching);
        watching = Watching::start(client, &namespace).await?;
        pods::create(client, &namespace, "speed", "web", count).await?;
        let (began, cpu) = (Instant::now(), node::cpu(&own)?);
        node::resume(&own)?;
        let done = watching.until("pods begin", |seen| seen.running.len() > count).await?;
        let cpu = node::cpu(&own)? - cpu;
        patches = patches.then(raw.patches(patches.at_once).await?);
        begins.push(compare("waiting pods to Running", rate(count, done - began), patches, cpu, count));

        // The raw requests' pods have gone meanwhile.
        drop(watching);
        watching = Watching::start(client, &namespace).await?;
        node::pause(&own)?;
        pods::delete(client, &namespace, "web", count).await?;
        let (began, cpu) = (Instant::now(), node::cpu(&own)?);
        node::resume(&own)?;
        let done = watching.until("pods go", |seen| seen.gone.len() >= count).await?;
        let cpu = node::cpu(&own)? - cpu;
        deletions = deletions.then(raw.deletions(deletions.at_once).await?);
        ends.push(compare("deleted pods to gone", rate(count, done - began), deletions, cpu, count));
    }
    line(
        &format!("{count} waiting pods to Running, the middle of {ROUNDS}"),
        format!("{:.2}", middle(begins)),
        ">= 0.85 of raw (kwok 0.56, Virtual Kubelet 0.007 to 0.017)",
    );
    line(&format!("{count} deleted pods to gone"), format!("{:.2}", middle(ends)), ">= 0.8 of raw");
    Ok(())
}

/// Shows a rate beside that of raw requests before and after it; returns the ratio.
fn compare(what: &str, own: f64, raw: Rates, cpu: Duration, count: usize) -> f64 {
    let ratio = own / raw.mean();
    line(
        &format!("  {what}"),
        format!("{own:.0}/s = {ratio:.2}"),
        &format!("raw {raw}; {} of CPU for one", each(cpu, count)),
    );
    ratio
}

fn middle(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios.get(ratios.len() / 2).copied().unwrap_or_default()
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
