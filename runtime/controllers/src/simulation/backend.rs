//! What a backend has, of either kind, and the rules that no host may break. Its clock is not the host's.

use std::collections::BTreeMap;
use std::time::Duration;

use fastrand::Rng;
use jiff::Timestamp;
use provider::{Code, ContainerPhase, ContainerState, Error, ObjectState, PodKey, PodRef, PodState, Result};

use super::faults::Notes;
use super::files::Contents;
use super::server::Server;
use crate::clock::simulated as clock;

/// How long a container runs whose image says that it ends.
const LIFE: Duration = Duration::from_secs(20);

/// One start of a container.
#[derive(Clone, Debug)]
pub struct Run {
    pub name: String,
    pub attempt: u32,
    pub image: String,
    pub phase: ContainerPhase,
    created: Timestamp,
    started: Option<Timestamp>,
    finished: Option<Timestamp>,
    code: Option<i32>,
    /// When it ends, and how.
    ends: Option<(Timestamp, i32)>,
}

impl Run {
    pub fn runs(&self) -> bool {
        self.phase == ContainerPhase::Running
    }

    fn start(&mut self, now: Timestamp) {
        self.phase = ContainerPhase::Running;
        self.started = Some(now);
        self.ends = match self.image.rsplit('/').next() {
            Some(image) if image.starts_with("ends") => Some((now + LIFE, 0)),
            Some(image) if image.starts_with("fails") => Some((now + LIFE, 1)),
            _ => None,
        };
    }

    fn end(&mut self, at: Timestamp, code: i32) {
        self.phase = ContainerPhase::Exited;
        self.finished = Some(at);
        self.code = Some(code);
    }

    /// It ends at this time at the latest.
    fn end_by(&mut self, at: Timestamp, code: i32) {
        if self.ends.is_none_or(|(ends, _)| at < ends) {
            self.ends = Some((at, code));
        }
    }

    fn state(&self, key: &PodKey, object: u32) -> ContainerState {
        ContainerState {
            id: format!("sim://{}/{object}/{}/{}", key.uid, self.name, self.attempt),
            created_at: Some(self.created),
            started_at: self.started,
            finished_at: self.finished,
            exit_code: self.code,
            image: self.image.clone(),
            ..ContainerState::new(&*self.name, self.attempt, self.phase)
        }
    }
}

/// The backend's object for a pod: a whole pod, or a sandbox.
#[derive(Clone, Debug)]
pub struct Object {
    pub key: PodKey,
    pub attempt: u32,
    /// A sandbox that runs; a whole pod that nobody has ended.
    pub stands: bool,
    pub runs: Vec<Run>,
    /// What it was given last.
    pub files: Contents,
    restarts: bool,
    created: Timestamp,
}

impl Object {
    pub fn any_runs(&self) -> bool {
        self.runs.iter().any(Run::runs)
    }

    fn id(&self) -> String {
        format!("sim-{}-{}", self.key.uid, self.attempt)
    }

    fn state(&self, is_whole: bool) -> PodState {
        let over = is_whole && self.runs.iter().all(|run| run.phase == ContainerPhase::Exited);
        let state =
            if self.stands && !over || is_whole && self.any_runs() { ObjectState::Running } else { ObjectState::Ended };
        PodState {
            id: self.id(),
            ips: if state == ObjectState::Running { vec!["10.0.0.7".to_owned()] } else { Vec::new() },
            created_at: Some(self.created),
            containers: self.runs.iter().map(|run| run.state(&self.key, self.attempt)).collect(),
            ..PodState::new(self.key.clone(), self.attempt, state)
        }
    }
}

/// What a container is made of.
pub struct Recipe {
    pub name: String,
    pub attempt: u32,
    pub image: String,
    pub restarts: bool,
}

/// Everything that a backend has.
pub struct Backend {
    pub is_whole: bool,
    pub objects: Vec<Object>,
    pub images: Vec<String>,
    /// By UID and container: how often it was made.
    pub made: BTreeMap<(String, String), u32>,
    pub rng: Rng,
    server: Server,
    notes: Notes,
}

impl Backend {
    pub fn new(is_whole: bool, rng: Rng, server: Server, notes: Notes) -> Self {
        Self { is_whole, objects: Vec::new(), images: Vec::new(), made: BTreeMap::new(), rng, server, notes }
    }

    /// Lets happen what was due.
    pub fn advance(&mut self) {
        let now = clock::steady();
        let mut restarted = Vec::new();
        for object in &mut self.objects {
            for run in object.runs.iter_mut().filter(|run| run.runs()) {
                if let Some((at, code)) = run.ends.filter(|(at, _)| *at <= now) {
                    run.end(at, code);
                    if self.is_whole && object.stands && object.restarts {
                        restarted.push((
                            object.key.clone(),
                            object.attempt,
                            run.name.clone(),
                            run.attempt + 1,
                            run.image.clone(),
                        ));
                    }
                }
            }
        }
        for (key, object, name, attempt, image) in restarted {
            self.add(&key, object, &Recipe { name, attempt, image, restarts: true }, true);
        }
    }

    pub fn of<'a>(&'a self, uid: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| &*object.key.uid == uid)
    }

    pub fn find(&mut self, key: &PodKey, attempt: u32) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.key == *key && object.attempt == attempt)
    }

    fn by_id(&mut self, key: &PodKey, id: &str) -> Option<&mut Object> {
        self.objects.iter_mut().find(|object| object.key == *key && object.id() == id)
    }

    fn run(&mut self, key: &PodKey, id: &str) -> Option<&mut Run> {
        self.objects.iter_mut().filter(|object| object.key == *key).find_map(|object| {
            let attempt = object.attempt;
            object.runs.iter_mut().find(|run| run.state(key, attempt).id == id)
        })
    }

    /// Adds a start of a container to an object.
    fn add(&mut self, key: &PodKey, object: u32, recipe: &Recipe, starts: bool) {
        let now = clock::steady();
        let mut run = Run {
            name: recipe.name.clone(),
            attempt: recipe.attempt,
            image: recipe.image.clone(),
            phase: ContainerPhase::Created,
            created: now,
            started: None,
            finished: None,
            code: None,
            ends: None,
        };
        *self.made.entry((key.uid.to_string(), recipe.name.clone())).or_default() += 1;
        if starts {
            run.start(now);
        }
        let is_whole = self.is_whole;
        if let Some(object) = self.find(key, object) {
            // The one before the last is not remembered.
            object.runs.retain(|own| !is_whole || own.name != recipe.name || own.attempt + 1 >= recipe.attempt);
            object.runs.push(run);
        }
    }

    /// A pod that nobody deleted and that is not over must not be ended by its node.
    fn check_end(&self, key: &PodKey, kill_at: Timestamp, what: &str) {
        let Some(pod) = self.server.get("pods", &key.name).filter(|pod| pod["metadata"]["uid"] == *key.uid) else {
            return;
        };
        let is_over = matches!(pod["status"]["phase"].as_str(), Some("Succeeded" | "Failed"));
        let deadline = pod["metadata"]["deletionTimestamp"].as_str().and_then(|text| text.parse::<Timestamp>().ok());
        match deadline {
            None if is_over || pod["spec"]["restartPolicy"] != "Always" => {}
            None => self.notes.wrong(format!("{what} of {key}, which nobody deleted")),
            Some(deadline) => {
                let early = deadline.duration_since(kill_at).as_secs_f64();
                if early > 1.5 {
                    self.notes.wrong(format!("{what} of {key}, {early:.1} s before its grace period is over"));
                }
            }
        }
    }

    // What a backend does that runs whole pods.

    pub fn create(&mut self, key: &PodKey, attempt: u32, containers: &[Recipe], files: &Contents) -> Result<PodState> {
        if let Some(object) = self.find(key, attempt) {
            return Ok(object.state(true));
        }
        if let Some(present) = self.of(&key.uid).map(|object| object.attempt).max() {
            if present > attempt {
                return Err(Error::new(Code::Conflict, format!("there is attempt {present}")));
            }
            if self.of(&key.uid).any(Object::any_runs) {
                self.notes.wrong(format!("{key} is made twice"));
            }
        }
        let restarts = containers.iter().any(|recipe| recipe.restarts);
        let created = clock::steady();
        let (key_of, files) = (key.clone(), files.clone());
        self.objects.push(Object { key: key_of, attempt, stands: true, runs: Vec::new(), files, restarts, created });
        for recipe in containers {
            self.add(key, attempt, recipe, true);
        }
        self.find(key, attempt).map(|object| object.state(true)).ok_or_else(|| Error::new(Code::Internal, "lost"))
    }

    pub fn update(&mut self, key: &PodKey, attempt: u32, containers: &[Recipe]) -> Result<()> {
        let now = clock::steady();
        let Some(object) = self.find(key, attempt).filter(|object| object.stands) else {
            return Err(Error::new(Code::NotFound, "there is no such pod"));
        };
        let mut again = Vec::new();
        for recipe in containers {
            let latest = object.runs.iter_mut().filter(|run| run.name == recipe.name).max_by_key(|run| run.attempt);
            if let Some(run) = latest.filter(|run| run.image != recipe.image) {
                if run.runs() {
                    run.end(now, 0);
                }
                again.push(Recipe {
                    name: recipe.name.clone(),
                    attempt: run.attempt + 1,
                    image: recipe.image.clone(),
                    restarts: recipe.restarts,
                });
            }
        }
        for recipe in again {
            self.add(key, attempt, &recipe, true);
        }
        Ok(())
    }

    pub fn delete(&mut self, pod: &PodRef, grace: Duration) -> Result<()> {
        let now = clock::steady();
        let newest = self.of(&pod.key.uid).all(|object| object.attempt <= pod.attempt);
        if newest && self.find(&pod.key, pod.attempt).is_some_and(|object| object.any_runs()) {
            self.check_end(&pod.key, now + grace, "the end");
        }
        let takes = grace.mul_f64(self.rng.f64() * 1.5).min(grace);
        if let Some(object) = self.find(&pod.key, pod.attempt) {
            object.stands = false;
            for run in object.runs.iter_mut().filter(|run| run.runs()) {
                run.end_by(now + takes, if takes == grace { 137 } else { 0 });
            }
        }
        self.advance();
        Ok(())
    }

    pub fn forget(&mut self, pod: &PodRef) -> Result<()> {
        if self.find(&pod.key, pod.attempt).is_some_and(|object| object.any_runs()) {
            self.notes.wrong(format!("{} is forgotten while it runs", pod.key));
        }
        self.objects.retain(|object| object.key != pod.key || object.attempt > pod.attempt);
        Ok(())
    }

    // What a backend does that runs containers.

    pub fn run_sandbox(&mut self, key: &PodKey, attempt: u32, files: &Contents) -> Result<PodState> {
        if let Some(object) = self.find(key, attempt) {
            return if object.stands { Ok(object.state(false)) } else { Err(Error::new(Code::Conflict, "it is over")) };
        }
        if self.of(&key.uid).any(|object| object.attempt > attempt) {
            return Err(Error::new(Code::Conflict, "there is a later one"));
        }
        if self.of(&key.uid).any(|object| object.stands || object.any_runs()) {
            self.notes.wrong(format!("{key} gets a second sandbox beside one that runs"));
        }
        let created = clock::steady();
        let (key, files) = (key.clone(), files.clone());
        let object = Object { key, attempt, stands: true, runs: Vec::new(), files, restarts: false, created };
        let state = object.state(false);
        self.objects.push(object);
        Ok(state)
    }

    pub fn stop_sandbox(&mut self, key: &PodKey, id: &str) {
        let now = clock::steady();
        if self.by_id(key, id).is_some_and(|object| object.any_runs()) {
            self.check_end(key, now, "the end");
        }
        if let Some(object) = self.by_id(key, id) {
            object.stands = false;
            object.runs.iter_mut().filter(|run| run.runs()).for_each(|run| run.end(now, 137));
        }
    }

    pub fn remove_sandbox(&mut self, key: &PodKey, id: &str) {
        self.stop_sandbox(key, id);
        self.objects.retain(|object| object.key != *key || object.id() != id);
    }

    pub fn create_container(&mut self, key: &PodKey, sandbox: &str, recipe: &Recipe) -> Result<String> {
        let Some(object) = self.by_id(key, sandbox).filter(|object| object.stands) else {
            return Err(Error::new(Code::NotFound, "no such sandbox"));
        };
        let attempt = object.attempt;
        if !object.runs.iter().any(|run| run.name == recipe.name && run.attempt == recipe.attempt) {
            self.add(key, attempt, recipe, false);
        }
        let made = self.find(key, attempt).and_then(|object| {
            let run = object.runs.iter().find(|run| run.name == recipe.name && run.attempt == recipe.attempt)?;
            Some(run.state(key, attempt).id)
        });
        made.ok_or_else(|| Error::new(Code::Internal, "lost"))
    }

    pub fn start_container(&mut self, key: &PodKey, id: &str) -> Result<()> {
        let now = clock::steady();
        let Some(run) = self.run(key, id).cloned() else { return Err(Error::new(Code::NotFound, "no such container")) };
        if run.phase != ContainerPhase::Created {
            return Ok(());
        }
        if self.of(&key.uid).flat_map(|object| &object.runs).any(|other| other.name == run.name && other.runs()) {
            self.notes.wrong(format!("two of {} run in {key}", run.name));
        }
        if let Some(run) = self.run(key, id) {
            run.start(now);
        }
        Ok(())
    }

    pub fn stop_container(&mut self, key: &PodKey, id: &str, grace: Duration) {
        let now = clock::steady();
        let Some(run) = self.run(key, id).filter(|run| run.runs()).cloned() else { return };
        let pod = self.server.get("pods", &key.name).unwrap_or_default();
        let image = pod["spec"]["containers"].as_array().into_iter().flatten().find(|own| own["name"] == *run.name);
        // One of another image is replaced.
        if image.is_none_or(|own| own["image"] == *run.image) {
            self.check_end(key, now + grace, "the end");
        }
        let ignores = self.rng.u8(..3) == 0;
        let takes = grace.mul_f64(self.rng.f64());
        if let Some(run) = self.run(key, id) {
            if grace.is_zero() {
                run.end(now, 137);
            } else if !ignores {
                run.end_by(now + takes, 0);
            }
        }
    }

    pub fn remove_container(&mut self, key: &PodKey, id: &str) -> Result<()> {
        if self.run(key, id).is_some_and(|run| run.runs()) {
            return Err(Error::new(Code::Conflict, "it runs"));
        }
        for object in self.objects.iter_mut().filter(|object| object.key == *key) {
            let attempt = object.attempt;
            object.runs.retain(|run| run.state(key, attempt).id != id);
        }
        Ok(())
    }

    // What both do.

    pub fn states(&self) -> Vec<PodState> {
        self.objects.iter().map(|object| object.state(self.is_whole)).collect()
    }

    // What happens to it.

    /// Something ends a container.
    pub fn kill(&mut self) {
        let now = clock::steady();
        let mut running: Vec<&mut Run> =
            self.objects.iter_mut().flat_map(|object| &mut object.runs).filter(|run| run.runs()).collect();
        let place = self.rng.usize(..running.len().max(1));
        if let Some(run) = running.get_mut(place) {
            run.ends = Some((now, 137));
        }
        self.advance();
    }

    /// An object is gone, and all that ran in it.
    pub fn lose(&mut self) {
        if !self.objects.is_empty() {
            let place = self.rng.usize(..self.objects.len());
            self.objects.swap_remove(place);
        }
    }
}
