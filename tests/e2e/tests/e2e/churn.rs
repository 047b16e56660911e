//! Two hundred pods that come, change and go while everything fails at once, and what is left when it is over.
//!
//! The API server answers with errors, late, or not at all, loses its watches every second, is killed, and forgets its
//! past; the provider fails and hangs; the runtime is killed at random moments, once with its state folder. VK_SEED chooses
//! what happens when, VK_SECONDS how long it goes on (default: 35). Both are printed.

mod backend;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use e2e::{Cluster, Faults, Node, NodeBuilder, Proxy, eventually};
use fastrand::Rng;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use serde_json::json;

use crate::shared::{is_ready, phase, pod, pods};

const NODE: &str = "churn-node";
const PODS: usize = 200;
/// How long what is left may take to be as it should, once the API server is well: a call that fails a third of the time
/// may have backed off to a minute.
const SETTLED: u64 = 180;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// What the test asked for.
struct Churn {
    rng: Rng,
    node: Node,
    builder: NodeBuilder,
    pods: Api<Pod>,
    /// Names that should have a pod, and how often each was given another image.
    wanted: BTreeMap<String, u32>,
    made: u64,
    kills: u32,
    /// UIDs of pods that were there when the state folder was lost.
    lost: BTreeSet<String>,
}

impl Churn {
    async fn create(&mut self) {
        // Names come again: another pod of the same name is another pod.
        let name = format!("p{}", self.rng.usize(..PODS * 3 / 2));
        if self.wanted.contains_key(&name) {
            return;
        }
        let mut wanted = pod(&name, NODE, &[json!({ "name": "c", "image": "x:0" })]);
        wanted["spec"]["terminationGracePeriodSeconds"] = self.rng.u32(0..4).into();
        let Ok(wanted) = serde_json::from_value(wanted) else { return };
        // The one before of its name may still be ending, and the API server may be away.
        if self.pods.create(&PostParams::default(), &wanted).await.is_ok() {
            self.wanted.insert(name, 0);
            self.made += 1;
        }
    }

    fn any(&mut self) -> Option<String> {
        let place = self.rng.usize(..self.wanted.len().max(1));
        self.wanted.keys().nth(place).cloned()
    }

    async fn delete(&mut self) {
        let Some(name) = self.any() else { return };
        let grace = *self.rng.choice(&[None, None, None, Some(0), Some(1)]).unwrap_or(&None);
        let how = DeleteParams { grace_period_seconds: grace, ..DeleteParams::default() };
        if self.pods.delete(&name, &how).await.is_ok() {
            self.wanted.remove(&name);
        }
    }

    async fn change(&mut self) {
        let Some(name) = self.any() else { return };
        let image = format!("x:{}", self.made + u64::from(self.rng.u32(..)));
        let change = json!({ "spec": { "containers": [{ "name": "c", "image": image }] } });
        if self.pods.patch(&name, &PatchParams::default(), &Patch::Strategic(change)).await.is_ok()
            && let Some(changes) = self.wanted.get_mut(&name)
        {
            *changes += 1;
        }
    }

    async fn kill(&mut self, loses_state: bool) -> Result<()> {
        self.node.kill()?;
        self.kills += 1;
        if loses_state {
            std::fs::remove_dir_all(self.builder.state())?;
            let all =
                eventually("the pods", 20, async || Ok(Some(self.pods.list(&ListParams::default()).await?))).await?;
            self.lost = all.items.into_iter().filter_map(|pod| pod.metadata.uid).collect();
        }
        self.node.restart()
    }
}

/// The API server's present pods.
async fn list(pods: &Api<Pod>) -> Result<Vec<Pod>> {
    Ok(pods.list(&ListParams::default()).await?.items)
}

#[tokio::test]
async fn two_hundred_pods_are_where_they_should_be_after_everything_failed() -> Result<()> {
    let (seed, seconds) = (number("VK_SEED", fastrand::u64(..1_000_000)), number("VK_SECONDS", 35));
    println!("VK_SEED={seed} VK_SECONDS={seconds}");
    let cluster = Cluster::start()?;
    let client = cluster.client().await?;
    let namespace = cluster.namespace(&client, "churn").await?;
    let proxy = Proxy::start(&cluster, NODE)?;
    let provider = ["pods=400", "cpu=1000", "fail=0.3", "hang=0.05", &format!("seed={seed}")]
        .map(|setting| ["--config".to_owned(), setting.to_owned()])
        .concat();
    let provider: Vec<&str> = provider.iter().map(String::as_str).chain(["--limit", "wall=2s"]).collect();
    let builder = NodeBuilder::mock(&cluster, NODE)?.under(&proxy.kubeconfig).with(&provider);
    let node = builder.start(&client).await?;
    let mut churn = Churn {
        rng: Rng::with_seed(seed),
        node,
        builder: builder.clone(),
        pods: pods(&client, &namespace),
        wanted: BTreeMap::new(),
        made: 0,
        kills: 0,
        lost: BTreeSet::new(),
    };
    let faults = Faults {
        seed,
        refused: 0.1,
        lost: 0.03,
        delayed: 0.2,
        delay: Duration::from_millis(300),
        watches_last: Some(Duration::from_secs(1)),
        no_watches: false,
    };
    proxy.set(faults);
    proxy.cut_watches();

    let told = run(&mut churn, &cluster, Duration::from_secs(seconds)).await;
    let Churn { mut node, pods, wanted, made, kills, lost, .. } = churn;
    told.with_context(|| format!("VK_SEED={seed}"))?;
    // From here on the provider alone fails.
    proxy.set(Faults::default());
    proxy.cut_watches();
    let began = Instant::now();
    let settled = settle(&pods, &wanted).await;
    println!("{made} pods were made, {kills} kills; all as it should be {:?} later", began.elapsed());
    println!("answers of the API server: {:?}", proxy.answers());
    settled.with_context(|| format!("VK_SEED={seed}, with the log {}", cluster.folder.display()))?;

    let all = list(&pods).await?;
    check(&all, &wanted, &lost).with_context(|| format!("VK_SEED={seed}"))?;
    let known = uids(&all);
    // Those that are gone are forgotten, in however many attempts.
    let mut patience = Duration::from_secs(5);
    eventually("a backend that has these pods and no others", SETTLED, async || {
        node.kill()?;
        let backend = backend::pods(&builder.state())?;
        node.restart()?;
        let (more, fewer) = (backend.uids().difference(&known).count(), known.difference(&backend.uids()).count());
        let told = match (more, fewer) {
            (0, 0) => backend.check(&all),
            _ => Err(anyhow::anyhow!("it has {more} that are not there, and lacks {fewer} that are")),
        };
        if told.is_ok() {
            return told.map(Some);
        }
        // Looking at it takes a restart, and with failing calls what was lost may take longer than that to be made again.
        tokio::time::sleep(patience).await;
        patience *= 2;
        told.map(Some)
    })
    .await
    .with_context(|| format!("VK_SEED={seed}"))?;
    drop(node);
    cluster.down()
}

fn uids(pods: &[Pod]) -> BTreeSet<String> {
    pods.iter().filter_map(|pod| pod.metadata.uid.clone()).collect()
}

/// Lets pods come, change and go, and things go wrong.
async fn run(churn: &mut Churn, cluster: &Cluster, lasts: Duration) -> Result<()> {
    let began = Instant::now();
    for _ in 0..PODS {
        churn.create().await;
    }
    let mut kill_at = began.elapsed();
    // Each once in a third of the time: the API server is killed, it comes back without its past, the state is lost.
    let mut planned =
        vec![(lasts / 4, Planned::Outage), (lasts / 2, Planned::State), (lasts * 3 / 4, Planned::Compaction)];
    planned.reverse();
    while began.elapsed() < lasts {
        if let Some((_, what)) = planned.pop_if(|(at, _)| *at <= began.elapsed()) {
            match what {
                Planned::State => churn.kill(true).await?,
                Planned::Outage => outage(cluster, false).await?,
                Planned::Compaction => outage(cluster, true).await?,
            }
        } else if kill_at <= began.elapsed() {
            churn.kill(false).await?;
            kill_at = began.elapsed() + Duration::from_millis(churn.rng.u64(500..6_000));
        }
        match churn.rng.u8(..10) {
            0 => churn.change().await,
            _ if churn.wanted.len() < PODS => churn.create().await,
            _ => churn.delete().await,
        }
        tokio::time::sleep(Duration::from_millis(churn.rng.u64(..60))).await;
    }
    Ok(())
}

#[derive(Clone, Copy)]
enum Planned {
    Outage,
    Compaction,
    State,
}

/// The API server goes away for some seconds; pods go on meanwhile, and so does the provider's failing.
async fn outage(cluster: &Cluster, forgets: bool) -> Result<()> {
    let own = cluster.clone();
    tokio::task::spawn_blocking(move || {
        own.stop("apiserver")?;
        if forgets {
            own.compact()?;
        }
        std::thread::sleep(Duration::from_secs(1));
        own.resume("apiserver")
    })
    .await?
}

/// Waits until exactly the pods that are wanted are there, and run what they should. Nobody restarts the runtime meanwhile:
/// the provider's n-th call for a pod fails in each process or in none.
async fn settle(pods: &Api<Pod>, wanted: &BTreeMap<String, u32>) -> Result<()> {
    eventually("the end of it", SETTLED, async || {
        let all = list(pods).await?;
        let names: BTreeSet<&str> = all.iter().filter_map(|pod| pod.metadata.name.as_deref()).collect();
        let is_right = |pod: &Pod| is_ready(pod) && runs_its_image(pod);
        let wrong = all.iter().filter(|pod| !is_right(pod)).count();
        let missing = wanted.keys().filter(|name| !names.contains(name.as_str())).count();
        ensure!(wrong == 0 && missing == 0 && all.len() == wanted.len(), {
            let example = all.iter().find(|pod| !is_right(pod) || !wanted.contains_key(name(pod)));
            let example = example.and_then(|pod| serde_json::to_string(pod).ok()).unwrap_or_default();
            format!("{} pods, {wrong} not right, {missing} missing of {}: {example}", all.len(), wanted.len())
        });
        Ok(Some(()))
    })
    .await
}

fn runs_its_image(pod: &Pod) -> bool {
    let wanted = pod.spec.iter().flat_map(|spec| &spec.containers).filter_map(|own| own.image.as_deref());
    let status = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    wanted.eq(status.map(|own| own.image.as_str()))
}

fn name(pod: &Pod) -> &str {
    pod.metadata.name.as_deref().unwrap_or_default()
}

/// Each runs once: with an address of its own, and started as often as it was changed.
fn check(all: &[Pod], wanted: &BTreeMap<String, u32>, lost: &BTreeSet<String>) -> Result<()> {
    let mut addresses = BTreeSet::new();
    for pod in all {
        ensure!(phase(pod) == "Running", "{}: {}", name(pod), phase(pod));
        let status = pod.status.as_ref().context("no status")?;
        let address = status.pod_ip.clone().context("no address")?;
        ensure!(addresses.insert(address.clone()), "{} has an address that another has: {address}", name(pod));
        let restarts: i32 = status.container_statuses.iter().flatten().map(|own| own.restart_count).sum();
        let changes = wanted.get(name(pod)).copied().unwrap_or_default();
        let forgotten = pod.metadata.uid.as_ref().is_some_and(|uid| lost.contains(uid));
        // Changes that come together are one; what the backend lost was started once more.
        let most = i32::try_from(changes)? + i32::from(forgotten);
        ensure!(restarts <= most, "{} was started again {restarts} times, and changed {changes} times", name(pod));
    }
    Ok(())
}
