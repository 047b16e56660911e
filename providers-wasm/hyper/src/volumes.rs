//! A pod's volumes at the engine, without any folder of the host's.
//!
//! Each pod has one anonymous volume, held by a container that is never started (the *files holder*) and removed with it.
//! It is filled through the engine's archive API, at any time, also under running containers:
//!
//! | in the volume | what | mounted |
//! | --- | --- | --- |
//! | `files/VOLUME/` | ConfigMap, Secret, projected and downward API, laid out as the kubelet does: `KEY` → `..data/KEY`, `..data` → `..0` or `..1` | read-only |
//! | `empty/VOLUME/` | an `emptyDir` | as asked |
//! | `term/CONTAINER-ATTEMPT` | a termination message file | on `terminationMessagePath` |
//! | `hosts` | `/etc/hosts`, where the pod has a domain | on `/etc/hosts` |
//!
//! A container gets the folder or file that it asks for as a bind out of that volume, and sees nothing beside it. An
//! `emptyDir` in memory is a tmpfs volume of its own; a second container (the *memory holder*) runs for as long as the pod
//! lives, since an engine unmounts a tmpfs that no running container has.
//!
//! **Sub-paths.** Engines of these versions follow links in a path that is bound, so a link that a container made could
//! lead out of the volume. Of `files` nothing can be replaced by a container: any sub-path works; as with the kubelet its
//! content does not change until the container is made anew. Of an `emptyDir` a sub-path works where no container of the
//! pod can write above it, and is refused otherwise; in memory it is refused.

use std::collections::BTreeSet;

use vk_provider_sdk::archive::{Archive, Owner};
use vk_provider_sdk::types::{ContainerConfig, File, SandboxConfig, Volume};
use vk_provider_sdk::{Error, Result, blobs, text};

use crate::manifest::Manifest;

/// Where the files holder has the volume.
pub const ROOT: &str = "/vk";
/// In the volume: the pod's `/etc/hosts`.
pub const HOSTS: &str = "hosts";

/// A file that was read.
pub struct Content {
    path: String,
    owner: Owner,
    bytes: Vec<u8>,
}

/// Reads the files of a volume.
pub async fn load(files: &[File], fs_group: Option<u64>) -> Result<Vec<Content>> {
    let mut contents = Vec::with_capacity(files.len());
    for file in files {
        let bytes = blobs::read(&file.content).await?;
        let group = file.group.unwrap_or_else(|| group(fs_group));
        let owner = Owner { mode: file.mode, user: file.user.unwrap_or(0), group };
        contents.push(Content { path: file.path.clone(), owner, bytes });
    }
    Ok(contents)
}

fn group(fs_group: Option<u64>) -> u32 {
    fs_group.and_then(|group| u32::try_from(group).ok()).unwrap_or(0)
}

/// A folder's owner: setgid with the pod's group, so that what is made in it has that group too.
fn folder(mode: u32, fs_group: Option<u64>) -> Owner {
    Owner { mode: if fs_group.is_some() { 0o2000 | mode } else { mode }, user: 0, group: group(fs_group) }
}

/// Where a container's termination message file is.
pub fn termination_file(container: &str, attempt: u32) -> String {
    format!("term/{container}-{attempt}")
}

/// Refuses volumes that can't be had, by name.
pub fn check(sandbox: &SandboxConfig) -> Result<()> {
    for volume in &sandbox.volumes {
        let known =
            matches!((volume.kind.as_str(), volume.medium.as_str()), ("files", _) | ("empty-dir", "" | "Memory"));
        if !known {
            let what = if volume.kind == "empty-dir" { &volume.medium } else { &volume.kind };
            return Err(Error::invalid(format!("spec.volumes `{}`: there is no `{what}` at this engine", volume.name)));
        }
    }
    Ok(())
}

/// Volumes in memory.
pub fn in_memory(sandbox: &SandboxConfig) -> impl Iterator<Item = &Volume> {
    sandbox.volumes.iter().filter(|volume| is_in_memory(volume))
}

fn is_in_memory(volume: &Volume) -> bool {
    volume.kind == "empty-dir" && volume.medium == "Memory"
}

/// The options of a tmpfs. Its size is in pages: a Podman takes `size=` for a disk quota.
pub fn tmpfs_options(volume: &Volume, fs_group: Option<u64>) -> String {
    let owner = folder(0o777, fs_group);
    let mut options = format!("mode={:o},uid=0,gid={}", owner.mode, owner.group);
    if let Some(bytes) = volume.size_limit {
        let limit = format!(",nr_blocks={}", bytes.div_ceil(4096).max(1));
        options.push_str(&limit);
    }
    options
}

/// The archive that makes a new volume, for [`ROOT`]: with the `contents` of the `files` volumes, by name, and empty
/// folders and termination files. What an `emptyDir` holds stays; files of a former attempt are replaced.
pub fn fill(
    sandbox: &SandboxConfig,
    manifest: &Manifest,
    contents: &[(&str, Vec<Content>)],
    now: u64,
) -> Result<Vec<u8>> {
    let mut archive = Archive::new(now);
    // A folder that meets a file of its name is removed with all in it.
    archive.file("files", Owner::root(0), &[])?;
    for name in ["files", "empty", "term"] {
        archive.folder(name, Owner::root(0o755))?;
    }
    for (volume, contents) in contents {
        archive.folder(&format!("files/{volume}"), folder(0o755, sandbox.fs_group))?;
        generation(&mut archive, volume, sandbox.fs_group, contents, now)?;
    }
    for volume in sandbox.volumes.iter().filter(|volume| volume.kind == "empty-dir" && !is_in_memory(volume)) {
        archive.folder(&format!("empty/{}", volume.name), folder(0o777, sandbox.fs_group))?;
    }
    for container in manifest.containers() {
        archive.file(&termination_file(container, 0), Owner::root(0o666), &[])?;
    }
    archive.finish()
}

/// The archive that has a `files` volume hold new contents, for [`ROOT`]. `before` is the time of the present ones
/// ([`generation_path`]): times tell which of the two names is in use. The old contents are gone with it. What is missing
/// now stays as a link to nothing.
pub fn update(volume: &str, fs_group: Option<u64>, contents: &[Content], before: u64, now: u64) -> Result<Vec<u8>> {
    let later = now.max(before);
    let now = if later % 2 == before % 2 { later + 1 } else { later };
    let mut archive = Archive::new(now);
    generation(&mut archive, volume, fs_group, contents, now)?;
    archive.file(&format!("files/{volume}/{}", generation_name(before)), Owner::root(0), &[])?;
    archive.finish()
}

/// Where to look for the time of the present contents.
pub fn generation_path(volume: &str) -> String {
    format!("{ROOT}/files/{volume}/..data/.")
}

const fn generation_name(time: u64) -> &'static str {
    if time.is_multiple_of(2) { "..0" } else { "..1" }
}

/// A new generation of contents, and the links that make it the present one.
fn generation(
    archive: &mut Archive,
    volume: &str,
    fs_group: Option<u64>,
    contents: &[Content],
    now: u64,
) -> Result<()> {
    let base = format!("files/{volume}");
    let name = generation_name(now);
    archive.file(&format!("{base}/{name}"), Owner::root(0), &[])?;
    archive.folder(&format!("{base}/{name}"), folder(0o755, fs_group))?;
    let mut folders = BTreeSet::new();
    for content in contents {
        let mut end = 0;
        while let Some(length) = content.path.get(end..).and_then(|rest| rest.find('/')) {
            let path = &content.path[..end + length];
            if folders.insert(path) {
                archive.folder(&format!("{base}/{name}/{path}"), folder(0o755, fs_group))?;
            }
            end += length + 1;
        }
        archive.file(&format!("{base}/{name}/{}", content.path), content.owner, &content.bytes)?;
    }
    archive.link(&format!("{base}/..data"), name)?;
    let tops: BTreeSet<_> = contents.iter().filter_map(|content| content.path.split('/').next()).collect();
    for top in tops {
        archive.link(&format!("{base}/{top}"), &format!("..data/{top}"))?;
    }
    Ok(())
}

/// Adds a folder of an `emptyDir`, with those above it.
pub fn make_folder(archive: &mut Archive, path: &str, fs_group: Option<u64>) -> Result<()> {
    // `empty/VOLUME` is there.
    let parts = path.match_indices('/').map(|(at, _)| at).skip(2).chain([path.len()]);
    for end in parts {
        archive.folder(&path[..end], folder(0o777, fs_group))?;
    }
    Ok(())
}

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

/// Whether the pod has an `/etc/hosts` of ours: the engine's own lacks the domain.
pub fn has_hosts_file(sandbox: &SandboxConfig) -> bool {
    !sandbox.domain.is_empty() && !sandbox.host_network
}

/// The pod's `/etc/hosts`.
pub fn hosts_file(sandbox: &SandboxConfig, ips: &[String]) -> String {
    let mut text = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n".to_owned();
    for ip in ips {
        text.push_str(&format!("{ip}\t{0}.{1}\t{0}\n", sandbox.hostname, sandbox.domain));
    }
    for alias in &sandbox.hosts {
        text.push_str(&format!("{}\t{}\n", alias.ip, alias.hostnames.join("\t")));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;
    use vk_provider_sdk::types::{HostAlias, Mount};

    fn volume(name: &str, kind: &str, medium: &str) -> Volume {
        Volume { name: name.into(), kind: kind.into(), medium: medium.into(), ..Volume::default() }
    }

    fn sandbox(volumes: Vec<Volume>) -> SandboxConfig {
        SandboxConfig { volumes, hostname: "web-0".into(), ..SandboxConfig::default() }
    }

    fn mount(volume: &str, path: &str, sub_path: &str) -> Mount {
        Mount { volume: volume.into(), path: path.into(), sub_path: text::literal(sub_path), ..Mount::default() }
    }

    fn container(mounts: Vec<Mount>) -> ContainerConfig {
        ContainerConfig { name: "app".into(), mounts, ..ContainerConfig::default() }
    }

    fn content(path: &str, bytes: &[u8]) -> Content {
        Content { path: path.into(), owner: Owner { mode: 0o440, user: 0, group: 2000 }, bytes: bytes.to_vec() }
    }

    /// What a folder holds after the archives were unpacked into it as engines do: what is in the way is removed, but a
    /// folder stays a folder.
    fn unpack(archives: &[Vec<u8>]) -> BTreeMap<String, String> {
        let mut tree = BTreeMap::new();
        for archive in archives {
            let mut archive = tar::Archive::new(&archive[..]);
            for entry in archive.entries().unwrap() {
                let mut entry = entry.unwrap();
                let path = entry.path().unwrap().to_string_lossy().trim_end_matches('/').to_owned();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                let header = entry.header();
                let is_folder = header.entry_type() == tar::EntryType::Directory;
                let value = match header.link_name().unwrap() {
                    Some(target) => format!("-> {}", target.display()),
                    None if is_folder => format!("folder {:o}", header.mode().unwrap()),
                    None => format!("{:o} {} {text}", header.mode().unwrap(), header.gid().unwrap()),
                };
                let is_merged = is_folder && tree.get(&path).is_some_and(|old: &String| old.starts_with("folder"));
                if !is_merged {
                    tree.retain(|own: &String, _| own.strip_prefix(&path).is_none_or(|rest| !rest.starts_with('/')));
                }
                tree.insert(path, value);
            }
        }
        tree
    }

    fn lines(tree: &BTreeMap<String, String>) -> Vec<String> {
        tree.iter().map(|(path, value)| format!("{path}: {value}")).collect()
    }

    #[test]
    fn a_new_volume_is_laid_out_as_the_kubelet_does() {
        let manifest =
            Manifest::parse(r#"{"spec":{"containers":[{"name":"app"}],"initContainers":[{"name":"setup"}]}}"#);
        let mut sandbox = sandbox(vec![volume("work", "empty-dir", ""), volume("tmp", "empty-dir", "Memory")]);
        sandbox.fs_group = Some(2000);
        let contents = [("cfg", vec![content("a", b"1"), content("sub/b", b"2")])];
        let archive = fill(&sandbox, &manifest.unwrap(), &contents, 1_795_253_718).unwrap();
        assert_eq!(
            lines(&unpack(&[archive])),
            [
                "empty: folder 755",
                "empty/work: folder 2777",
                "files: folder 755",
                "files/cfg: folder 2755",
                "files/cfg/..0: folder 2755",
                "files/cfg/..0/a: 440 2000 1",
                "files/cfg/..0/sub: folder 2755",
                "files/cfg/..0/sub/b: 440 2000 2",
                "files/cfg/..data: -> ..0",
                "files/cfg/a: -> ..data/a",
                "files/cfg/sub: -> ..data/sub",
                "term: folder 755",
                "term/app-0: 666 0 ",
                "term/setup-0: 666 0 ",
            ]
        );
    }

    #[test]
    fn an_update_swaps_the_generations_and_leaves_nothing_of_the_old_one() {
        let manifest = Manifest::default();
        let sandbox = sandbox(Vec::new());
        let first = fill(&sandbox, &manifest, &[("cfg", vec![content("a", b"1"), content("b", b"1")])], 100).unwrap();
        let second = update("cfg", None, &[content("a", b"2")], 100, 100).unwrap();
        let tree = unpack(&[first.clone(), second.clone()]);
        assert_eq!(tree["files/cfg/..data"], "-> ..1");
        assert_eq!(tree["files/cfg/..1/a"], "440 2000 2");
        assert_eq!(tree["files/cfg/b"], "-> ..data/b", "a link to nothing");
        assert!(!tree.contains_key("files/cfg/..0/a"));
        let third = update("cfg", None, &[content("a", b"3")], 101, 200).unwrap();
        let tree = unpack(&[first, second, third]);
        assert_eq!(tree["files/cfg/..data"], "-> ..0");
        assert_eq!(tree["files/cfg/..0/a"], "440 2000 3");
        assert!(!tree.contains_key("files/cfg/..1/a"));
    }

    #[test]
    fn filling_again_replaces_files_and_keeps_what_an_empty_dir_holds() {
        let sandbox = sandbox(vec![volume("work", "empty-dir", "")]);
        let first = fill(&sandbox, &Manifest::default(), &[("cfg", vec![content("a", b"1")])], 100).unwrap();
        let mut written = Archive::new(100);
        written.file("empty/work/data", Owner::root(0o644), b"mine").unwrap();
        let second = fill(&sandbox, &Manifest::default(), &[("cfg", vec![content("b", b"2")])], 101).unwrap();
        let tree = unpack(&[first, written.finish().unwrap(), second]);
        assert_eq!(tree["empty/work/data"], "644 0 mine");
        assert!(!tree.contains_key("files/cfg/a") && !tree.contains_key("files/cfg/..0/a"));
        assert_eq!(tree["files/cfg/..1/b"], "440 2000 2");
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
        for own in [volume("v", "host-path", ""), volume("v", "empty-dir", "HugePages")] {
            let error = check(&sandbox(vec![own])).unwrap_err();
            assert!(error.is("invalid") && error.message.contains("`v`"), "{error:?}");
        }
    }

    #[test]
    fn a_tmpfs_has_the_pods_group_and_its_size_in_pages() {
        let own = Volume { size_limit: Some(10_000), ..volume("tmp", "empty-dir", "Memory") };
        assert_eq!(tmpfs_options(&own, Some(2000)), "mode=2777,uid=0,gid=2000,nr_blocks=3");
        assert_eq!(tmpfs_options(&volume("tmp", "empty-dir", "Memory"), None), "mode=777,uid=0,gid=0");
    }

    #[test]
    fn the_hosts_file_names_the_pod_with_its_domain() {
        let mut own = sandbox(Vec::new());
        own.domain = "web.default.svc.cluster.local".into();
        own.hosts = vec![HostAlias { ip: "10.1.2.3".into(), hostnames: vec!["a.b".into(), "c".into()] }];
        let text = hosts_file(&own, &["10.88.0.2".into()]);
        assert!(text.contains("10.88.0.2\tweb-0.web.default.svc.cluster.local\tweb-0\n"), "{text}");
        assert!(text.contains("10.1.2.3\ta.b\tc\n"), "{text}");
        assert!(has_hosts_file(&own));
        assert!(!has_hosts_file(&sandbox(Vec::new())));
    }
}
