//! A component as a [`Provider`].
//!
//! Each call takes the version that is loaded at its beginning and keeps it to its end; a new version takes effect with
//! the next call. An export that only the version before had answers [`Error::lacks`].

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::{Stream, StreamExt};
use host_capabilities::Capabilities;
use provider::{
    Background, Change, Code, ContainerConfig, Containers, Credential, Description, Error, File, Files, Image, Kind,
    Log, LogOptions, Logs, PodConfig, PodKey, PodRef, PodState, Pods, Probes, Provider, Resources, Restart, Result,
    SandboxConfig, Snapshot, Stats, Summary, Target, Watch,
};

use crate::call::{About, Begun, Caller};
use crate::convert::{from_wit, to_wit};
use crate::export;
use crate::function;
use crate::inspect::ProviderKind;
use crate::program::{Program, ReconfigureError};
use crate::version::{self, Stage};

/// Pieces of a watch that one call decodes.
const DECODE_BATCH: usize = 1_024;

/// A provider that a component implements, for one node. Cheap: what nodes can share is in its [`Program`].
pub struct ComponentProvider {
    caller: Arc<Caller>,
}

impl ComponentProvider {
    /// The program, with what it was granted for one node.
    pub fn new(program: &Arc<Program>, capabilities: Arc<Capabilities>) -> Self {
        Self { caller: Caller::new(program.clone(), capabilities) }
    }

    /// What it shares with other nodes.
    pub fn program(&self) -> &Arc<Program> {
        &self.caller.program
    }

    /// What it was granted.
    pub fn capabilities(&self) -> Arc<Capabilities> {
        self.caller.capabilities()
    }

    /// Changes what it is granted on its node, for calls that begin from now on. What the loaded version imports and is no
    /// longer granted is denied to it, and said in the log.
    pub fn regrant(&self, capabilities: Arc<Capabilities>) -> Result<(), ReconfigureError> {
        self.caller.regrant(capabilities)
    }

    /// Whether the version that is loaded now has an optional export.
    fn has(&self, has: impl Fn(&function::Functions) -> bool) -> Option<&Self> {
        has(&self.caller.program.live().version.functions).then_some(self)
    }

    /// Masks what people may read of a report.
    fn mask<'a>(&'a self, begun: &'a Begun) -> impl Fn(&str, String) -> String + Send + Sync + 'a {
        |uid, text| self.caller.mask(&begun.capabilities, uid, text)
    }
}

/// Calls `$function` with parameters that are made in the instance's own store: `call` there is the call's part of the
/// capabilities.
macro_rules! call {
    ($self:ident, $begun:ident, $about:expr, $function:expr, |$call:ident| $parameters:expr) => {{
        let function = $function;
        $self
            .caller
            .call(&$begun, $about, move |accessor, guest| {
                Box::pin(async move {
                    #[allow(unused_variables)]
                    let parameters = accessor.with(|mut access| {
                        let $call = &mut access.data_mut().call;
                        Ok::<_, wasmtime::Error>($parameters)
                    })?;
                    guest.call(accessor, function, parameters).await
                })
            })
            .await
    }};
}

macro_rules! optional {
    ($begun:ident, $name:ident, $interface:literal) => {
        $begun.live.version.functions.$name.as_ref().ok_or_else(|| Error::lacks($interface))
    };
}

#[async_trait]
impl Provider for ComponentProvider {
    async fn describe(&self) -> Result<Description> {
        let begun = self.caller.begin();
        let described =
            call!(self, begun, About::node(export::DESCRIBE), begun.live.version.functions.node.describe, |call| ());
        described.map(|own| from_wit::description(own, &self.mask(&begun)))
    }

    fn kind(&self) -> Kind<'_> {
        match self.caller.program.kind() {
            ProviderKind::Pods => Kind::Pods(self),
            ProviderKind::Containers => Kind::Containers(self),
        }
    }

    fn watch(&self) -> Option<&dyn Watch> {
        self.has(|functions| functions.watch.is_some()).map(|own| own as _)
    }

    fn logs(&self) -> Option<&dyn Logs> {
        self.has(|functions| functions.logs.is_some()).map(|own| own as _)
    }

    fn stats(&self) -> Option<&dyn Stats> {
        self.has(|functions| functions.stats.is_some()).map(|own| own as _)
    }

    fn files(&self) -> Option<&dyn Files> {
        self.has(|functions| functions.files.is_some()).map(|own| own as _)
    }

    fn probes(&self) -> Option<&dyn Probes> {
        self.has(|functions| functions.probes.is_some()).map(|own| own as _)
    }

    fn restart(&self) -> Option<&dyn Restart> {
        self.has(|functions| functions.restart.is_some()).map(|own| own as _)
    }

    fn background(&self) -> Option<&dyn Background> {
        self.has(|functions| functions.background.is_some()).map(|own| own as _)
    }
}

#[async_trait]
impl Pods for ComponentProvider {
    async fn create(&self, pod: PodConfig) -> Result<PodState> {
        let begun = self.caller.begin();
        let mut about = About::pod(export::POD_CREATE, &pod.sandbox.key);
        about.mask = to_wit::SecretValues::new().pod(&pod).allowed(begun.capabilities.pod_secrets())?;
        let function = begun.live.version.pods()?.create;
        let created = call!(self, begun, about, function, |call| (to_wit::pod_config(call, pod)?,));
        created.map(|state| from_wit::pod_state(state, &self.mask(&begun)))
    }

    async fn update(&self, pod: PodConfig, changed: Vec<String>) -> Result<()> {
        let begun = self.caller.begin();
        let mut about = About::pod(export::POD_UPDATE, &pod.sandbox.key);
        about.mask = to_wit::SecretValues::new().pod(&pod).allowed(begun.capabilities.pod_secrets())?;
        let function = begun.live.version.pods()?.update;
        call!(self, begun, about, function, |call| (to_wit::pod_config(call, pod)?, changed))
    }

    async fn delete(&self, pod: PodRef, grace: Duration) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.pods()?.delete;
        let about = About::pod(export::POD_DELETE, &pod.key);
        call!(self, begun, about, function, |call| (to_wit::pod_ref(&pod), to_wit::nanos(grace)))
    }

    async fn forget(&self, pod: PodRef) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.pods()?.forget;
        let (about, wanted) = (About::pod(export::POD_FORGET, &pod.key), to_wit::pod_ref(&pod));
        let forgotten = call!(self, begun, about, function, |call| (wanted,));
        forgotten.inspect(|()| self.caller.masks.forget(&pod.key.uid))
    }

    async fn list(&self, cursor: Option<String>) -> Result<Snapshot> {
        let begun = self.caller.begin();
        let function = begun.live.version.pods()?.list;
        let listed = call!(self, begun, About::node(export::POD_LIST), function, |call| (cursor,));
        listed.map(|snapshot| from_wit::snapshot(snapshot, &self.mask(&begun)))
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let begun = self.caller.begin();
        let function = begun.live.version.pods()?.refresh;
        let pods: Vec<_> = pods.iter().map(to_wit::pod_ref).collect();
        let refreshed = call!(self, begun, About::node(export::POD_REFRESH), function, |call| (pods,));
        refreshed.map(|states| from_wit::pod_states(states, &self.mask(&begun)))
    }
}

#[async_trait]
impl Containers for ComponentProvider {
    async fn run_sandbox(&self, sandbox: SandboxConfig) -> Result<PodState> {
        let begun = self.caller.begin();
        let mut about = About::pod(export::RUN_SANDBOX, &sandbox.key);
        about.mask = to_wit::SecretValues::new().sandbox(&sandbox).allowed(begun.capabilities.pod_secrets())?;
        let function = begun.live.version.containers()?.run_sandbox;
        let running = call!(self, begun, about, function, |call| (to_wit::sandbox_config(call, sandbox)?,));
        running.map(|state| from_wit::pod_state(state, &self.mask(&begun)))
    }

    async fn stop_sandbox(&self, pod: PodKey, id: String) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.stop_sandbox;
        call!(self, begun, About::pod(export::STOP_SANDBOX, &pod), function, |call| (to_wit::pod_key(&pod), id))
    }

    async fn remove_sandbox(&self, pod: PodKey, id: String, last: bool) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.remove_sandbox;
        let (about, wanted) = (About::pod(export::REMOVE_SANDBOX, &pod), to_wit::pod_key(&pod));
        let removed = call!(self, begun, about, function, |call| (wanted, id, last));
        if last && removed.is_ok() {
            self.caller.masks.forget(&pod.uid);
        }
        removed
    }

    async fn image_status(&self, image: String) -> Result<Option<Image>> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.image_status;
        let found = call!(self, begun, About::node(export::IMAGE_STATUS), function, |call| (image,));
        found.map(|image| image.map(from_wit::image))
    }

    async fn pull_image(&self, pod: PodKey, image: String, credentials: Vec<Credential>) -> Result<Image> {
        let begun = self.caller.begin();
        let mut about = About::pod(export::PULL_IMAGE, &pod);
        let values = to_wit::SecretValues::new().credentials(&credentials);
        about.mask = values.allowed(begun.capabilities.pod_secrets())?;
        let function = begun.live.version.containers()?.pull_image;
        let credentials: Vec<_> = credentials.into_iter().map(to_wit::credential).collect();
        let pulled = call!(self, begun, about, function, |call| (to_wit::pod_key(&pod), image, credentials));
        pulled.map(from_wit::image)
    }

    async fn list_images(&self) -> Result<Vec<Image>> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.list_images;
        let listed = call!(self, begun, About::node(export::LIST_IMAGES), function, |call| ());
        listed.map(|images| images.into_iter().map(from_wit::image).collect())
    }

    async fn remove_image(&self, id: String) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.remove_image;
        call!(self, begun, About::node(export::REMOVE_IMAGE), function, |call| (id,))
    }

    async fn create_container(
        &self,
        pod: SandboxConfig,
        sandbox: String,
        container: ContainerConfig,
    ) -> Result<String> {
        let begun = self.caller.begin();
        let mut about = About::pod(export::CREATE_CONTAINER, &pod.key);
        let values = to_wit::SecretValues::new().sandbox(&pod).container(&container);
        about.mask = values.allowed(begun.capabilities.pod_secrets())?;
        let function = begun.live.version.containers()?.create_container;
        let container = to_wit::container_config(container);
        call!(self, begun, about, function, |call| (to_wit::sandbox_config(call, pod)?, sandbox, container))
    }

    async fn start_container(&self, pod: PodKey, id: String) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.start_container;
        call!(self, begun, About::pod(export::START_CONTAINER, &pod), function, |call| (to_wit::pod_key(&pod), id))
    }

    async fn stop_container(&self, pod: PodKey, id: String, grace: Duration) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.stop_container;
        let about = About::pod(export::STOP_CONTAINER, &pod);
        call!(self, begun, about, function, |call| (to_wit::pod_key(&pod), id, to_wit::nanos(grace)))
    }

    async fn remove_container(&self, pod: PodKey, id: String) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.remove_container;
        call!(self, begun, About::pod(export::REMOVE_CONTAINER, &pod), function, |call| (to_wit::pod_key(&pod), id))
    }

    async fn update_container(&self, pod: PodKey, id: String, resources: Resources) -> Result<()> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.update_container;
        let about = About::pod(export::UPDATE_CONTAINER, &pod);
        call!(self, begun, about, function, |call| (to_wit::pod_key(&pod), id, to_wit::resources(resources)))
    }

    async fn termination_message(&self, pod: PodKey, id: String, path: String, max: u32) -> Result<Option<Bytes>> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.termination_message;
        let about = About::pod(export::TERMINATION_MESSAGE, &pod);
        let message = call!(self, begun, about, function, |call| (to_wit::pod_key(&pod), id, path, max));
        message.map(|bytes| bytes.map(Bytes::from))
    }

    async fn list(&self, cursor: Option<String>) -> Result<Snapshot> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.list;
        let listed = call!(self, begun, About::node(export::CONTAINER_LIST), function, |call| (cursor,));
        listed.map(|snapshot| from_wit::snapshot(snapshot, &self.mask(&begun)))
    }

    async fn refresh(&self, pods: Vec<PodRef>) -> Result<Vec<PodState>> {
        let begun = self.caller.begin();
        let function = begun.live.version.containers()?.refresh;
        let pods: Vec<_> = pods.iter().map(to_wit::pod_ref).collect();
        let refreshed = call!(self, begun, About::node(export::CONTAINER_REFRESH), function, |call| (pods,));
        refreshed.map(|states| from_wit::pod_states(states, &self.mask(&begun)))
    }
}

#[async_trait]
impl Watch for ComponentProvider {
    async fn open(&self, pod: Option<PodRef>) -> Result<Pin<Box<dyn Stream<Item = Change> + Send>>> {
        let begun = self.caller.begin();
        let function::Watch { open, decode } = optional!(begun, watch, "watch")?;
        let (open, decode) = (*open, *decode);
        let about = match &pod {
            Some(pod) => About::pod(export::WATCH_OPEN, &pod.key),
            None => About::node(export::WATCH_OPEN),
        };
        let wanted = pod.as_ref().map(to_wit::pod_ref);
        let opened = self.caller.open(&begun, about, move |accessor, guest| {
            Box::pin(async move { Ok(guest.call(accessor, open, (wanted,)).await?.map(|output| (output, ()))) })
        });
        let (output, ()) = opened.await?;
        let caller = self.caller.clone();
        // It would keep its version for ever. Who watches opens it anew when it has ended.
        let replaced = version::reached(begun.live.version.stages(), Stage::Draining);
        let lines = crate::lines::Lines::new(output.content).ready_chunks(DECODE_BATCH);
        let changes = lines.then(move |pieces| {
            let (caller, begun, pod) = (caller.clone(), begun.clone(), pod.clone());
            async move {
                let about = About::node(export::WATCH_DECODE);
                let wanted = pod.as_ref().map(to_wit::pod_ref);
                let decoded = caller.call(&begun, about, move |accessor, guest| {
                    Box::pin(async move { guest.call(accessor, decode, (wanted, pieces)).await })
                });
                match decoded.await {
                    Ok(changes) => {
                        let mask = |uid: &str, text| caller.mask(&begun.capabilities, uid, text);
                        changes.into_iter().map(|change| from_wit::change(change, &mask)).collect()
                    }
                    // What these pieces said is not lost: the host looks for itself.
                    Err(error) => {
                        tracing::warn!(provider = caller.program.name(), %error, "a watch can't be read");
                        vec![Change::Anything]
                    }
                }
            }
        });
        Ok(Box::pin(changes.flat_map(futures::stream::iter).take_until(replaced)))
    }
}

#[async_trait]
impl Logs for ComponentProvider {
    async fn open(&self, target: Target, options: LogOptions) -> Result<Log> {
        let begun = self.caller.begin();
        let function = optional!(begun, logs, "logs")?.open;
        let about = About::pod(export::LOGS_OPEN, &target.pod.key);
        let (target, options) = (to_wit::target(&target), to_wit::log_options(&options));
        let opened = self.caller.open(&begun, about, move |accessor, guest| {
            Box::pin(async move {
                let opened = guest.call(accessor, function, (target, options)).await?;
                Ok(opened.map(|log| (log.output, log.applied)))
            })
        });
        opened.await.map(|(output, applied)| Log { output, applied: from_wit::applied(&applied) })
    }
}

#[async_trait]
impl Stats for ComponentProvider {
    async fn read(&self, pods: Vec<PodRef>) -> Result<Summary> {
        let begun = self.caller.begin();
        let function = optional!(begun, stats, "stats")?.read;
        let pods: Vec<_> = pods.iter().map(to_wit::pod_ref).collect();
        call!(self, begun, About::node(export::STATS_READ), function, |call| (pods,)).map(from_wit::summary)
    }
}

#[async_trait]
impl Files for ComponentProvider {
    async fn update(&self, pod: PodRef, volume: String, files: Vec<File>) -> Result<()> {
        let begun = self.caller.begin();
        let function = optional!(begun, files, "files")?.update;
        let about = About::pod(export::FILES_UPDATE, &pod.key);
        let denied =
            files.iter().any(|file| file.origin.kind.is_sensitive()) && !begun.capabilities.pod_secrets().may_reveal();
        if denied {
            return Err(Error::new(Code::Denied, "the pod's Secrets may not be given to this provider"));
        }
        call!(self, begun, about, function, |call| (to_wit::pod_ref(&pod), volume, to_wit::files(call, files)?))
    }
}

#[async_trait]
impl Probes for ComponentProvider {
    async fn supported(&self) -> Result<Vec<String>> {
        let begun = self.caller.begin();
        let function = optional!(begun, probes, "probes")?.supported;
        call!(self, begun, About::node(export::PROBES_SUPPORTED), function, |call| ())
    }
}

#[async_trait]
impl Restart for ComponentProvider {
    async fn restart_container(&self, target: Target, attempt: u32, grace: Duration) -> Result<()> {
        let begun = self.caller.begin();
        let function = optional!(begun, restart, "restart")?.restart_container;
        let about = About::pod(export::RESTART_CONTAINER, &target.pod.key);
        call!(self, begun, about, function, |call| (to_wit::target(&target), attempt, to_wit::nanos(grace)))
    }
}

#[async_trait]
impl Background for ComponentProvider {
    async fn run(&self) -> Result<Option<Duration>> {
        let begun = self.caller.begin();
        let function = optional!(begun, background, "background")?.run;
        let next = call!(self, begun, About::node(export::BACKGROUND_RUN), function, |call| ());
        next.map(|after| after.map(Duration::from_nanos))
    }
}
