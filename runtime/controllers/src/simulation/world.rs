//! One scenario: what users do, what goes wrong, and what must be true when all is well again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use fastrand::Rng;
use jiff::SignedDuration;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::backend::{Backend, Object};
use super::faults::{Faults, Life, Notes};
use super::files;
use super::provider::{Driver, Shared, description};
use super::server::Server;
use crate::clock::simulated as clock;
use crate::events::Recorder;
use crate::pods::PodController;
use crate::testing::{NODE, pod_settings};

/// Pods at once.
const PODS: usize = 4;
/// Back-offs are 5 minutes at most, and a fifth of it at random; there are two of them, one after the other.
const SETTLED: Duration = Duration::from_secs(900);
/// A deletion ends soon when all is well: the longest grace period, and a back-off of half a minute.
const GONE: Duration = Duration::from_secs(120);

/// A process of the host.
struct Process {
    life: Life,
    /// Dropped with it.
    _pods: PodController,
    _tasks: JoinSet<()>,
}

pub struct World {
    rng: Rng,
    notes: Notes,
    server: Server,
    shared: Arc<Shared>,
    process: Option<Process>,
    faults: (Faults, Faults),
    made: u32,
}

impl World {
    /// Runs a scenario; returns how many requests and calls it took, or what was wrong.
    pub async fn run(seed: u64, said: Option<Arc<Mutex<String>>>) -> Result<u64, String> {
        let mut rng = Rng::with_seed(seed);
        clock::begin();
        let notes = Notes::new(said);
        let server = Server::new(rng.fork(), notes.clone());
        let (is_whole, watches) = (rng.bool(), rng.bool());
        let backend = Backend::new(is_whole, rng.fork(), server.clone(), notes.clone());
        let shared = Shared {
            backend: Mutex::new(backend),
            faults: Mutex::new(Faults::NONE),
            calls: Mutex::new(0),
            notes: notes.clone(),
            watches,
        };
        let share = |rng: &mut Rng, most: f64| if rng.bool() { rng.f64() * most } else { 0.0 };
        let mut faults = |fail: f64, hang: f64, takes: u64| Faults {
            fail: share(&mut rng, fail),
            lost: share(&mut rng, 0.1),
            hang: share(&mut rng, hang),
            takes: Duration::from_millis(rng.u64(1..takes)),
        };
        let faults = (faults(0.3, 0.02, 4_000), faults(0.4, 0.06, 2_000));
        let mut world = Self { rng, notes, server, shared: Arc::new(shared), process: None, faults, made: 0 };
        let kind = if is_whole { "whole pods" } else { "containers" };
        world.notes.say(|| format!("seed {seed}: runs {kind}{}", if watches { ", and tells of them" } else { "" }));
        world.scenario().await.map_err(|wrong| {
            let mut all = world.notes.all_wrong();
            all.push(wrong);
            all.join("\n")
        })?;
        let requests = world.server.state().requests;
        let calls = *world.shared.calls.lock().unwrap();
        Ok(requests + calls)
    }

    async fn scenario(&mut self) -> Result<(), String> {
        self.server.put("nodes", json!({ "metadata": { "name": NODE, "uid": "n", "labels": {} } }));
        self.server.put("configmaps", files::settings(0));
        self.start();
        self.server.state().faults = self.faults.0;
        *self.shared.faults.lock().unwrap() = self.faults.1;
        let until = Instant::now() + Duration::from_secs(self.rng.u64(30..600));
        while Instant::now() < until {
            self.act().await;
            // Often much at once, at times nothing for long.
            let longest = *self.rng.choice(&[100, 1_000, 5_000, 40_000]).unwrap_or(&100);
            tokio::time::sleep(Duration::from_millis(self.rng.u64(..longest))).await;
        }

        self.notes.say(|| "all is well from now on".to_owned());
        self.server.state().faults = Faults::NONE;
        *self.shared.faults.lock().unwrap() = Faults::NONE;
        if self.process.is_none() {
            self.start();
        }
        self.server.put("configmaps", json!({ "metadata": { "name": "late", "uid": "c" }, "data": { "K": "v" } }));
        self.settle("it is not as it should be", SETTLED, Self::unsettled).await?;
        for pod in self.server.pods() {
            self.server.delete(name(&pod), self.rng.u64(..40));
        }
        self.settle("something is left", GONE, Self::left).await?;
        match self.notes.all_wrong().as_slice() {
            [] => Ok(()),
            _ => Err("something was wrong on the way".to_owned()),
        }
    }

    /// Waits until nothing is wrong any more.
    async fn settle(
        &self,
        what: &str,
        longest: Duration,
        wrong: impl Fn(&Self) -> Option<String>,
    ) -> Result<(), String> {
        let until = Instant::now() + longest;
        while let Some(wrong) = wrong(self) {
            if Instant::now() > until {
                return Err(format!("{what} after {longest:?}: {wrong}"));
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    }

    fn start(&mut self) {
        self.notes.say(|| "the host starts".to_owned());
        let life = Life::new();
        let api = self.server.api(&life);
        let (recorder, events) = Recorder::new(api.clone(), NODE);
        let mut tasks = JoinSet::new();
        tasks.spawn(events);
        let driver = Arc::new(Driver { shared: self.shared.clone(), life: life.clone() });
        let pods = PodController::start(pod_settings(), driver, api, recorder, &description());
        self.process = Some(Process { life, _pods: pods, _tasks: tasks });
    }

    fn kill(&mut self) {
        if let Some(process) = self.process.take() {
            self.notes.say(|| "! the host is killed".to_owned());
            process.life.end();
        }
    }

    /// Somebody does something, or something goes wrong.
    async fn act(&mut self) {
        let pods = self.server.pods();
        let place = self.rng.usize(..pods.len().max(1));
        match self.rng.u8(..40) {
            0..14 if pods.len() < PODS => self.create(),
            0..12 => {
                if let Some(pod) = pods.get(place) {
                    let grace = *self.rng.choice(&[0, 1, 5, 30, 30]).unwrap_or(&30);
                    self.notes.say(|| format!("{} is deleted with {grace} s", name(pod)));
                    self.server.delete(name(pod), grace);
                }
            }
            12..16 => {
                if let Some(pod) = pods.get(place).cloned() {
                    self.change(pod);
                }
            }
            16..22 => {
                self.kill();
                tokio::time::sleep(Duration::from_millis(5_000 + self.rng.u64(..20_000) * self.rng.u64(..2))).await;
                self.start();
            }
            22..25 => {
                let back = self.rng.bool();
                let seconds = *self.rng.choice(&[2, 20, 3_600, 86_400]).unwrap_or(&2);
                self.notes
                    .say(|| format!("! the clock is set {} by {seconds} s", if back { "back" } else { "forward" }));
                clock::set(SignedDuration::from_secs(if back { -seconds } else { seconds }));
            }
            25..28 => {
                self.notes.say(|| "! the API server is away".to_owned());
                self.server.state().is_away = true;
                self.server.cut(false);
                tokio::time::sleep(Duration::from_millis(self.rng.u64(..40_000))).await;
                self.server.state().is_away = false;
            }
            28..32 => {
                let forgets = self.rng.bool();
                self.notes
                    .say(|| format!("! watches are cut{}", if forgets { ", and the past is forgotten" } else { "" }));
                self.server.cut(forgets);
            }
            32..34 => {
                self.notes.say(|| "! the backend is away".to_owned());
                *self.shared.faults.lock().unwrap() = Faults { fail: 1.0, ..self.faults.1 };
                tokio::time::sleep(Duration::from_millis(self.rng.u64(..40_000))).await;
                *self.shared.faults.lock().unwrap() = self.faults.1;
            }
            34..37 => {
                self.notes.say(|| "! a container ends".to_owned());
                self.shared.backend().kill();
            }
            37 => {
                self.notes.say(|| "! an object is lost".to_owned());
                self.shared.backend().lose();
            }
            38 => self.change_settings(),
            _ => {}
        }
    }

    /// Somebody changes the ConfigMap that pods' files are made of.
    fn change_settings(&mut self) {
        self.made += 1;
        self.notes.say(|| format!("the settings become {}", self.made));
        self.server.put("configmaps", files::settings(self.made));
    }

    fn create(&mut self) {
        self.made += 1;
        let (name, uid) = (format!("p{}", self.rng.u8(..PODS as u8)), format!("u{}", self.made));
        if self.server.get("pods", &name).is_some() {
            return;
        }
        let (policy, image) = *self
            .rng
            .choice(&[("Always", "serves"), ("Always", "serves"), ("Never", "ends"), ("Never", "fails")])
            .unwrap();
        let containers: Vec<Value> = (0..self.rng.usize(1..3))
            .map(|n| {
                let mut own = json!({
                    "name": format!("c{n}"), "image": format!("registry.example.com/{image}:v1"),
                    "imagePullPolicy": "IfNotPresent", "terminationMessagePolicy": "File",
                });
                if self.rng.u8(..4) == 0 {
                    own["envFrom"] = json!([{ "configMapRef": { "name": "late" } }]);
                }
                own
            })
            .collect();
        self.notes.say(|| format!("{name} ({uid}) is made: {policy} {image}"));
        let mut pod = json!({
            "metadata": {
                "name": name, "namespace": "default", "uid": uid, "generation": 1,
                "creationTimestamp": clock::steady().to_string(),
            },
            "spec": {
                "nodeName": NODE, "restartPolicy": policy, "terminationGracePeriodSeconds": 30,
                "enableServiceLinks": false, "containers": containers,
            },
            "status": { "phase": "Pending", "qosClass": "BestEffort" },
        });
        if self.rng.bool() {
            files::add_to(&mut pod);
        }
        self.server.put("pods", pod);
    }

    /// Somebody gives a container another image, or the pod a label.
    fn change(&mut self, mut pod: Value) {
        if self.rng.bool() && pod["spec"]["restartPolicy"] == "Always" {
            // Never one that it had before.
            self.made += 1;
            pod["spec"]["containers"][0]["image"] = format!("registry.example.com/serves:v{}", self.made + 1).into();
            pod["metadata"]["generation"] = (pod["metadata"]["generation"].as_i64().unwrap_or(0) + 1).into();
        } else {
            pod["metadata"]["labels"] = json!({ "n": self.rng.u8(..).to_string() });
        }
        self.notes.say(|| format!("{} is changed", name(&pod)));
        self.server.put("pods", pod);
    }

    /// What is not yet as it should be.
    fn unsettled(&self) -> Option<String> {
        let settings = self.server.get("configmaps", files::SETTINGS).unwrap_or_default();
        let backend = self.shared.backend();
        for pod in self.server.pods() {
            let own: Vec<&Object> = backend.of(pod["metadata"]["uid"].as_str().unwrap_or_default()).collect();
            let old = |object: &&Object| files::are_old(&pod, object, &settings);
            let wrong = is_wrong(&pod, &own, &backend.made);
            if let Some(wrong) = wrong.or_else(|| own.iter().any(old).then_some("has old files")) {
                return Some(format!("{} {wrong}: {}; {own:?}", name(&pod), pod["status"]));
            }
        }
        drop(backend);
        self.orphans()
    }

    fn orphans(&self) -> Option<String> {
        let pods: BTreeMap<String, ()> = self
            .server
            .pods()
            .iter()
            .map(|pod| (pod["metadata"]["uid"].as_str().unwrap_or_default().to_owned(), ()))
            .collect();
        let backend = self.shared.backend();
        let orphan = backend.objects.iter().find(|object| !pods.contains_key(&*object.key.uid));
        orphan.map(|orphan| format!("nobody wants {orphan:?}"))
    }

    fn left(&self) -> Option<String> {
        let pod = self.server.pods().first().map(|pod| format!("{} is still there: {pod}", name(pod)));
        pod.or_else(|| self.orphans())
    }
}

fn name(pod: &Value) -> &str {
    pod["metadata"]["name"].as_str().unwrap_or_default()
}

fn is_wrong(pod: &Value, own: &[&Object], made: &BTreeMap<(String, String), u32>) -> Option<&'static str> {
    let phase = pod["status"]["phase"].as_str().unwrap_or_default();
    if !pod["metadata"]["deletionTimestamp"].is_null() {
        return Some("is not gone");
    }
    if pod["spec"]["restartPolicy"] == "Never" {
        if !matches!(phase, "Succeeded" | "Failed") {
            return Some("is not over");
        }
        return own.iter().any(|object| object.any_runs()).then_some("is over, and runs");
    }
    let ready = pod["status"]["conditions"].as_array().into_iter().flatten().find(|own| own["type"] == "Ready");
    if phase != "Running" || ready.is_none_or(|ready| ready["status"] != "True") {
        return Some("is not ready");
    }
    let [object] = own else { return Some(if own.is_empty() { "is not at the backend" } else { "is there twice" }) };
    let containers = pod["spec"]["containers"].as_array()?;
    let statuses = pod["status"]["containerStatuses"].as_array()?;
    for container in containers {
        let running: Vec<_> = object.runs.iter().filter(|run| container["name"] == *run.name && run.runs()).collect();
        let [run] = running.as_slice() else { return Some("has a container that does not run once") };
        if container["image"] != *run.image {
            return Some("runs another image");
        }
        let status = statuses.iter().find(|status| status["name"] == container["name"])?;
        let made = made.get(&(object.key.uid.to_string(), run.name.clone())).copied().unwrap_or_default();
        let counted = status["restartCount"].as_u64().unwrap_or_default();
        // What is lost is counted before it is made again; lost once more before that, it is counted twice.
        if counted < run.attempt.into() || counted > made.into() {
            return Some("counts other restarts than there were");
        }
    }
    None
}

/// What the API server refuses, and what nobody should see.
pub fn wrong_transitions(before: &Value, after: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let phase = before["phase"].as_str().unwrap_or_default();
    if matches!(phase, "Succeeded" | "Failed") && after["phase"] != phase {
        wrong.push(format!("it was {phase}, and becomes {}", after["phase"]));
    }
    if !before["startTime"].is_null() && before["startTime"] != after["startTime"] {
        wrong.push("its start time changes".to_owned());
    }
    for status in after["containerStatuses"].as_array().into_iter().flatten() {
        let known =
            before["containerStatuses"].as_array().into_iter().flatten().find(|own| own["name"] == status["name"]);
        let count = |status: &Value| status["restartCount"].as_i64().unwrap_or(0);
        if known.is_some_and(|known| count(known) > count(status)) {
            wrong.push(format!("the restarts of {} become fewer: {} from {known:?}", status["name"], count(status)));
        }
    }
    wrong
}
