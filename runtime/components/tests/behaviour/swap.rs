//! Versions are replaced while calls run and streams are open; what was replaced is freed when nothing holds it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use components::{Bytes, Limits, LoadError};
use futures::StreamExt;
use provider::{Code, Kind, Provider};

use crate::lab::{Lab, Loading, compile, component, pod, read, until, version};

async fn swap(lab: &Lab, bytes: &Bytes) -> Result<(), LoadError> {
    let compiled = compile(bytes, &Limits::default())?;
    lab.provider.program().swap(compiled).await.map(drop)
}

async fn refused(lab: &Lab, bytes: &Bytes) -> String {
    let before = lab.provider.program().digest();
    let error = swap(lab, bytes).await.expect_err("a refusal").to_string();
    assert_eq!(lab.provider.program().digest(), before, "{error}");
    lab.works().await;
    error
}

/// Versions that nothing serves any more and that are still held.
fn draining(lab: &Lab) -> usize {
    lab.provider.program().draining().len()
}

async fn freed(lab: &Lab) {
    until("the end of the versions before", async || (draining(lab) == 0).then_some(())).await;
}

#[tokio::test]
async fn a_new_version_takes_effect_with_the_next_call() {
    let lab = Loading::misbehaving().load().await;
    lab.works().await;
    swap(&lab, &version("create=panic")).await.unwrap();
    let error = lab.fails("").await;
    assert!(error.message.contains("the words of a panic"), "{error}");
    swap(&lab, &version("")).await.unwrap();
    lab.works().await;
    freed(&lab).await;
}

#[tokio::test]
async fn a_call_ends_on_the_version_that_it_began_on() {
    let lab = Loading::misbehaving().load().await;
    let slow = lab.spawn("uid-slow", "slow");
    until("the call", async || lab.provider.program().limits_in_use().iter().any(|own| own.used > 0).then_some(()))
        .await;
    swap(&lab, &version("create=trap")).await.unwrap();
    assert_eq!(draining(&lab), 1);
    assert!(lab.create("").await.is_err());
    slow.await.unwrap().unwrap();
    freed(&lab).await;
}

#[tokio::test]
async fn a_stream_of_the_guests_keeps_its_version_and_one_of_the_hosts_does_not() {
    let lab = Loading::misbehaving().load().await;
    let mut pumped = lab.log("endless").await.unwrap();
    swap(&lab, &version("n=1")).await.unwrap();
    let spliced = lab.log("spliced").await.unwrap();
    swap(&lab, &version("n=2")).await.unwrap();
    until("the end of the version of the host's stream", async || (draining(&lab) == 1).then_some(())).await;
    assert!(pumped.output.content.next().await.unwrap().is_ok());
    assert_eq!(read(spliced).await.0.len(), 16_000);
    assert_eq!(draining(&lab), 1);
    drop(pumped);
    freed(&lab).await;
}

#[tokio::test]
async fn a_stream_that_outlasts_the_drain_limit_is_ended_and_told_why() {
    let lab = Loading::misbehaving().limits("drain=300ms,wall=200ms").load().await;
    for kind in ["endless", "silent"] {
        let mut log = lab.log(kind).await.unwrap();
        let old = lab.provider.program().digest().short();
        tokio::time::sleep(Duration::from_millis(250)).await;
        swap(&lab, &version(&format!("n={kind}"))).await.unwrap();
        let error = loop {
            match log.output.content.next().await.expect("an end that says why") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, Code::Closed, "{error}");
        let says = format!("logs.open was ended: its version {old} was replaced, and the limit drain=300ms is over");
        assert!(error.message.contains(&says), "{error}");
        freed(&lab).await;
        // Being ended for the sake of a newer one is nobody's fault.
        assert_eq!(lab.provider.program().status().current.failures, 0);
    }
}

#[tokio::test]
async fn a_watch_ends_with_its_version() {
    let lab = Loading::misbehaving().config("watched", "silent").load().await;
    let mut changes = lab.provider.watch().unwrap().open(None).await.unwrap();
    swap(&lab, &version("n=1")).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(5), changes.next()).await;
    assert_eq!(ended.expect("the watch goes on"), None);
    drop(changes);
    freed(&lab).await;
}

#[tokio::test]
async fn what_the_new_version_lacks_says_so() {
    let lab = Loading::misbehaving().load().await;
    let watch = lab.provider.watch().expect("a watch");
    let mock = Bytes::read(&component("mock"), u64::MAX).unwrap();
    let compiled = compile(&mock, &Limits::default()).unwrap();
    let swapped = lab.provider.program().swap(compiled).await.unwrap();
    assert_eq!(swapped.lost, ["watch"]);
    assert_eq!(swapped.gained, ["stats", "restart"]);
    assert!(lab.provider.watch().is_none() && lab.provider.stats().is_some());
    let Err(error) = watch.open(None).await else { panic!("a watch of a provider that has none") };
    assert_eq!((error.code, error.message.as_str()), (Code::Unsupported, "the provider has no `watch` export"));
}

fn written(text: &str) -> Bytes {
    Bytes { name: "written.wasm".to_owned(), bytes: wat::parse_str(text).unwrap() }
}

fn hollow(imports: &str, version: &str, kind: &str) -> Bytes {
    written(&format!(
        "(component {imports} (instance $hollow) (export \"vk:provider/node@{version}\" (instance $hollow))
         (export \"vk:provider/{kind}@{version}\" (instance $hollow)))"
    ))
}

#[tokio::test]
async fn a_version_that_can_not_take_over_is_refused_and_the_old_one_goes_on() {
    let lab = Loading::misbehaving().load().await;
    let wants = "(import \"vk:host/http@0.1.0\" (instance))";
    for (bytes, says) in [
        (hollow(wants, "0.1.0", "pods"), "wants `http`, of which nothing is granted: --allow-http=URL"),
        (hollow("", "1.0.0", "pods"), "speaks the contract 1.0.0"),
        (hollow("", "0.1.0", "containers"), "runs containers, the version that is loaded runs pods"),
        (hollow("", "0.1.0", "pods"), "the export `node` has no function `describe`"),
        (hollow("(import \"vk:host/teleport@0.1.0\" (instance))", "0.1.0", "pods"), "imports `vk:host/teleport"),
        (version("describe=trap"), "can't describe the node: node.describe trapped"),
        (version("describe=allocate"), "can't describe the node: node.describe reached the limit memory=64Mi"),
        (version("describe=ask-for-more"), "can't describe the node: "),
    ] {
        let error = refused(&lab, &bytes).await;
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(draining(&lab), 0);
}

#[tokio::test]
async fn a_description_that_takes_too_long_is_no_description() {
    let lab = Loading::misbehaving().limits("wall=300ms").load().await;
    let error = refused(&lab, &version("describe=never")).await;
    assert!(error.contains("node.describe reached the limit wall=300ms"), "{error}");
}

#[tokio::test]
async fn limits_change_while_calls_run() {
    let lab = Loading::misbehaving().limits("streams=1,sessions=1").load().await;
    let first = lab.log("endless").await.unwrap();
    assert!(lab.log("endless").await.is_err());
    let program = lab.provider.program();
    program.reconfigure("streams=3,sessions=3,cpu=50ms".parse().unwrap()).await.unwrap();
    let (second, third) = (lab.log("endless").await.unwrap(), lab.log("endless").await.unwrap());
    let error = lab.log("endless").await.err().unwrap();
    assert!(error.message.contains("streams=3"), "{error}");
    assert!(lab.fails("spin").await.message.contains("cpu=50ms"));
    program.reconfigure("streams=1,sessions=1".parse().unwrap()).await.unwrap();
    drop((first, second));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(lab.log("endless").await.is_err(), "more slots than there are");
    drop(third);
    until("the slot", async || lab.log("endless").await.ok()).await;
}

#[tokio::test]
async fn what_the_pool_has_no_room_for_can_not_be_set_while_it_runs() {
    let lab = Loading::misbehaving().load().await;
    let limits = Limits { calls: 5_000, ..Limits::default() };
    let error = lab.provider.program().reconfigure(limits).await.unwrap_err().to_string();
    assert!(error.contains("the limit calls=5000 of the provider misbehaving can't change while it runs"), "{error}");
}

/// Mappings of this process that hold code of no file: what wasmtime compiled or loaded.
fn code_mappings() -> usize {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("r-xp") && line.split_whitespace().nth(4) == Some("0")).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_swaps_under_load_lose_no_call_and_leave_no_code() {
    const STREAMS: usize = 40;
    let lab = Arc::new(Loading::misbehaving().limits("sessions=100").alone().load().await);
    let versions = [version(""), version("n=1")];
    swap(&lab, &versions[1]).await.unwrap();
    swap(&lab, &versions[0]).await.unwrap();
    freed(&lab).await;
    let before = code_mappings();
    for _round in 0..3 {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut open = Vec::new();
        for n in 0..STREAMS {
            open.push(lab.log(if n % 2 == 0 { "endless" } else { "silent" }).await.unwrap());
        }
        let callers: Vec<_> = (0..4)
            .map(|caller| {
                let (provider, stop, calls) = (lab.provider.clone(), stop.clone(), calls.clone());
                tokio::spawn(async move {
                    let Kind::Pods(pods) = provider.kind() else { panic!("a provider of pods") };
                    while !stop.load(Ordering::Relaxed) {
                        pods.update(pod(&format!("uid-{caller}"), ""), Vec::new()).await.unwrap();
                        pods.list(None).await.unwrap();
                        calls.fetch_add(2, Ordering::Relaxed);
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        for n in 0..20 {
            swap(&lab, &versions[(n + 1) % 2]).await.unwrap();
            for log in open.iter_mut().step_by(2) {
                assert!(log.output.content.next().await.unwrap().is_ok());
            }
            // Calls begin on each.
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        stop.store(true, Ordering::Relaxed);
        for caller in callers {
            caller.await.expect("no call fails");
        }
        assert!(calls.load(Ordering::Relaxed) > 100);
        drop(open);
        freed(&lab).await;
        let left = until("the end of the code", async || (code_mappings() <= before).then(code_mappings)).await;
        assert!(left <= before, "{left} mappings of code, {before} before");
    }
    let status = lab.provider.program().status();
    assert!(status.exports.iter().all(|export| export.failures.is_empty()), "{:?}", status.exports);
}

#[tokio::test]
async fn calls_are_accounted_for_by_export_over_all_versions() {
    let lab = Loading::misbehaving().limits("cpu=100ms").load().await;
    lab.works().await;
    swap(&lab, &version("n=1")).await.unwrap();
    lab.works().await;
    lab.fails("trap").await;
    lab.fails("spin").await;
    lab.fails("tell-the-operators").await;
    // A call is counted when its instance has ended, which is after its answer.
    let status = until("the end of the last call", async || {
        Some(lab.provider.program().status()).filter(|status| status.current.calls == 4)
    })
    .await;
    let create = status.exports.iter().find(|own| own.export == "pods.create").unwrap();
    assert_eq!(create.outcomes, [("ok", 2), ("trap", 1), ("limit", 1), ("denied", 1)].into());
    assert_eq!(create.failures, [("unreachable", 1), ("cpu", 1)].into());
    assert!(create.cpu_seconds > 0.09 && create.peak_memory_bytes > 1 << 16, "{create:?}");
    assert_eq!((status.current.calls, status.current.failures), (4, 3));
    let json = serde_json::to_value(&status).unwrap();
    assert_eq!(json["provider"], "misbehaving");
    assert_eq!(json["current"]["digest"], lab.provider.program().digest().to_string());
    let program = lab.provider.program().clone();
    let mut registry = prometheus_client::registry::Registry::default();
    registry.register_collector(Box::new(components::Series::of(move || vec![program.clone()])));
    let mut page = String::new();
    prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
    for line in [
        r#"vk_component_calls_total{provider="misbehaving",export="pods.create",outcome="ok"} 2"#,
        r#"vk_component_call_failures_total{provider="misbehaving",export="pods.create",kind="cpu"} 1"#,
        r#"vk_component_call_duration_seconds_count{provider="misbehaving",export="pods.create"} 5"#,
        r#"vk_component_limit{provider="misbehaving",limit="calls"} 96"#,
        r#"vk_component_versions{provider="misbehaving",stage="serving"} 1"#,
    ] {
        assert!(page.contains(line), "{line} is not in\n{page}");
    }
    // A caller that goes away is counted too.
    let slow = lab.spawn("uid-1", "slow");
    let began = Instant::now();
    until("the call", async || program_runs(&lab).then_some(())).await;
    slow.abort();
    until("its end", async || (!program_runs(&lab)).then_some(())).await;
    assert!(began.elapsed() < Duration::from_millis(450), "it was not ended");
    // A call is counted when its instance has ended, which is after its answer.
    let status = until("the end of the last call", async || {
        Some(lab.provider.program().status()).filter(|status| status.current.calls == 4)
    })
    .await;
    let create = status.exports.iter().find(|own| own.export == "pods.create").unwrap();
    assert_eq!(create.outcomes.get("cancelled"), Some(&1));
}

fn program_runs(lab: &Lab) -> bool {
    lab.provider.program().status().exports.iter().any(|own| own.running > 0)
}
