//! `vk-runtime status`: asks a process that runs on this machine, over the socket in its state folder.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use clap::Args;
use http::Request;
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::arguments::Output;
use crate::process::SOCKET;
use crate::state;

/// What the process is given to answer.
const LONGEST: Duration = Duration::from_secs(15);

#[derive(Debug, Args)]
pub struct StatusArguments {
    /// The process's state folder [default: that of the only one that runs below /var/lib/vk-runtime, or ~/.local/state]
    #[arg(long, value_name = "FOLDER")]
    state_dir: Option<PathBuf>,
    /// How to show it
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

pub fn status(arguments: &StatusArguments) -> Result<()> {
    let socket = match &arguments.state_dir {
        Some(folder) => folder.join(SOCKET),
        None => only(&state::base())?,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = runtime.block_on(async { tokio::time::timeout(LONGEST, ask(&socket)).await });
    let status = answer
        .map_err(|_| anyhow::anyhow!("it did not answer within {} s", LONGEST.as_secs()))
        .and_then(|answer| answer)
        .with_context(|| format!("the process at {} can't be asked", socket.display()))?;
    let shown = match arguments.output {
        Output::Json => serde_json::to_string_pretty(&status)? + "\n",
        Output::Text => text(&status),
    };
    #[expect(clippy::print_stdout, reason = "what was asked for")]
    {
        print!("{shown}");
    }
    Ok(())
}

/// The socket of the only process that there is below this folder.
fn only(base: &Path) -> Result<PathBuf> {
    let entries = std::fs::read_dir(base).into_iter().flatten().filter_map(Result::ok);
    let sockets = entries.map(|entry| entry.path().join(SOCKET));
    let mut running: Vec<PathBuf> =
        sockets.filter(|socket| std::os::unix::net::UnixStream::connect(socket).is_ok()).collect();
    match (running.pop(), running.as_slice()) {
        (Some(one), []) => Ok(one),
        (None, _) => bail!("no process runs with a state folder below {}: --state-dir names another", base.display()),
        (Some(one), others) => {
            let folders = others.iter().chain([&one]).filter_map(|socket| socket.parent());
            let folders: Vec<String> = folders.map(|folder| folder.display().to_string()).collect();
            bail!("several processes run: --state-dir says which, one of {}", folders.join(", "))
        }
    }
}

async fn ask(socket: &Path) -> Result<Value> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let asked = async {
        let request = Request::get("/status").header(http::header::HOST, "localhost").body(Empty::<Bytes>::new())?;
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body).trim());
        }
        Ok(serde_json::from_slice(&body)?)
    };
    tokio::pin!(asked);
    tokio::select! {
        answer = &mut asked => answer,
        // It may end in the moment in which the answer is there.
        ended = connection => {
            ended?;
            asked.await
        }
    }
}

fn text(status: &Value) -> String {
    let mut out = String::new();
    let at = |pointer: &str| shown(status.pointer(pointer));
    let mut line = |text: String| {
        // A String takes whatever is written to it.
        let _ = writeln!(out, "{}", text.trim_end());
    };
    let file = at("/configuration/file");
    line(format!("vk-runtime {}, process {}, since {}", at("/version"), at("/pid"), at("/since")));
    line(format!("configuration {}, since {}", if file == "-" { "flags" } else { &file }, at("/configuration/since")));
    for problem in list(status, "/configuration/problems") {
        line(format!("  not in effect: {}", shown(Some(problem))));
    }
    for later in list(status, "/configuration/needsRestart") {
        line(format!("  at the next start: {}", shown(Some(later))));
    }
    let mut providers = vec![["PROVIDER", "KIND", "VERSION", "SINCE", "CALLS", "FAILED", "NODES"].map(str::to_owned)];
    for provider in list(status, "/providers") {
        let at = |pointer: &str| shown(provider.pointer(pointer));
        let (digest, since) = (at("/current/digest"), at("/current/since"));
        let short = digest.trim_start_matches("sha256:").chars().take(12).collect();
        let (calls, failed) = (at("/current/calls"), at("/current/failures"));
        providers.push([at("/provider"), at("/kind"), short, since, calls, failed, at("/nodes")]);
    }
    table(&providers).into_iter().for_each(&mut line);
    for provider in list(status, "/providers") {
        line(String::new());
        let at = |pointer: &str| shown(provider.pointer(pointer));
        line(format!("{}: {}", at("/provider"), at("/source/address")));
        for (pointer, what) in [
            ("/source/error", "its source fails"),
            ("/refused/why", "the newest version is refused"),
            ("/newUntil", "may be taken back until"),
            ("/current/lastFailure", "its last failure"),
        ] {
            if provider.pointer(pointer).is_some_and(|value| !value.is_null()) {
                line(format!("  {what}: {}", at(pointer)));
            }
        }
        let mut limits = vec![["LIMIT", "USED", "AT MOST"].map(str::to_owned)];
        for limit in list(provider, "/limits") {
            limits.push(["/limit", "/used", "/atMost"].map(|pointer| shown(limit.pointer(pointer))));
        }
        for limit in list(provider, "/quotas") {
            let [name, used] = ["/limit", "/used"].map(|pointer| shown(limit.pointer(pointer)));
            limits.push([name, used, most(limit.pointer("/maximum"))]);
        }
        table(&limits).into_iter().for_each(|text| line(format!("  {text}")));
    }
    line(String::new());
    let mut nodes = vec![["NODE", "PROVIDER", "STATE", "PORT", "PODS", "SINCE", ""].map(str::to_owned)];
    for node in list(status, "/nodes") {
        let columns = ["/name", "/provider", "/state", "/kubeletPort", "/pods", "/since", "/message"];
        nodes.push(columns.map(|pointer| shown(node.pointer(pointer))));
    }
    table(&nodes).into_iter().for_each(&mut line);
    out
}

/// A limit's most; the largest number stands for no limit.
fn most(value: Option<&Value>) -> String {
    if value.and_then(Value::as_u64) == Some(u64::MAX) { "unlimited".to_owned() } else { shown(value) }
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

fn shown(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => "-".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}

/// Columns as wide as their widest.
fn table<const N: usize>(rows: &[[String; N]]) -> Vec<String> {
    let widths: Vec<usize> =
        (0..N).map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()).collect();
    let line = |row: &[String; N]| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect()
}
