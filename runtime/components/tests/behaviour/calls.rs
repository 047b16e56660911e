//! Every call has an instance of its own; only the store remembers.

use provider::{Kind, Provider};

use crate::lab::{Loading, pod};

#[tokio::test]
async fn an_instance_is_fresh_and_the_store_is_not() {
    let lab = Loading::misbehaving().load().await;
    for n in 1..=5 {
        let state = lab.create("count").await.unwrap();
        assert_eq!(state.message, format!("1 in this instance, {n} in all"));
    }
}

#[tokio::test]
async fn the_mock_makes_lists_and_removes_pods() {
    let lab = Loading::new("mock").load().await;
    let Kind::Pods(pods) = lab.provider.kind() else { panic!("a provider of pods") };
    let made = pods.create(pod("uid-1", "")).await.unwrap();
    assert_eq!(made.containers.len(), 1);
    let again = pods.create(pod("uid-1", "")).await.unwrap();
    assert_eq!(again, made);
    let listed = pods.list(None).await.unwrap();
    assert!(listed.complete && listed.next.is_none());
    assert_eq!(listed.pods, std::slice::from_ref(&made));
    let reference = made.to_ref();
    assert_eq!(pods.refresh(vec![reference.clone()]).await.unwrap().len(), 1);
    pods.delete(reference.clone(), std::time::Duration::ZERO).await.unwrap();
    pods.forget(reference).await.unwrap();
    assert!(pods.list(None).await.unwrap().pods.is_empty());
    assert!(lab.provider.describe().await.unwrap().ready);
    assert!(lab.provider.exec().is_none() && lab.provider.watch().is_none());
}
