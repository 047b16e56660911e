//! A pod as the API server has it, kept small.
//!
//! Spec and status stay the text that came, without managed fields: some 3 KB a pod, where the parsed object takes ten
//! times that. It is parsed when it is worked on, and stays so until others were: a pod goes through many hands within a
//! moment, and then rests for hours. Bound: [`recent::KEPT`] bytes of text in the whole process.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::{PodSpec, PodStatus};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use pod_worker::Probe;
use provider::PodKey;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::api::FromWatch;
use crate::pods::assumed;

/// Marks a pod that another source than the API server made; the API server's copy only mirrors it.
const MIRROR: &str = "kubernetes.io/config.mirror";
const SOURCE: &str = "kubernetes.io/config.source";

mod recent;
pub(crate) use recent::rest;

/// A pod at the API server.
#[derive(Debug)]
pub(crate) struct Record {
    pub key: PodKey,
    /// `metadata.resourceVersion`.
    pub version: String,
    /// `metadata.generation`: counts changes of the spec.
    pub generation: i64,
    /// `metadata.deletionGracePeriodSeconds` of one that is being deleted.
    pub deletion_grace: Option<Duration>,
    /// `spec.terminationGracePeriodSeconds`.
    grace: Option<u32>,
    /// `spec.activeDeadlineSeconds` is set.
    pub has_deadline: bool,
    /// The phase is one that is never left.
    pub finished: bool,
    /// It only mirrors a pod that is not managed here.
    pub mirror: bool,
    /// `metadata` without managed fields.
    metadata: Box<str>,
    spec: Arc<str>,
    status: Box<str>,
    parsed: Mutex<Option<Arc<Parsed>>>,
}

/// What is kept of `metadata`: all that says something of the pod itself.
#[derive(Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    #[serde(borrow)]
    name: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    generate_name: Option<&'a RawValue>,
    #[serde(borrow, default)]
    namespace: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    uid: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing)]
    resource_version: std::borrow::Cow<'a, str>,
    #[serde(default)]
    generation: i64,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<&'a RawValue>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion_timestamp: Option<Time>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    deletion_grace_period_seconds: Option<i64>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    labels: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    owner_references: Option<&'a RawValue>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    finalizers: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Object<'a> {
    #[serde(borrow)]
    metadata: Metadata<'a>,
    #[serde(borrow)]
    spec: &'a RawValue,
    #[serde(borrow, default)]
    status: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Times {
    #[serde(default)]
    termination_grace_period_seconds: Option<i64>,
    #[serde(default)]
    active_deadline_seconds: Option<i64>,
}

#[derive(Deserialize)]
struct Phase<'a> {
    #[serde(borrow, default)]
    phase: std::borrow::Cow<'a, str>,
}

impl FromWatch for Record {
    fn read(object: &RawValue) -> Result<Self, serde_json::Error> {
        let Object { metadata, spec, status } = serde_json::from_str(object.get())?;
        let status = status.map_or("{}", RawValue::get);
        let phase: Phase<'_> = serde_json::from_str(status)?;
        let Times { termination_grace_period_seconds: grace, active_deadline_seconds: deadline } =
            serde_json::from_str(spec.get())?;
        let mirror = metadata.annotations.is_some_and(|annotations| {
            let own: std::collections::BTreeMap<String, String> =
                serde_json::from_str(annotations.get()).unwrap_or_default();
            own.contains_key(MIRROR) || own.get(SOURCE).is_some_and(|source| source != "api")
        });
        Ok(Self {
            key: PodKey::new(&*metadata.uid, &*metadata.namespace, &*metadata.name),
            version: metadata.resource_version.to_string(),
            generation: metadata.generation,
            grace: grace.map(|grace| u32::try_from(grace).unwrap_or(0)),
            has_deadline: deadline.is_some(),
            deletion_grace: metadata.deletion_timestamp.is_some().then(|| {
                let seconds = metadata.deletion_grace_period_seconds.and_then(|grace| u64::try_from(grace).ok());
                Duration::from_secs(seconds.unwrap_or(0))
            }),
            finished: matches!(&*phase.phase, "Succeeded" | "Failed"),
            mirror,
            metadata: serde_json::to_string(&metadata)?.into(),
            spec: spec.get().into(),
            status: status.into(),
            parsed: Mutex::default(),
        })
    }
}

/// A pod, parsed for as long as it is worked on.
#[derive(Clone, Debug)]
pub(crate) struct Parsed {
    pub metadata: ObjectMeta,
    pub spec: PodSpec,
    pub status: Arc<PodStatus>,
    /// The results of its probes.
    pub probes: Vec<Probe>,
}

impl Record {
    /// What it says, for a while.
    pub fn parse(self: &Arc<Self>) -> Result<Arc<Parsed>, serde_json::Error> {
        let mut known = self.parsed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(parsed) = &*known {
            return Ok(parsed.clone());
        }
        let spec = serde_json::from_str(&self.spec)?;
        let parsed = Arc::new(Parsed {
            metadata: serde_json::from_str(&self.metadata)?,
            probes: assumed(&spec),
            spec,
            status: Arc::new(serde_json::from_str(&self.status)?),
        });
        *known = Some(parsed.clone());
        drop(known);
        recent::parsed(self);
        Ok(parsed)
    }

    /// Its length as text, bytes.
    fn len(&self) -> usize {
        self.metadata.len() + self.spec.len() + self.status.len()
    }

    /// Only its text is kept.
    fn rest(&self) {
        self.parsed.lock().unwrap_or_else(PoisonError::into_inner).take();
    }

    /// The manifest for a provider: without status and managed fields.
    pub fn manifest(&self) -> Arc<str> {
        format!(r#"{{"apiVersion":"v1","kind":"Pod","metadata":{},"spec":{}}}"#, self.metadata, self.spec).into()
    }

    /// The whole object, as a list of pods shows it.
    pub fn object(&self) -> String {
        format!(r#"{{"metadata":{},"spec":{},"status":{}}}"#, self.metadata, self.spec, self.status)
    }

    /// Whether the specs are the same.
    pub fn same_spec(&self, other: &Self) -> bool {
        self.spec == other.spec
    }

    /// Whether the metadata are the same, but for the version.
    pub fn same_metadata(&self, other: &Self) -> bool {
        self.metadata == other.metadata
    }

    /// Whether nothing but the status differs.
    pub fn same_but_for_status(&self, other: &Self) -> bool {
        self.same_metadata(other) && self.same_spec(other)
    }

    /// Takes the spec's memory from another record of the same pod, if it is the same.
    pub fn share_spec(&mut self, other: &Self) {
        if self.spec == other.spec {
            self.spec = other.spec.clone();
        }
    }

    /// `spec.terminationGracePeriodSeconds`.
    pub fn grace_period(&self) -> Duration {
        Duration::from_secs(self.grace.unwrap_or(30).into())
    }

    /// The path of the object at the API server.
    pub fn path(key: &PodKey) -> String {
        format!("/api/v1/namespaces/{}/pods/{}", key.namespace, key.name)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn record(object: &serde_json::Value) -> Arc<Record> {
        Arc::new(Record::read(&serde_json::value::to_raw_value(object).unwrap()).unwrap())
    }

    fn pod() -> serde_json::Value {
        json!({
            "metadata": {
                "name": "web", "namespace": "default", "uid": "u1", "generation": 2, "resourceVersion": "77",
                "labels": { "app": "we\"b" }, "managedFields": [{ "manager": "kubectl", "fieldsV1": {} }],
                "deletionTimestamp": "2026-01-02T03:04:05Z", "deletionGracePeriodSeconds": 30,
            },
            "spec": { "containers": [{ "name": "c", "image": "busybox" }], "nodeName": "n" },
            "status": { "phase": "Failed", "podIP": "10.0.0.1" },
        })
    }

    #[test]
    fn what_is_needed_is_kept_and_managed_fields_are_not() {
        let record = record(&pod());
        assert_eq!(record.key, PodKey::new("u1", "default", "web"));
        assert_eq!(record.generation, 2);
        assert_eq!(record.deletion_grace, Some(Duration::from_secs(30)));
        assert!(record.finished);
        assert!(!record.manifest().contains("managedFields"));
        assert!(!record.manifest().contains("podIP"));
        let manifest: serde_json::Value = serde_json::from_str(&record.manifest()).unwrap();
        assert_eq!(manifest["metadata"]["labels"]["app"], "we\"b");
        let parsed = record.parse().unwrap();
        assert_eq!(parsed.status.pod_ip.as_deref(), Some("10.0.0.1"));
        assert_eq!(parsed.spec.containers[0].name, "c");
    }

    #[test]
    fn mirror_and_static_pods_are_told_apart() {
        let mut mirrored = pod();
        mirrored["metadata"]["annotations"] = json!({ "kubernetes.io/config.mirror": "hash" });
        assert!(record(&mirrored).mirror);
        let mut fixed = pod();
        fixed["metadata"]["annotations"] = json!({ "kubernetes.io/config.source": "file" });
        assert!(record(&fixed).mirror);
        fixed["metadata"]["annotations"] = json!({ "kubernetes.io/config.source": "api" });
        assert!(!record(&fixed).mirror);
    }

    #[test]
    fn a_record_takes_little_more_than_its_text() {
        let record = record(&pod());
        assert!(size_of::<Record>() <= 176, "{}", size_of::<Record>());
        assert!(record.object().len() < 600);
    }
}
