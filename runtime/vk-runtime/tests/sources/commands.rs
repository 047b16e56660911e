//! `push`, `pull` and `inspect`, with a real registry.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use components::Digest;

use crate::docker_registry::DockerRegistry;

struct Ran {
    code: Option<i32>,
    out: String,
    error: String,
}

/// Runs the binary, which knows no Docker configuration but what is in `home`.
fn run(home: &Path, arguments: &[&str]) -> Ran {
    let path = format!("{}:{}", home.display(), std::env::var("PATH").unwrap());
    let output = Command::new(env!("CARGO_BIN_EXE_vk-runtime"))
        .args(arguments)
        .env("HOME", home)
        .env("DOCKER_CONFIG", home)
        .env("PATH", path)
        .output()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
    Ran { code: output.status.code(), out: text(&output.stdout), error: text(&output.stderr) }
}

fn component(folder: &Path) -> (String, Vec<u8>) {
    let bytes = wat::parse_str("(component (core module (func (export \"f\"))))").unwrap();
    let path = folder.join("some.wasm");
    std::fs::write(&path, &bytes).unwrap();
    (path.display().to_string(), bytes)
}

#[test]
fn a_component_goes_into_a_registry_and_comes_back() {
    let (registry, home) = (DockerRegistry::start(), tempfile::tempdir().unwrap());
    let (file, bytes) = component(home.path());
    let address = format!("oci://{}/providers/some:1", registry.host);
    let plain = ["--registry-plain-http", registry.host.as_str()];
    let pushed = run(home.path(), &[&["push", &file, &address], &plain[..]].concat());
    assert_eq!(pushed.code, Some(0), "{}", pushed.error);
    assert!(pushed.out.starts_with(&format!("oci://{}/providers/some@sha256:", registry.host)), "{}", pushed.out);

    let copy = home.path().join("copy.wasm").display().to_string();
    for address in [&address, &pushed.out] {
        let pulled = run(home.path(), &[&["pull", address, &copy], &plain[..]].concat());
        assert_eq!(pulled.out, format!("{} {} bytes", Digest::of(&bytes), bytes.len()), "{}", pulled.error);
        assert_eq!(std::fs::read(&copy).unwrap(), bytes);
    }
    let seen = run(home.path(), &[&["inspect", &address, "--output", "json"], &plain[..]].concat());
    let seen: serde_json::Value = serde_json::from_str(&seen.out).unwrap();
    assert_eq!(seen["digest"], Digest::of(&bytes).to_string());
    assert_eq!(seen["kind"], serde_json::Value::Null);
}

#[test]
fn what_is_no_component_is_not_pushed() {
    let (registry, home) = (DockerRegistry::start(), tempfile::tempdir().unwrap());
    let file = home.path().join("text.wasm");
    std::fs::write(&file, "text").unwrap();
    let address = format!("oci://{}/text:1", registry.host);
    let pushed = run(home.path(), &["push", file.to_str().unwrap(), &address, "--registry-plain-http", &registry.host]);
    assert_eq!(pushed.code, Some(2));
    assert!(pushed.error.contains("text.wasm is no WebAssembly component"), "{}", pushed.error);
}

#[test]
fn a_credential_helper_is_asked() {
    let (registry, home) = (DockerRegistry::with(false, true), tempfile::tempdir().unwrap());
    let (file, _) = component(home.path());
    let address = format!("oci://{}/some:1", registry.host);
    let push = || run(home.path(), &["push", &file, &address, "--registry-plain-http", &registry.host]);
    let without = push();
    assert_eq!(without.code, Some(2));
    assert!(without.error.ends_with("it wants credentials, and there are none for it"), "{}", without.error);

    let helper = home.path().join("docker-credential-test");
    // Answers for this registry alone, as such helpers do.
    let script = format!(
        "#!/bin/sh\nread -r server\n[ \"$1 $server\" = \"get {}\" ] || {{ echo credentials not found in native keychain; exit 1; }}\necho '{{\"ServerURL\":\"x\",\"Username\":\"puller\",\"Secret\":\"pass:word\"}}'\n",
        registry.host
    );
    std::fs::write(&helper, script).unwrap();
    std::fs::set_permissions(&helper, std::fs::Permissions::from_mode(0o755)).unwrap();
    for config in [
        format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.host),
        r#"{"auths":{},"credsStore":"test"}"#.to_owned(),
    ] {
        std::fs::write(home.path().join("config.json"), config).unwrap();
        let with = push();
        assert_eq!(with.code, Some(0), "{}", with.error);
    }
}

#[test]
fn a_password_comes_from_a_file_and_stands_nowhere_else() {
    let (registry, home) = (DockerRegistry::with(false, true), tempfile::tempdir().unwrap());
    let (file, _) = component(home.path());
    let address = format!("oci://{}/some:1", registry.host);
    let password = home.path().join("password");
    let push = || {
        let user = ["--registry-user", "puller", "--registry-password-file", password.to_str().unwrap()];
        run(home.path(), &[&["push", &file, &address, "--registry-plain-http", &registry.host], &user[..]].concat())
    };
    std::fs::write(&password, "pass:word\n").unwrap();
    assert_eq!(push().code, Some(0), "{}", push().error);
    std::fs::write(&password, "another").unwrap();
    let refused = push();
    assert_eq!(refused.code, Some(2));
    assert!(refused.error.ends_with("refuses the credentials of puller"), "{}", refused.error);
    assert!(!refused.error.contains("another"), "{}", refused.error);
}

#[test]
fn what_is_not_signed_is_not_pulled_where_a_key_is_given() {
    let (registry, home) = (DockerRegistry::start(), tempfile::tempdir().unwrap());
    let (file, _) = component(home.path());
    let address = format!("oci://{}/some:1", registry.host);
    let plain = ["--registry-plain-http", registry.host.as_str()];
    assert_eq!(run(home.path(), &[&["push", &file, &address], &plain[..]].concat()).code, Some(0));
    let key = concat!(env!("CARGO_MANIFEST_DIR"), "/../components/tests/sources/fixtures/cosign/p256.pub");
    let copy = home.path().join("copy.wasm");
    let pulled =
        run(home.path(), &[&["pull", &address, copy.to_str().unwrap(), "--component-key", key], &plain[..]].concat());
    assert_eq!(pulled.code, Some(2));
    assert!(pulled.error.contains("it has to be signed with") && pulled.error.ends_with("it has no signature"));
    assert!(!copy.exists());
}
