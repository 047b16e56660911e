//! The contract's functions, found in a component once and called in each of its instances.
//!
//! Looking a function up by name and comparing its type costs more than calling it, so both are done once a version
//! ([`Functions::find`]); a call then takes the function by its index.

use std::marker::PhantomData;

use wasmtime::component::{
    Accessor, ComponentExportIndex, ComponentNamedList, Instance, InstancePre, Lift, Lower, TypedFunc,
};
use wasmtime::{AsContextMut, Store};

use crate::bindings::exports::vk::provider as wit;
use crate::bindings::vk::host::types::{Error, PodKey};
use crate::bindings::vk::provider::types as t;
use crate::inspect::{CONTRACT, ProviderKind};
use crate::state::State;

/// A function of the guest, by its place in the component.
pub(crate) struct Function<P, R> {
    index: ComponentExportIndex,
    signature: PhantomData<fn(P) -> R>,
}

impl<P, R> Clone for Function<P, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<P, R> Copy for Function<P, R> {}

impl<P, R> Function<P, R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Lift + Send + Sync + 'static,
{
    /// Finds it and compares its type, in an instance that was made for that.
    fn find(
        pre: &InstancePre<State>,
        store: &mut Store<State>,
        instance: &Instance,
        interface: &str,
        name: &str,
    ) -> wasmtime::Result<Self> {
        let full = format!("vk:provider/{interface}@{CONTRACT}");
        let component = pre.component();
        let index = component
            .get_export_index(None, &full)
            .and_then(|interface| component.get_export_index(Some(&interface), name))
            .ok_or_else(|| wasmtime::format_err!("the export `{interface}` has no function `{name}`"))?;
        instance
            .get_typed_func::<P, (R,)>(&mut *store, index)
            .map_err(|error| error.context(format!("the function `{interface}.{name}` has another type")))?;
        Ok(Self { index, signature: PhantomData })
    }

    /// Takes it from an instance of the same component.
    pub(crate) fn of(self, store: impl AsContextMut, instance: &Instance) -> wasmtime::Result<Callable<P, R>> {
        let func = instance
            .get_func(store, self.index)
            .ok_or_else(|| wasmtime::format_err!("a function that was there is gone"))?;
        #[expect(unsafe_code, reason = "comparing the types again would cost more than the call")]
        // SAFETY: `find` compared the type of this very function of this very component with P and R.
        let typed = unsafe { TypedFunc::new_unchecked(func) };
        Ok(Callable { typed })
    }
}

/// A function of an instance.
pub(crate) struct Callable<P, R> {
    typed: TypedFunc<P, (R,)>,
}

impl<P, R> Callable<P, R>
where
    P: ComponentNamedList + Lower + Send + Sync + 'static,
    R: Lift + Send + Sync + 'static,
{
    /// Calls it.
    pub(crate) async fn call(self, accessor: &Accessor<State>, parameters: P) -> wasmtime::Result<R> {
        let (result,) = self.typed.call_concurrent(accessor, parameters).await?;
        Ok(result)
    }
}

macro_rules! interface {
    ($(#[$doc:meta])* $type:ident = $interface:literal {
        $($name:ident: $wit:literal ($($parameter:ty),*) -> $result:ty;)*
    }) => {
        $(#[$doc])*
        #[derive(Clone)]
        pub(crate) struct $type {
            $(pub(crate) $name: Function<($($parameter,)*), Result<$result, Error>>,)*
        }

        impl $type {
            fn find(
                pre: &InstancePre<State>,
                store: &mut Store<State>,
                instance: &Instance,
            ) -> wasmtime::Result<Self> {
                Ok(Self { $($name: Function::find(pre, store, instance, $interface, $wit)?,)* })
            }
        }
    };
}

interface! {
    /// `node`.
    Node = "node" {
        describe: "describe" () -> wit::node::Description;
    }
}

interface! {
    /// `pods`.
    Pods = "pods" {
        create: "create" (t::PodConfig) -> t::PodState;
        update: "update" (t::PodConfig, Vec<String>) -> ();
        delete: "delete" (t::PodRef, u64) -> ();
        forget: "forget" (t::PodRef) -> ();
        list: "list" (Option<String>) -> t::Snapshot;
        refresh: "refresh" (Vec<t::PodRef>) -> Vec<t::PodState>;
    }
}

interface! {
    /// `containers`.
    Containers = "containers" {
        run_sandbox: "run-sandbox" (t::SandboxConfig) -> t::PodState;
        stop_sandbox: "stop-sandbox" (PodKey, String) -> ();
        remove_sandbox: "remove-sandbox" (PodKey, String, bool) -> ();
        image_status: "image-status" (String) -> Option<wit::containers::Image>;
        pull_image: "pull-image" (PodKey, String, Vec<t::Credential>) -> wit::containers::Image;
        list_images: "list-images" () -> Vec<wit::containers::Image>;
        remove_image: "remove-image" (String) -> ();
        create_container: "create-container" (t::SandboxConfig, String, t::ContainerConfig) -> String;
        start_container: "start-container" (PodKey, String) -> ();
        stop_container: "stop-container" (PodKey, String, u64) -> ();
        remove_container: "remove-container" (PodKey, String) -> ();
        update_container: "update-container" (PodKey, String, t::Resources) -> ();
        termination_message: "termination-message" (PodKey, String, String, u32) -> Option<Vec<u8>>;
        list: "list" (Option<String>) -> t::Snapshot;
        refresh: "refresh" (Vec<t::PodRef>) -> Vec<t::PodState>;
    }
}

interface! {
    /// `watch`.
    Watch = "watch" {
        open: "open" (Option<t::PodRef>) -> t::Output;
        decode: "decode" (Option<t::PodRef>, Vec<Vec<u8>>) -> Vec<t::Change>;
    }
}

interface! {
    /// `logs`.
    Logs = "logs" {
        open: "open" (t::Target, wit::logs::Options) -> wit::logs::Log;
    }
}

interface! {
    /// `stats`.
    Stats = "stats" {
        read: "read" (Vec<t::PodRef>) -> wit::stats::Summary;
    }
}

interface! {
    /// `files`.
    Files = "files" {
        update: "update" (t::PodRef, String, Vec<t::File>) -> ();
    }
}

interface! {
    /// `probes`.
    Probes = "probes" {
        supported: "supported" () -> Vec<String>;
    }
}

interface! {
    /// `restart`.
    Restart = "restart" {
        restart_container: "restart-container" (t::Target, u32, u64) -> ();
    }
}

interface! {
    /// `background`.
    Background = "background" {
        run: "run" () -> Option<u64>;
    }
}

/// How the backend is driven.
#[derive(Clone)]
pub(crate) enum Kind {
    Pods(Pods),
    Containers(Containers),
}

/// All functions of a provider.
#[derive(Clone)]
pub(crate) struct Functions {
    pub(crate) node: Node,
    pub(crate) kind: Kind,
    pub(crate) watch: Option<Watch>,
    pub(crate) logs: Option<Logs>,
    pub(crate) stats: Option<Stats>,
    pub(crate) files: Option<Files>,
    pub(crate) probes: Option<Probes>,
    pub(crate) restart: Option<Restart>,
    pub(crate) background: Option<Background>,
}

impl Functions {
    /// Finds them in a component of this kind with these optional exports.
    pub(crate) fn find(
        pre: &InstancePre<State>,
        store: &mut Store<State>,
        instance: &Instance,
        kind: ProviderKind,
        exports: impl Fn(&str) -> bool,
    ) -> wasmtime::Result<Self> {
        macro_rules! optional {
            ($type:ident, $interface:literal) => {
                if exports($interface) { Some($type::find(pre, store, instance)?) } else { None }
            };
        }
        Ok(Self {
            node: Node::find(pre, store, instance)?,
            kind: match kind {
                ProviderKind::Pods => Kind::Pods(Pods::find(pre, store, instance)?),
                ProviderKind::Containers => Kind::Containers(Containers::find(pre, store, instance)?),
            },
            watch: optional!(Watch, "watch"),
            logs: optional!(Logs, "logs"),
            stats: optional!(Stats, "stats"),
            files: optional!(Files, "files"),
            probes: optional!(Probes, "probes"),
            restart: optional!(Restart, "restart"),
            background: optional!(Background, "background"),
        })
    }
}
