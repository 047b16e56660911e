//! A hundred calls misbehave at once, and the calls beside them are served as before.

use std::time::{Duration, Instant};

use provider::Code;

use crate::lab::{Lab, Loading};

/// How long calls are measured; the crowd stays longer.
const TIME: Duration = Duration::from_secs(2);
/// How much longer half of the calls may take beside the crowd than alone, and nearly all of them.
const SLOWER: [u32; 2] = [50, 200];

/// Within which time half of the calls are answered, and 97 in 100.
async fn measure(lab: &Lab) -> [Duration; 2] {
    let mut took = Vec::new();
    let until = Instant::now() + TIME;
    while Instant::now() < until {
        let began = Instant::now();
        lab.works().await;
        lab.pods().list(None).await.unwrap();
        took.push(began.elapsed());
    }
    took.sort_unstable();
    [took[took.len() / 2], took[took.len() * 97 / 100]]
}

#[tokio::test]
async fn a_hundred_misbehave_and_the_others_are_served() {
    let lab = Loading::misbehaving().limits("calls=1000,memory=16Mi,cpu=1m,wall=6s").alone().load().await;
    let alone = measure(&lab).await;
    let misdeeds = [
        ("spin", Code::Limit, "wall="),
        ("allocate", Code::Limit, "memory="),
        ("never", Code::Limit, "wall="),
        ("recurse", Code::Limit, "stack"),
        ("flood", Code::Limit, "wall="),
        ("trap", Code::Internal, "unreachable"),
        ("panic", Code::Internal, "words of a panic"),
        ("utf-8", Code::Internal, "utf-8"),
        ("discriminant", Code::Internal, "discriminant"),
        ("stuck", Code::Limit, "wall="),
    ];
    let mut crowd = Vec::new();
    for n in 0..100 {
        let misdeed = misdeeds[n % misdeeds.len()];
        crowd.push((misdeed, lab.spawn(&format!("uid-{n}"), misdeed.0)));
    }
    let beside = measure(&lab).await;
    assert!(crowd.iter().any(|(_, call)| !call.is_finished()), "the crowd had gone");
    for ((misdeed, code, says), call) in crowd {
        let error = call.await.unwrap().unwrap_err();
        assert!(error.code == code && error.message.contains(says), "{misdeed}: {error}");
    }
    println!("two calls alone: {alone:?}; beside the crowd: {beside:?} (median, 97 in 100)");
    for ((alone, beside), slower) in alone.iter().zip(&beside).zip(SLOWER) {
        assert!(*beside < *alone * slower, "alone {alone:?}, beside the crowd {beside:?}");
    }
    lab.works().await;
}
