//! What is left when the process ends in the middle, and what a damaged file says.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use super::{ALWAYS, Embedded, OpenError, Store, open};
use crate::store::Extent;

const MOST: Extent = Extent { bytes: u64::MAX, keys: u64::MAX };

/// Names the file to write to, in a process that is made to be killed.
const FILE: &str = "HOST_CAPABILITIES_STORE";

/// Not a test of its own: the process that [`what_was_acknowledged_survives_a_kill`] kills.
#[tokio::test(flavor = "multi_thread")]
async fn writer() {
    let Ok(path) = std::env::var(FILE) else { return };
    let store = opened(Path::new(&path)).unwrap();
    for n in 0.. {
        let writes = (0..4).map(|part| store.put("p", format!("{n}/{part}"), vec![7; 20_000], ALWAYS, None, MOST));
        for written in futures::future::join_all(writes).await {
            written.unwrap();
        }
        store.delete("p", format!("{n}/0"), ALWAYS).await.unwrap();
        writeln!(std::io::stdout().lock(), "\nwritten {n}").unwrap();
    }
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_kill() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    for round in 1..=3 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "store::tests::crash::writer", "--nocapture"])
            .env(FILE, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut last = None;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        while last.is_none_or(|last| last < round * 10) {
            let line = lines.next().unwrap().unwrap();
            last = line.strip_prefix("written ").map(|n| n.parse::<u32>().unwrap()).or(last);
        }
        child.kill().unwrap();
        child.wait().unwrap();
        let written = lines.map_while(Result::ok).filter_map(|line| line.strip_prefix("written ")?.parse().ok()).last();
        let last = written.or(last).unwrap();
        let store = opened(&path).unwrap();
        for n in 0..=last {
            assert_eq!(store.get("p", &format!("{n}/0")).await.unwrap(), None, "{n}");
            for part in 1..4 {
                let entry = store.get("p", &format!("{n}/{part}")).await.unwrap().unwrap();
                assert_eq!(entry.value, vec![7; 20_000], "{n}/{part}");
            }
        }
        // It is writable, and all that is there is whole.
        store
            .put("p", "after".into(), b"ok".to_vec(), ALWAYS, None, Extent { bytes: u64::MAX, keys: u64::MAX })
            .await
            .unwrap();
        for entry in store.scan("p", "", "", 10_000).await.unwrap() {
            assert!(matches!(entry.value.len(), 20_000 | 2), "{}", entry.key);
        }
    }
}

/// Opens the file as soon as the last to have it lets it go: its writer does so a moment after the last handle is dropped.
fn opened(path: &Path) -> Result<Embedded, OpenError> {
    loop {
        match Embedded::open(path) {
            Err(OpenError::InUse(_)) => std::thread::yield_now(),
            other => return other,
        }
    }
}

#[tokio::test]
async fn a_truncated_file_is_refused_by_name_or_read_as_far_as_it_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(&folder);
    for n in 0..50 {
        store
            .put("p", format!("{n}"), vec![7; 20_000], ALWAYS, None, Extent { bytes: u64::MAX, keys: u64::MAX })
            .await
            .unwrap();
    }
    // As a crash leaves it: nobody closed it.
    let whole = std::fs::read(folder.path().join("store.redb")).unwrap();
    for percent in [0, 1, 10, 50, 90, 99, 100] {
        let path = folder.path().join(format!("{percent}-store.redb"));
        std::fs::write(&path, &whole[..whole.len() * percent / 100]).unwrap();
        match Embedded::open(&path) {
            Err(error) => {
                let text = error.to_string();
                assert!(
                    matches!(error, OpenError::Failed { .. }) && text.contains("store.redb"),
                    "{percent} %: {text}"
                );
            }
            Ok(store) => {
                for n in 0..50 {
                    let value = store.get("p", &format!("{n}")).await.unwrap().map(|entry| entry.value);
                    assert!(value.as_ref().is_none_or(|value| *value == vec![7; 20_000]), "{percent} %: {n}");
                    assert!(percent < 100 || value.is_some(), "{n}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_file_that_is_no_store_is_refused_by_name_and_left_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.redb");
    let text = "kind: Secret\n".repeat(1_000);
    std::fs::write(&path, &text).unwrap();
    let error = Embedded::open(&path).err().unwrap();
    assert!(matches!(error, OpenError::Failed { .. }) && error.to_string().contains("store.redb"), "{error}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    let missing = Embedded::open(&folder.path().join("no/such/folder/store.redb")).err().unwrap().to_string();
    assert!(missing.contains("no/such/folder/store.redb") && missing.contains("No such file"), "{missing}");
    let error = Embedded::open(folder.path()).err().unwrap().to_string();
    assert!(error.contains("directory"), "{error}");
}

#[tokio::test]
async fn a_locked_file_names_the_setting_and_is_nobody_elses_to_read() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let _store = open(&folder);
    let path = folder.path().join("store.redb");
    let error = Embedded::open(&path).err().unwrap().to_string();
    assert!(error.contains("store.redb is in use") && error.contains("--state-dir"), "{error}");
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
