//! Watches: the guest decodes what its stream tells; what it can't decode makes the host look for itself.

use futures::StreamExt;
use provider::{Change, PodKey, Provider};

use crate::lab::Loading;

async fn changes(loading: Loading) -> Vec<Change> {
    let lab = loading.load().await;
    lab.provider.watch().unwrap().open(None).await.unwrap().collect().await
}

#[tokio::test]
async fn every_line_is_decoded_whoever_made_the_stream() {
    for kind in ["spliced", "pumped"] {
        let seen = changes(Loading::misbehaving().config("watched", kind)).await;
        assert_eq!(seen.len(), 1_000, "{kind}");
        assert!(seen.iter().all(|change| *change == Change::Touched(PodKey::new("a line of a log", "", ""))));
    }
}

#[tokio::test]
async fn what_can_not_be_decoded_makes_the_host_look() {
    for misdeed in ["trap", "spin", "no-such-misdeed"] {
        let loading = Loading::misbehaving().limits("cpu=100ms").config("watched", "spliced");
        let seen = changes(loading.config("decode", misdeed)).await;
        assert!(!seen.is_empty() && seen.iter().all(|change| *change == Change::Anything), "{misdeed}: {seen:?}");
    }
}

#[tokio::test]
async fn a_guest_that_dies_ends_its_watch() {
    let seen = changes(Loading::misbehaving().config("watched", "panic")).await;
    assert_eq!(seen.len(), 1_000);
}
