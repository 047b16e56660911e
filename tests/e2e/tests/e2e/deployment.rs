//! The main job: a Deployment through the real scheduler, its pages, its logs, its end.

use anyhow::{Context, Result};
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::shared::{IMAGE, cluster, engine, is_ready, pods};

const TAINT: &str = "hyper.sh/container:NoSchedule";

#[tokio::test]
async fn web_pods_are_scheduled_serve_log_scale_and_leave_nothing() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "web").await?;
    let builder = NodeBuilder::hyper(cluster(), "web-node", engine())?.with(&["--taint", TAINT]);
    let _node = builder.start(&client).await?;
    let taints = Api::<Node>::all(client.clone()).get("web-node").await?.spec.unwrap_or_default().taints;
    assert_eq!(
        taints.unwrap_or_default().first().map(|taint| taint.key.clone()).unwrap_or_default(),
        "hyper.sh/container"
    );

    cluster().kubectl(&["-n", &namespace, "create", "configmap", "settings", "--from-literal=greeting=hello"])?;
    cluster().kubectl(&["-n", &namespace, "create", "secret", "generic", "key", "--from-literal=token=s3cret-page"])?;
    let deployments = Api::<Deployment>::namespaced(client.clone(), &namespace);
    let page = "echo \"$GREETING from $(POD_NAME), token $(cat /etc/key/token)\" > /www/index.html";
    let deployment = json!({
        "metadata": { "name": "web" },
        "spec": {
            "replicas": 2,
            "selector": { "matchLabels": { "app": "web" } },
            "template": {
                "metadata": { "labels": { "app": "web" } },
                "spec": {
                    "nodeSelector": { "kubernetes.io/hostname": "web-node", "kubernetes.io/os": "linux" },
                    "tolerations": [{ "key": "hyper.sh/container", "operator": "Exists" }],
                    "terminationGracePeriodSeconds": 5,
                    "initContainers": [{
                        "name": "page", "image": IMAGE, "command": ["sh", "-c", page],
                        "env": [
                            { "name": "GREETING", "valueFrom": { "configMapKeyRef": { "name": "settings", "key": "greeting" } } },
                            { "name": "POD_NAME", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } },
                        ],
                        "volumeMounts": [{ "name": "www", "mountPath": "/www" }, { "name": "key", "mountPath": "/etc/key" }],
                    }],
                    "containers": [{
                        "name": "server", "image": IMAGE,
                        "command": ["sh", "-c", "trap 'exit 0' TERM; echo serving; httpd -f -p 80 -h /www & wait $!"],
                        "readinessProbe": { "httpGet": { "port": 80 } },
                        "volumeMounts": [{ "name": "www", "mountPath": "/www" }],
                    }],
                    "volumes": [{ "name": "www", "emptyDir": {} }, { "name": "key", "secret": { "secretName": "key" } }],
                },
            },
        },
    });
    deployments.create(&PostParams::default(), &serde_json::from_value(deployment)?).await?;
    let pods = pods(&client, &namespace);
    let own = ListParams::default().labels("app=web");
    let running = eventually("two ready pods", 60, async || {
        let all = pods.list(&own).await?.items;
        Ok((all.len() == 2 && all.iter().all(is_ready)).then_some(all))
    })
    .await?;
    for pod in &running {
        let name = pod.metadata.name.clone().unwrap_or_default();
        let status = pod.status.clone().unwrap_or_default();
        let ip = status.pod_ip.context("no pod IP")?;
        assert_eq!(status.host_ip.as_deref(), Some("10.77.0.1"));
        let page = eventually("the page", 10, async || {
            let output = cluster().inside("curl").args(["-sf", &format!("http://{ip}/")]).output()?;
            Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned()))
        })
        .await?;
        assert_eq!(page.trim(), format!("hello from {name}, token s3cret-page"));
        assert!(cluster().kubectl(&["-n", &namespace, "logs", &name])?.contains("serving"));
    }
    let one = PatchParams::default();
    deployments.patch("web", &one, &Patch::Merge(json!({ "spec": { "replicas": 1 } }))).await?;
    eventually("one pod", 20, async || Ok((pods.list(&own).await?.items.len() == 1).then_some(()))).await?;
    deployments.delete("web", &DeleteParams::default()).await?;
    eventually("no pod", 20, async || Ok(pods.list(&own).await?.items.is_empty().then_some(()))).await?;
    eventually("an empty engine", 20, async || {
        let left = engine().objects()?.into_iter().filter(|name| name.contains(&namespace)).count();
        Ok((left == 0).then_some(()))
    })
    .await?;
    Ok(())
}
