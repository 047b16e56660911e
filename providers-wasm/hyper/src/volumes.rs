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
//! An `emptyDir` in memory is a tmpfs volume of its own; a second container (the *memory holder*) runs for as long as the pod
//! lives, since an engine unmounts a tmpfs that no running container has.

use std::collections::BTreeSet;

use vk_provider_sdk::archive::{Archive, Owner};
use vk_provider_sdk::types::{File, SandboxConfig, Volume};
use vk_provider_sdk::{Error, Result, blobs};

use crate::manifest::Manifest;

/// Where the files holder has the volume.
pub const ROOT: &str = "/vk";

/// A file that was read.
pub struct Content {
    /// Relative to the volume.
    pub path: String,
    /// Mode and owner.
    pub owner: Owner,
    /// What is in it.
    pub bytes: Vec<u8>,
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

/// Whether this one is in memory.
pub fn is_in_memory(volume: &Volume) -> bool {
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use std::io::Read;

    fn volume(name: &str, kind: &str, medium: &str) -> Volume {
        Volume { name: name.into(), kind: kind.into(), medium: medium.into(), ..Volume::default() }
    }

    fn sandbox(volumes: Vec<Volume>) -> SandboxConfig {
        SandboxConfig { volumes, hostname: "web-0".into(), ..SandboxConfig::default() }
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

    #[test]
    fn a_volume_that_can_not_be_had_is_refused_by_name() {
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
}
