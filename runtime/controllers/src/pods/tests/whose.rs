//! Which pods are the node's to run, to end, and to leave alone.

use std::time::Duration;

use provider::{ObjectState, PodState};
use serde_json::json;

use super::backend::{Asked, Backend, object};
use super::cluster::{Cluster, pod, running};
use super::{a_while, start, until};
use crate::node::drain;
use crate::testing::NODE;

#[tokio::test]
async fn mirror_and_static_pods_are_left_alone() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    for (name, annotation) in [("mirrored", "kubernetes.io/config.mirror"), ("fixed", "kubernetes.io/config.source")] {
        let mut other = pod(name, name);
        other["metadata"]["annotations"] = json!({ annotation: "file" });
        cluster.put(other);
    }
    cluster.put(pod("web", "u1"));
    let run = start(&cluster, &backend);
    until("the other pod's start", || cluster.status("web")["phase"] == "Running").await;
    a_while().await;
    for uid in ["mirrored", "fixed"] {
        assert_eq!(backend.asked(uid), []);
        assert_eq!(cluster.status(uid)["phase"], "Pending");
    }
    assert_eq!(run.pods.index().len(), 1);
}

#[tokio::test]
async fn pods_that_finished_before_the_start_are_left_alone() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    for (name, phase) in [("done", "Succeeded"), ("broken", "Failed")] {
        let mut over = pod(name, name);
        over["status"] = json!({ "phase": phase, "qosClass": "BestEffort", "reason": "Evicted" });
        cluster.put(over);
    }
    let run = start(&cluster, &backend);
    until("some lists", || backend.state().lists > 5).await;
    a_while().await;
    assert_eq!((run.changes(), backend.state().asked.clone()), (0, vec![]));
    // When they are deleted they go at once: nothing of them is there.
    cluster.delete("done");
    until("its end", || cluster.pod("done").is_none()).await;
    assert_eq!(backend.state().asked, []);
}

#[tokio::test]
async fn pods_of_daemon_sets_run_as_others_do_and_stay_when_the_node_is_drained() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut daemon = pod("daemon", "u1");
    let owner = json!({ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "d", "uid": "d", "controller": true });
    daemon["metadata"]["ownerReferences"] = json!([owner]);
    cluster.put(daemon);
    cluster.put(pod("web", "u2"));
    let run = start(&cluster, &backend);
    for name in ["daemon", "web"] {
        until("its start", || cluster.status(name)["phase"] == "Running").await;
    }
    assert_eq!(drain(&run.api, NODE, &run.pods.index(), Duration::from_secs(20)).await, 0);
    assert!(cluster.pod("web").is_none());
    assert_eq!(cluster.status("daemon")["phase"], "Running");
    assert_eq!(backend.asked("u1"), [Asked::Create("u1".to_owned(), 0)]);
}

#[tokio::test]
async fn draining_ends_after_its_time_and_what_is_left_goes_on() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.put(pod("web", "u1"));
    let run = start(&cluster, &backend);
    until("its start", || cluster.status("web")["phase"] == "Running").await;
    cluster.guard();
    assert_eq!(drain(&run.api, NODE, &run.pods.index(), Duration::from_millis(50)).await, 1);
    assert_eq!(cluster.status("web")["phase"], "Running");
    assert_eq!(backend.asked("u1").len(), 1);
}

#[tokio::test]
async fn what_the_backend_lost_while_nobody_looked_is_run_again_by_its_policy_and_counted() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut known = pod("web", "u1");
    known["status"] = running();
    cluster.put(known);
    let _run = start(&cluster, &backend);
    until("another start", || backend.asked("u1").len() == 1).await;
    let container = || cluster.status("web")["containerStatuses"][0].clone();
    until("the new start's status", || container()["restartCount"] == 1).await;
    let last = &container()["lastState"]["terminated"];
    assert_eq!((&last["exitCode"], &last["reason"]), (&json!(137), &json!("ContainerStatusUnknown")), "{last}");
    assert_eq!(cluster.status("web")["phase"], "Running");
}

#[tokio::test]
async fn what_the_backend_loses_while_it_runs_is_run_again_by_its_policy_and_counted() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.put(pod("web", "u1"));
    let _run = start(&cluster, &backend);
    until("its start", || cluster.status("web")["phase"] == "Running").await;
    a_while().await;
    backend.state().pods.clear();
    until("another start", || backend.asked("u1").len() == 2).await;
    assert_eq!(backend.asked("u1")[1], Asked::Create("u1".to_owned(), 1));
    let container = || cluster.status("web")["containerStatuses"][0].clone();
    until("the new start's status", || container()["restartCount"] == 1).await;
    assert_eq!(container()["lastState"]["terminated"]["reason"], "ContainerStatusUnknown", "{}", container());
}

#[tokio::test]
async fn what_is_only_at_the_backend_is_ended_by_its_uid_and_nobody_else_is_touched() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut known = pod("web", "u1");
    known["status"] = running();
    cluster.put(known);
    backend.has(object("web", "u1", &["c"]));
    backend.has(object("other", "u2", &["c"]));
    let _run = start(&cluster, &backend);
    until("its end", || !backend.state().pods.contains_key("u2")).await;
    a_while().await;
    assert_eq!(backend.asked("u2"), [Asked::Delete("u2".to_owned()), Asked::Forget("u2".to_owned())]);
    assert_eq!(backend.asked("u1"), []);
}

#[tokio::test]
async fn a_replaced_attempt_is_ended_without_haste_and_then_forgotten() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut known = pod("web", "u1");
    known["status"] = running();
    cluster.put(known);
    let attempt = |attempt, state| PodState { attempt, state, ..object("web", "u1", &["c"]) };
    backend.has(attempt(1, ObjectState::Running));
    backend.state().replaced.push(PodState { id: "lab://old".to_owned(), ..attempt(0, ObjectState::Running) });
    let _run = start(&cluster, &backend);
    until("its end", || backend.asked("u1") == [Asked::Delete("u1".to_owned())]).await;
    a_while().await;
    assert_eq!(backend.asked("u1").len(), 1, "it takes its time");
    backend.state().replaced[0].state = ObjectState::Ended;
    until("its removal", || backend.state().replaced.is_empty()).await;
    assert_eq!(backend.asked("u1"), [Asked::Delete("u1".to_owned()), Asked::Forget("u1".to_owned())]);
    assert_eq!(cluster.status("web")["phase"], "Running");
}
