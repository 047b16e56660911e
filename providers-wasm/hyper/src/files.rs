//! New contents for the files of a pod that is there: a look at the files holder and at which generation is present, and
//! one archive that brings the next ([`crate::volumes`]).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use vk_provider_sdk::host::clock;
use vk_provider_sdk::types::{File, PodRef};
use vk_provider_sdk::{Error, Result, time};

use crate::endpoint::Engine;
use crate::holders::put;
use crate::names::Names;
use crate::refusal;
use crate::volumes;

/// Has a volume hold these files, all at once.
pub async fn update(engine: &Engine, pod: &PodRef, volume: &str, files: &[File]) -> Result<()> {
    let holder = Names { node: &engine.node, pod: &pod.key }.files();
    let missing = || Error::not_found(format!("there is no volume `{volume}` of this pod"));
    let fs_group = engine.inspect_of(&pod.key, &holder).await?.ok_or_else(missing)?.labels().fs_group();
    let request =
        engine.api("HEAD", &format!("/containers/{holder}/archive")).query("path", &volumes::generation_path(volume));
    let answer = engine.fetch(request).await?;
    if answer.status == 404 {
        return Err(missing());
    }
    let answer = refusal::check(answer)?;
    let present = answer
        .header("x-docker-container-path-stat")
        .and_then(modified)
        .ok_or_else(|| Error::internal(format!("the engine does not tell the time of volume `{volume}`")))?;
    let contents = volumes::load(files, fs_group).await?;
    let archive = volumes::update(volume, fs_group, &contents, present, clock::now() / time::SECOND)?;
    put(engine, &holder, archive).await
}

/// The time of change that the engine's description of a path tells, in seconds.
fn modified(header: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Path {
        mtime: String,
    }
    let json = STANDARD.decode(header).ok()?;
    let path: Path = serde_json::from_slice(&json).ok()?;
    time::parse_rfc3339(&path.mtime).map(|nanos| nanos / time::SECOND)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_path_is_read_from_its_header() {
        let header = STANDARD.encode(
            r#"{"name":".","size":4096,"mode":2147484141,"mtime":"2026-11-21T10:14:32Z","isDir":true,"linkTarget":"/vk/files/cfg/..data/."}"#,
        );
        assert_eq!(modified(&header), Some(1_795_256_072));
        assert_eq!(modified("no base64"), None);
    }
}
