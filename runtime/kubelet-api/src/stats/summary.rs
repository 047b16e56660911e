//! The kubelet's Summary (`k8s.io/kubelet/pkg/apis/stats/v1alpha1`) as JSON, written pod by pod.

use jiff::Timestamp;
use jiff::fmt::temporal::DateTimePrinter;
use provider::{NetworkUsage, PodUsage, Summary, Usage};
use serde_json::{Map, Value, json};

/// The only section without a time.
const PROCESS_STATS: &str = "process_stats";

/// The Summary of a node whose figures count since `started` if they don't say otherwise.
pub(super) fn json(
    node: &str,
    started: Timestamp,
    summary: &Summary,
    only_cpu_and_memory: bool,
) -> serde_json::Result<Vec<u8>> {
    let shown = |section: &str| !only_cpu_and_memory || matches!(section, "cpu" | "memory" | "swap");
    let mut of_node = Map::new();
    of_node.insert("startTime".into(), time(started));
    if let Some(usage) = &summary.node {
        put_usage(&mut of_node, usage, "fs.usedBytes", shown);
    }
    of_node.insert("nodeName".into(), node.into());
    let mut out = br#"{"node":"#.to_vec();
    serde_json::to_writer(&mut out, &of_node)?;
    out.extend_from_slice(br#","pods":["#);
    for (index, pod) in summary.pods.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        serde_json::to_writer(&mut out, &pod_stats(pod, shown))?;
    }
    out.extend_from_slice(b"]}");
    Ok(out)
}

fn pod_stats(pod: &PodUsage, shown: impl Fn(&str) -> bool + Copy) -> Map<String, Value> {
    let mut stats = Map::new();
    stats.insert("startTime".into(), Value::Null);
    put_usage(&mut stats, &pod.total, "ephemeral-storage.usedBytes", shown);
    let reference = json!({ "name": *pod.key.name, "namespace": *pod.key.namespace, "uid": *pod.key.uid });
    stats.insert("podRef".into(), reference);
    let containers = pod.containers.iter().map(|(name, usage)| {
        let mut stats = Map::new();
        stats.insert("startTime".into(), Value::Null);
        put_usage(&mut stats, usage, "rootfs.usedBytes", shown);
        stats.insert("name".into(), name.as_str().into());
        Value::Object(stats)
    });
    stats.insert("containers".into(), containers.collect());
    if let Some(primary) = pod.networks.first().filter(|_| shown("network")) {
        let mut network = interface(primary);
        network.insert("time".into(), time(pod.total.at));
        network.insert("interfaces".into(), pod.networks.iter().map(|one| Value::Object(interface(one))).collect());
        stats.insert("network".into(), network.into());
    }
    stats
}

/// Puts each figure where its path leads, with the time it was read at beside it.
fn put_usage(stats: &mut Map<String, Value>, usage: &Usage, storage: &str, shown: impl Fn(&str) -> bool) {
    if let Some(since) = usage.since {
        stats.insert("startTime".into(), time(since));
    }
    let known = [
        ("cpu.usageNanoCores", usage.cpu_nanocores),
        ("cpu.usageCoreNanoSeconds", usage.cpu_nanos),
        ("memory.usageBytes", usage.memory_usage),
        ("memory.workingSetBytes", usage.memory_working_set),
        ("memory.rssBytes", usage.memory_rss),
        (storage, usage.storage_used),
    ];
    let others = usage.others.iter().map(|(path, value)| (path.as_str(), Some(*value)));
    for (path, value) in known.into_iter().chain(others) {
        let (Some(value), Some((section, field))) = (value, path.rsplit_once('.')) else { continue };
        let Some(place) = shown(section).then(|| place(stats, section)).flatten() else { continue };
        if section != PROCESS_STATS {
            place.insert("time".into(), time(usage.at));
        }
        place.insert(field.into(), value.into());
    }
}

/// The object that a path of names leads to. None: a figure stands in its way.
fn place<'a>(stats: &'a mut Map<String, Value>, section: &str) -> Option<&'a mut Map<String, Value>> {
    section
        .split('.')
        .try_fold(stats, |place, part| place.entry(part).or_insert_with(|| Map::new().into()).as_object_mut())
}

fn interface(usage: &NetworkUsage) -> Map<String, Value> {
    let mut stats = Map::new();
    stats.insert("name".into(), usage.name.as_str().into());
    stats.insert("rxBytes".into(), usage.rx_bytes.into());
    stats.insert("rxErrors".into(), usage.rx_errors.into());
    stats.insert("txBytes".into(), usage.tx_bytes.into());
    stats.insert("txErrors".into(), usage.tx_errors.into());
    stats
}

/// Exact to the second, as Kubernetes' `metav1.Time`.
fn time(time: Timestamp) -> Value {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(0));
    PRINTER.timestamp_to_string(&time).into()
}

#[cfg(test)]
mod tests {
    use provider::PodKey;

    use super::*;

    fn usage() -> Usage {
        Usage {
            at: "2026-01-02T03:04:05.6Z".parse().unwrap(),
            since: Some("2026-01-01T00:00:00Z".parse().unwrap()),
            cpu_nanos: Some(5_000),
            cpu_nanocores: Some(7),
            memory_usage: Some(300),
            memory_working_set: Some(200),
            memory_rss: Some(100),
            storage_used: Some(50),
            others: vec![
                ("memory.pageFaults".into(), 9),
                ("rootfs.inodesUsed".into(), 3),
                ("process_stats.process_count".into(), 2),
                ("runtime.imageFs.usedBytes".into(), 4),
                ("nowhere".into(), 1),
                ("startTime.x".into(), 1),
                ("name.x".into(), 1),
            ],
        }
    }

    fn example(only_cpu_and_memory: bool) -> Value {
        let network = NetworkUsage { name: "eth0".into(), rx_bytes: 1, rx_errors: 2, tx_bytes: 3, tx_errors: 4 };
        let pod = PodUsage {
            key: PodKey::new("u", "ns", "p"),
            total: Usage { since: None, others: Vec::new(), ..usage() },
            containers: vec![("c".into(), usage())],
            networks: vec![network],
        };
        let summary = Summary { node: None, pods: vec![pod.clone(), pod] };
        let started = "2025-12-31T00:00:00Z".parse().unwrap();
        serde_json::from_slice(&json("node", started, &summary, only_cpu_and_memory).unwrap()).unwrap()
    }

    #[test]
    fn a_summary_has_the_kubelets_shape() {
        let summary = example(false);
        assert_eq!(summary["node"], json!({ "nodeName": "node", "startTime": "2025-12-31T00:00:00Z" }));
        assert_eq!(summary["pods"].as_array().unwrap().len(), 2);
        let at = "2026-01-02T03:04:05Z";
        let cpu = json!({ "time": at, "usageNanoCores": 7, "usageCoreNanoSeconds": 5000 });
        let memory = json!({ "time": at, "usageBytes": 300, "workingSetBytes": 200, "rssBytes": 100 });
        let eth0 = json!({ "name": "eth0", "rxBytes": 1, "rxErrors": 2, "txBytes": 3, "txErrors": 4 });
        let mut network = eth0.clone();
        network["time"] = at.into();
        network["interfaces"] = json!([eth0]);
        let mut memory_of_container = memory.clone();
        memory_of_container["pageFaults"] = 9.into();
        let expected = json!({
            "podRef": { "name": "p", "namespace": "ns", "uid": "u" },
            "startTime": null,
            "cpu": cpu,
            "memory": memory,
            "network": network,
            "ephemeral-storage": { "time": at, "usedBytes": 50 },
            "containers": [{
                "name": "c",
                "startTime": "2026-01-01T00:00:00Z",
                "cpu": cpu,
                "memory": memory_of_container,
                "rootfs": { "time": at, "usedBytes": 50, "inodesUsed": 3 },
                "process_stats": { "process_count": 2 },
                "runtime": { "imageFs": { "time": at, "usedBytes": 4 } },
            }],
        });
        assert_eq!(summary["pods"][0], expected);
    }

    #[test]
    fn all_but_cpu_and_memory_can_be_left_out() {
        let pod = &example(true)["pods"][0];
        let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>().join(" ");
        assert_eq!(names(pod), "containers cpu memory podRef startTime");
        assert_eq!(names(&pod["containers"][0]), "cpu memory name startTime");
    }
}
