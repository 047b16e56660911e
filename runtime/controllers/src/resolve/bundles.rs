//! Trust anchors out of ClusterTrustBundles, for the files that project them (Kubernetes, "Cluster trust bundles").
//!
//! All bundles are watched once a pod wants one of them, and no more when the last such pod is gone. The certificates of
//! all that are selected make one PEM text: each once, without comments, sorted, so that it changes only with what is in
//! it. The newest version of the API is used that the cluster serves ([`VERSIONS`]); where it serves none of them, or this
//! identity may not read them, the pod waits and says so.
//!
//! Cost: one watch a node; on a change, a look at the pods that want any bundle.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::api::core::v1::ClusterTrustBundleProjection;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::core::{Selector, SelectorExt};
use provider::PodKey;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde::Deserialize;
use tokio::sync::watch;

use crate::api::{Api, Event, Watch};
use crate::references::Changed;

const GROUP: &str = "certificates.k8s.io";
/// The newest first.
const VERSIONS: &[&str] = &["v1", "v1beta1", "v1alpha1"];
const RESOURCE: &str = "clustertrustbundles";
/// How long a pod waits for the first list.
const FIRST_LIST: Duration = Duration::from_secs(10);
/// Characters of a line of PEM.
const LINE: usize = 64;

/// What is read of a bundle.
#[derive(Deserialize)]
struct Object {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
struct Metadata {
    name: String,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Spec {
    #[serde(default)]
    signer_name: String,
    #[serde(default)]
    trust_bundle: String,
}

/// What a version of an API group has.
#[derive(Deserialize)]
struct Served {
    #[serde(default)]
    resources: Vec<Resource>,
}

#[derive(Deserialize)]
struct Resource {
    name: String,
}

/// What is kept of a bundle.
#[derive(Clone, PartialEq, Eq)]
struct Bundle {
    labels: BTreeMap<String, String>,
    signer: String,
    /// DER.
    anchors: BTreeSet<Vec<u8>>,
}

impl From<Object> for Bundle {
    fn from(own: Object) -> Self {
        let anchors = CertificateDer::pem_slice_iter(own.spec.trust_bundle.as_bytes());
        Self {
            labels: own.metadata.labels,
            signer: own.spec.signer_name,
            anchors: anchors.filter_map(Result::ok).map(|anchor| anchor.to_vec()).collect(),
        }
    }
}

#[derive(Default)]
struct Known {
    bundles: BTreeMap<String, Bundle>,
    /// UIDs of the pods that want any.
    users: HashSet<Arc<str>>,
    watching: Option<tokio::task::AbortHandle>,
}

/// The ClusterTrustBundles of the cluster.
pub(crate) struct TrustBundles {
    api: Api,
    known: Arc<Mutex<Known>>,
    listed: watch::Sender<Option<Result<(), String>>>,
    changed: Arc<Changed>,
}

impl TrustBundles {
    /// Bundles that nobody has asked for yet.
    pub fn new(api: Api, changed: Changed) -> Self {
        Self { api, known: Arc::default(), listed: watch::Sender::new(None), changed: Arc::new(changed) }
    }

    /// The anchors that a pod's volume wants, as PEM.
    pub async fn anchors(&self, pod: &PodKey, wanted: &ClusterTrustBundleProjection) -> Result<String, String> {
        self.lock().users.insert(pod.uid.clone());
        self.start().await?;
        let mut listed = self.listed.subscribe();
        match tokio::time::timeout(FIRST_LIST, listed.wait_for(Option::is_some)).await {
            Ok(Ok(state)) => {
                if let Some(Err(reason)) = &*state {
                    return Err(format!("ClusterTrustBundles can't be read: {reason}"));
                }
            }
            _ => return Err(format!("ClusterTrustBundles can't be read: no answer within {} s", FIRST_LIST.as_secs())),
        }
        let optional = wanted.optional == Some(true);
        let known = self.lock();
        match (&wanted.name, &wanted.signer_name) {
            (Some(name), _) => match known.bundles.get(name) {
                Some(bundle) => Ok(pem(&bundle.anchors)),
                None if optional => Ok(String::new()),
                None => Err(format!("clustertrustbundle {name:?} not found")),
            },
            (None, Some(signer)) => {
                let selector = selector(wanted.label_selector.as_ref())?;
                let selected: Vec<&Bundle> = known
                    .bundles
                    .values()
                    .filter(|own| own.signer == *signer)
                    .filter(|own| selector.as_ref().is_some_and(|selector| selector.matches(&own.labels)))
                    .collect();
                if selected.is_empty() && !optional {
                    return Err(format!("no clustertrustbundle of the signer {signer:?} matches the labelSelector"));
                }
                Ok(pem(&selected.into_iter().flat_map(|own| &own.anchors).cloned().collect()))
            }
            (None, None) => Err("a clusterTrustBundle source needs a name or a signerName".to_owned()),
        }
    }

    /// The pod is gone.
    pub fn release(&self, uid: &str) {
        let mut known = self.lock();
        if known.users.remove(uid) && known.users.is_empty() {
            if let Some(watching) = known.watching.take() {
                watching.abort();
            }
            known.bundles.clear();
            self.listed.send_replace(None);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        lock(&self.known)
    }

    /// Watches them, unless that is so already.
    async fn start(&self) -> Result<(), String> {
        if self.lock().watching.is_some() {
            return Ok(());
        }
        let version = self.version().await?;
        let mut known = self.lock();
        if known.watching.is_some() {
            return Ok(());
        }
        let watch = Watch {
            path: format!("/apis/{GROUP}/{version}/{RESOURCE}"),
            field_selector: String::new(),
            is_busy: false,
        };
        let mut observer = Observer {
            known: self.known.clone(),
            listed: self.listed.clone(),
            changed: self.changed.clone(),
            next: None,
        };
        let running = watch.run::<Box<Object>>(self.api.clone(), move |event| observer.see(event));
        known.watching = Some(tokio::spawn(running).abort_handle());
        Ok(())
    }

    /// The newest version that the cluster serves.
    async fn version(&self) -> Result<&'static str, String> {
        for version in VERSIONS {
            match self.api.get::<Served>(&format!("/apis/{GROUP}/{version}")).await {
                Ok(served) if served.resources.iter().any(|own| own.name == RESOURCE) => return Ok(version),
                Ok(_) => {}
                Err(error) if error.is_not_found() => {}
                Err(error) => return Err(format!("what this cluster serves of {GROUP} can't be read: {error}")),
            }
        }
        let versions = VERSIONS.join(", ");
        Err(format!("this cluster serves no ClusterTrustBundles ({GROUP}, one of {versions})"))
    }
}

impl Drop for TrustBundles {
    fn drop(&mut self) {
        if let Some(watching) = self.lock().watching.take() {
            watching.abort();
        }
    }
}

fn lock(known: &Mutex<Known>) -> MutexGuard<'_, Known> {
    known.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps what is known as the API server has it.
struct Observer {
    known: Arc<Mutex<Known>>,
    listed: watch::Sender<Option<Result<(), String>>>,
    changed: Arc<Changed>,
    /// The list that is being read.
    next: Option<BTreeMap<String, Bundle>>,
}

impl Observer {
    fn see(&mut self, event: Event<Box<Object>>) {
        match event {
            Event::Listing => self.next = Some(BTreeMap::new()),
            Event::Applied(object) => {
                let name = object.metadata.name.clone();
                let bundle = Bundle::from(*object);
                match &mut self.next {
                    Some(next) => {
                        next.insert(name, bundle);
                    }
                    None => {
                        let before = lock(&self.known).bundles.insert(name, bundle.clone());
                        if before.as_ref() != Some(&bundle) {
                            self.tell();
                        }
                    }
                }
            }
            Event::Deleted(object) => {
                if lock(&self.known).bundles.remove(&object.metadata.name).is_some() {
                    self.tell();
                }
            }
            Event::Listed => {
                let Some(next) = self.next.take() else { return };
                let before = std::mem::replace(&mut lock(&self.known).bundles, next.clone());
                // Who asked first waits for it, and need not be told.
                match self.listed.send_replace(Some(Ok(()))) {
                    Some(Err(_)) => self.tell(),
                    Some(Ok(())) if before != next => self.tell(),
                    _ => {}
                }
            }
            // What was read stays; only who has nothing yet hears of it.
            Event::Failed(error) => {
                self.listed.send_if_modified(|listed| {
                    let nothing_yet = *listed != Some(Ok(()));
                    if nothing_yet {
                        *listed = Some(Err(error.to_string()));
                    }
                    nothing_yet
                });
            }
        }
    }

    fn tell(&self) {
        let users = lock(&self.known).users.iter().cloned().collect();
        (self.changed)(users);
    }
}

/// None: it selects nothing, which is what no selector means.
fn selector(own: Option<&LabelSelector>) -> Result<Option<Selector>, String> {
    let Some(own) = own else { return Ok(None) };
    let read = Selector::try_from(own.clone());
    read.map(Some).map_err(|error| format!("the labelSelector of a clusterTrustBundle source can't be read: {error}"))
}

fn pem(anchors: &BTreeSet<Vec<u8>>) -> String {
    let mut out = String::new();
    for anchor in anchors {
        out.push_str("-----BEGIN CERTIFICATE-----\n");
        let mut rest = &*STANDARD.encode(anchor);
        while !rest.is_empty() {
            let (line, after) = rest.split_at(rest.len().min(LINE));
            out.push_str(line);
            out.push('\n');
            rest = after;
        }
        out.push_str("-----END CERTIFICATE-----\n");
    }
    out
}

#[cfg(test)]
mod tests;
