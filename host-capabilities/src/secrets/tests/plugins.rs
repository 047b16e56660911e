//! Credential plugins: real programs.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::*;

/// A program of `/bin/sh`.
fn program(folder: &Path, text: &str) -> String {
    let path = folder.join("plugin");
    std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_owned()
}

fn plugin(folder: &Path, text: &str) -> Exec {
    Exec {
        command: program(folder, text),
        arguments: Vec::new(),
        environment: BTreeMap::new(),
        life: None,
        timeout: None,
    }
}

fn granted(exec: Exec) -> Secrets {
    let grant =
        SecretGrant { name: "key".to_owned(), origin: Origin::Exec(exec), mode: Mode::Reveal, hosts: Vec::new() };
    Secrets::new([grant], &Sources::new(Handle::current())).unwrap()
}

async fn value(secrets: &Secrets) -> Result<String, Error> {
    let opened = secrets.open(&["key".to_owned()]).await?;
    Ok(String::from_utf8(opened[0].bytes().to_vec()).unwrap())
}

#[tokio::test]
async fn what_a_program_prints_is_the_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut exec = plugin(
        folder.path(),
        r#"printf '%s|%s|%s|%s|%s\n\n' "$1" "$2" "$REGION" "${CARGO_MANIFEST_DIR-none}" "$(pwd)""#,
    );
    exec.arguments = vec!["--a b".to_owned(), "$(id)".to_owned()];
    exec.environment = BTreeMap::from([("REGION".to_owned(), "x".to_owned())]);
    // Arguments are no shell's, the host's own variables are not passed on, the folder is the root.
    assert_eq!(value(&granted(exec)).await.unwrap(), "--a b|$(id)|x|none|/");
}

#[tokio::test]
async fn an_exec_credential_is_read_as_kubectl_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let exec = plugin(
        folder.path(),
        &format!(
            r#"echo x >> {count}
case $KUBERNETES_EXEC_INFO in *'"interactive":false'*) ;; *) exit 3 ;; esac
cat <<'END'
{{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
 "status": {{"token": "canary-4711", "expirationTimestamp": "2999-01-01T00:00:00Z"}}}}
END"#,
            count = count.display()
        ),
    );
    let secrets = granted(exec);
    for _ in 0..3 {
        assert_eq!(value(&secrets).await.unwrap(), "canary-4711");
    }
    assert_eq!(std::fs::read_to_string(&count).unwrap(), "x\n", "it is asked once");
}

#[tokio::test]
async fn what_a_program_gets_wrong_is_said_and_not_what_it_printed() {
    let folder = tempfile::tempdir().unwrap();
    let credential = |rest: &str| {
        format!("echo '{{\"apiVersion\": \"client.authentication.k8s.io/v1\", \"kind\": \"ExecCredential\"{rest}}}'")
    };
    for (text, says) in [
        ("echo canary-4711 >&2; echo canary-4711; exit 7".to_owned(), "exit status: 7"),
        ("kill -9 $$".to_owned(), "signal: 9"),
        ("head -c 2000000 /dev/zero; sleep 60".to_owned(), "more than 1048576 bytes"),
        (credential(""), "no status.token"),
        (credential(", \"status\": {\"token\": [\"canary-4711\"]}"), "can't be read: line 1"),
        (
            credential(", \"status\": {\"token\": \"canary-4711\", \"expirationTimestamp\": \"2001-01-01T00:00:00Z\"}"),
            "had expired",
        ),
        (
            credential(", \"status\": {\"token\": \"canary-4711\", \"expirationTimestamp\": \"tomorrow\"}"),
            "no time of RFC 3339",
        ),
        ("echo '{\"apiVersion\": \"v2\", \"kind\": \"ExecCredential\"}'".to_owned(), "neither of client"),
    ] {
        let error = value(&granted(plugin(folder.path(), &text))).await.unwrap_err();
        assert_eq!(error.code, "unavailable", "{text}");
        assert!(error.message.contains(says) && error.message.contains("/plugin"), "{text}: {}", error.message);
        assert!(!error.message.contains("canary"), "{}", error.message);
    }
    let error = value(&granted(plugin(folder.path(), "true"))).await.unwrap_err();
    assert_eq!(error.code, "not-found");
    let mut exec = plugin(folder.path(), "");
    exec.command = "/no/such/program".to_owned();
    assert!(value(&granted(exec)).await.unwrap_err().message.contains("can't be started"));
}

#[tokio::test]
async fn a_program_that_hangs_is_ended_with_what_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let pid = folder.path().join("pid");
    let mut exec = plugin(folder.path(), &format!("sleep 600 & echo $! > {}; wait", pid.display()));
    exec.timeout = Some(Duration::from_millis(500));
    let started = Instant::now();
    let error = value(&granted(exec)).await.unwrap_err();
    assert!(error.message.contains("500ms"), "{}", error.message);
    assert!(started.elapsed() < Duration::from_secs(10));
    let child = std::fs::read_to_string(&pid).unwrap();
    let status = Path::new("/proc").join(child.trim()).join("stat");
    let gone = || std::fs::read_to_string(&status).map_or(true, |stat| stat.contains(") Z "));
    let ended = async {
        while !gone() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended).await.expect("what it started goes on");
}

#[tokio::test]
async fn a_value_without_an_end_lives_as_long_as_it_is_configured_to() {
    let folder = tempfile::tempdir().unwrap();
    let count = folder.path().join("count");
    let mut exec = plugin(folder.path(), &format!("echo x >> {0}; wc -l < {0}", count.display()));
    let forever = granted(exec.clone());
    let first = value(&forever).await.unwrap();
    assert_eq!(value(&forever).await.unwrap(), first);
    exec.life = Some(Duration::from_nanos(1));
    // It has ended when it is asked for again.
    let brief = granted(exec);
    assert_ne!(value(&brief).await.unwrap(), value(&brief).await.unwrap());
}
