//! `store` and `cache` as guests see them: each its own.

use std::sync::Arc;

use super::Embedded;
use crate::audit::Audit;
use crate::bindings::vk::host::{cache, store};
use crate::config::NodeIdentity;
use crate::quota::{Bounds, Quotas};
use crate::testing::guest::Guest;
use crate::{CallData, Capabilities, Grants, Host};

const ALWAYS: store::Condition = store::Condition::Always;

async fn put(guest: &mut Guest, key: &str, value: &[u8]) -> u64 {
    let (key, value) = (key.to_owned(), value.to_vec());
    guest
        .run(async |accessor| <CallData as store::HostWithStore<_>>::put(accessor, key, value, ALWAYS, None).await)
        .await
        .unwrap()
        .unwrap()
}

async fn keys(guest: &mut Guest) -> Vec<String> {
    let scan = guest.run(async |accessor| {
        <CallData as store::HostWithStore<_>>::scan(accessor, String::new(), String::new(), u32::MAX).await
    });
    scan.await.unwrap().unwrap().into_iter().map(|entry| entry.key).collect()
}

/// Another provider, or the same on another node or in another cluster, over one store.
fn beside(host: &Host, provider: &str, cluster: &str, node: &str) -> Guest {
    let node = NodeIdentity {
        cluster: cluster.to_owned(),
        name: node.to_owned(),
        address: String::new(),
        operating_system: "linux".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
    };
    let own =
        Capabilities::new(Quotas::new(provider, &Bounds::default()), node, Grants::default(), host, Box::new(|_| {}));
    Guest::of(Arc::new(own))
}

#[tokio::test]
async fn what_one_provider_keeps_no_other_sees_nor_the_same_on_another_node() {
    let folder = tempfile::tempdir().unwrap();
    let store = Arc::new(Embedded::open(&folder.path().join("store.redb")).unwrap());
    let host = Host { io: tokio::runtime::Handle::current(), store, audit: Audit::default() };
    let others = [
        ("hyper", "one", "b"),
        ("hyper", "two", "a"),
        ("kip", "one", "a"),
        ("hyper2", "one", "a"),
        ("hype", "one", "a"),
        ("hyper/one", "one", "a"),
        ("a", "one", "hyper"),
    ];
    let mut own = beside(&host, "hyper", "one", "a");
    put(&mut own, "k", b"own").await;
    for (provider, cluster, node) in others {
        let mut other = beside(&host, provider, cluster, node);
        assert_eq!(keys(&mut other).await, [""; 0], "{provider} {cluster} {node}");
        for key in ["k", "/../hyper/one/a\0k", "hyper/one/a\0k", "\0k"] {
            let key = key.to_owned();
            let got = other.run(async |accessor| <CallData as store::HostWithStore<_>>::get(accessor, key).await).await;
            assert!(got.unwrap().unwrap().is_none());
        }
        put(&mut other, "k", b"other").await;
    }
    // Another call of the same provider finds it.
    let mut again = Guest::of(own.capabilities.clone());
    let got =
        again.run(async |accessor| <CallData as store::HostWithStore<_>>::get(accessor, "k".to_owned()).await).await;
    assert_eq!(got.unwrap().unwrap().unwrap().value, b"own");
    assert_eq!(keys(&mut again).await, ["k"]);
}

#[tokio::test]
async fn errors_say_what_to_do_next() {
    let mut guest = Guest::new(Grants::default());
    let version = put(&mut guest, "k", b"1").await;
    let errors = guest
        .run(async |accessor| {
            let put = async |key: &str, size: usize, condition| {
                let put = <CallData as store::HostWithStore<_>>::put(
                    accessor,
                    key.to_owned(),
                    vec![0; size],
                    condition,
                    None,
                );
                put.await.unwrap().unwrap_err()
            };
            [
                put("k", 0, store::Condition::Absent).await,
                put("k", 0, store::Condition::Version(version + 1)).await,
                put("", 0, ALWAYS).await,
                put("k", (1 << 20) + 1, ALWAYS).await,
            ]
        })
        .await;
    assert_eq!(errors.each_ref().map(|error| error.code.as_str()), ["conflict", "conflict", "invalid", "invalid"]);
    assert!(errors[0].message.contains("`k`"), "{}", errors[0].message);
}

#[tokio::test]
async fn a_time_to_live_is_kept_in_nanoseconds() {
    let mut guest = Guest::new(Grants::default());
    guest
        .run(async |accessor| {
            let put = async |key: &str, live: u64| {
                let put =
                    <CallData as store::HostWithStore<_>>::put(accessor, key.to_owned(), vec![1], ALWAYS, Some(live));
                put.await.unwrap().unwrap();
            };
            put("minute", 60_000_000_000).await;
            put("forever", u64::MAX).await;
        })
        .await;
    assert_eq!(keys(&mut guest).await, ["forever", "minute"]);
}

#[tokio::test]
async fn the_cache_is_a_providers_own_too() {
    use cache::Host as _;
    let mut one = Guest::new(Grants::default());
    let mut other = Guest::new(Grants::default());
    let minute = 60_000_000_000;
    let put = |guest: &mut Guest, condition| {
        guest.store.data_mut().put("token".to_owned(), b"t".to_vec(), condition, minute).unwrap()
    };
    put(&mut one, store::Condition::Absent).unwrap();
    assert!(cache::Host::get(other.store.data_mut(), "token".to_owned()).unwrap().is_none());
    assert_eq!(put(&mut one, store::Condition::Absent).unwrap_err().code, "conflict");
    let mut again = Guest::of(one.capabilities.clone());
    assert_eq!(cache::Host::get(again.store.data_mut(), "token".to_owned()).unwrap().unwrap().value, b"t");
}
