//! What a container mounts: the folder or file that it asks for as a bind out of the pod's volume ([`crate::volumes`]), so
//! that it sees nothing beside it. Pure.
//!
//! Sub-paths: engines of these versions follow links in a path that is bound, so a link that a container made could
//! lead out of the volume. Of `files` nothing can be replaced by a container: any sub-path works; as with the kubelet its
//! content does not change until the container is made anew. Of an `emptyDir` a sub-path works where no container of the
//! pod can write above it, and is refused otherwise; in memory it is refused.

use vk_provider_sdk::types::{ContainerConfig, SandboxConfig};
use vk_provider_sdk::{Error, Result, text};

use crate::hosts::{HOSTS, has_hosts_file};
use crate::manifest::Manifest;
use crate::volumes::{is_in_memory, termination_file};

/// A mount as the engine is asked for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Planned {
    /// What is mounted.
    pub source: Source,
    /// Where.
    pub destination: String,
    /// Not writable.
    pub read_only: bool,
    /// `rslave` or `rshared`; empty: mounts below it stay where they are made.
    pub propagation: &'static str,
    /// A folder of the volume that must be made first.
    pub make: Option<String>,
}

/// What is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A path on the engine's machine, inside the pod's volume.
    Bind(String),
    /// A named volume.
    Volume(String),
}

/// What a container mounts. `volume` is where the pod's volume is on the engine's machine; `memory` names volumes in
/// memory.
pub fn plan(
    sandbox: &SandboxConfig,
    container: &ContainerConfig,
    manifest: &Manifest,
    volume: &str,
    memory: impl Fn(&str) -> String,
) -> Result<Vec<Planned>> {
    let mut planned = Vec::with_capacity(container.mounts.len() + 2);
    let bind = |path: &str, destination: &str| Planned {
        source: Source::Bind(format!("{volume}/{path}")),
        destination: destination.to_owned(),
        read_only: false,
        propagation: "",
        make: None,
    };
    for mount in &container.mounts {
        let path = format!("{}.volumeMounts[{}]", manifest.path(&container.name), mount.path);
        let own = sandbox.volumes.iter().find(|own| own.name == mount.volume);
        let own = own.ok_or_else(|| Error::invalid(format!("{path}: there is no volume `{}`", mount.volume)))?;
        let sub_path = text::join(&mount.sub_path, &format!("{path}.subPath"))?;
        let sub_path = sub_path.trim_matches('/');
        let mut next = if own.kind == "files" {
            let paths = own.files.iter().map(|file| file.path.as_str());
            Planned { read_only: true, ..bind(&file_path(&own.name, paths, sub_path)?, &mount.path) }
        } else if is_in_memory(own) {
            if !sub_path.is_empty() {
                return Err(refused(&path, sub_path, "the volume is in memory"));
            }
            Planned { source: Source::Volume(memory(&own.name)), ..bind("", &mount.path) }
        } else if sub_path.is_empty() {
            bind(&format!("empty/{}", own.name), &mount.path)
        } else if manifest.can_write_above(&own.name, &container.name, &mount.path, sub_path) {
            return Err(refused(&path, sub_path, "a container of the pod can write above it"));
        } else {
            let path = format!("empty/{}/{sub_path}", own.name);
            Planned { make: Some(path.clone()), ..bind(&path, &mount.path) }
        };
        next.read_only |= mount.read_only;
        next.propagation = match mount.propagation.as_str() {
            "" | "None" => "",
            "HostToContainer" => "rslave",
            "Bidirectional" => "rshared",
            other => return Err(Error::invalid(format!("{path}.mountPropagation: there is no `{other}`"))),
        };
        planned.push(next);
    }
    let is_free = |path: &str, planned: &[Planned]| !planned.iter().any(|own| own.destination == path);
    let message = &container.termination_message_path;
    if !message.is_empty() && is_free(message, &planned) {
        planned.push(bind(&termination_file(&container.name, container.attempt), message));
    }
    if has_hosts_file(sandbox) && is_free("/etc/hosts", &planned) {
        planned.push(bind(HOSTS, "/etc/hosts"));
    }
    Ok(planned)
}

/// Where a file or folder of a `files` volume is.
fn file_path<'a>(volume: &str, mut paths: impl Iterator<Item = &'a str>, sub_path: &str) -> Result<String> {
    let base = format!("files/{volume}");
    if sub_path.is_empty() {
        return Ok(base);
    }
    let is_at = |path: &str| path.strip_prefix(sub_path).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    if !paths.any(is_at) {
        let message = format!("volume `{volume}` holds nothing at the sub-path `{sub_path}`");
        return Err(Error::unavailable(message).with_reason("CreateContainerConfigError"));
    }
    Ok(format!("{base}/..data/{sub_path}"))
}

fn refused(path: &str, sub_path: &str, why: &str) -> Error {
    Error::invalid(format!(
        "{path}.subPath: `{sub_path}` can't be mounted safely at this engine: {why}, and the engine would follow a link out of the volume"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::types::{Mount, Volume};

    fn volume(name: &str, kind: &str, medium: &str) -> Volume {
        Volume { name: name.into(), kind: kind.into(), medium: medium.into(), ..Volume::default() }
    }

    fn sandbox(volumes: Vec<Volume>) -> SandboxConfig {
        SandboxConfig { volumes, ..SandboxConfig::default() }
    }

    fn mount(volume: &str, path: &str, sub_path: &str) -> Mount {
        Mount { volume: volume.into(), path: path.into(), sub_path: text::literal(sub_path), ..Mount::default() }
    }

    fn container(mounts: Vec<Mount>) -> ContainerConfig {
        ContainerConfig { name: "app".into(), mounts, ..ContainerConfig::default() }
    }

    fn planned(sandbox: &SandboxConfig, container: &ContainerConfig, manifest: &str) -> Result<Vec<Planned>> {
        let manifest = Manifest::parse(manifest).unwrap();
        plan(sandbox, container, &manifest, "/engine/_data", |name| format!("vk-{name}"))
    }

    #[test]
    fn each_volume_is_mounted_from_its_folder() {
        let mut sandbox = sandbox(vec![
            volume("cfg", "files", ""),
            volume("work", "empty-dir", ""),
            volume("tmp", "empty-dir", "Memory"),
        ]);
        sandbox.domain = "web.default.svc.cluster.local".into();
        let mut own = container(vec![mount("cfg", "/cfg", ""), mount("work", "/work", ""), mount("tmp", "/tmp", "")]);
        own.termination_message_path = "/dev/termination-log".into();
        own.attempt = 3;
        own.mounts[1].read_only = true;
        own.mounts[1].propagation = "HostToContainer".into();
        let seen: Vec<_> = planned(&sandbox, &own, "{}")
            .unwrap()
            .into_iter()
            .map(|own| {
                let source = match own.source {
                    Source::Bind(path) | Source::Volume(path) => path,
                };
                format!("{source} {} {} {}", own.destination, own.read_only, own.propagation)
            })
            .collect();
        assert_eq!(
            seen,
            [
                "/engine/_data/files/cfg /cfg true ",
                "/engine/_data/empty/work /work true rslave",
                "vk-tmp /tmp false ",
                "/engine/_data/term/app-3 /dev/termination-log false ",
                "/engine/_data/hosts /etc/hosts false ",
            ]
        );
    }

    #[test]
    fn a_sub_path_of_files_is_bound_from_the_present_contents() {
        let paths = || ["app.conf", "dir/a"].into_iter();
        assert_eq!(file_path("cfg", paths(), "app.conf").unwrap(), "files/cfg/..data/app.conf");
        assert_eq!(file_path("cfg", paths(), "dir").unwrap(), "files/cfg/..data/dir");
        let error = file_path("cfg", paths(), "app").unwrap_err();
        assert_eq!(error.reason, "CreateContainerConfigError");
    }

    #[test]
    fn a_sub_path_of_an_empty_dir_needs_that_nobody_writes_above_it() {
        let sandbox = sandbox(vec![volume("work", "empty-dir", ""), volume("tmp", "empty-dir", "Memory")]);
        let own = container(vec![mount("work", "/a", "a/b")]);
        let alone = r#"{"spec":{"containers":[{"name":"app","volumeMounts":[{"name":"work","mountPath":"/a","subPath":"a/b"}]}]}}"#;
        let safe = planned(&sandbox, &own, alone).unwrap();
        assert_eq!(safe[0].source, Source::Bind("/engine/_data/empty/work/a/b".into()));
        assert_eq!(safe[0].make.as_deref(), Some("empty/work/a/b"));
        let shared = alone.replace("]}]}", r#"]},{"name":"b","volumeMounts":[{"name":"work","mountPath":"/w"}]}]}"#);
        let error = planned(&sandbox, &own, &shared).unwrap_err();
        assert!(error.is("invalid") && error.message.contains("`a/b`"), "{error:?}");
        let error = planned(&sandbox, &container(vec![mount("tmp", "/t", "a")]), "{}").unwrap_err();
        assert!(error.message.contains("in memory"), "{error:?}");
    }

    #[test]
    fn what_can_not_be_mounted_is_refused_by_name() {
        let error = planned(&sandbox(Vec::new()), &container(vec![mount("nope", "/x", "")]), "{}").unwrap_err();
        assert!(error.is("invalid") && error.message.contains("`nope`"));
    }
}
