//! What Virtual Kubelet does to pods and should not: shown not to happen here. docs/from-virtual-kubelet.md has the list.

use provider::{Code, ContainerPhase, Error, TextValue};
use serde_json::json;

use super::backend::{Asked, Backend, object};
use super::cluster::{Cluster, pod, running};
use super::{a_while, start, until};
use crate::testing::NODE;

#[tokio::test]
async fn a_deletion_that_the_watch_missed_ends_the_pod() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.put(pod("web", "u1"));
    let _run = start(&cluster, &backend);
    until("the pod's start", || cluster.status("web")["phase"] == "Running").await;
    cluster.remove_unseen("web");
    until("the end of what nobody wants", || backend.state().pods.is_empty()).await;
    assert!(backend.asked("u1").contains(&Asked::Delete("u1".to_owned())));
}

#[tokio::test]
async fn a_provider_that_can_not_say_what_it_has_is_given_no_pod_a_second_time() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut known = pod("web", "u1");
    known["status"] = running();
    cluster.put(known);
    backend.has(object("web", "u1", &["c"]));
    backend.state().is_deaf = true;
    let run = start(&cluster, &backend);
    a_while().await;
    assert_eq!((backend.asked("u1"), run.changes()), (vec![], 0), "nothing is known yet");
    backend.state().is_deaf = false;
    until("a list", || backend.state().lists > 2).await;
    a_while().await;
    assert_eq!(backend.asked("u1"), []);
    // Later on neither.
    backend.state().is_deaf = true;
    cluster.edit("web", |pod| pod["metadata"]["labels"] = json!({ "a": "b" }));
    until("the new label", || backend.asked("u1") == [Asked::Update("u1".to_owned())]).await;
    a_while().await;
    assert_eq!(backend.asked("u1").len(), 1);
}

#[tokio::test]
async fn another_pod_of_the_same_name_is_another_pod() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    backend.has(object("web", "before", &["c"]));
    cluster.put(pod("web", "after"));
    let _run = start(&cluster, &backend);
    until("the end of the one before", || !backend.state().pods.contains_key("before")).await;
    until("the new one's start", || cluster.status("web")["phase"] == "Running").await;
    assert_eq!(backend.asked("after"), [Asked::Create("after".to_owned(), 0)]);
    // While it runs, too.
    cluster.remove("web");
    cluster.put(pod("web", "third"));
    until("the end of the second", || !backend.state().pods.contains_key("after")).await;
    until("the third's start", || cluster.status("web")["phase"] == "Running").await;
    assert_eq!(backend.asked("third"), [Asked::Create("third".to_owned(), 0)]);
}

#[tokio::test]
async fn orphans_are_collected_all_the_time_also_after_lists_that_failed() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    backend.has(object("early", "o1", &["c"]));
    backend.state().is_deaf = true;
    let _run = start(&cluster, &backend);
    a_while().await;
    assert_eq!(backend.asked("o1"), []);
    backend.state().is_deaf = false;
    until("the end of what was there at the start", || backend.state().pods.is_empty()).await;
    backend.has(object("late", "o2", &["c"]));
    until("the end of what came later", || backend.state().pods.is_empty()).await;
}

#[tokio::test]
async fn what_a_provider_tells_of_a_pod_that_is_not_known_yet_is_kept() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let run = start(&cluster, &backend);
    until("a watch", || backend.is_watched()).await;
    // Before the API server lists it, as after a restart of the host.
    backend.state().is_deaf = true;
    let mut early = object("web", "u1", &["c"]);
    early.containers[0].phase = ContainerPhase::Exited;
    early.containers[0].exit_code = Some(7);
    backend.tell(early);
    let mut known = pod("web", "u1");
    known["spec"]["restartPolicy"] = "Never".into();
    known["status"] = running();
    cluster.put(known);
    until("its end", || cluster.status("web")["phase"] == "Failed").await;
    let ended = &cluster.status("web")["containerStatuses"][0]["state"]["terminated"];
    assert_eq!(ended["exitCode"], 7, "{ended}");
    assert_eq!(backend.asked("u1"), []);
    drop(run);
}

#[tokio::test]
async fn a_pod_that_can_never_run_says_why_and_is_tried_again_when_it_changes() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let refusal = Error::new(Code::Invalid, "no such region").with_reason("NoSuchRegion");
    backend.state().refusal = Some(refusal);
    cluster.put(pod("web", "u1"));
    let run = start(&cluster, &backend);
    let waiting = || cluster.status("web")["containerStatuses"][0]["state"]["waiting"].clone();
    until("the reason", || waiting()["reason"] == "NoSuchRegion").await;
    assert_eq!(waiting()["message"], "no such region");
    assert_eq!(cluster.status("web")["phase"], "Pending");
    until("the Event", || run.log.warnings().contains(&("NoSuchRegion".to_owned(), "no such region".to_owned()))).await;
    tokio::time::sleep(std::time::Duration::from_millis(1_500)).await;
    assert_eq!(backend.asked("u1").len(), 1, "asking again can't help");
    backend.state().refusal = None;
    cluster.edit("web", |pod| {
        pod["metadata"]["generation"] = 2.into();
        pod["spec"]["containers"][0]["image"] = "registry.example.com/c:v2".into();
    });
    until("its start", || cluster.status("web")["phase"] == "Running").await;
}

#[tokio::test]
async fn a_deleted_pod_ends_as_its_containers_did_and_is_never_shown_as_running_too() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    backend.state().exit_code = 3;
    cluster.put(pod("web", "u1"));
    let run = start(&cluster, &backend);
    until("its start", || cluster.status("web")["phase"] == "Running").await;
    cluster.delete("web");
    until("its end", || cluster.pod("web").is_none()).await;
    let writes = run.writes();
    let mut states = writes.iter().filter_map(|body| body["status"]["containerStatuses"][0].get("state"));
    for state in states.clone() {
        assert_eq!(state.as_object().unwrap().len(), 1, "{state}");
    }
    let last = states.next_back().unwrap();
    assert_eq!((&last["terminated"]["exitCode"], &last["terminated"]["reason"]), (&json!(3), &json!("Error")));
    let phases: Vec<_> = writes.iter().filter_map(|body| body["status"]["phase"].as_str()).collect();
    assert_eq!(phases, ["Running", "Failed"]);
    until("nothing left", || backend.state().pods.is_empty()).await;
}

#[tokio::test]
async fn what_users_wrote_of_a_pod_is_never_written_back() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    cluster.put(pod("web", "u1"));
    let run = start(&cluster, &backend);
    until("its start", || cluster.status("web")["phase"] == "Running").await;
    // The provider still has the pod without it.
    cluster.edit("web", |pod| {
        pod["metadata"]["labels"] = json!({ "a": "b" });
        pod["metadata"]["annotations"] = json!({ "c": "d" });
        pod["metadata"]["finalizers"] = json!(["example.com/stay"]);
    });
    backend.state().pods.get_mut("u1").unwrap().containers[0].phase = ContainerPhase::Exited;
    until("its state", || cluster.status("web")["containerStatuses"][0]["ready"] == false).await;
    for body in run.writes() {
        assert_eq!(body["metadata"], json!({ "uid": "u1" }));
        assert_eq!(body.as_object().unwrap().keys().collect::<Vec<_>>(), ["metadata", "status"]);
    }
    let pod = cluster.pod("web").unwrap();
    assert_eq!((&pod["metadata"]["labels"]["a"], &pod["metadata"]["annotations"]["c"]), (&json!("b"), &json!("d")));
}

#[tokio::test]
async fn a_pod_that_ran_and_was_lost_while_nobody_looked_is_not_run_anew_in_silence() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let mut known = pod("web", "u1");
    known["spec"]["restartPolicy"] = "Never".into();
    known["status"] = running();
    cluster.put(known);
    let _run = start(&cluster, &backend);
    until("its end", || cluster.status("web")["phase"] == "Failed").await;
    a_while().await;
    assert_eq!(backend.asked("u1"), []);
}

#[tokio::test]
async fn every_field_that_a_variable_may_name_has_its_value_and_none_blocks_the_pod() {
    let (cluster, backend) = (Cluster::new(), Backend::new());
    let field = |path: &str| json!({ "name": path, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let amount = json!({ "resourceFieldRef": { "resource": "limits.memory", "divisor": "1Mi" } });
    let mut wanted = pod("web", "u1");
    wanted["metadata"]["labels"] = json!({ "a": "of label" });
    wanted["metadata"]["annotations"] = json!({ "b": "of annotation" });
    wanted["spec"]["serviceAccountName"] = "robot".into();
    let own = &mut wanted["spec"]["containers"][0];
    own["resources"] = json!({ "limits": { "memory": "64Mi" } });
    // All that the API server lets a variable name.
    let expected = [
        ("metadata.name", "web"),
        ("metadata.namespace", "default"),
        ("metadata.uid", "u1"),
        ("metadata.labels['a']", "of label"),
        ("metadata.annotations['b']", "of annotation"),
        ("spec.nodeName", NODE),
        ("spec.serviceAccountName", "robot"),
        ("status.hostIP", "known later: status.hostIP"),
        ("status.hostIPs", "known later: status.hostIPs"),
        ("status.podIP", "known later: status.podIP"),
        ("status.podIPs", "known later: status.podIPs"),
        ("MEMORY", "64"),
    ];
    let mut variables: Vec<_> = expected[..11].iter().map(|(path, _)| field(path)).collect();
    variables.push(json!({ "name": "MEMORY", "valueFrom": amount }));
    own["env"] = variables.into();
    cluster.put(wanted);
    let _run = start(&cluster, &backend);
    until("its start", || cluster.status("web")["phase"] == "Running").await;
    let given = backend.state().given[0].containers[0].env.clone();
    let shown = |value: &TextValue| match value {
        TextValue::Literal(text) => text.clone(),
        TextValue::Late(path) => format!("known later: {path}"),
    };
    let told: Vec<(&str, String)> = given
        .iter()
        .map(|own| (own.name.as_str(), own.value.0.iter().map(|part| shown(&part.value)).collect()))
        .collect();
    assert_eq!(told, expected.map(|(name, value)| (name, value.to_owned())));
}
