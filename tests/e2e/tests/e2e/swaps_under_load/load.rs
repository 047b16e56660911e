//! What goes on beside swaps: calls at a steady rate, and logs that are followed, both at the node's own port.

use std::fs::File;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use e2e::{Cluster, eventually};
use futures::{AsyncBufReadExt, TryStreamExt};
use hyper::Request;
use k8s_openapi::api::core::v1::Node;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Api, Client, Config};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

const CALLERS: u32 = 10;
const CALLS_A_SECOND: u32 = 500;
/// A connection carries at most 250 requests at once; each has its clients.
const STREAMS_A_CLIENT: usize = 100;

/// A node's kubelet API, asked by threads inside the network namespace.
pub struct Kubelet {
    config: Config,
    namespace: String,
    /// Dropped with leave to go on: it may be dropped by a task of another one.
    inside: Option<Runtime>,
}

impl Kubelet {
    pub async fn of(cluster: &Cluster, client: &Client, node: &str, namespace: &str) -> Result<Self> {
        let status = Api::<Node>::all(client.clone()).get(node).await?.status.context("no status")?;
        let port = status.daemon_endpoints.and_then(|all| all.kubelet_endpoint).context("no port")?.port;
        let read = Kubeconfig::read_from(cluster.kubeconfig("load", &["system:masters"], true)?)?;
        let mut config = Config::from_custom_kubeconfig(read, &KubeConfigOptions::default()).await?;
        config.cluster_url = format!("https://10.77.0.1:{port}").parse()?;
        // Nobody has approved a certificate for it.
        config.accept_invalid_certs = true;
        let place = Arc::new(File::open(format!("/run/netns/{}", cluster.netns))?);
        let inside = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .on_thread_start(move || {
                // Elsewhere nothing answers, and all calls fail.
                let _ = move_into_link_name_space(place.as_fd(), Some(LinkNameSpaceType::Network));
            })
            .build()?;
        Ok(Self { config, namespace: namespace.to_owned(), inside: Some(inside) })
    }

    fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> Result<JoinHandle<T>> {
        Ok(self.inside.as_ref().context("it has ended")?.spawn(task))
    }

    /// A client with connections of its own.
    fn client(&self) -> Result<Client> {
        let inside = self.inside.as_ref().context("it has ended")?;
        let _within = inside.enter();
        Ok(controllers::connect(&self.config)?)
    }

    fn log_of(&self, pod: usize, options: &str) -> String {
        format!("/containerLogs/{}/web-{pod}/app?{options}", self.namespace)
    }
}

impl Drop for Kubelet {
    fn drop(&mut self) {
        if let Some(inside) = self.inside.take() {
            inside.shutdown_background();
        }
    }
}

/// The number of a line of a pod's log, `app: line NUMBER`.
fn number(line: &str) -> Result<u64> {
    let number = line.trim_end().strip_prefix("app: line ").and_then(|number| number.parse().ok());
    number.with_context(|| format!("`{line}` is no line of the log"))
}

/// Calls at a steady rate, each for the last line of a log.
pub struct Calls {
    stop: Arc<AtomicBool>,
    callers: Vec<Result<JoinHandle<Result<Vec<Duration>>>>>,
}

impl Calls {
    pub fn start(kubelet: &Kubelet, pods: usize) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let caller = |own: u32| {
            let (client, stop) = (kubelet.client()?, stop.clone());
            let paths: Vec<String> =
                (own as usize..pods).step_by(CALLERS as usize).map(|pod| kubelet.log_of(pod, "tailLines=1")).collect();
            kubelet.spawn(async move {
                let mut tick = tokio::time::interval(Duration::from_secs(1) * CALLERS / CALLS_A_SECOND);
                tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
                let mut times = Vec::new();
                for path in paths.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    tick.tick().await;
                    let began = Instant::now();
                    let answer = client.request_text(Request::get(path).body(Vec::new())?).await;
                    let line = answer.with_context(|| format!("call {} of caller {own}", times.len()))?;
                    number(&line)?;
                    times.push(began.elapsed());
                }
                Ok(times)
            })
        };
        Self { callers: (0..CALLERS).map(caller).collect(), stop }
    }

    /// How long each took. An error is that of the first one that failed.
    pub async fn stop(self) -> Result<Vec<Duration>> {
        self.stop.store(true, Ordering::Relaxed);
        let mut times = Vec::new();
        for caller in self.callers {
            times.extend(caller?.await??);
        }
        Ok(times)
    }
}

/// What came of a stream.
#[derive(Default)]
struct Seen {
    lines: AtomicU64,
    /// Why no more comes.
    ended: Mutex<Option<String>>,
}

/// Logs that are followed.
pub struct Streams {
    all: Vec<(Arc<Seen>, JoinHandle<()>)>,
}

impl Streams {
    /// Opens the logs of the first pods, and waits until each has told a line.
    pub async fn open(kubelet: &Kubelet, count: usize) -> Result<Self> {
        let mut all = Vec::with_capacity(count);
        let mut client = kubelet.client()?;
        for pod in 0..count {
            if pod % STREAMS_A_CLIENT == 0 {
                client = kubelet.client()?;
            }
            let (client, seen) = (client.clone(), Arc::<Seen>::default());
            let (path, told) = (kubelet.log_of(pod, "follow=true&tailLines=1"), seen.clone());
            let task = kubelet.spawn(async move {
                let ended = follow(&client, &path, &told.lines).await;
                let why = ended.map_or_else(|error| format!("{error:#}"), |()| "it came to its end".to_owned());
                *told.ended.lock().unwrap_or_else(PoisonError::into_inner) = Some(format!("{path}: {why}"));
            })?;
            all.push((seen, task));
        }
        let own = Self { all };
        eventually("a line on each stream", 30, async || {
            own.have_more_than(&vec![0; count]).map(|more| more.then_some(()))
        })
        .await?;
        Ok(own)
    }

    /// How many lines each has told.
    pub fn lines(&self) -> Vec<u64> {
        self.all.iter().map(|(seen, _)| seen.lines.load(Ordering::Relaxed)).collect()
    }

    /// Whether each has told more than that. An error is what ended one of them.
    pub fn have_more_than(&self, lines: &[u64]) -> Result<bool> {
        for (seen, _) in &self.all {
            if let Some(why) = &*seen.ended.lock().unwrap_or_else(PoisonError::into_inner) {
                bail!("a stream has ended: {why}");
            }
        }
        Ok(self.lines().iter().zip(lines).all(|(now, before)| now > before))
    }

    /// Closes them; tells how many lines there were. An error is what ended one of them before.
    pub fn close(self) -> Result<u64> {
        ensure!(self.have_more_than(&vec![0; self.all.len()])?, "a stream told nothing");
        Ok(self.lines().iter().sum())
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        self.all.iter().for_each(|(_, task)| task.abort());
    }
}

/// Reads a log, whose lines have numbers without gaps.
async fn follow(client: &Client, path: &str, lines: &AtomicU64) -> Result<()> {
    let content = client.request_stream(Request::get(path).body(Vec::new())?).await?;
    let mut content = Box::pin(content.lines());
    let mut last = None;
    while let Some(line) = content.try_next().await? {
        let number = number(&line)?;
        if let Some(last) = last {
            ensure!(number == last + 1, "after line {last} came line {number}");
        }
        last = Some(number);
        lines.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}
