//! What is remembered of a pod, and what its state is at a given time. Pure: no host, no clock.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::host::types::PodKey;
use vk_provider_sdk::types::{ContainerConfig, ContainerState, PodConfig, PodState};

/// A pod; the value of the store's key `pod/UID`, as JSON with short names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    #[serde(rename = "ns")]
    pub namespace: String,
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "a")]
    pub attempt: u32,
    #[serde(rename = "ip")]
    pub address: String,
    /// When created, nanoseconds.
    #[serde(rename = "at")]
    pub created: u64,
    /// When it was deleted, and with which code its containers ended.
    #[serde(rename = "end", default, skip_serializing_if = "Option::is_none")]
    pub deleted: Option<(u64, i32)>,
    #[serde(rename = "c")]
    pub containers: Vec<Container>,
}

/// A container of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Container {
    #[serde(rename = "n")]
    pub name: String,
    #[serde(rename = "i")]
    pub image: String,
    #[serde(rename = "r")]
    pub role: Role,
    /// Its present run.
    #[serde(rename = "s")]
    pub run: Run,
    /// The run before.
    #[serde(rename = "p", default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<Run>,
}

/// What becomes of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Ends with 0 at once.
    #[serde(rename = "i")]
    Init,
    /// Runs, and nobody starts it again.
    #[serde(rename = "1")]
    Once,
    /// Runs, and is started again if it fails.
    #[serde(rename = "f")]
    OnFailure,
    /// Runs, and is started again.
    #[serde(rename = "a")]
    Always,
}

/// One run of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Run {
    #[serde(rename = "a")]
    pub attempt: u32,
    /// Nanoseconds.
    #[serde(rename = "b")]
    pub started: u64,
    /// When it ended, and its code, if that was told it.
    #[serde(rename = "e", default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(u64, i32)>,
}

/// How long containers run by themselves: nanoseconds, and the code they end with.
pub type Life = Option<(u64, i32)>;

impl Run {
    /// When and how it has ended, by `now`.
    pub fn end(&self, role: Role, deleted: Option<(u64, i32)>, life: Life, now: u64) -> Option<(u64, i32)> {
        if role == Role::Init {
            return Some((self.started, 0));
        }
        let by_itself = life.map(|(time, code)| (self.started.saturating_add(time), code));
        let ends = [self.ended, deleted, by_itself.filter(|(at, _)| *at <= now)];
        ends.into_iter().flatten().min_by_key(|(at, _)| *at)
    }
}

impl Container {
    /// One that starts at `now`.
    pub fn new(config: &ContainerConfig, now: u64) -> Self {
        let role = match (config.role.as_str(), config.restart_policy.as_str()) {
            ("init", _) => Role::Init,
            ("ephemeral", _) | (_, "Never") => Role::Once,
            ("app", "OnFailure") => Role::OnFailure,
            _ => Role::Always,
        };
        let run = Run { attempt: config.attempt, started: now, ended: None };
        Self { name: config.name.clone(), image: config.image.clone(), role, run, previous: None }
    }

    /// Starts it again.
    pub fn restart(&mut self, attempt: u32, end: (u64, i32), now: u64) {
        self.previous = Some(Run { ended: Some(end), ..self.run });
        self.run = Run { attempt, started: now, ended: None };
    }

    fn is_over(&self, end: Option<(u64, i32)>) -> bool {
        match (self.role, end) {
            (Role::Init | Role::Once, Some(_)) | (Role::OnFailure, Some((_, 0))) => true,
            (Role::OnFailure | Role::Always, Some(_)) | (_, None) => false,
        }
    }

    fn state(&self, uid: &str, run: &Run, end: Option<(u64, i32)>) -> ContainerState {
        ContainerState {
            name: self.name.clone(),
            attempt: run.attempt,
            id: id(uid, &self.name, run.attempt),
            state: if end.is_some() { "exited" } else { "running" }.to_owned(),
            created_at: Some(run.started),
            started_at: Some(run.started),
            finished_at: end.map(|(at, _)| at),
            exit_code: end.map(|(_, code)| code),
            signal: if end.is_some_and(|(_, code)| code == KILLED) { 9 } else { 0 },
            image: self.image.clone(),
            image_id: format!("mock://{}", self.image),
            ..ContainerState::default()
        }
    }
}

/// The code of a container that was killed.
pub const KILLED: i32 = 137;

/// The id of a run.
pub fn id(uid: &str, container: &str, attempt: u32) -> String {
    format!("mock://{uid}/{container}/{attempt}")
}

impl Record {
    /// A pod whose containers all start at `now`.
    pub fn new(pod: &PodConfig, address: String, now: u64) -> Self {
        Self {
            namespace: pod.sandbox.key.namespace.clone(),
            name: pod.sandbox.key.name.clone(),
            attempt: pod.sandbox.attempt,
            address,
            created: now,
            deleted: None,
            containers: pod.containers.iter().map(|config| Container::new(config, now)).collect(),
        }
    }

    /// Takes over what changed in the manifest: another image starts the container again, a new container starts.
    pub fn update(&mut self, pod: &PodConfig, life: Life, now: u64) {
        let deleted = self.deleted;
        for config in &pod.containers {
            match self.containers.iter_mut().find(|own| own.name == config.name) {
                Some(own) if own.image == config.image => {}
                Some(own) => {
                    let end = own.run.end(own.role, deleted, life, now).unwrap_or((now, 0));
                    own.image.clone_from(&config.image);
                    own.restart(own.run.attempt + 1, end, now);
                }
                None => self.containers.push(Container::new(config, now)),
            }
        }
    }

    /// The pod it is about.
    pub fn key(&self, uid: &str) -> PodKey {
        PodKey { uid: uid.to_owned(), namespace: self.namespace.clone(), name: self.name.clone() }
    }

    /// Its state at `now`.
    pub fn state(&self, uid: &str, life: Life, now: u64) -> PodState {
        let mut containers = Vec::with_capacity(self.containers.len());
        let mut is_over = true;
        for own in &self.containers {
            let end = own.run.end(own.role, self.deleted, life, now);
            is_over &= own.is_over(end);
            containers.push(own.state(uid, &own.run, end));
            if let Some(run) = &own.previous {
                containers.push(own.state(uid, run, run.ended));
            }
        }
        PodState {
            key: self.key(uid),
            attempt: self.attempt,
            id: format!("mock://{uid}"),
            state: if self.deleted.is_some() || is_over { "ended" } else { "running" }.to_owned(),
            ips: vec![self.address.clone()],
            created_at: Some(self.created),
            containers,
            ..PodState::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::time::SECOND;
    use vk_provider_sdk::types::SandboxConfig;

    fn container(name: &str, role: &str, policy: &str) -> ContainerConfig {
        ContainerConfig {
            name: name.into(),
            role: role.into(),
            restart_policy: policy.into(),
            image: "busybox:latest".into(),
            ..ContainerConfig::default()
        }
    }

    fn pod(policy: &str) -> PodConfig {
        PodConfig {
            sandbox: SandboxConfig {
                key: PodKey { uid: "u".into(), namespace: "default".into(), name: "web".into() },
                ..SandboxConfig::default()
            },
            containers: vec![container("setup", "init", policy), container("app", "app", policy)],
            grace_period: 0,
            active_deadline: None,
            credentials: Vec::new(),
        }
    }

    type Seen = (String, u32, String, Option<i32>);

    fn states(record: &Record, life: Life, now: u64) -> (String, Vec<Seen>) {
        let state = record.state("u", life, now);
        let containers = state.containers.into_iter();
        (state.state, containers.map(|own| (own.name, own.attempt, own.state, own.exit_code)).collect())
    }

    #[test]
    fn everything_runs_at_once_and_init_containers_have_ended() {
        let record = Record::new(&pod("Always"), "10.90.0.1".into(), SECOND);
        let (state, containers) = states(&record, None, SECOND);
        assert_eq!(state, "running");
        assert_eq!(
            containers,
            [("setup".into(), 0, "exited".into(), Some(0)), ("app".into(), 0, "running".into(), None)]
        );
    }

    #[test]
    fn a_deleted_pod_has_ended_and_stays_so() {
        let mut record = Record::new(&pod("Always"), String::new(), SECOND);
        record.deleted = Some((2 * SECOND, KILLED));
        let (state, containers) = states(&record, Some((9 * SECOND, 3)), 100 * SECOND);
        assert_eq!(state, "ended");
        assert_eq!(containers[1].3, Some(KILLED));
    }

    #[test]
    fn containers_end_by_themselves_after_their_life() {
        let record = Record::new(&pod("Always"), String::new(), SECOND);
        assert_eq!(states(&record, Some((5 * SECOND, 3)), 5 * SECOND).1[1].2, "running");
        let (state, containers) = states(&record, Some((5 * SECOND, 3)), 6 * SECOND);
        assert_eq!((state.as_str(), containers[1].3), ("running", Some(3)), "the host will start it again");
        let record = Record::new(&pod("Never"), String::new(), SECOND);
        assert_eq!(states(&record, Some((5 * SECOND, 3)), 6 * SECOND).0, "ended");
        let record = Record::new(&pod("OnFailure"), String::new(), SECOND);
        assert_eq!(states(&record, Some((5 * SECOND, 3)), 6 * SECOND).0, "running");
        assert_eq!(states(&record, Some((5 * SECOND, 0)), 6 * SECOND).0, "ended");
    }

    #[test]
    fn another_image_starts_the_container_again() {
        let mut record = Record::new(&pod("Always"), String::new(), SECOND);
        let mut changed = pod("Always");
        changed.containers[1].image = "busybox:stable".into();
        changed.containers.push(container("debug", "ephemeral", "Never"));
        record.update(&changed, None, 3 * SECOND);
        let (_, containers) = states(&record, None, 3 * SECOND);
        assert_eq!(
            containers[1..],
            [
                ("app".into(), 1, "running".into(), None),
                ("app".into(), 0, "exited".into(), Some(0)),
                ("debug".into(), 0, "running".into(), None)
            ]
        );
    }

    #[test]
    fn a_record_is_compact_and_reads_back() {
        let record = Record::new(&pod("Always"), "10.90.0.1".into(), 1_795_253_717_015_419_873);
        let value = serde_json::to_vec(&record).unwrap();
        assert!(value.len() < 300, "{} bytes", value.len());
        assert_eq!(serde_json::from_slice::<Record>(&value).unwrap(), record);
    }
}
