//! A guest without code: the test calls what a component would import, in a store of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use provider::{ByteStream, PodKey};
use tempfile::TempDir;
use tokio::runtime::Handle;
use wasmtime::component::{Accessor, StreamReader};
use wasmtime::{Engine, Store};

use crate::audit::Audit;
use crate::bindings::vk::host::blobs;
use crate::bindings::vk::host::types::Source;
use crate::config::NodeIdentity;
use crate::egress::{Resolve, Rule};
use crate::error::Error;
use crate::events::ProviderEvent;
use crate::mask::Mask;
use crate::quota::{Bounds, Quotas};
use crate::secrets::{Secrets, Sources};
use crate::store::Embedded;
use crate::stream;
use crate::{Call, CallData, Capabilities, Grants, Host, Subject};

/// One call of a provider, and what it told the cluster.
pub(crate) struct Guest {
    pub(crate) store: Store<Call>,
    pub(crate) capabilities: Arc<Capabilities>,
    pub(crate) events: Arc<Mutex<Vec<ProviderEvent>>>,
    _folder: Option<TempDir>,
}

/// Rules as the command line reads them.
pub(crate) fn grants(http: &[&str], dial: &[&str], addresses: &[&str]) -> Grants {
    Grants {
        http: http.iter().map(|rule| Rule::parse(rule, crate::http::SCHEMES, false).unwrap()).collect(),
        dial: dial.iter().map(|rule| Rule::parse(rule, crate::dial::SCHEMES, true).unwrap()).collect(),
        addresses: addresses.iter().map(|range| range.parse().unwrap()).collect(),
        ..Grants::default()
    }
}

/// A grant of secrets, written as on the command line.
pub(crate) fn secrets(written: &[String]) -> Grants {
    let granted = written.iter().map(|one| one.parse().unwrap());
    let secrets = Secrets::new(granted, &Sources::new(Handle::current())).unwrap();
    Grants { secrets: Arc::new(secrets), ..Grants::default() }
}

/// The pod that calls are about.
pub(crate) fn pod() -> PodKey {
    PodKey::new("uid-1", "default", "web")
}

fn own(call: &mut Call) -> &mut Call {
    call
}

impl Guest {
    pub(crate) fn new(grants: Grants) -> Self {
        Self::with_mask(grants, Mask::default())
    }

    /// A call of a provider with these limits.
    pub(crate) fn limited(grants: Grants, limits: &[(&str, &str)]) -> Self {
        let mut bounds = Bounds::default();
        for (name, value) in limits {
            bounds.set(name, value).unwrap().unwrap();
        }
        Self::made(grants, Mask::default(), &bounds, &Audit::default())
    }

    /// A call whose uses are told to an audit log.
    pub(crate) fn audited(grants: Grants, audit: &Audit) -> Self {
        Self::made(grants, Mask::default(), &Bounds::default(), audit)
    }

    /// A call that was given a pod's secret values.
    pub(crate) fn with_mask(grants: Grants, mask: Mask) -> Self {
        Self::made(grants, mask, &Bounds::default(), &Audit::default())
    }

    /// A call of a provider whose names are resolved by this.
    pub(crate) fn resolving(grants: Grants, resolver: Arc<dyn Resolve>) -> Self {
        let made = Self::capabilities(grants, &Bounds::default(), &Audit::default());
        Self::with(made, |own| own.resolved_by(&resolver), Mask::default())
    }

    fn made(grants: Grants, mask: Mask, bounds: &Bounds, audit: &Audit) -> Self {
        Self::with(Self::capabilities(grants, bounds, audit), |own| own, mask)
    }

    fn with(
        (capabilities, events, folder): (Capabilities, Arc<Mutex<Vec<ProviderEvent>>>, TempDir),
        change: impl FnOnce(Capabilities) -> Capabilities,
        mask: Mask,
    ) -> Self {
        Self { events, _folder: Some(folder), ..Self::calling(Arc::new(change(capabilities)), mask) }
    }

    fn capabilities(
        grants: Grants,
        bounds: &Bounds,
        audit: &Audit,
    ) -> (Capabilities, Arc<Mutex<Vec<ProviderEvent>>>, TempDir) {
        let folder = tempfile::tempdir().unwrap();
        let quotas = Quotas::new("mock", bounds);
        let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
        let host = Host { io: Handle::current(), store, audit: audit.clone() };
        let events = Arc::new(Mutex::new(Vec::new()));
        let told = events.clone();
        let node = NodeIdentity {
            cluster: "test".to_owned(),
            name: "node-1".to_owned(),
            address: "192.0.2.1".to_owned(),
            operating_system: "linux".to_owned(),
            cluster_domain: "cluster.local".to_owned(),
        };
        let sink = Box::new(move |event| told.lock().unwrap().push(event));
        (Capabilities::new(quotas, node, grants, &host, sink), events, folder)
    }

    /// Another call of the same provider.
    pub(crate) fn of(capabilities: Arc<Capabilities>) -> Self {
        Self::calling(capabilities, Mask::default())
    }

    fn calling(capabilities: Arc<Capabilities>, mask: Mask) -> Self {
        let subject = Subject { export: "pods.create", pod: Some(pod()), id: 7, version: "sha256:abc".into() };
        let call = Call::new(capabilities.clone(), subject, mask.into());
        Self { store: Store::new(&Engine::default(), call), capabilities, events: Arc::default(), _folder: None }
    }

    /// Runs calls of host functions as a guest's own would run.
    pub(crate) async fn run<R>(&mut self, calls: impl AsyncFnOnce(&Accessor<Call, CallData>) -> R) -> R {
        let running = self.store.run_concurrent(async |accessor| calls(&accessor.with_getter::<CallData>(own)).await);
        tokio::time::timeout(Duration::from_secs(30), running).await.expect("the call hangs").unwrap()
    }
}

/// Reads a stream as a guest would, to its end, and tells how it ended.
pub(crate) async fn read(accessor: &Accessor<Call, CallData>, source: Source) -> (Vec<u8>, Result<(), Error>) {
    let Source { content, end } = source;
    let (mut chunks, told) = accessor.with(|mut access| {
        let told = stream::told(end, &mut access).unwrap();
        (stream::receive(content, &mut access).unwrap(), told)
    });
    let bytes = collect(&mut chunks).await.unwrap();
    (bytes, told.await.unwrap())
}

/// A stream of the host's with these bytes.
pub(crate) fn spooled(accessor: &Accessor<Call, CallData>, bytes: &[u8]) -> StreamReader<u8> {
    accessor
        .with(|access| <CallData as blobs::HostWithStore<Call>>::spool(access, bytes.to_vec()))
        .unwrap()
        .unwrap()
        .content
}

/// Takes a stream over as the host does when a guest hands it back.
pub(crate) fn take(accessor: &Accessor<Call, CallData>, content: StreamReader<u8>) -> ByteStream {
    accessor.with(|mut access| stream::take(content, &mut access).expect("a stream of the host's").into_stream())
}

/// All that is still to come.
pub(crate) async fn collect(stream: &mut ByteStream) -> Result<Vec<u8>, provider::Error> {
    use futures::StreamExt;
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.next().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}
