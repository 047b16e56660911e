//! Volumes at Hyper.sh: whole disks of at least 10 GB, each one container's at a time.
//!
//! | in the pod | here |
//! | --- | --- |
//! | `emptyDir` | a new volume, of `sizeLimit` rounded up; or the one that an annotation names |
//! | ConfigMap, Secret, projected, downward API | a new volume, filled by upload before any container starts; never replaced |
//!
//! An upload is a session: the API gives out where to send the archive, and a cookie, which stands for a signature.

use serde::{Deserialize, Serialize};
use vk_provider_sdk::archive::{Archive, Owner};
use vk_provider_sdk::host::clock;
use vk_provider_sdk::http::Request;
use vk_provider_sdk::types::{SandboxConfig, Volume};
use vk_provider_sdk::{Error, Result, time};

use super::{annotations, refused};
use crate::endpoint::Engine;
use crate::names::{self, Names};
use crate::refusal;
use crate::volumes::{Content, load};

/// Gigabytes of the smallest and the largest volume.
const GIGABYTES: (u64, u64) = (10, 50);
const GIB: u64 = 1 << 30;
/// Until an upload is there.
const UPLOAD: u64 = 300 * time::SECOND;

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Create<'a> {
    name: &'a str,
    driver: &'a str,
    driver_opts: Options,
}

#[derive(Serialize)]
struct Options {
    size: String,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Initialize<'a> {
    reload: bool,
    volume: [Initialized<'a>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Initialized<'a> {
    name: &'a str,
    source: &'a str,
}

/// Where an archive goes.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Session {
    session: String,
    cookie: String,
    uploaders: std::collections::BTreeMap<String, String>,
}

/// Refuses volumes that can't be had, by name.
pub fn check(pod: &SandboxConfig) -> Result<()> {
    for volume in &pod.volumes {
        let refuse = |what: &str| {
            Err(Error::invalid(format!("spec.volumes `{}`: {what} can't be had at Hyper.sh", volume.name)))
        };
        match (volume.kind.as_str(), volume.medium.as_str()) {
            ("files", _) => {}
            ("empty-dir", "") if gigabytes(volume) > GIGABYTES.1 => return refuse("more than 50 GiB")?,
            ("empty-dir", "") => {}
            ("empty-dir", medium) => return refuse(&format!("the medium {medium}"))?,
            (kind, _) => return refuse(&format!("a volume of the kind {kind}"))?,
        }
    }
    Ok(())
}

fn gigabytes(volume: &Volume) -> u64 {
    volume.size_limit.unwrap_or(0).div_ceil(GIB).max(GIGABYTES.0)
}

/// The volume at Hyper.sh that one of the pod's is.
pub fn name(pod: &SandboxConfig, names: Names<'_>, volume: &str) -> String {
    let is_empty_dir = pod.volumes.iter().any(|own| own.name == volume && own.kind == "empty-dir");
    let existing = annotations::existing_volume(pod, volume).filter(|_| is_empty_dir);
    existing.map_or_else(|| names.own_volume(volume), str::to_owned)
}

/// Makes the pod's volumes that are not there, and fills those with files.
pub async fn make(engine: &Engine, pod: &SandboxConfig, names: Names<'_>) -> Result<()> {
    for volume in &pod.volumes {
        let name = name(pod, names, &volume.name);
        let is_there = is_there(engine, &name).await?;
        if annotations::existing_volume(pod, &volume.name).is_some() && volume.kind == "empty-dir" {
            if !is_there {
                let message = format!("spec.volumes `{}`: there is no volume `{name}` at Hyper.sh", volume.name);
                return Err(Error::unavailable(message));
            }
            continue;
        }
        if !is_there {
            let options = Options { size: gigabytes(volume).to_string() };
            let body = Create { name: &name, driver: "hyper", driver_opts: options };
            let answer = engine.fetch(engine.api("POST", "/volumes/create").json(&body)?).await?;
            refusal::check(answer).map_err(|refusal| refused::limit(refusal, "a volume"))?;
        }
        if volume.kind == "files" {
            let contents = load(&volume.files, None).await?;
            upload(engine, &name, archive(&contents, clock::now() / time::SECOND)?).await?;
        }
    }
    Ok(())
}

async fn is_there(engine: &Engine, name: &str) -> Result<bool> {
    match refusal::check(engine.fetch(engine.api("GET", &format!("/volumes/{name}"))).await?) {
        Ok(_) => Ok(true),
        Err(refusal) if refusal.is_missing() => Ok(false),
        Err(refusal) => Err(refusal.into()),
    }
}

/// The folder with the files, itself the first entry: so it is a folder, whatever is in it.
fn archive(contents: &[Content], now: u64) -> Result<Vec<u8>> {
    let mut archive = Archive::new(now);
    archive.folder("./", Owner::root(0o755))?;
    let mut folders = std::collections::BTreeSet::new();
    for content in contents {
        for (end, _) in content.path.match_indices('/') {
            if folders.insert(&content.path[..end]) {
                archive.folder(&content.path[..end], Owner::root(0o755))?;
            }
        }
        archive.file(&content.path, content.owner, &content.bytes)?;
    }
    archive.finish()
}

/// Fills a volume.
async fn upload(engine: &Engine, volume: &str, archive: Vec<u8>) -> Result<()> {
    let doing = format!("filling the volume {volume}");
    // A path of ours, whatever: it says that the content is sent.
    let source = format!("/{volume}");
    let body = Initialize { reload: true, volume: [Initialized { name: volume, source: &source }] };
    let answer = engine.fetch(engine.api("POST", "/volumes/initialize").json(&body)?).await?;
    let failed = |refusal| Error::from(refusal).while_doing(&doing);
    let session: Session = refusal::check(answer).map_err(failed)?.json()?;
    let url = session.uploaders.get(volume);
    let url = url.ok_or_else(|| Error::internal(format!("{doing}: Hyper.sh does not say where to send it")))?;
    let request = Request::post(url.as_str()).query("cookie", &session.cookie).tls(&engine.settings.tls);
    let sent = request.timeout(UPLOAD).body("application/x-tar", archive).fetch().await;
    // The session ends in any case.
    let finish = engine.api("PUT", "/volumes/uploadfinish").query("session", &session.session);
    let finished = engine.fetch(finish).await;
    refusal::check(sent.map_err(|error| error.while_doing(&doing))?).map_err(failed)?;
    refusal::check(finished?).map_err(failed)?;
    Ok(())
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Listed {
    volumes: Option<Vec<ListedVolume>>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct ListedVolume {
    name: String,
}

/// The names of this node's volumes.
pub async fn own(engine: &Engine) -> Result<Vec<String>> {
    let listed: Listed = refusal::check(engine.fetch(engine.api("GET", "/volumes")).await?)?.json()?;
    let prefix = names::own_prefix(&engine.node);
    let all = listed.volumes.unwrap_or_default().into_iter().map(|volume| volume.name);
    Ok(all.filter(|name| name.starts_with(&prefix)).collect())
}

/// Removes the pod's volumes.
pub async fn remove(engine: &Engine, names: Names<'_>) -> Result<()> {
    let prefix = format!("{}-", names.own());
    for name in own(engine).await?.iter().filter(|name| name.starts_with(&prefix)) {
        engine.act("DELETE", &format!("/volumes/{name}")).await??;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vk_provider_sdk::host::types::PodKey;

    fn pod(volumes: Vec<Volume>) -> SandboxConfig {
        SandboxConfig { volumes, ..SandboxConfig::default() }
    }

    fn empty_dir(name: &str, size: Option<u64>, medium: &str) -> Volume {
        Volume {
            name: name.into(),
            kind: "empty-dir".into(),
            medium: medium.into(),
            size_limit: size,
            ..Volume::default()
        }
    }

    #[test]
    fn a_volume_has_ten_to_fifty_gigabytes() {
        for (size, expected) in [(None, 10), (Some(1), 10), (Some(10 * GIB + 1), 11), (Some(50 * GIB), 50)] {
            assert_eq!(gigabytes(&empty_dir("v", size, "")), expected, "{size:?}");
        }
    }

    #[test]
    fn volumes_that_can_not_be_had_are_refused_by_name() {
        for volume in [
            empty_dir("v", Some(50 * GIB + 1), ""),
            empty_dir("v", None, "Memory"),
            Volume { kind: "host-path".into(), name: "v".into(), ..Volume::default() },
        ] {
            let error = check(&pod(vec![volume])).unwrap_err();
            assert!(error.is("invalid") && error.message.contains("`v`"), "{error:?}");
        }
        assert!(check(&pod(vec![empty_dir("v", None, "")])).is_ok());
    }

    #[test]
    fn an_annotation_names_a_volume_that_is_there() {
        let key = PodKey { uid: "u".into(), ..PodKey::default() };
        let names = Names { node: "c/n", pod: &key };
        let mut own = pod(vec![empty_dir("data", None, ""), empty_dir("tmp", None, "")]);
        own.annotations = vec![("hyper.sh/volume.data".into(), "pg-1".into())];
        assert_eq!(name(&own, names, "data"), "pg-1");
        assert_eq!(name(&own, names, "tmp"), names.own_volume("tmp"));
    }

    #[test]
    fn an_archive_begins_with_its_folder() {
        let content = Content {
            path: "sub/key".into(),
            owner: Owner { mode: 0o400, user: 0, group: 0 },
            bytes: b"value".to_vec(),
        };
        let bytes = archive(&[content], 5).unwrap();
        let mut read = tar::Archive::new(&bytes[..]);
        let seen: Vec<_> = read
            .entries()
            .unwrap()
            .map(|entry| {
                let entry = entry.unwrap();
                (entry.path_bytes().to_vec(), entry.header().entry_type(), entry.header().mode().unwrap())
            })
            .collect();
        assert_eq!(seen[0], (b"./".to_vec(), tar::EntryType::Directory, 0o755));
        assert_eq!(seen[1].0, b"sub");
        assert_eq!(seen[2], (b"sub/key".to_vec(), tar::EntryType::Regular, 0o400));
    }
}
