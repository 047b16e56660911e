//! Reading and writing what another provider, node or cluster keeps.

use std::sync::Arc;

use super::attempts;
use crate::audit::Audit;
use crate::bindings::vk::host::{cache, store};
use crate::config::NodeIdentity;
use crate::quota::{Bounds, Quotas};
use crate::store::Embedded;
use crate::testing::guest::Guest;
use crate::{Call, CallData, Capabilities, Grants, Host};

const ALWAYS: store::Condition = store::Condition::Always;

fn beside(host: &Host, provider: &str, cluster: &str, node: &str) -> Guest {
    let node = NodeIdentity {
        cluster: cluster.to_owned(),
        name: node.to_owned(),
        address: String::new(),
        operating_system: "linux".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    };
    let quotas = Quotas::new(provider, &Bounds::default());
    Guest::of(Arc::new(Capabilities::new(quotas, node, Grants::default(), host, Box::new(drop))))
}

async fn put(guest: &mut Guest, key: &str, value: &[u8]) -> Result<u64, crate::error::Error> {
    let (key, value) = (key.to_owned(), value.to_vec());
    guest
        .run(async |accessor| <CallData as store::HostWithStore<Call>>::put(accessor, key, value, ALWAYS, None).await)
        .await
        .unwrap()
}

async fn get(guest: &mut Guest, key: &str) -> Option<Vec<u8>> {
    let key = key.to_owned();
    let got = guest.run(async |accessor| <CallData as store::HostWithStore<Call>>::get(accessor, key).await).await;
    got.unwrap().unwrap().map(|entry| entry.value)
}

async fn keys(guest: &mut Guest, prefix: &str, after: &str) -> Vec<String> {
    let (prefix, after) = (prefix.to_owned(), after.to_owned());
    let found = guest
        .run(async |accessor| <CallData as store::HostWithStore<Call>>::scan(accessor, prefix, after, u32::MAX).await);
    found.await.unwrap().unwrap().into_iter().map(|entry| entry.key).collect()
}

fn host() -> (tempfile::TempDir, Host) {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
    (folder, Host { io: tokio::runtime::Handle::current(), store, audit: Audit::default() })
}

/// A key that leads nowhere but into the own namespace.
async fn key(key: &str) {
    let (_folder, host) = host();
    let mut victim = beside(&host, "hyper", "one", "a");
    put(&mut victim, "pod/1", b"the victim's").await.unwrap();
    let mut own = beside(&host, "mock", "one", "a");
    assert_eq!(get(&mut own, key).await, None);
    // A key that can be kept is kept among the own ones.
    let _ = put(&mut own, key, b"the intruder's").await;
    assert_eq!(get(&mut victim, "pod/1").await.unwrap(), b"the victim's");
    assert_eq!(keys(&mut victim, "", "").await, ["pod/1"]);
    let (all, below) = (keys(&mut own, "", "").await, keys(&mut own, key, "").await);
    assert!(all.iter().chain(&below).all(|own| own == key), "{all:?} {below:?}");
    assert!(keys(&mut own, "", key).await.is_empty());
}

attempts! { key;
    a_key_that_is_a_path: "/hyper/one/a/pod/1";
    a_key_that_climbs: "../../../hyper/one/a/pod/1";
    a_key_with_the_separator: "\0pod/1";
    a_key_with_a_namespace_and_the_separator: "hyper/one/a\0pod/1";
    a_key_that_ends_the_own_namespace: "\0hyper/one/a\0pod/1";
    a_key_of_separators: "\0\0\0\0";
    a_key_behind_all_others: "\u{10ffff}\u{10ffff}";
    a_key_that_looks_like_sql: "' OR 1=1 --";
    a_key_as_long_as_can_be: &"k".repeat(512);
    a_key_that_is_too_long: &"k".repeat(100_000);
    no_key: "";
    a_key_with_line_ends: "a\r\nb";
}

/// A provider whose name, node or cluster looks like another's namespace.
async fn name(provider: &str, cluster: &str, node: &str) {
    let (_folder, host) = host();
    let mut victim = beside(&host, "hyper", "one", "a");
    put(&mut victim, "k", b"the victim's").await.unwrap();
    let mut own = beside(&host, provider, cluster, node);
    for key in ["k", "a\0k", "\0k", "one/a\0k", "/k"] {
        assert_eq!(get(&mut own, key).await, None, "{key:?}");
        put(&mut own, key, b"the intruder's").await.unwrap();
    }
    assert_eq!(get(&mut victim, "k").await.unwrap(), b"the victim's");
    assert_eq!(keys(&mut victim, "", "").await, ["k"]);
}

attempts! { name;
    another_node: "hyper", "one", "b";
    another_cluster: "hyper", "two", "a";
    another_provider: "kip", "one", "a";
    a_name_that_begins_alike: "hyper2", "one", "a";
    a_name_that_is_the_beginning: "hype", "one", "a";
    a_name_with_a_slash: "hyper/one", "", "a";
    a_cluster_with_a_slash: "hyper", "one/a", "";
    a_node_with_a_slash: "hyper", "", "one/a";
    a_name_with_the_whole_namespace: "hyper/one/a", "", "";
    a_node_with_the_separator: "hyper", "one", "a\0k";
    a_name_with_the_separator: "hyper/one/a\0k", "x", "y";
    no_names: "", "", "";
}

#[tokio::test]
async fn what_one_provider_caches_another_does_not_find() {
    let (_folder, host) = host();
    let (mut victim, mut own) = (beside(&host, "hyper", "one", "a"), beside(&host, "hyper", "one", "b"));
    let minute = 60_000_000_000;
    let put = cache::Host::put(victim.store.data_mut(), "token".to_owned(), b"t".to_vec(), ALWAYS, minute);
    put.unwrap().unwrap();
    assert!(cache::Host::get(own.store.data_mut(), "token".to_owned()).unwrap().is_none());
    cache::Host::delete(own.store.data_mut(), "token".to_owned(), ALWAYS).unwrap().unwrap();
    assert!(cache::Host::get(victim.store.data_mut(), "token".to_owned()).unwrap().is_some());
}

#[tokio::test]
async fn a_version_of_another_namespaces_entry_opens_nothing() {
    let (_folder, host) = host();
    let (mut victim, mut own) = (beside(&host, "hyper", "one", "a"), beside(&host, "mock", "one", "a"));
    let version = put(&mut victim, "k", b"the victim's").await.unwrap();
    let refused = own
        .run(async |accessor| {
            let condition = store::Condition::Version(version);
            <CallData as store::HostWithStore<Call>>::put(accessor, "k".to_owned(), Vec::new(), condition, None).await
        })
        .await;
    assert_eq!(refused.unwrap().unwrap_err().code, "conflict");
    let deleted = own
        .run(async |accessor| <CallData as store::HostWithStore<Call>>::delete(accessor, "k".to_owned(), ALWAYS).await)
        .await;
    deleted.unwrap().unwrap();
    assert_eq!(get(&mut victim, "k").await.unwrap(), b"the victim's");
}
