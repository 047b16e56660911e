//! Each limit ends the call that reaches it, and no other, with an error that names it and how to raise it.

use std::time::{Duration, Instant};

use components::{Bytes, Limits};
use provider::Code;

use crate::lab::{Loading, compile, component, read, until};

/// A misdeed ends with this limit's name, and the next call works.
async fn reaches(limits: &str, misdeed: &str, named: &str) {
    let lab = Loading::misbehaving().limits(limits).load().await;
    let error = lab.fails(misdeed).await;
    assert_eq!(error.code, Code::Limit, "{error}");
    assert_eq!(error.message, format!("pods.create reached {named}"));
    lab.works().await;
}

#[tokio::test]
async fn memory() {
    let says = "the limit memory=64Mi (linear memory of one call); --limit NAME=VALUE raises it";
    reaches("", "allocate", says).await;
    reaches("memory=8Mi", "allocate", &says.replace("64Mi", "8Mi")).await;
}

#[tokio::test]
async fn cpu_time() {
    let says = "the limit cpu=100ms (CPU time of one call); --limit NAME=VALUE raises it";
    reaches("cpu=100ms", "spin", says).await;
    reaches("cpu=100ms", "flood", says).await;
    // What is done after the answer is done in the call.
    reaches("cpu=100ms", "after", says).await;
}

#[tokio::test]
async fn waiting_takes_no_cpu_time() {
    let lab = Loading::misbehaving().limits("cpu=100ms").load().await;
    lab.create("slow").await.unwrap();
}

#[tokio::test]
async fn wall_time() {
    let says = "the limit wall=300ms (time of one call); --limit NAME=VALUE raises it";
    reaches("wall=300ms", "never", says).await;
    reaches("wall=300ms", "stuck", says).await;
    reaches("wall=300ms,cpu=1m", "spin", says).await;
}

#[tokio::test]
async fn stack() {
    reaches("", "recurse", "the end of its stack (a recursion without end)").await;
}

#[tokio::test]
async fn bytes_that_the_host_copies() {
    let says = "the limit host-memory=1Mi (size of one value out of the guest); --limit NAME=VALUE raises it";
    reaches("host-memory=1Mi", "oversize", says).await;
    // A gigabyte for the host, made of a mebibyte of the guest's.
    reaches("", "aliases", &says.replace("1Mi", "64Mi")).await;
}

#[tokio::test]
async fn a_limit_holds_for_every_call_whatever_its_export() {
    let lab = Loading::misbehaving().limits("cpu=50ms").config("list", "spin").config("logs", "spin").load().await;
    let listed = lab.pods().list(None).await.unwrap_err();
    assert!(listed.message.starts_with("pods.list reached the limit cpu=50ms"), "{listed}");
    let opened = lab.log("pumped").await.unwrap_err();
    assert!(opened.message.starts_with("logs.open reached the limit cpu=50ms"), "{opened}");
}

#[tokio::test]
async fn calls_at_once_queue_and_their_wait_is_not_their_time() {
    // A quarter of them may change something: two at once.
    let lab = Loading::misbehaving().limits("calls=8,wall=900ms").load().await;
    let began = Instant::now();
    let calls: Vec<_> = (0..6).map(|n| lab.spawn(&format!("uid-{n}"), "slow")).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    // Six of half a second each; the last two waited longer than a call may take.
    let took = began.elapsed();
    assert!(took >= Duration::from_millis(1_500), "{took:?}");
}

#[tokio::test]
async fn calls_of_another_lane_do_not_queue() {
    let lab = Loading::misbehaving().limits("calls=8,wall=1m").load().await;
    let calls: Vec<_> = (0..20).map(|n| lab.spawn(&format!("uid-{n}"), "never")).collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let asked = tokio::time::timeout(Duration::from_secs(10), async {
        lab.pods().list(None).await.unwrap();
        assert_eq!(read(lab.log("spliced").await.unwrap()).await.0.len(), 16_000);
    });
    asked.await.unwrap();
    calls.iter().for_each(tokio::task::JoinHandle::abort);
}

#[tokio::test]
async fn a_call_whose_caller_leaves_ends() {
    let lab = Loading::misbehaving().limits("calls=8,wall=1m,cpu=1m").load().await;
    for misdeed in ["never", "spin"] {
        let calls: Vec<_> = (0..4).map(|n| lab.spawn(&format!("uid-{n}"), misdeed)).collect();
        tokio::time::sleep(Duration::from_millis(100)).await;
        calls.iter().for_each(tokio::task::JoinHandle::abort);
        tokio::time::timeout(Duration::from_secs(10), lab.works()).await.unwrap();
    }
}

#[tokio::test]
async fn open_streams() {
    let lab = Loading::misbehaving().limits("streams=2").load().await;
    let (first, _second) = (lab.log("spliced").await.unwrap(), lab.log("silent").await.unwrap());
    let error = lab.log("spliced").await.unwrap_err();
    assert_eq!(error.code, Code::Limit);
    assert_eq!(error.message, "logs.open reached the limit streams=2 (open streams); --limit NAME=VALUE raises it");
    drop(first);
    lab.log("spliced").await.unwrap();
}

#[tokio::test]
async fn streams_of_the_guests_own_making() {
    let lab = Loading::misbehaving().limits("sessions=1").load().await;
    let first = lab.log("endless").await.unwrap();
    let error = lab.log("pumped").await.unwrap_err();
    assert_eq!(error.code, Code::Limit);
    assert_eq!(
        error.message,
        "logs.open reached the limit sessions=1 (streams of the guest's own making); --limit NAME=VALUE raises it"
    );
    // One of the host's needs no instance.
    lab.log("spliced").await.unwrap();
    drop(first);
    until("the first one's slot", async || lab.log("pumped").await.ok()).await;
}

#[tokio::test]
async fn open_streams_take_no_part_of_the_calls() {
    // A quarter of the calls may open streams: two at once, and five are open.
    let lab = Loading::misbehaving().limits("calls=8").load().await;
    let mut open = Vec::new();
    for _ in 0..5 {
        let opened = tokio::time::timeout(Duration::from_secs(10), lab.log("silent")).await;
        open.push(opened.expect("a slot").unwrap());
    }
}

#[tokio::test]
async fn a_component_that_needs_more_than_a_call_may_have_is_not_loaded() {
    let bytes = Bytes::read(&component("misbehaving"), u64::MAX).unwrap();
    for (limits, says) in [
        ("memory=64Ki", "the limit memory=64Ki (linear memory of one call); --limit NAME=VALUE raises it"),
        ("table-elements=1", "the limit table-elements=1; --limit NAME=VALUE raises it"),
    ] {
        let error = Loading::misbehaving().limits(limits).load_bytes(&bytes).await.err().unwrap().to_string();
        assert_eq!(error, format!("the component {} can't be used: it reached {says}", bytes.name));
    }
}

#[test]
fn bytes_of_the_component() {
    let limits: Limits = "component-size=1Ki".parse().unwrap();
    let path = component("misbehaving");
    let says =
        format!("the component {} has more than 1024 bytes: --limit component-size=SIZE raises it", path.display());
    let read = Bytes::read(&path, limits.component_size).err().unwrap();
    assert_eq!(read.to_string(), says);
    let bytes = Bytes::read(&path, u64::MAX).unwrap();
    assert_eq!(compile(&bytes, &limits).err().unwrap().to_string(), says);
}
