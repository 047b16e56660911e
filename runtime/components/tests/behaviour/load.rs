//! What can't be loaded says so in one line that names the component, what is wrong with it, and the flag that helps.

use std::time::{Duration, Instant};

use components::{Bytes, CONTRACT, Limits, ProviderKind};
use host_capabilities::egress::Rule;

use crate::lab::{Lab, Loading, compile, component};

/// A component written by hand. What an instance holds is looked at last.
fn written(text: &str) -> Bytes {
    Bytes { name: "written.wasm".to_owned(), bytes: wat::parse_str(text).unwrap() }
}

/// A provider of pods with these imports, and nothing behind its exports.
fn importing(imports: &[&str]) -> Bytes {
    let imports: String = imports.iter().map(|name| format!("(import \"{name}\" (instance))")).collect();
    written(&format!("(component {imports} {})", hollow("0.1.0")))
}

fn hollow(version: &str) -> String {
    format!(
        "(instance $hollow) (export \"vk:provider/node@{version}\" (instance $hollow))
         (export \"vk:provider/pods@{version}\" (instance $hollow))"
    )
}

async fn load(bytes: &Bytes) -> Result<Lab, String> {
    load_as(Loading::new("written"), bytes).await
}

async fn load_as(loading: Loading, bytes: &Bytes) -> Result<Lab, String> {
    let loaded = loading.load_bytes(bytes).await.map_err(|error| error.to_string());
    if let Err(error) = &loaded {
        assert!(!error.contains('\n') && error.contains(&bytes.name), "{error}");
    }
    loaded
}

async fn refused(bytes: &Bytes) -> String {
    load(bytes).await.err().expect("a refusal")
}

#[tokio::test]
async fn what_is_no_component() {
    let named = |name: &str, bytes: &[u8]| Bytes { name: name.to_owned(), bytes: bytes.to_vec() };
    let whole = std::fs::read(component("mock")).unwrap();
    let core = wat::parse_str("(module)").unwrap();
    for (bytes, says) in [
        (named("notes.txt", b"hello"), "it does not begin as WebAssembly does"),
        (named("empty.wasm", b""), "it does not begin as WebAssembly does"),
        (named("core.wasm", &core), "it is a core module (build it with --target wasm32-wasip2)"),
        (named("half.wasm", &whole[..whole.len() / 2]), "out of bounds"),
        (named("head.wasm", &whole[..8]), ""),
    ] {
        let error = refused(&bytes).await;
        let begins = format!("{} is no WebAssembly component: ", bytes.name);
        let hollow = error.contains("exports no provider");
        assert!((error.starts_with(&begins) || hollow) && error.contains(says), "{error}");
    }
}

#[test]
fn a_file_that_can_not_be_read() {
    let error = |path: &str| Bytes::read(path.as_ref(), 1 << 20).err().unwrap().to_string();
    assert!(error("/no/such.wasm").starts_with("the component /no/such.wasm can't be read: No such file"));
    assert!(error("/tmp").starts_with("the component /tmp can't be read: "));
    assert!(
        error("/dev/zero").starts_with("the component /dev/zero has more than 1048576 bytes"),
        "{}",
        error("/dev/zero")
    );
}

#[tokio::test]
async fn what_is_no_provider() {
    let wanted = "exports no provider: `vk:provider/node` and either `pods` or `containers` are wanted";
    let error = refused(&written("(component)")).await;
    assert_eq!(error, format!("the component written.wasm {wanted}, it has none"));
    let other = written("(component (instance $i) (export \"wasi:cli/run@0.2.6\" (instance $i)))");
    assert_eq!(refused(&other).await, format!("the component written.wasm {wanted}, it has wasi:cli/run@0.2.6"));
    let half = written("(component (instance $i) (export \"vk:provider/node@0.1.0\" (instance $i)))");
    assert_eq!(refused(&half).await, format!("the component written.wasm {wanted}, it has node"));
    let both = format!("(component {} (export \"vk:provider/containers@0.1.0\" (instance $hollow)))", hollow("0.1.0"));
    assert_eq!(
        refused(&written(&both)).await,
        format!("the component written.wasm {wanted}, it has node, pods, containers")
    );
}

#[tokio::test]
async fn another_contract() {
    for version in ["1.0.0", "0.2.0"] {
        let error = refused(&written(&format!("(component {})", hollow(version)))).await;
        assert_eq!(
            error,
            format!("the component written.wasm speaks the contract {version}, this host serves {CONTRACT}")
        );
    }
}

#[tokio::test]
async fn a_capability_that_is_not_in_this_version() {
    for interface in ["process", "files", "images", "certificates"] {
        let error = refused(&importing(&["vk:host/log@0.1.0", &format!("vk:host/{interface}@0.1.0")])).await;
        let says = "which is not in this version of vk-runtime";
        assert_eq!(error, format!("the component written.wasm imports `vk:host/{interface}`, {says}"));
    }
}

#[tokio::test]
async fn an_import_that_no_version_has() {
    for import in ["vk:host/teleport@0.1.0", "vk:host/log@0.9.0", "example:other/thing@1.0.0"] {
        let error = refused(&importing(&[import])).await;
        let says = format!("which is no part of the contract {CONTRACT}");
        assert_eq!(error, format!("the component written.wasm imports `{import}`, {says}"));
    }
}

#[tokio::test]
async fn a_capability_that_was_not_granted() {
    let dial = "--allow-dial=HOST:PORT or --allow-dial=unix:///PATH";
    for (imports, says) in [
        (&["vk:host/http@0.1.0"][..], format!("wants `http`, of which nothing is granted: --allow-http=URL or {dial}")),
        (&["vk:host/dial@0.1.0"], format!("wants `dial`, of which nothing is granted: {dial}")),
        (
            &["vk:host/dial@0.1.0", "vk:host/http@0.1.0"],
            format!("wants `http` and `dial`, of which nothing is granted: --allow-http=URL or {dial}"),
        ),
    ] {
        assert_eq!(refused(&importing(imports)).await, format!("the component written.wasm {says} would grant it"));
        let rule = Rule::parse("http://example.com", &["http"], false).unwrap();
        let granted = Loading::new("written").grants(|grants| grants.http.push(rule));
        let error = load_as(granted, &importing(imports)).await.err().unwrap();
        assert!(!error.contains("granted"), "{error}");
    }
}

#[tokio::test]
async fn functions_that_are_missing_or_of_another_type() {
    let error = refused(&importing(&[])).await;
    assert_eq!(error, "the component written.wasm can't be used: the export `node` has no function `describe`");
    let other = written(
        "(component
            (core module $m (func (export \"f\")))
            (core instance $i (instantiate $m))
            (func $f (canon lift (core func $i \"f\")))
            (instance $node (export \"describe\" (func $f)))
            (instance $pods)
            (export \"vk:provider/node@0.1.0\" (instance $node))
            (export \"vk:provider/pods@0.1.0\" (instance $pods)))",
    );
    let error = refused(&other).await;
    let begins = "the component written.wasm can't be used: the function `node.describe` has another type";
    assert!(error.starts_with(begins), "{error}");
}

fn starting_with(code: &str) -> Bytes {
    written(&format!(
        "(component
            (core module $m (memory 1) (func $start {code}) (start $start))
            (core instance (instantiate $m))
            {})",
        hollow("0.1.0")
    ))
}

#[tokio::test]
async fn a_component_that_misbehaves_before_it_is_called() {
    let trap = refused(&starting_with("unreachable")).await;
    assert!(
        trap.starts_with("the component written.wasm can't be used: it trapped: ") && trap.contains("unreachable"),
        "{trap}"
    );
    let began = Instant::now();
    let spin = load_as(Loading::new("written").limits("cpu=200ms"), &starting_with("(loop (br 0))")).await;
    let says = "the limit cpu=200ms (CPU time of one call); --limit NAME=VALUE raises it";
    assert_eq!(spin.err().unwrap(), format!("the component written.wasm can't be used: it reached {says}"));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn inspecting_tells_what_a_component_exports_and_imports() {
    let read = |name| Bytes::read(&component(name), u64::MAX).unwrap();
    let compiled = compile(&read("mock"), &Limits::default()).unwrap();
    let mock = compiled.inspection();
    assert_eq!(compiled.check().unwrap(), ProviderKind::Pods);
    assert_eq!(mock.kind, Some(ProviderKind::Pods));
    assert_eq!(mock.contract.as_deref(), Some(CONTRACT));
    assert_eq!(mock.base_exports, ["node", "pods"]);
    assert_eq!(mock.optional_exports, ["logs", "stats", "restart"]);
    assert!(mock.other_exports.is_empty() && mock.unknown_imports.is_empty());
    // Without WASI it would have `log` too, for its last words.
    let capabilities: Vec<_> = mock.capabilities.iter().filter(|own| *own != "log").collect();
    assert_eq!(capabilities, ["blobs", "cache", "clock", "config", "store"]);
    assert_eq!(mock.size, std::fs::metadata(component("mock")).unwrap().len());
    let json = serde_json::to_value(mock).unwrap();
    assert_eq!(json["kind"], "pods");
    assert_eq!(json["optionalExports"][0], "logs");
    assert_eq!(json["digest"].as_str().unwrap().len(), "sha256:".len() + 64);

    let strange = importing(&["vk:host/process@0.1.0", "vk:host/teleport@0.1.0", "wasi:cli/environment@0.2.6"]);
    let compiled = compile(&strange, &Limits::default()).unwrap();
    let seen = compiled.inspection();
    assert_eq!(seen.capabilities, ["process"]);
    assert_eq!(seen.unknown_imports, ["vk:host/teleport@0.1.0"]);
    assert_eq!(seen.inert_imports, ["wasi:cli/environment@0.2.6"]);
}
