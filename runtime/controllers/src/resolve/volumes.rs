//! Volumes: those that the host computes become lists of files, the others are passed on if the provider takes them.
//!
//! As the kubelet has it: keys become paths or are mapped by `items`, modes come from the item, the volume or 0644, what is
//! optional and missing is empty, a later source of a projected volume wins. With `fsGroup` files belong to that group and
//! are readable by it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    DownwardAPIVolumeFile, KeyToPath, ProjectedVolumeSource, ServiceAccountTokenProjection, Volume as ApiVolume,
};
use provider::{Content, File, Origin, OriginKind, PodKey, Volume};
use serde_json::Value;

use super::amounts::{by_path, divided};
use super::fields::for_file;
use super::files::{Key, Known};
use super::tokens::{TokenFile, Wanted};
use super::{NodeFacts, Resolver, Unresolved};
use crate::record::Parsed;
use crate::references::ReferenceKind;

const DEFAULT_MODE: i32 = 0o644;
/// What the kubelet gives a token or a trust bundle that belongs to somebody.
const OWNED_MODE: u32 = 0o600;
/// Kinds that are not "where the bytes are" but have a field of their own.
const COMPUTED: &[&str] = &["configMap", "secret", "downwardAPI", "projected", "emptyDir"];

/// A volume that is being filled.
struct Files<'a> {
    resolver: &'a Resolver,
    key: &'a PodKey,
    pod: &'a Parsed,
    node: &'a NodeFacts,
    files: BTreeMap<String, File>,
}

impl Resolver {
    /// All volumes of a pod.
    pub(super) async fn volumes(
        &self,
        key: &PodKey,
        pod: &Parsed,
        node: &NodeFacts,
    ) -> Result<Vec<Volume>, Unresolved> {
        let mut out = Vec::new();
        for (at, volume) in pod.spec.volumes.iter().flatten().enumerate() {
            let name = volume.name.clone();
            out.push(if let Some(own) = &volume.empty_dir {
                let size_limit = own.size_limit.as_ref().and_then(|limit| super::amounts::amount("memory", limit));
                Volume::EmptyDir { name, medium: own.medium.clone().unwrap_or_default(), size_limit }
            } else if let Some(files) = self.files(key, pod, node, at, volume).await {
                Volume::Files { name, files: files? }
            } else {
                backend(volume, at, node)?
            });
        }
        Ok(out)
    }

    /// What the volumes that the host computes hold now, each by itself: one that can't be had does not keep the others.
    pub async fn files_of(
        &self,
        key: &PodKey,
        pod: &Parsed,
        node: &NodeFacts,
    ) -> Vec<(String, Result<Vec<File>, Unresolved>)> {
        let mut out = Vec::new();
        for (at, volume) in pod.spec.volumes.iter().flatten().enumerate() {
            if let Some(files) = self.files(key, pod, node, at, volume).await {
                out.push((volume.name.clone(), files));
            }
        }
        out
    }

    /// The files of a volume; none: it is not one that the host computes.
    async fn files(
        &self,
        key: &PodKey,
        pod: &Parsed,
        node: &NodeFacts,
        at: usize,
        volume: &ApiVolume,
    ) -> Option<Result<Vec<File>, Unresolved>> {
        let sources = volume.projected.iter().flat_map(|own| own.sources.iter().flatten());
        if let Some(own) = sources.enumerate().find_map(|(n, own)| own.pod_certificate.as_ref().map(|_| n)) {
            let message =
                format!("spec.volumes[{at}].projected.sources[{own}].podCertificate is not supported by this node");
            return Some(Err(Unresolved { is_final: true, ..Unresolved::config(message) }));
        }
        let mut files = Files { resolver: self, key, pod, node, files: BTreeMap::new() };
        let filled = if let Some(own) = &volume.config_map {
            let source = Object {
                kind: ReferenceKind::ConfigMap,
                name: &own.name,
                items: own.items.as_deref(),
                mode: own.default_mode,
                optional: own.optional == Some(true),
            };
            files.object(&source).await
        } else if let Some(own) = &volume.secret {
            let source = Object {
                kind: ReferenceKind::Secret,
                name: own.secret_name.as_deref().unwrap_or_default(),
                items: own.items.as_deref(),
                mode: own.default_mode,
                optional: own.optional == Some(true),
            };
            files.object(&source).await
        } else if let Some(own) = &volume.downward_api {
            files.downward(own.items.as_deref().unwrap_or_default(), own.default_mode)
        } else {
            files.projected(volume.projected.as_ref()?).await
        };
        let failed = |reason: String| {
            Unresolved::mount(format!("MountVolume.SetUp failed for volume {:?} : {reason}", volume.name))
        };
        Some(filled.map_err(failed).map(|()| files.owned()))
    }
}

/// A volume that only the backend can provide.
fn backend(volume: &ApiVolume, at: usize, node: &NodeFacts) -> Result<Volume, Unresolved> {
    let Ok(Value::Object(fields)) = serde_json::to_value(volume) else {
        return Err(Unresolved::config(format!("spec.volumes[{at}] can't be read")));
    };
    let source = fields.into_iter().find(|(field, _)| field != "name" && !COMPUTED.contains(&field.as_str()));
    let Some((field, source)) = source else {
        // A volume without any source is an empty one.
        return Ok(Volume::EmptyDir { name: volume.name.clone(), medium: String::new(), size_limit: None });
    };
    let kind = kebab(&field);
    if !node.volume_kinds.contains(&kind) {
        return Err(Unresolved::unsupported(&format!("spec.volumes[{at}].{field}"), "this kind of volume"));
    }
    Ok(Volume::Backend { name: volume.name.clone(), kind, source: source.to_string(), files: Vec::new() })
}

/// `persistentVolumeClaim` → `persistent-volume-claim`.
fn kebab(field: &str) -> String {
    let mut out = String::with_capacity(field.len() + 4);
    for c in field.chars() {
        if c.is_ascii_uppercase() && !out.is_empty() {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
    }
    out
}

/// A ConfigMap or Secret as a source of files.
struct Object<'a> {
    kind: ReferenceKind,
    name: &'a str,
    items: Option<&'a [KeyToPath]>,
    mode: Option<i32>,
    optional: bool,
}

/// What the pod's `fsGroup` may do with files that a volume of Kubernetes' own objects holds, whatever mode they ask for.
const GROUP_MODE: u32 = 0o440;

fn mode(item: Option<i32>, volume: Option<i32>) -> u32 {
    u32::try_from(item.or(volume).unwrap_or(DEFAULT_MODE)).unwrap_or(0o644) & 0o7777
}

impl Files<'_> {
    fn put(&mut self, path: &str, mode: u32, content: Arc<dyn Content>, origin: Origin) -> Result<(), String> {
        let is_inside = !path.is_empty() && path.split('/').all(|part| !part.is_empty() && part != "..");
        if !is_inside {
            return Err(format!("invalid path {path:?}"));
        }
        let has_group = self.pod.spec.security_context.as_ref().is_some_and(|own| own.fs_group.is_some());
        let mode = if has_group { mode | GROUP_MODE } else { mode };
        let file = File { path: path.to_owned(), mode, user: None, group: None, content, origin: Arc::new(origin) };
        self.files.insert(path.to_owned(), file);
        Ok(())
    }

    async fn object(&mut self, source: &Object<'_>) -> Result<(), String> {
        let Object { kind, name, items, mode: volume_mode, optional } = source;
        let found = self.resolver.references.get(self.key, *kind, name).await?;
        let Some(object) = found else {
            return if *optional { Ok(()) } else { Err(format!("{} {name:?} not found", kind.word())) };
        };
        let origin = |key: &str| {
            let kind = match kind {
                ReferenceKind::ConfigMap => OriginKind::ConfigMap,
                ReferenceKind::Secret => OriginKind::Secret,
            };
            Origin::new(kind, *name, key)
        };
        let content = |key: &str| Arc::new(Key { object: object.clone(), key: key.to_owned() });
        match items.filter(|items| !items.is_empty()) {
            None => {
                let keys: Vec<&String> = object.data.keys().chain(object.binary.keys()).collect();
                for key in keys {
                    self.put(key, mode(None, *volume_mode), content(key), origin(key))?;
                }
            }
            Some(items) => {
                for item in items {
                    if !object.data.contains_key(&item.key) && !object.binary.contains_key(&item.key) {
                        if *optional {
                            continue;
                        }
                        let what = match kind {
                            ReferenceKind::ConfigMap => "configmap references non-existent config key",
                            ReferenceKind::Secret => "references non-existent secret key",
                        };
                        return Err(format!("{what}: {}", item.key));
                    }
                    self.put(&item.path, mode(item.mode, *volume_mode), content(&item.key), origin(&item.key))?;
                }
            }
        }
        Ok(())
    }

    fn downward(&mut self, items: &[DownwardAPIVolumeFile], volume_mode: Option<i32>) -> Result<(), String> {
        for item in items {
            let (text, origin) = if let Some(field) = &item.field_ref {
                let text = for_file(&field.field_path, &self.pod.metadata)?;
                (text, Origin::new(OriginKind::Field, field.field_path.as_str(), ""))
            } else if let Some(field) = &item.resource_field_ref {
                let container = field.container_name.as_deref().unwrap_or_default();
                let nanos = by_path(&self.pod.spec, container, &field.resource, &self.node.allocatable)?;
                let origin = Origin::new(OriginKind::ResourceField, field.resource.as_str(), container);
                (divided(nanos, field.divisor.as_ref()), origin)
            } else {
                continue;
            };
            self.put(&item.path, mode(item.mode, volume_mode), Known::text(text), origin)?;
        }
        Ok(())
    }

    async fn projected(&mut self, projected: &ProjectedVolumeSource) -> Result<(), String> {
        let volume_mode = projected.default_mode;
        for source in projected.sources.iter().flatten() {
            if let Some(own) = &source.config_map {
                let object = Object {
                    kind: ReferenceKind::ConfigMap,
                    name: &own.name,
                    items: own.items.as_deref(),
                    mode: volume_mode,
                    optional: own.optional == Some(true),
                };
                self.object(&object).await?;
            }
            if let Some(own) = &source.secret {
                let object = Object {
                    kind: ReferenceKind::Secret,
                    name: &own.name,
                    items: own.items.as_deref(),
                    mode: volume_mode,
                    optional: own.optional == Some(true),
                };
                self.object(&object).await?;
            }
            if let Some(own) = &source.downward_api {
                self.downward(own.items.as_deref().unwrap_or_default(), volume_mode)?;
            }
            if let Some(own) = &source.service_account_token {
                self.token(own, volume_mode)?;
            }
            if let Some(own) = &source.cluster_trust_bundle {
                let anchors = self.resolver.bundles.anchors(self.key, own).await?;
                let name = own.name.as_deref().or(own.signer_name.as_deref()).unwrap_or_default();
                let origin = Origin::new(OriginKind::TrustBundle, name, "");
                self.put_owned(&own.path, volume_mode, Known::text(anchors), origin)?;
            }
        }
        Ok(())
    }

    fn token(&mut self, own: &ServiceAccountTokenProjection, volume_mode: Option<i32>) -> Result<(), String> {
        let spec = &self.pod.spec;
        let asked = Duration::from_secs(own.expiration_seconds.and_then(|s| u64::try_from(s).ok()).unwrap_or(3_600));
        let wanted = Wanted {
            pod: self.key.clone(),
            service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
            audience: own.audience.clone().unwrap_or_default(),
            lifetime: self.node.token_lifetime.map_or(asked, |least| asked.max(least)),
        };
        let origin = Origin::new(OriginKind::Token, wanted.service_account.as_str(), wanted.audience.as_str());
        let content = Arc::new(TokenFile { tokens: self.resolver.tokens.clone(), wanted });
        self.put_owned(&own.path, volume_mode, content, origin)
    }

    /// A file that belongs to the user that all containers run as, and is for that user alone where there is one.
    fn put_owned(
        &mut self,
        path: &str,
        volume_mode: Option<i32>,
        content: Arc<dyn Content>,
        origin: Origin,
    ) -> Result<(), String> {
        let user = self.owner();
        let is_owned = user.is_some() || self.group().is_some();
        let mode = if is_owned { OWNED_MODE } else { mode(None, volume_mode) };
        self.put(path, mode, content, origin)?;
        if let Some(file) = self.files.get_mut(path) {
            file.user = user;
        }
        Ok(())
    }

    fn group(&self) -> Option<u32> {
        let security = self.pod.spec.security_context.as_ref()?;
        security.fs_group.and_then(|group| u32::try_from(group).ok())
    }

    /// The user that all containers run as, if they agree.
    fn owner(&self) -> Option<u32> {
        let spec = &self.pod.spec;
        let of_pod = spec.security_context.as_ref().and_then(|own| own.run_as_user);
        let mut users = spec
            .containers
            .iter()
            .chain(spec.init_containers.iter().flatten())
            .map(|container| container.security_context.as_ref())
            .chain(spec.ephemeral_containers.iter().flatten().map(|container| container.security_context.as_ref()))
            .map(|security| security.and_then(|own| own.run_as_user).or(of_pod));
        let first = users.next()??;
        users.all(|user| user == Some(first)).then(|| u32::try_from(first).ok()).flatten()
    }

    /// The files, belonging to the pod's group if it has one.
    fn owned(self) -> Vec<File> {
        let group = self.group();
        let mut files: Vec<File> = self.files.into_values().collect();
        if let Some(group) = group {
            for file in &mut files {
                file.group = Some(group);
                file.mode |= 0o440;
            }
        }
        files
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_names_become_kebab_case() {
        assert_eq!(kebab("persistentVolumeClaim"), "persistent-volume-claim");
        assert_eq!(kebab("nfs"), "nfs");
        assert_eq!(kebab("azureFile"), "azure-file");
    }

    #[test]
    fn a_volume_that_the_provider_does_not_take_is_named_by_its_path() {
        let volume: ApiVolume =
            serde_json::from_value(serde_json::json!({ "name": "data", "hostPath": { "path": "/" } })).unwrap();
        let error = backend(&volume, 2, &NodeFacts::default()).unwrap_err();
        assert!(error.message.starts_with("spec.volumes[2].hostPath:"), "{}", error.message);
        assert!(error.is_final);
        let takes = NodeFacts { volume_kinds: vec!["host-path".into()], ..NodeFacts::default() };
        assert!(matches!(backend(&volume, 2, &takes), Ok(Volume::Backend { kind, .. }) if kind == "host-path"));
    }
}
