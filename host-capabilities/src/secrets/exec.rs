//! A program that prints a credential: the value itself, or an `ExecCredential` as the credential plugins of kubectl do
//! (`client.authentication.k8s.io/v1` and `v1beta1`; its `status.token`, until its `expirationTimestamp`).
//!
//! Run without a shell, with standard input closed, in `/`, with PATH and HOME of the host and the variables of its
//! configuration alone. Bounds: 30 s unless it is configured otherwise, 1 MiB of output; then it is killed. What it writes to
//! standard error is dropped: it may hold the credential.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::runtime::Handle;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use super::origin::Exec;
use super::renewed::{Issued, Issuer};
use super::source::{MAX_VALUE, SourceError, trim_end};

const TIMEOUT: Duration = Duration::from_secs(30);
/// What a plugin learns of who runs it.
const INFO: &str =
    r#"{"apiVersion":"client.authentication.k8s.io/v1","kind":"ExecCredential","spec":{"interactive":false}}"#;

/// A credential plugin.
pub(super) struct Plugin {
    pub(super) exec: Exec,
    pub(super) io: Handle,
}

#[derive(Deserialize)]
struct Kind {
    kind: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ExecCredential {
    api_version: String,
    #[serde(default)]
    status: Option<Status>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Status {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    expiration_timestamp: Option<String>,
}

#[async_trait]
impl Issuer for Plugin {
    async fn issue(&self) -> Result<Issued, SourceError> {
        let running = AbortOnDropHandle::new(self.io.spawn(run(self.exec.clone())));
        let printed =
            running.await.unwrap_or_else(|gone| Err(gone.to_string())).map_err(|reason| self.fail(&reason))?;
        self.read(printed, Timestamp::now())
    }
}

impl Plugin {
    fn fail(&self, reason: &str) -> SourceError {
        SourceError::Unavailable(format!("the program {}: {reason}", self.exec.command))
    }

    fn read(&self, mut printed: Zeroizing<Vec<u8>>, now: Timestamp) -> Result<Issued, SourceError> {
        let is_credential = serde_json::from_slice(&printed).is_ok_and(|Kind { kind }| kind == "ExecCredential");
        if !is_credential {
            trim_end(&mut printed);
            return Ok(Issued { value: printed, life: self.exec.life });
        }
        let credential: ExecCredential = serde_json::from_slice(&printed).map_err(|error| {
            let (line, column) = (error.line(), error.column());
            self.fail(&format!("its ExecCredential can't be read: line {line}, column {column}"))
        })?;
        if !matches!(
            credential.api_version.as_str(),
            "client.authentication.k8s.io/v1" | "client.authentication.k8s.io/v1beta1"
        ) {
            let reason = "its ExecCredential is neither of client.authentication.k8s.io/v1 nor of v1beta1";
            return Err(self.fail(reason));
        }
        let Some((token, end)) =
            credential.status.and_then(|status| Some((status.token?, status.expiration_timestamp)))
        else {
            return Err(self.fail("its ExecCredential has no status.token"));
        };
        let life = match end {
            None => self.exec.life,
            Some(end) => {
                let end: Timestamp =
                    end.parse().map_err(|_| self.fail("its expirationTimestamp is no time of RFC 3339"))?;
                match Duration::try_from(end.duration_since(now)) {
                    Ok(life) if !life.is_zero() => Some(life),
                    _ => return Err(self.fail("its credential had expired when it was printed")),
                }
            }
        };
        Ok(Issued { value: Zeroizing::new(token.into_bytes()), life })
    }
}

async fn run(exec: Exec) -> Result<Zeroizing<Vec<u8>>, String> {
    let mut command = Command::new(&exec.command);
    command
        .args(&exec.arguments)
        .env_clear()
        .envs(["PATH", "HOME"].into_iter().filter_map(|name| Some((name, std::env::var_os(name)?))))
        .env("KUBERNETES_EXEC_INFO", INFO)
        .envs(&exec.environment)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .process_group(0)
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("it can't be started: {error}"))?;
    let group = Group(child.id());
    let mut output = child.stdout.take().ok_or("it has no standard output")?;
    let limit = exec.timeout.unwrap_or(TIMEOUT);
    let running = async {
        // Room from the start: a growing buffer would leave copies behind.
        let mut printed = Zeroizing::new(Vec::with_capacity(MAX_VALUE + 1));
        (&mut output)
            .take(MAX_VALUE as u64 + 1)
            .read_to_end(&mut printed)
            .await
            .map_err(|error| format!("its output can't be read: {error}"))?;
        if printed.len() > MAX_VALUE {
            return Err(format!("it printed more than {MAX_VALUE} bytes"));
        }
        let status = child.wait().await.map_err(|error| error.to_string())?;
        if status.success() { Ok(printed) } else { Err(format!("it ended with {status}; what it said is not shown")) }
    };
    let ended = tokio::time::timeout(limit, running).await;
    drop(group);
    ended.unwrap_or_else(|_| Err(format!("it did not end within {limit:?}")))
}

/// The program and what it started; all of it ends with this.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let pid = self.0.and_then(|pid| i32::try_from(pid).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid {
            // All of it may have ended by itself.
            let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
        }
    }
}
