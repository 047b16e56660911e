//! Environment and files, as containers see them.

use anyhow::Result;
use e2e::{NodeBuilder, eventually};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Api;
use kube::api::PostParams;
use serde_json::{Value, json};

use crate::shared::{IMAGE, cluster, create, engine, phase, pod, pods};

#[tokio::test]
async fn containers_see_what_kubernetes_says_they_see() -> Result<()> {
    let client = cluster().client().await?;
    let namespace = cluster().namespace(&client, "env").await?;
    let _node = NodeBuilder::hyper(cluster(), "env-node", engine())?.start(&client).await?;
    let long = "n".repeat(253);
    let config: ConfigMap = serde_json::from_value(json!({
        "metadata": { "name": long },
        "data": { "plain": "from config", "with.dot": "dotted", "NAME": "config" },
        "binaryData": { "binary": "AP8AAQ==" },
    }))?;
    Api::<ConfigMap>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &config).await?;
    let secret: Secret = serde_json::from_value(json!({
        "metadata": { "name": "secret" }, "stringData": { "key": "from secret" },
    }))?;
    Api::<Secret>::namespaced(client.clone(), &namespace).create(&PostParams::default(), &secret).await?;

    // V0 is a literal, each further one the one before and its number.
    let mut env: Vec<Value> = vec![json!({ "name": "V0", "value": "0" })];
    env.extend((1..100).map(|n| json!({ "name": format!("V{n}"), "value": format!("$(V{})-{n}", n - 1) })));
    env.extend([
        json!({ "name": "PLAIN", "valueFrom": { "configMapKeyRef": { "name": long, "key": "plain" } } }),
        json!({ "name": "SECRET", "valueFrom": { "secretKeyRef": { "name": "secret", "key": "key" } } }),
        json!({ "name": "NONE", "valueFrom": { "secretKeyRef": { "name": "no-such", "key": "k", "optional": true } } }),
        json!({ "name": "POD", "valueFrom": { "fieldRef": { "fieldPath": "metadata.name" } } }),
        json!({ "name": "IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } }),
        json!({ "name": "HOST", "valueFrom": { "fieldRef": { "fieldPath": "status.hostIP" } } }),
        json!({ "name": "CPU", "valueFrom": { "resourceFieldRef": { "resource": "requests.cpu", "divisor": "1m" } } }),
        json!({ "name": "ESCAPED", "value": "$$(POD) $(MISSING) $(POD)" }),
    ]);
    let script = [
        "echo V99=$V99",
        "echo PLAIN=$PLAIN",
        "echo SECRET=$SECRET",
        "echo NONE=${NONE-unset}",
        "echo POD=$POD",
        "echo IP=$IP $(hostname -i)",
        "echo HOST=$HOST",
        "echo CPU=$CPU",
        "echo \"ESCAPED=$ESCAPED\"",
        "echo \"FROM=$p_NAME\"",
        "echo K8S=$KUBERNETES_SERVICE_PORT",
        "echo ARG=$0",
        "echo HOSTNAME=$(hostname)",
        "od -An -tx1 /config/binary",
        "cat /config/sub/dotted; echo",
        "stat -Lc %a /config/sub/dotted /secret/key",
        "cat /down/labels; echo",
        "cat /down/cpu; echo",
        "cat /var/run/secrets/kubernetes.io/serviceaccount/namespace; echo",
        "cut -c1-3 /var/run/secrets/kubernetes.io/serviceaccount/token",
        "head -c 10 /var/run/secrets/kubernetes.io/serviceaccount/ca.crt; echo",
        "pwd",
        "id -u",
        "touch /scratch/x && ls /scratch",
    ]
    .join("; ");
    let container = json!({
        "name": "c", "image": IMAGE, "workingDir": "/tmp", "command": ["sh", "-c", script, "$(POD)"], "env": env,
        "envFrom": [{ "prefix": "p_", "configMapRef": { "name": long } }],
        "resources": { "requests": { "cpu": "250m" } },
        "securityContext": { "runAsUser": 1234 },
        "volumeMounts": [
            { "name": "config", "mountPath": "/config" }, { "name": "secret", "mountPath": "/secret" },
            { "name": "down", "mountPath": "/down" }, { "name": "scratch", "mountPath": "/scratch" },
        ],
    });
    let mut wanted = pod("env", "env-node", &[container]);
    wanted["metadata"]["labels"] = json!({ "a": "1", "b": "two" });
    let spec = &mut wanted["spec"];
    spec["restartPolicy"] = "Never".into();
    spec["automountServiceAccountToken"] = true.into();
    spec["securityContext"] = json!({ "fsGroup": 1234 });
    spec["volumes"] = json!([
        { "name": "config", "configMap": { "name": long, "items": [
            { "key": "binary", "path": "binary" }, { "key": "with.dot", "path": "sub/dotted", "mode": 0o640 },
        ] } },
        { "name": "secret", "secret": { "secretName": "secret", "defaultMode": 0o400 } },
        { "name": "down", "downwardAPI": { "items": [
            { "path": "labels", "fieldRef": { "fieldPath": "metadata.labels" } },
            { "path": "cpu", "resourceFieldRef": { "containerName": "c", "resource": "requests.cpu", "divisor": "1m" } },
        ] } },
        { "name": "scratch", "emptyDir": {} },
    ]);
    let pods = pods(&client, &namespace);
    create(&pods, wanted).await?;
    let ended = eventually("the pod's end", 60, async || {
        let pod = pods.get("env").await?;
        Ok(matches!(phase(&pod), "Succeeded" | "Failed").then_some(pod))
    })
    .await?;
    let log = cluster().kubectl(&["-n", &namespace, "logs", "env"])?;
    assert_eq!(phase(&ended), "Succeeded", "{log}\n{:?}", ended.status);
    let ip = ended.status.and_then(|status| status.pod_ip).unwrap_or_default();
    let chain = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join("-");
    for line in [
        format!("V99={chain}").as_str(),
        "PLAIN=from config",
        "SECRET=from secret",
        "NONE=unset",
        "POD=env",
        &format!("IP={ip} {ip}"),
        "HOST=10.77.0.1",
        "CPU=250",
        "ESCAPED=$(POD) $(MISSING) env",
        "FROM=config",
        "K8S=443",
        "ARG=env",
        "HOSTNAME=env",
        " 00 ff 00 01",
        "dotted",
        "640",
        "440",
        "a=\"1\"",
        "b=\"two\"",
        "250",
        &namespace,
        "eyJ",
        "-----BEGIN",
        "/tmp",
        "1234",
        "x",
    ] {
        assert!(log.lines().any(|own| own == line), "{line:?} is missing in\n{log}");
    }
    Ok(())
}
