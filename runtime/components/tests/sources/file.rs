//! A file is told of as soon as it is another one, however it becomes that.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::Duration;

use components::source::{Fetched, FileSource, Policy, Source};

/// Well under a second, on a busy machine too.
const SOON: Duration = Duration::from_millis(900);
/// Long enough that what isn't told by then isn't told.
const NEVER: Duration = Duration::from_millis(150);

fn source(path: &Path) -> FileSource {
    FileSource::new(path, Policy::default()).unwrap()
}

async fn is_told(source: &FileSource) -> bool {
    tokio::time::timeout(SOON, source.changed()).await.is_ok()
}

async fn is_quiet(source: &FileSource) -> bool {
    tokio::time::timeout(NEVER, source.changed()).await.is_err()
}

async fn fetched(source: &FileSource) -> Fetched {
    source.fetch(None).await.unwrap().unwrap()
}

#[tokio::test]
async fn a_rename_onto_the_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    std::fs::write(&path, "one").unwrap();
    let source = source(&path);
    let first = fetched(&source).await;
    assert!(is_quiet(&source).await);
    for round in 0..3 {
        let new = folder.path().join("hyper.wasm.new");
        std::fs::write(&new, format!("new {round}")).unwrap();
        assert!(is_quiet(&source).await, "another name in the folder is nothing");
        std::fs::rename(&new, &path).unwrap();
        assert!(is_told(&source).await);
        assert_eq!(fetched(&source).await.bytes, format!("new {round}"));
    }
    assert!(source.fetch(Some(&first.revision)).await.unwrap().is_some());
}

#[tokio::test]
async fn what_is_written_in_place_is_told_when_it_is_closed() {
    use std::io::Write;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    let source = source(&path);
    assert!(source.fetch(None).await.unwrap_err().to_string().ends_with("there is no such file"));
    for text in ["made", "written again"] {
        let mut file = std::fs::File::create(&path).unwrap();
        file.write_all(&text.as_bytes()[..2]).unwrap();
        file.flush().unwrap();
        assert!(is_quiet(&source).await, "half of it is nothing");
        file.write_all(&text.as_bytes()[2..]).unwrap();
        drop(file);
        assert!(is_told(&source).await);
        assert_eq!(fetched(&source).await.bytes, text);
    }
}

#[tokio::test]
async fn an_editor_that_moves_the_old_file_away_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    std::fs::write(&path, "one").unwrap();
    let source = source(&path);
    std::fs::rename(&path, folder.path().join("hyper.wasm~")).unwrap();
    std::fs::write(&path, "two").unwrap();
    assert!(is_told(&source).await);
    assert_eq!(fetched(&source).await.bytes, "two");
}

/// As the kubelet writes the volume of a ConfigMap.
fn mount(folder: &Path, version: &str, text: &str) {
    let data = folder.join(version);
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("hyper.wasm"), text).unwrap();
    symlink(version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
}

#[tokio::test]
async fn the_volume_of_a_config_map_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    mount(folder.path(), "..1", "one");
    let path = folder.path().join("hyper.wasm");
    symlink("..data/hyper.wasm", &path).unwrap();
    let source = source(&path);
    assert_eq!(fetched(&source).await.bytes, "one");
    for (old, new) in [("..1", "..2"), ("..2", "..3")] {
        mount(folder.path(), new, new);
        assert!(is_told(&source).await);
        assert_eq!(fetched(&source).await.bytes, new);
        std::fs::remove_dir_all(folder.path().join(old)).unwrap();
    }
}

#[tokio::test]
async fn a_folder_that_is_made_later_or_replaced_is_followed() {
    let folder = tempfile::tempdir().unwrap();
    let release = |name: &str| {
        let target = folder.path().join(name).join("bin");
        std::fs::create_dir_all(&target).unwrap();
        std::fs::write(target.join("hyper.wasm"), name).unwrap();
    };
    let source = source(&folder.path().join("current/bin/hyper.wasm"));
    release("v1");
    symlink("v1", folder.path().join("current")).unwrap();
    assert!(is_told(&source).await);
    assert_eq!(fetched(&source).await.bytes, "v1");
    release("v2");
    symlink("v2", folder.path().join("next")).unwrap();
    std::fs::rename(folder.path().join("next"), folder.path().join("current")).unwrap();
    assert!(is_told(&source).await);
    assert_eq!(fetched(&source).await.bytes, "v2");
    // In the folder that it leads to now.
    std::fs::write(folder.path().join("v2/bin/hyper.wasm"), "v2.1").unwrap();
    assert!(is_told(&source).await);
    assert_eq!(fetched(&source).await.bytes, "v2.1");
}

#[tokio::test]
async fn what_happens_while_nobody_waits_is_told_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    let source = source(&path);
    for round in 0..5 {
        std::fs::write(&path, format!("{round}")).unwrap();
    }
    tokio::time::sleep(NEVER).await;
    assert!(is_told(&source).await);
    assert_eq!(fetched(&source).await.bytes, "4");
    assert!(is_quiet(&source).await);
}

#[tokio::test]
async fn what_is_too_large_or_no_file_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hyper.wasm");
    std::fs::write(&path, "12345").unwrap();
    let small = FileSource::new(&path, Policy { size: 4, ..Policy::default() }).unwrap();
    assert_eq!(
        small.fetch(None).await.unwrap_err().to_string(),
        format!(
            "{}: it has 5 bytes, and no more than 4 bytes are taken: the limit component-size raises that",
            path.display()
        )
    );
    let error = source(folder.path()).fetch(None).await.unwrap_err().to_string();
    assert!(error.ends_with("it is no component: it is no file"), "{error}");
}
