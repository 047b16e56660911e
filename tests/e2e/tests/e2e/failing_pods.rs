//! Pods that can't be run say why, in the kubelet's words, are tried again, and disturb nobody.

use anyhow::Result;
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use serde_json::json;

use crate::shared::{
    IMAGE, cluster, create, engine, event, gone, is_ready, patient, pod, pods, ready, status_of, waits_for,
};

#[tokio::test]
async fn each_failure_is_named_and_nobody_else_is_disturbed() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "fail").await?;
    let _node = NodeBuilder::hyper(cluster(), "fail-node", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let failing = [
        (
            "no-config",
            json!({ "name": "c", "image": IMAGE, "envFrom": [{ "configMapRef": { "name": "later" } }], "command": patient("c")["command"] }),
        ),
        ("no-image", json!({ "name": "c", "image": "10.77.0.1:5000/no/such:1" })),
        ("no-name", json!({ "name": "c", "image": "UPPER/case::wrong" })),
        ("no-command", json!({ "name": "c", "image": IMAGE, "command": ["/no/such/command"] })),
        ("crash", json!({ "name": "c", "image": IMAGE, "command": ["sh", "-c", "echo dying; exit 3"] })),
        (
            "no-root",
            json!({ "name": "c", "image": IMAGE, "command": ["id"], "securityContext": { "runAsNonRoot": true } }),
        ),
        ("never-pulled", json!({ "name": "c", "image": "absent:1", "imagePullPolicy": "Never" })),
    ];
    for (name, container) in &failing {
        create(&pods, pod(name, "fail-node", std::slice::from_ref(container))).await?;
    }
    create(&pods, pod("good", "fail-node", &[patient("c")])).await?;
    ready(&pods, "good").await?;

    let message = waits_for(&pods, "no-config", "c", "CreateContainerConfigError", 30).await?;
    assert!(message.contains("configmap \"later\" not found"), "{message}");
    event(&client, &namespace, "no-config", "Failed").await?;
    waits_for(&pods, "no-name", "c", "InvalidImageName", 30).await?;
    let message = waits_for(&pods, "no-image", "c", "ImagePullBackOff", 60).await?;
    assert!(message.contains("Back-off pulling image \"10.77.0.1:5000/no/such:1\""), "{message}");
    waits_for(&pods, "never-pulled", "c", "ErrImageNeverPull", 30).await?;
    let message = waits_for(&pods, "no-root", "c", "CreateContainerConfigError", 30).await?;
    assert!(message.contains("container has runAsNonRoot and image will run as root"), "{message}");
    eventually("the reason of the missing command", 30, async || {
        let pod = pods.get("no-command").await?;
        let Some(state) = status_of(&pod, "c").and_then(|status| status.state.clone()) else { return Ok(None) };
        let waiting = state.waiting.and_then(|waiting| waiting.reason);
        let ended = state.terminated.and_then(|ended| ended.reason);
        Ok([waiting, ended]
            .into_iter()
            .flatten()
            .find(|r| matches!(r.as_str(), "RunContainerError" | "StartError" | "CrashLoopBackOff")))
    })
    .await?;
    let message = waits_for(&pods, "crash", "c", "CrashLoopBackOff", 60).await?;
    assert!(message.contains("restarting failed container=c"), "{message}");
    let crashed = pods.get("crash").await?;
    let status = status_of(&crashed, "c").cloned().unwrap_or_default();
    let last = status.last_state.and_then(|state| state.terminated).expect("a last state");
    assert_eq!((last.exit_code, last.reason.as_deref()), (3, Some("Error")));
    assert!(status.restart_count >= 1);
    assert!(cluster().kubectl(&["-n", &namespace, "logs", "crash", "--previous"])?.contains("dying"));
    event(&client, &namespace, "crash", "BackOff").await?;

    assert!(is_ready(&pods.get("good").await?));
    // What was missing comes, and the pod runs without waiting for its back-off.
    let later: ConfigMap = serde_json::from_value(json!({ "metadata": { "name": "later" }, "data": { "K": "v" } }))?;
    Api::<ConfigMap>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &later).await?;
    eventually("no-config being ready", 8, async || Ok(is_ready(&pods.get("no-config").await?).then_some(()))).await?;
    for (name, _) in &failing {
        pods.delete(name, &DeleteParams::default()).await?;
    }
    for (name, _) in &failing {
        gone(&pods, name, 30).await?;
    }
    assert!(is_ready(&pods.get("good").await?));
    Ok(())
}

#[tokio::test]
async fn what_the_provider_does_not_do_is_said_by_its_field() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "unsupported").await?;
    let _node = NodeBuilder::hyper(cluster(), "unsupported-node", engine())?.start(&client).await?;
    let pods = pods(&client, &namespace);
    let mut wanted = pod("path", "unsupported-node", &[patient("c")]);
    wanted["spec"]["volumes"] = json!([{ "name": "v", "hostPath": { "path": "/etc" } }]);
    create(&pods, wanted).await?;
    let told = eventually("the field's path", 20, async || {
        let all = crate::shared::events(&client, &namespace, "path").await?;
        Ok(all.into_iter().map(|(_, message)| message).find(|message| message.contains("spec.volumes[0].hostPath")))
    })
    .await?;
    assert!(told.contains("not supported"), "{told}");
    Ok(())
}
