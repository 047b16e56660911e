//! Logs. The engine's answer is handed back as it comes.
//!
//! libpod frames the two streams always, Docker only without a terminal. libpod's times have whole seconds. It joins an
//! unfinished last line to the one before when it counts lines from the end, so it is asked for the last lines only where
//! the log is followed: there nobody else can count them. Docker counts each 16 KiB of a long line as one.
//! Hyper.sh takes whole seconds for the first line's time, so the host leaves out the rest of them.

use vk_provider_sdk::logs::{Log, Options};
use vk_provider_sdk::types::{Output, Target};
use vk_provider_sdk::{Error, Result, time};

use crate::endpoint::{Engine, bare_id};
use crate::refusal::Refusal;

/// Opens the log of a container.
pub async fn open(engine: &Engine, target: &Target, options: &Options) -> Result<Log> {
    let id = bare_id(&target.id);
    let pod = &target.pod.key;
    let missing = || Error::not_found(format!("there is no log of container {}", target.container));
    if id.is_empty() {
        return Err(missing());
    }
    let found = engine.inspect_of(pod, id).await?.ok_or_else(missing)?;
    let is_tail = options.tail.filter(|_| options.follow || !engine.is_libpod());
    let stream = |name: &str| {
        if options.streams.is_empty() || options.streams == "all" || options.streams == name { "true" } else { "false" }
    };
    let mut request = engine
        .api("GET", &format!("/containers/{}/logs", found.id))
        .query("stdout", stream("stdout"))
        .query("stderr", stream("stderr"))
        .query("follow", if options.follow { "true" } else { "false" })
        .query("timestamps", if options.timestamps { "true" } else { "false" });
    if let Some(lines) = is_tail {
        request = request.query("tail", &lines.to_string());
    }
    if let Some(since) = options.since {
        let since = if engine.is_cloud() {
            (since / time::SECOND).to_string()
        } else {
            since_parameter(engine.is_libpod(), since)
        };
        request = request.query("since", &since);
    }
    let answer = engine.send(request).await?;
    if answer.status != 200 {
        return Err(Refusal::of(&answer.into_answer().await).into());
    }
    let is_raw = found.config.tty && !engine.is_libpod();
    let mut applied = vec!["follow", "timestamps", "streams"];
    if !engine.is_cloud() {
        applied.push("since");
    }
    if is_tail.is_some() {
        applied.push("tail");
    }
    Ok(Log {
        output: Output {
            content: answer.body.content,
            framing: if is_raw { "raw" } else { "docker" }.to_owned(),
            end: Some(answer.body.end),
        },
        applied: applied.into_iter().map(str::to_owned).collect(),
    })
}

/// libpod reads fractions in RFC 3339, Docker in seconds.
fn since_parameter(is_libpod: bool, since: u64) -> String {
    if is_libpod { time::to_rfc3339(since) } else { format!("{}.{:09}", since / time::SECOND, since % time::SECOND) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn since_keeps_its_nanoseconds() {
        assert_eq!(since_parameter(true, 1_795_253_717_015_419_873), "2026-11-21T09:35:17.015419873Z");
        assert_eq!(since_parameter(false, 1_795_253_717_015_419_873), "1795253717.015419873");
    }
}
