//! One version of a provider: a component that was linked, tried and can be called.
//!
//! A version lives as long as something holds it: the program whose current one it is, a call that began on it, a stream
//! that keeps its instance. The last of them frees its code. A version that was replaced is *retired*: watches, which would
//! keep it for ever, end at once and are opened anew on its successor; streams of its own making have until the drain
//! deadline, and then end with an error that says why.

use std::sync::Arc;

use host_capabilities::Capabilities;
use jiff::Timestamp;
use provider::{Error, Result};
use tokio::sync::watch;
use wasmtime::component::{InstancePre, Linker};

use crate::component::{Compiled, LoadError};
use crate::digest::Digest;
use crate::engine::Engine;
use crate::function::{self, Functions, Kind};
use crate::health::Health;
use crate::inspect::{Inspection, ProviderKind};
use crate::limits::Limits;
use crate::program::Trial;
use crate::state::State;

/// What is left of a version's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// New calls may begin.
    Serving,
    /// Replaced: what is open may end by itself.
    Draining,
    /// Replaced long ago: what is still open is ended.
    Over,
}

/// A version that can be called.
pub(crate) struct Version {
    pub(crate) pre: InstancePre<State>,
    pub(crate) functions: Functions,
    pub(crate) kind: ProviderKind,
    pub(crate) digest: Digest,
    /// The digest, shortened: what log lines show.
    pub(crate) short: Arc<str>,
    pub(crate) inspection: Inspection,
    pub(crate) health: Health,
    pub(crate) since: Timestamp,
    stage: watch::Sender<Stage>,
}

impl Version {
    /// Links a component, and tries one instance.
    pub(crate) async fn new(
        trial: Trial<'_>,
        compiled: Compiled,
        limits: &Limits,
        capabilities: &Arc<Capabilities>,
    ) -> Result<Self, LoadError> {
        let kind = compiled.check()?;
        compiled.check_grants(capabilities)?;
        let Compiled { name, component, digest, inspection } = compiled;
        let fail = |reason| LoadError::Unusable { name: name.clone(), reason };
        let linked = linker(trial.engine).and_then(|linker| linker.instantiate_pre(&component));
        let pre = linked.map_err(|error| fail(format!("{error:#}")))?;
        let exports = inspection.clone();
        let functions = trial.instance(pre.clone(), &digest, limits, capabilities, move |pre, store, instance| {
            Functions::find(pre, store, instance, kind, |export| exports.exports(export))
        });
        let functions = functions.await.map_err(fail)?;
        let short = digest.short().into();
        Ok(Self::serving(pre, functions, kind, digest, short, inspection))
    }

    /// The same code, as a version that was never replaced.
    pub(crate) fn renewed(&self) -> Self {
        let Self { pre, functions, kind, digest, short, inspection, .. } = self;
        Self::serving(pre.clone(), functions.clone(), *kind, *digest, short.clone(), inspection.clone())
    }

    fn serving(
        pre: InstancePre<State>,
        functions: Functions,
        kind: ProviderKind,
        digest: Digest,
        short: Arc<str>,
        inspection: Inspection,
    ) -> Self {
        let (health, since) = (Health::default(), Timestamp::now());
        Self {
            pre,
            functions,
            kind,
            digest,
            short,
            inspection,
            health,
            since,
            stage: watch::Sender::new(Stage::Serving),
        }
    }

    /// Its functions for whole pods.
    pub(crate) fn pods(&self) -> Result<&function::Pods> {
        match &self.functions.kind {
            Kind::Pods(functions) => Ok(functions),
            Kind::Containers(_) => Err(Error::lacks("pods")),
        }
    }

    /// Its functions for containers.
    pub(crate) fn containers(&self) -> Result<&function::Containers> {
        match &self.functions.kind {
            Kind::Containers(functions) => Ok(functions),
            Kind::Pods(_) => Err(Error::lacks("containers")),
        }
    }

    /// Says how far its end is.
    pub(crate) fn set_stage(&self, stage: Stage) {
        self.stage.send_replace(stage);
    }

    /// Follows how far its end is, without keeping it.
    pub(crate) fn stages(&self) -> watch::Receiver<Stage> {
        self.stage.subscribe()
    }
}

/// Waits until a version has come this far; one that is gone has.
pub(crate) async fn reached(mut stages: watch::Receiver<Stage>, stage: Stage) {
    // An error is the end of the version.
    let _ = stages.wait_for(|now| *now >= stage).await;
}

fn linker(engine: &Engine) -> wasmtime::Result<Linker<State>> {
    let mut linker = Linker::new(&engine.wasmtime);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    host_capabilities::add_to_linker(&mut linker, |state: &mut State| &mut state.call)?;
    Ok(linker)
}
