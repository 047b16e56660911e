//! Changes of the configuration file while the process runs.
//!
//! The file is watched, and the files with providers' settings that it names. A file that is wrong changes nothing: it is
//! said in the log and as an Event on every node, and what was said before stays in effect. Otherwise:
//!
//! | what changed | then |
//! | --- | --- |
//! | limits, grants, secrets, TLS profiles, settings | calls that begin from now on have them |
//! | a component's address | the new one is fetched, checked and tried as any new version |
//! | a provider or a node more, or less | it is started, or ended; pods of a node that ended go on |
//! | anything else of a node | the node is started anew; its pods don't notice |
//! | `log.level` | at once |
//! | `stateDir`, `audit`, `metrics`, `cluster`, `log.format`, and limits that the pool bounds | at the next start, which is said |

use std::collections::BTreeMap;
use std::path::PathBuf;

use components::source::PathWatch;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use jiff::Timestamp;

use super::status::ConfigurationStatus;
use super::{Owned, Process, start_provider};
use crate::configuration::plan::Plan;
use crate::configuration::{self, Source};
use crate::logging::Level;

/// The configuration in effect.
pub struct Loaded {
    /// What it comes to.
    plan: Plan,
    file: Option<PathBuf>,
    watches: BTreeMap<PathBuf, PathWatch>,
    level: Level,
    since: Timestamp,
    problems: Vec<String>,
    needs_restart: Vec<String>,
}

impl Loaded {
    /// Takes effect now.
    pub fn new(plan: Plan, source: &Source, level: Level) -> Self {
        let file = match source {
            Source::Flags => None,
            Source::File { path, .. } => Some(path.clone()),
        };
        let mut own = Self {
            watches: BTreeMap::new(),
            plan,
            file,
            level,
            since: Timestamp::now(),
            problems: Vec::new(),
            needs_restart: Vec::new(),
        };
        // What changed since it was read is seen at the next change: the process has only just begun.
        own.watch();
        own
    }

    /// Watches the file, and those that it names now; says whether one is new. Those that are watched already stay, so that
    /// no change between two readings is lost.
    fn watch(&mut self) -> bool {
        let Some(file) = &self.file else { return false };
        let mut before = std::mem::take(&mut self.watches);
        let mut is_new = false;
        for path in std::iter::once(file).chain(&self.plan.files) {
            if let Some(watch) = before.remove(path) {
                self.watches.insert(path.clone(), watch);
                continue;
            }
            match PathWatch::new(path) {
                Ok(watch) => {
                    is_new = true;
                    self.watches.insert(path.clone(), watch);
                }
                Err(error) => {
                    tracing::warn!(path = %path.display(), %error, "the file can't be watched: its changes are not seen");
                }
            }
        }
        is_new
    }

    /// Ends when a file may be another.
    pub async fn changed(&self) {
        let mut all: FuturesUnordered<_> = self.watches.values().map(PathWatch::changed).collect();
        if all.next().await.is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// As data.
    pub fn status(&self) -> ConfigurationStatus {
        ConfigurationStatus {
            file: self.file.clone(),
            since: Some(self.since),
            problems: self.problems.clone(),
            needs_restart: self.needs_restart.clone(),
        }
    }
}

impl Process {
    /// Takes what the file says now.
    pub(super) async fn reload(&mut self) {
        let Some(file) = self.configuration.file.clone() else { return };
        let planned = configuration::read(&file).and_then(|(own, source)| Plan::new(&own, &source));
        match planned {
            Ok(plan) => {
                self.apply(plan).await;
                if self.configuration.watch() {
                    // It may have changed after it was read, and before it was watched.
                    Box::pin(self.reload()).await;
                }
            }
            Err(problems) => {
                let lines = problems.lines();
                if lines == self.configuration.problems {
                    return;
                }
                for line in &lines {
                    tracing::error!("{line}");
                }
                tracing::error!(file = %file.display(), "the configuration is wrong: what it said before stays in effect");
                self.tell(true, "ConfigurationRefused", &lines.join("; "));
                self.configuration.problems = lines;
            }
        }
    }

    fn tell(&self, warning: bool, reason: &str, message: &str) {
        self.running().for_each(|node| node.tell(warning, reason, message));
    }

    async fn apply(&mut self, plan: Plan) {
        let mut changed = Vec::new();
        let mut failed = Vec::new();
        let mut needs_restart = process_wide(&self.configuration.plan, &plan);
        if plan.log.level != self.configuration.plan.log.level {
            self.configuration.level.set(plan.log.level);
            changed.push(format!("log.level ({:?})", plan.log.level).to_lowercase());
        }
        let mut regrant = Vec::new();
        for (name, next) in &plan.providers {
            let Some(provider) = self.providers.get_mut(name).filter(|own| own.plan != *next) else { continue };
            match provider.apply(next.clone(), &self.shared).await {
                Ok(applied) => {
                    changed.extend(applied.changed);
                    needs_restart.extend(applied.needs_restart);
                    if applied.regrant {
                        regrant.push(name.clone());
                    }
                }
                Err(error) => failed.push(format!("the provider {name}: {error:#}")),
            }
        }
        self.apply_nodes(&plan, &regrant, &mut changed, &mut failed).await;
        for name in &regrant {
            if let Some(provider) = self.providers.get(name) {
                provider.reconsider();
            }
        }
        self.providers.retain(|name, _| {
            let stays = plan.providers.contains_key(name);
            if !stays {
                changed.push(format!("the provider {name} has ended"));
            }
            stays
        });
        self.configuration.plan.take_over(plan);
        self.configuration.problems.clear();
        self.configuration.since = Timestamp::now();
        self.say(&changed, &failed, needs_restart);
    }

    fn say(&mut self, changed: &[String], failed: &[String], needs_restart: Vec<String>) {
        if !changed.is_empty() {
            let message = changed.join("; ");
            tracing::info!("the configuration has changed: {message}");
            self.tell(false, "ConfigurationChanged", &message);
        }
        if !failed.is_empty() {
            let message = failed.join("; ");
            tracing::error!("the configuration could not take effect: {message}");
            self.tell(true, "ConfigurationFailed", &message);
        }
        if !needs_restart.is_empty() && needs_restart != self.configuration.needs_restart {
            let message = needs_restart.join("; ");
            tracing::warn!("takes effect when vk-runtime is restarted: {message}");
            self.tell(true, "ConfigurationNeedsRestart", &message);
        }
        self.configuration.needs_restart = needs_restart;
    }

    /// Ends, changes and starts nodes, and starts providers before them.
    async fn apply_nodes(
        &mut self,
        plan: &Plan,
        regrant: &[String],
        changed: &mut Vec<String>,
        failed: &mut Vec<String>,
    ) {
        let mut ending = Vec::new();
        let mut starting = Vec::new();
        let before = std::mem::take(&mut self.nodes);
        for (name, owned) in before {
            let next = plan.nodes.get(&name);
            let kept = match (owned, next) {
                (Owned::Running(node), Some(next)) if node.plan == *next && !regrant.contains(&next.provider) => {
                    Owned::Running(node)
                }
                (Owned::Running(mut node), Some(next)) if node.is_only_told_anew(next) => {
                    if node.plan != *next {
                        changed.push(format!("the settings of the node {name}"));
                    }
                    let provider = self.providers.get(&next.provider);
                    let done = provider.map(|provider| node.regrant(next.clone(), provider, &self.shared));
                    if let Some(Err(error)) = done {
                        failed.push(format!("the node {name}: {error:#}"));
                    }
                    Owned::Running(node)
                }
                (Owned::Running(node), next) => {
                    changed.push(match next {
                        Some(_) => format!("the node {name} is started anew"),
                        None => format!("the node {name} has ended here"),
                    });
                    ending.push(node.stop());
                    starting.extend(next.cloned());
                    continue;
                }
                (Owned::Failing { .. }, next) => {
                    starting.extend(next.cloned());
                    continue;
                }
            };
            self.nodes.insert(name, kept);
        }
        // Before they are started: ports must be free.
        futures::future::join_all(ending).await;
        for (name, own) in &plan.providers {
            if !self.providers.contains_key(name) {
                match start_provider(&self.shared, plan, own.clone()).await {
                    Ok(provider) => {
                        changed.push(format!("the provider {name} is new"));
                        self.providers.insert(name.clone(), provider);
                    }
                    Err(error) => failed.push(format!("the provider {name}: {error:#}")),
                }
            }
        }
        for (name, next) in &plan.nodes {
            if !self.nodes.contains_key(name) && !starting.iter().any(|own| own.name == *name) {
                changed.push(format!("the node {name} is new"));
                starting.push(next.clone());
            }
        }
        let failures = self.start_nodes(starting).await;
        failed.extend(failures.into_iter().map(|error| format!("{error:#}")));
    }

    /// Tries providers again that could not be started.
    pub(super) async fn start_missing_providers(&mut self) {
        let plan = &self.configuration.plan;
        let missing = plan.providers.iter().filter(|(name, _)| !self.providers.contains_key(*name));
        let mut started = Vec::new();
        for (name, own) in missing {
            match start_provider(&self.shared, plan, own.clone()).await {
                Ok(provider) => started.push((name.clone(), provider)),
                Err(error) => tracing::error!(provider = name, error = format!("{error:#}"), "it can't be started"),
            }
        }
        self.providers.extend(started);
    }
}

/// What of the process can't change while it runs.
fn process_wide(before: &Plan, next: &Plan) -> Vec<String> {
    let mut all = Vec::new();
    if before.state_dir != next.state_dir {
        all.push(format!("stateDir ({})", next.state_dir.display()));
    }
    if before.metrics != next.metrics {
        all.push("metrics".to_owned());
    }
    if before.audit != next.audit {
        all.push("audit".to_owned());
    }
    if before.log.format != next.log.format {
        all.push("log.format".to_owned());
    }
    if (&before.kubeconfig, &before.cluster_id, &before.cluster_domain)
        != (&next.kubeconfig, &next.cluster_id, &next.cluster_domain)
    {
        all.push("cluster".to_owned());
    }
    all
}
