//! The Hyper.sh cloud: the example's own manifests and command line, under its ServiceAccount's rights, against a cloud that
//! checks every signature, parameter and body.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use e2e::{Cluster, Engine, HyperCloud, eventually, repository};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{ConfigMap, Container, Node, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::shared::{create, event, gone, pods, ready, waits_for};

const NODE: &str = "hyper-connector";
const PAGE: &str = "Welcome to nginx!";

/// A cluster, an engine with the image that the examples name, and the cloud before it.
struct Place {
    cluster: Cluster,
    engine: Engine,
    cloud: HyperCloud,
}

/// One place and one node for all tests: they take turns.
async fn place() -> Result<tokio::sync::MutexGuard<'static, Place>> {
    static PLACE: OnceLock<Mutex<Place>> = OnceLock::new();
    static MAKING: Mutex<()> = Mutex::const_new(());
    let _making = MAKING.lock().await;
    if PLACE.get().is_none() {
        let cluster = Cluster::start()?;
        let engine = Engine::start(&cluster)?;
        nginx(&cluster, &engine)?;
        let cloud = HyperCloud::start(&cluster, &engine).await?;
        // As some of Hyper.sh's own answers did.
        cloud.set("list-without-state", &json!(true))?;
        let manifest = std::fs::read_to_string(example("hyper-connector.yaml"))?
            .replace("HYPER_ACCESS_KEY: \"\"", &format!("HYPER_ACCESS_KEY: \"{}\"", cloud.access_key))
            .replace("HYPER_SECRET_KEY: \"\"", &format!("HYPER_SECRET_KEY: \"{}\"", cloud.secret_key));
        let filled = cluster.folder.join("hyper-connector.yaml");
        std::fs::write(&filled, manifest)?;
        cluster.kubectl(&["create", "-f", &filled.display().to_string()])?;
        let _ = PLACE.set(Mutex::new(Place { cluster, engine, cloud }));
    }
    Ok(PLACE.get().context("no place")?.lock().await)
}

fn example(file: &str) -> PathBuf {
    repository().join("deploy/examples/hyper").join(file)
}

/// What the examples call nginx: it serves a page on port 80.
fn nginx(cluster: &Cluster, engine: &Engine) -> Result<()> {
    let context = cluster.folder.join("nginx");
    std::fs::create_dir_all(&context)?;
    std::fs::write(context.join("index.html"), PAGE)?;
    std::fs::write(
        context.join("Containerfile"),
        "FROM docker.io/library/busybox:stable\nCOPY index.html /www/index.html\n\
         CMD [\"sh\", \"-c\", \"echo serving; httpd -f -p 80 -h /www & trap 'exit 0' TERM; wait $!\"]\n",
    )?;
    let context = context.display().to_string();
    engine
        .podman(&["build", "--quiet", "--network=none", "--tag", "docker.io/library/nginx:1.29", &context])
        .map(|_| ())
}

/// The Deployment's own process, as its pod would run it: its command line, environment and ServiceAccount.
struct Connector {
    child: Child,
    folder: PathBuf,
    command: Vec<String>,
    environment: Vec<(String, String)>,
    place: (String, PathBuf),
}

impl Connector {
    async fn start(place: &Place, client: &Client) -> Result<Self> {
        let own = Self::started(place, client, |_, _| Ok(())).await?;
        own.ready(client).await?;
        Ok(own)
    }

    /// With the folder of Hyper's own command instead of keys, and of the endpoint unless it is `named`.
    async fn configured(place: &Place, client: &Client, folder: &Path, named: bool) -> Result<Self> {
        let folder = folder.display();
        Self::started(place, client, |words, environment| {
            words.retain(|word| !word.starts_with("--secret=") && (named || !word.starts_with("--config=endpoint=")));
            words.push(format!("--provider-config={folder}"));
            environment.retain(|(name, _)| !name.starts_with("HYPER_"));
            Ok(())
        })
        .await
    }

    async fn started(
        place: &Place,
        client: &Client,
        change: impl FnOnce(&mut Vec<String>, &mut Vec<(String, String)>) -> Result<()>,
    ) -> Result<Self> {
        let cluster = &place.cluster;
        let deployment = Api::<Deployment>::namespaced(client.clone(), "default").get(NODE).await?;
        let template = deployment.spec.context("no spec")?.template.spec.context("no pod")?;
        let account = template.service_account_name.context("no ServiceAccount")?;
        let container = template.containers.into_iter().next().context("no container")?;
        let folder = cluster.folder.join(format!("connector-{}", number()));
        std::fs::create_dir_all(folder.join("account"))?;
        let token = cluster.kubectl(&["create", "token", &account])?;
        std::fs::write(folder.join("account/token"), token.trim())?;
        std::fs::write(folder.join("account/namespace"), "default")?;
        let ca = cluster.kubectl(&["get", "configmap", "kube-root-ca.crt", "-o", "jsonpath={.data.ca\\.crt}"])?;
        std::fs::write(folder.join("account/ca.crt"), ca)?;
        std::fs::write(
            folder.join("hosts"),
            format!("127.0.0.1 localhost\n{} us-west-1.hyper.sh\n", place.cloud.address),
        )?;
        let mut environment = environment(client, &container).await?;
        environment.push(("SSL_CERT_FILE".into(), place.cloud.ca.display().to_string()));
        let mut command = command(&container, &folder)?;
        change(&mut command, &mut environment)?;
        let place = (cluster.netns.clone(), folder.clone());
        let child = spawn(&place, &command, &environment)?;
        Ok(Self { child, folder, command, environment, place })
    }

    async fn ready(&self, client: &Client) -> Result<()> {
        let nodes = Api::<Node>::all(client.clone());
        let ready = eventually("the node's being Ready", 60, async || {
            let node = nodes.get_opt(NODE).await?;
            let conditions = node.and_then(|node| node.status).and_then(|status| status.conditions);
            let ready = conditions.into_iter().flatten().find(|own| own.type_ == "Ready");
            // A node of before is Ready still: the kubelet of this one has written it anew.
            Ok(ready.filter(|own| own.status == "True").map(|_| ()))
        });
        ready.await.with_context(|| self.log())
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.child = spawn(&self.place, &self.command, &self.environment)?;
        Ok(())
    }
}

impl Drop for Connector {
    fn drop(&mut self) {
        // It may have ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn number() -> u32 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// The command line, with the paths of the image and of the pod's volume replaced by those of the build and the test.
fn command(container: &Container, folder: &Path) -> Result<Vec<String>> {
    let state = folder.join("state").display().to_string();
    let components = format!("{}/", repository().join("target/components").canonicalize()?.display());
    let words = container.command.iter().flatten().chain(container.args.iter().flatten());
    let mut words: Vec<_> =
        words.map(|word| word.replace("/providers/", &components).replace("/var/lib/vk-runtime", &state)).collect();
    let program = words.first_mut().context("no command")?;
    *program = repository().join("target/release").join(&*program).canonicalize()?.display().to_string();
    // So that a canary would be found.
    words.push("--log-level=trace".to_owned());
    Ok(words)
}

/// The variables of its pod.
async fn environment(client: &Client, container: &Container) -> Result<Vec<(String, String)>> {
    let mut all = vec![
        ("KUBERNETES_SERVICE_HOST".to_owned(), "10.77.0.1".to_owned()),
        ("KUBERNETES_SERVICE_PORT".to_owned(), "6443".to_owned()),
        ("PATH".to_owned(), "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned()),
    ];
    for from in container.env_from.iter().flatten() {
        let name = from.secret_ref.as_ref().context("envFrom without a Secret")?.name.clone();
        let secret = Api::<Secret>::namespaced(client.clone(), "default").get(&name).await?;
        for (key, value) in secret.data.into_iter().flatten() {
            all.push((key, String::from_utf8(value.0)?));
        }
    }
    for variable in container.env.iter().flatten() {
        let field = variable.value_from.as_ref().and_then(|from| from.field_ref.as_ref());
        let value = match field.map(|field| field.field_path.as_str()) {
            Some("status.podIP") => "10.77.0.1".to_owned(),
            Some(other) => bail!("the field {other} is not known to this test"),
            None => variable.value.clone().unwrap_or_default(),
        };
        all.push((variable.name.clone(), value));
    }
    Ok(all)
}

/// In the network namespace, and with a mount namespace as a pod has one: its ServiceAccount, its hosts file.
fn spawn(place: &(String, PathBuf), command: &[String], environment: &[(String, String)]) -> Result<Child> {
    let (netns, folder) = place;
    let script = "mount -t tmpfs tmpfs /run && mkdir -p /run/secrets/kubernetes.io && \
                  ln -s \"$FOLDER/account\" /run/secrets/kubernetes.io/serviceaccount && \
                  mount --bind \"$FOLDER/hosts\" /etc/hosts && unset FOLDER && exec \"$@\"";
    let log = std::fs::File::options().append(true).create(true).open(folder.join("log"))?;
    Ok(Command::new("setpriv")
        .args(["--pdeathsig", "TERM", "nsenter"])
        .arg(format!("--net=/run/netns/{netns}"))
        .args(["unshare", "--mount", "sh", "-c", script, "connector"])
        .args(command)
        .env_clear()
        .envs(environment.iter().cloned())
        .env("FOLDER", folder)
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?)
}

/// What the account has: floating IPs, volumes, containers.
fn has(place: &Place) -> Result<(usize, usize, usize)> {
    let state = place.cloud.state()?;
    let count = |what: &str| state[what].as_object().map_or(0, serde_json::Map::len);
    Ok((count("fips"), count("volumes"), count("containers")))
}

/// Nothing is left, at the cloud and at the engine behind it, and nothing was asked for that the documents don't say.
async fn nothing_is_left(place: &Place) -> Result<()> {
    eventually("an empty account", 90, async || {
        let (fips, volumes, containers) = has(place)?;
        if (fips, volumes, containers) == (0, 0, 0) && place.engine.objects()?.is_empty() {
            return Ok(Some(()));
        }
        bail!("{fips} floating IPs, {volumes} volumes, {containers} containers, {:?}", place.engine.objects()?);
    })
    .await?;
    let state = place.cloud.state()?;
    assert_eq!(state["violations"], json!([]));
    Ok(())
}

fn page(place: &Place, ip: &str) -> Result<Option<String>> {
    let output = place.cluster.inside("curl").args(["-sf", "--max-time", "2", &format!("http://{ip}/")]).output()?;
    Ok(output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned()))
}

fn walk(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        // Not the sockets.
        if path.is_dir() {
            files.extend(walk(&path)?);
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(files)
}

#[tokio::test]
async fn the_walkthrough_of_the_example() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let mut connector = Connector::start(&place, &client).await?;

    let node = Api::<Node>::all(client.clone()).get(NODE).await?;
    let node: Value = serde_json::to_value(node)?;
    let taints = node["spec"]["taints"].as_array().cloned().unwrap_or_default();
    assert!(taints.iter().any(|own| own["key"] == "hyper.sh/container" && own["effect"] == "NoSchedule"), "{taints:?}");
    assert_eq!(
        (&node["status"]["capacity"]["cpu"], &node["status"]["capacity"]["pods"]),
        (&json!("100k"), &json!("100k"))
    );
    assert_eq!(node["metadata"]["labels"]["topology.kubernetes.io/region"], "us-west-1");

    let pods = pods(&client, "default");
    for (file, name) in [("nginx-pod.yaml", "nginx"), ("nginx-pod-tolerations.yaml", "nginx-tolerations")] {
        place.cluster.kubectl(&["create", "-f", &example(file).display().to_string()])?;
        let pod =
            ready(&pods, name).await.with_context(|| connector.log().lines().rev().take(30).collect::<String>())?;
        let ip = pod.status.and_then(|status| status.pod_ip).context("no pod IP")?;
        let state = place.cloud.state()?;
        let container = state["fips"][&ip]["container"].as_str().unwrap_or_default();
        assert!(!container.is_empty(), "{ip} is no floating IP: {state}");
        let size = if name == "nginx" { "s4" } else { "s2" };
        assert_eq!(state["containers"][container]["size"], size);
        let wide = place.cluster.kubectl(&["get", "pods", "-o", "wide"])?;
        let line = wide.lines().find(|line| line.starts_with(&format!("{name} "))).context("no line")?;
        assert!(line.contains(&ip) && line.contains(NODE) && line.contains("Running"), "{wide}");
        let found = eventually("the page", 10, async || page(&place, &ip)).await?;
        assert_eq!(found, PAGE);
        assert_eq!(place.cluster.kubectl(&["logs", name])?.trim(), "serving");
    }
    for name in ["nginx", "nginx-tolerations"] {
        place.cluster.kubectl(&["delete", "pod", name, "--wait=false"])?;
        gone(&pods, name, 45).await?;
    }
    nothing_is_left(&place).await?;

    connector.kill()?;
    told_no_key(&connector, &place)
}

/// Neither log nor state folder holds a key.
fn told_no_key(connector: &Connector, place: &Place) -> Result<()> {
    let mut seen = vec![("log".to_owned(), connector.log())];
    for file in walk(&connector.folder.join("state"))? {
        seen.push((file.display().to_string(), String::from_utf8_lossy(&std::fs::read(file)?).into_owned()));
    }
    assert!(seen[0].1.len() > 5000, "the log holds nothing");
    for (name, text) in &seen {
        assert!(!text.contains(&place.cloud.secret_key), "{name} holds the secret key");
        assert!(!text.contains(&place.cloud.access_key), "{name} holds the access key");
    }
    Ok(())
}

/// As Hyper's own command writes it, with the credentials of a registry that are none of ours.
fn write_hyper_config(folder: &Path, cloud: &str, access_key: &str, secret_key: &str) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::create_dir_all(folder)?;
    let whole = json!({
        "auths": { "https://index.docker.io/v1/": { "auth": "dXNlcjpwYXNz", "email": "user@example.com" } },
        "clouds": { cloud: { "accesskey": access_key, "secretkey": secret_key, "region": "us-west-1" } },
    });
    let new = folder.join("config.json.new");
    std::fs::write(&new, serde_json::to_string_pretty(&whole)?)?;
    std::fs::set_permissions(&new, std::fs::Permissions::from_mode(0o600))?;
    Ok(std::fs::rename(new, folder.join("config.json"))?)
}

const EVERY_REGION: &str = "tcp://*.hyper.sh:443";

#[tokio::test]
async fn the_folder_of_hypers_own_command_gives_endpoint_and_keys() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    for cloud in [EVERY_REGION, "tcp://us-west-1.hyper.sh:443"] {
        let folder = place.cluster.folder.join(format!("dot-hyper-{}", number()));
        write_hyper_config(&folder, cloud, &place.cloud.access_key, &place.cloud.secret_key)?;
        let mut connector = Connector::configured(&place, &client, &folder, cloud != EVERY_REGION).await?;
        let given = connector.command.iter().chain(connector.environment.iter().map(|(_, value)| value));
        assert!(given.into_iter().all(|own| !own.contains(&place.cloud.secret_key)), "a key is given twice");
        connector.ready(&client).await?;
        let pods = pods(&client, "default");
        create(&pods, pod("folder", &json!({}), &[server()])).await?;
        let running = ready(&pods, "folder").await.with_context(|| connector.log())?;
        let ip = running.status.and_then(|status| status.pod_ip).context("no pod IP")?;
        let found = eventually("the page", 10, async || page(&place, &ip)).await?;
        assert_eq!(found, PAGE);
        assert_eq!(place.cluster.kubectl(&["logs", "folder"])?.trim(), "serving");
        pods.delete("folder", &DeleteParams::default()).await?;
        gone(&pods, "folder", 45).await?;
        // Each request was signed as Hyper.sh wants it, or the cloud would have said so.
        nothing_is_left(&place).await?;
        connector.kill()?;
        told_no_key(&connector, &place)?;
    }
    Ok(())
}

/// The status of the node's condition Ready, and what it says.
async fn readiness(client: &Client) -> Result<(String, String)> {
    let node = Api::<Node>::all(client.clone()).get(NODE).await?;
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let ready = conditions.into_iter().find(|own| own.type_ == "Ready").context("no condition Ready")?;
    Ok((ready.status, ready.message.unwrap_or_default()))
}

#[tokio::test]
async fn keys_that_change_in_the_folder_take_effect_without_a_restart() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let folder = place.cluster.folder.join(format!("dot-hyper-{}", number()));
    write_hyper_config(&folder, EVERY_REGION, &place.cloud.access_key, &place.cloud.secret_key)?;
    let mut connector = Connector::configured(&place, &client, &folder, false).await?;
    connector.ready(&client).await?;
    write_hyper_config(&folder, EVERY_REGION, &place.cloud.access_key, "SKOFANOTHERACCOUNT")?;
    let message = eventually("the node's not being Ready", 60, async || {
        let (status, message) = readiness(&client).await?;
        Ok((status == "False").then_some(message))
    })
    .await
    .with_context(|| connector.log())?;
    assert!(!message.is_empty() && !message.contains("SKOFANOTHERACCOUNT"), "{message}");
    write_hyper_config(&folder, EVERY_REGION, &place.cloud.access_key, &place.cloud.secret_key)?;
    connector.ready(&client).await?;
    connector.kill()?;
    assert!(!connector.log().contains("SKOFANOTHERACCOUNT"), "the log holds a key");
    told_no_key(&connector, &place)?;
    let violations = place.cloud.state()?["violations"].as_array().cloned().unwrap_or_default();
    let says = "the signature does not match the request and the secret key";
    assert!(!violations.is_empty(), "nothing was signed with the other key");
    assert!(violations.iter().all(|own| own.as_str().is_some_and(|own| own.contains(says))), "{violations:?}");
    // They were meant.
    place.cloud.set("violations", &json!([]))
}

#[tokio::test]
async fn a_folder_without_what_is_needed_is_refused_by_name() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let folder = place.cluster.folder.join(format!("dot-hyper-{}", number()));
    std::fs::create_dir_all(&folder)?;
    let refused = async |says: &str| -> Result<()> {
        let mut connector = Connector::configured(&place, &client, &folder, false).await?;
        let code = eventually("the refusal", 20, async || Ok(connector.child.try_wait()?)).await?;
        let log = connector.log();
        assert!(!code.success() && log.contains(says) && log.contains("config.json"), "{log}");
        assert!(!log.contains("SKCANARY"), "{log}");
        Ok(())
    };
    refused("can't be read").await?;
    std::fs::write(folder.join("config.json"), "SKCANARY")?;
    refused("is no JSON").await?;
    write_hyper_config(&folder, "tcp://eu-central-1.hyper.sh:443", "AK", "SKCANARY")?;
    refused(EVERY_REGION).await?;
    write_hyper_config(&folder, EVERY_REGION, "", "SKCANARY")?;
    refused("has no `accesskey`").await
}

/// A pod on the node.
fn pod(name: &str, annotations: &Value, containers: &[Value]) -> Value {
    json!({
        "metadata": { "name": name, "annotations": annotations },
        "spec": {
            "nodeName": NODE, "containers": containers, "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 2,
        },
    })
}

fn server() -> Value {
    json!({ "name": "c", "image": "nginx:1.29", "ports": [{ "containerPort": 80 }] })
}

#[tokio::test]
async fn volumes_hold_files_and_pass_from_init_containers_to_the_next_run() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let _connector = Connector::start(&place, &client).await?;
    let settings: ConfigMap =
        serde_json::from_value(json!({ "metadata": { "name": "settings" }, "data": { "greeting": "hello" } }))?;
    Api::<ConfigMap>::namespaced(client.clone(), "default").create(&PostParams::default(), &settings).await?;
    let pods = pods(&client, "default");
    let image = "nginx:1.29";
    let mounts = json!([{ "name": "www", "mountPath": "/data" }, { "name": "settings", "mountPath": "/settings" }]);
    let setup = json!({
        "name": "setup", "image": image, "volumeMounts": mounts,
        "command": ["sh", "-c", "cat /settings/greeting > /data/index.html; echo run >> /data/runs"],
    });
    // Ends once by itself, and finds what it left.
    let serve = "echo run >> /data/runs; [ $(wc -l < /data/runs) -gt 2 ] || exit 7; exec httpd -f -p 80 -h /data";
    let app = json!({
        "name": "c", "image": image, "command": ["sh", "-c", serve], "ports": [{ "containerPort": 80 }],
        "volumeMounts": mounts, "readinessProbe": null,
    });
    let mut wanted = pod("volumes", &json!({}), &[app]);
    wanted["spec"]["initContainers"] = json!([setup]);
    wanted["spec"]["volumes"] =
        json!([{ "name": "www", "emptyDir": {} }, { "name": "settings", "configMap": { "name": "settings" } }]);
    create(&pods, wanted).await?;
    let running = eventually("the second run", 60, async || {
        let pod = pods.get("volumes").await?;
        let restarts = crate::shared::status_of(&pod, "c").map_or(0, |status| status.restart_count);
        Ok((restarts == 1 && crate::shared::is_ready(&pod)).then_some(pod))
    })
    .await?;
    let status: Value = serde_json::to_value(running.status)?;
    assert_eq!(status["initContainerStatuses"][0]["state"]["terminated"]["exitCode"], 0);
    assert_eq!(status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"], 7);
    let ip = status["podIP"].as_str().unwrap_or_default().to_owned();
    let found = eventually("the page", 10, async || page(&place, &ip)).await?;
    assert_eq!(found, "hello");
    assert_eq!(has(&place)?.1, 2, "two volumes");
    pods.delete("volumes", &DeleteParams::default()).await?;
    gone(&pods, "volumes", 45).await?;
    nothing_is_left(&place).await
}

#[tokio::test]
async fn a_quota_is_told_on_the_pod_and_waited_for() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let _connector = Connector::start(&place, &client).await?;
    let pods = pods(&client, "default");
    place.cloud.set("quotas", &json!({ "container": 0, "fip": 0 }))?;
    create(&pods, pod("address", &json!({}), &[server()])).await?;
    let message = event(&client, "default", "address", "QuotaExceeded").await?;
    assert!(message.contains("floating IP") && message.contains("Quota exceeded: fip (0 of 0 in use)"), "{message}");
    create(&pods, pod("container", &json!({ "hyper.sh/floating-ip": "false" }), &[server()])).await?;
    let message = waits_for(&pods, "container", "c", "QuotaExceeded", 30).await?;
    assert!(message.contains("Quota exceeded: container (0 of 0 in use)"), "{message}");
    // Not the pod's fault, and not final.
    place.cloud.set("quotas", &json!({}))?;
    for name in ["address", "container"] {
        ready(&pods, name).await?;
    }
    let big = json!({ "name": "c", "image": "nginx:1.29", "resources": { "limits": { "memory": "17Gi" } } });
    create(&pods, pod("big", &json!({ "hyper.sh/floating-ip": "false" }), &[big])).await?;
    let message = waits_for(&pods, "big", "c", "CreateContainerError", 30).await?;
    assert!(message.contains("largest size l3"), "{message}");
    for name in ["address", "container", "big"] {
        pods.delete(name, &DeleteParams::default()).await?;
        gone(&pods, name, 45).await?;
    }
    nothing_is_left(&place).await
}

#[tokio::test]
async fn a_cloud_that_throttles_fails_and_is_slow_is_waited_for() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let _connector = Connector::start(&place, &client).await?;
    let pods = pods(&client, "default");
    place.cloud.set(
        "faults",
        &json!([
            { "call": "POST /fips/allocate", "times": 1, "status": 429, "text": "Too many requests", "retry_after": 1 },
            { "call": "POST /fips/name", "times": 1, "status": 500, "text": "oops" },
            { "call": "POST /containers/create", "times": 1, "status": 503, "text": "busy", "done": true },
            { "call": "POST /containers/{}/start", "times": 1, "delay_ms": 2000 },
            { "call": "POST /fips/release", "times": 1, "status": 500, "text": "oops", "done": true },
        ]),
    )?;
    create(&pods, pod("tough", &json!({}), &[server()])).await?;
    ready(&pods, "tough").await?;
    assert_eq!(has(&place)?, (1, 0, 1), "one of each");
    pods.delete("tough", &DeleteParams::default()).await?;
    gone(&pods, "tough", 60).await?;
    nothing_is_left(&place).await
}

#[tokio::test]
async fn killed_in_the_middle_it_leaves_no_floating_ip_behind() -> Result<()> {
    let place = place().await?;
    let client = place.cluster.client().await?;
    let mut connector = Connector::start(&place, &client).await?;
    let pods = pods(&client, "default");
    for is_deleted_meanwhile in [false, true] {
        // The address is given out, and nobody hears of it.
        let fault = json!([{ "call": "POST /fips/allocate", "times": 1, "delay_ms": 20_000 }]);
        place.cloud.set("faults", &fault)?;
        create(&pods, pod("killed", &json!({}), &[server()])).await?;
        eventually("an address without a name", 30, async || Ok((has(&place)?.0 == 1).then_some(()))).await?;
        connector.kill()?;
        if is_deleted_meanwhile {
            let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
            pods.delete("killed", &force).await?;
        }
        connector.restart()?;
        if is_deleted_meanwhile {
            gone(&pods, "killed", 10).await?;
        } else {
            ready(&pods, "killed").await?;
            assert_eq!(has(&place)?, (1, 0, 1), "the address was found again");
            // Between the two ends of an ending.
            let slow = json!([{ "call": "POST /fips/release", "times": 1, "delay_ms": 20_000 }]);
            place.cloud.set("faults", &slow)?;
            pods.delete("killed", &DeleteParams::default()).await?;
            tokio::time::sleep(Duration::from_millis(1500)).await;
            connector.kill()?;
            connector.restart()?;
            gone(&pods, "killed", 60).await?;
        }
        nothing_is_left(&place).await?;
    }
    // All that it remembers is lost, while a pod runs and one is gone.
    place.cloud.set("faults", &json!([]))?;
    for name in ["stays", "goes"] {
        create(&pods, pod(name, &json!({}), &[server()])).await?;
        ready(&pods, name).await?;
    }
    connector.kill()?;
    let force = DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() };
    pods.delete("goes", &force).await?;
    std::fs::remove_dir_all(connector.folder.join("state"))?;
    connector.restart()?;
    eventually("the end of what nobody owns", 60, async || Ok((has(&place)? == (1, 0, 1)).then_some(()))).await?;
    let ip = pods.get("stays").await?.status.and_then(|status| status.pod_ip).context("no pod IP")?;
    assert_eq!(page(&place, &ip)?.as_deref(), Some(PAGE));
    pods.delete("stays", &DeleteParams::default()).await?;
    gone(&pods, "stays", 45).await?;
    nothing_is_left(&place).await
}
