//! What a guest was told in confidence is in no error and no state.

use std::sync::Arc;

use host_capabilities::secrets::{Secrets, Sources};
use provider::{EnvVar, Error, Result};
use tokio::runtime::Handle;

use crate::lab::{Lab, Loading, pod_with, secret};

const PODS: &str = "canary-of-the-pod";
const OPERATORS: &str = "canary-of-the-operator";

async fn tell(lab: &Lab, misdeed: &str) -> Result<String> {
    let variable = EnvVar { name: "KEY".to_owned(), value: secret(PODS) };
    lab.pods().create(pod_with("uid-1", misdeed, vec![variable])).await.map(|state| state.message)
}

async fn error(lab: &Lab, misdeed: &str) -> Error {
    tell(lab, misdeed).await.unwrap_err()
}

#[tokio::test]
async fn a_pods_secret_is_masked_wherever_the_guest_says_it() {
    let lab = Loading::misbehaving().load().await;
    assert_eq!(tell(&lab, "tell-in-state").await.unwrap(), "it runs with ***");
    assert_eq!(error(&lab, "tell-in-error").await.message, "no route for ***");
    let panic = error(&lab, "tell-in-panic").await.message;
    assert!(panic.contains("can't work with ***") && !panic.contains(PODS), "{panic}");
}

#[tokio::test]
async fn the_operators_secret_is_masked_once_it_was_revealed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("key");
    std::fs::write(&path, OPERATORS).unwrap();
    let granted = format!("key=file:{}:reveal", path.display()).parse().unwrap();
    let secrets = Arc::new(Secrets::new([granted], &Sources::new(Handle::current())).unwrap());
    let lab = Loading::misbehaving().grants(|grants| grants.secrets = secrets).load().await;
    assert_eq!(error(&lab, "tell-the-operators").await.message, "refused with ***");
}

#[tokio::test]
async fn what_was_not_granted_is_denied_by_its_name() {
    let lab = Loading::misbehaving().load().await;
    let denied = error(&lab, "tell-the-operators").await;
    assert!(denied.message.contains("`key`") && denied.message.contains("--secret"), "{denied}");
}

#[tokio::test]
async fn a_pods_secret_is_not_told_to_a_provider_that_may_not_know_it() {
    let lab = Loading::misbehaving().grants(|grants| grants.pod_secrets = "deny".parse().unwrap()).load().await;
    let denied = error(&lab, "tell-in-state").await;
    assert!(denied.message.contains("--pod-secrets=reveal"), "{denied}");
}
