//! Who gets in, and who may do what.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use http::StatusCode;

use super::certificates::{Ca, Pair};
use super::client::{Client, Protocol};
use super::doubles::{Backend, Fixture, NODE, Pods};
use crate::{AccessReview, AllowList, Attributes, Authorization, Config, ReviewError, TokenReview, User};

const MASTERS: &str = "system:masters";

async fn fixture(configure: impl FnOnce(&mut Config)) -> Fixture {
    Fixture::configured(Backend::default(), Pods::running(), configure).await
}

async fn status_of(server: &Fixture, pair: &Pair) -> (StatusCode, String) {
    let reply = Client::with_certificate(server.address, pair).get("/healthz").await;
    (reply.status, reply.text)
}

fn unauthorized() -> (StatusCode, String) {
    (StatusCode::UNAUTHORIZED, "Unauthorized".into())
}

#[tokio::test]
async fn a_certificate_of_the_client_ca_gets_in() {
    let server = fixture(|_| {}).await;
    assert_eq!(status_of(&server, &server.ca.client("jane", MASTERS)).await, (StatusCode::OK, "ok".into()));
    let over_http2 = server.master().over(Protocol::Http2).get("/healthz").await;
    assert_eq!(over_http2.status, StatusCode::OK);
}

#[tokio::test]
async fn without_credentials_nobody_gets_in() {
    let server = fixture(|_| {}).await;
    for protocol in [Protocol::Http1, Protocol::Http2] {
        for path in ["/healthz", "/pods", "/metrics", "/nowhere"] {
            let reply = Client::new(server.address).over(protocol).get(path).await;
            assert_eq!((reply.status, reply.text), unauthorized(), "{path}");
        }
    }
}

#[tokio::test]
async fn certificates_that_are_no_good_are_refused_in_words() {
    let server = fixture(|_| {}).await;
    let foreign = Ca::new("client-ca");
    for (why, pair) in [
        ("foreign CA of the same name", foreign.client("jane", MASTERS)),
        ("expired", server.ca.expired_client("jane", MASTERS)),
        ("a server's", server.ca.server("jane")),
        ("without a name", server.ca.client("", MASTERS)),
    ] {
        assert_eq!(status_of(&server, &pair).await, unauthorized(), "{why}");
    }
}

#[tokio::test]
async fn a_certificate_means_nothing_without_a_client_ca() {
    let server = fixture(|config| config.client_ca = None).await;
    assert_eq!(status_of(&server, &server.ca.client("jane", MASTERS)).await, unauthorized());
}

#[tokio::test]
async fn the_wrong_group_is_told_what_it_lacks() {
    let server = fixture(|_| {}).await;
    let pair = server.ca.client("jane", "developers");
    let expected = "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[healthz proxy])\n";
    assert_eq!(status_of(&server, &pair).await, (StatusCode::FORBIDDEN, expected.into()));
    let reply = Client::with_certificate(server.address, &pair).get("/stats/summary").await;
    assert_eq!(reply.text, "Forbidden (user=jane, verb=get, resource=nodes, subresource(s)=[stats])\n");
}

#[tokio::test]
async fn listed_users_and_groups_get_in() {
    let list = AllowList { users: BTreeSet::from(["jane".into()]), groups: BTreeSet::from(["developers".to_owned()]) };
    let server = fixture(|config| config.authorization = Authorization::Listed(list)).await;
    for (user, group, expected) in
        [("jane", "x", StatusCode::OK), ("joe", "developers", StatusCode::OK), ("joe", MASTERS, StatusCode::FORBIDDEN)]
    {
        assert_eq!(status_of(&server, &server.ca.client(user, group)).await.0, expected, "{user} of {group}");
    }
}

#[tokio::test]
async fn a_changed_client_ca_counts_for_open_connections() {
    let server = fixture(|_| {}).await;
    let mut connection = server.master().connect().await;
    assert_eq!(connection.get("/healthz").await.status, StatusCode::OK);
    server.credentials.set_client_ca(Some(Ca::new("another").client_ca())).unwrap();
    assert_eq!(connection.get("/healthz").await.status, StatusCode::UNAUTHORIZED);
    server.credentials.set_client_ca(Some(server.ca.client_ca())).unwrap();
    assert_eq!(connection.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn anonymous_requests_are_the_authorizers_to_decide() {
    let list = AllowList { users: BTreeSet::from(["system:anonymous".to_owned()]), groups: BTreeSet::new() };
    let server = fixture(|config| {
        config.anonymous = true;
        config.authorization = Authorization::Listed(list);
    })
    .await;
    assert_eq!(Client::new(server.address).get("/healthz").await.status, StatusCode::OK);
    let foreign = Ca::new("foreign").client("jane", MASTERS);
    assert_eq!(status_of(&server, &foreign).await, unauthorized(), "bad credentials are not anonymous");

    let server = fixture(|config| config.anonymous = true).await;
    let reply = Client::new(server.address).get("/pods").await;
    let expected = "Forbidden (user=system:anonymous, verb=get, resource=nodes, subresource(s)=[pods proxy])\n";
    assert_eq!((reply.status, reply.text.as_str()), (StatusCode::FORBIDDEN, expected));
}

/// Knows the token `good`, is down for `down`.
#[derive(Default)]
struct Tokens(AtomicUsize);

#[async_trait]
impl TokenReview for Tokens {
    async fn review(&self, token: &str) -> Result<Option<User>, ReviewError> {
        self.0.fetch_add(1, Ordering::SeqCst);
        match token {
            "good" => Ok(Some(User { name: "prometheus".into(), groups: vec![MASTERS.into()], ..User::default() })),
            "down" => Err(ReviewError("the API server is away".into())),
            _ => Ok(None),
        }
    }
}

#[tokio::test]
async fn bearer_tokens_are_reviewed_once_in_a_while() {
    let tokens = Arc::new(Tokens::default());
    let server = fixture(|config| config.tokens = Some(tokens.clone())).await;
    let client = Client::new(server.address);
    for (token, expected) in [("good", StatusCode::OK), ("bad", StatusCode::UNAUTHORIZED)] {
        let before = tokens.0.load(Ordering::SeqCst);
        for _ in 0..3 {
            assert_eq!(client.clone().with_token(token).get("/healthz").await.status, expected, "{token}");
        }
        assert_eq!(tokens.0.load(Ordering::SeqCst), before + 1, "{token}");
    }
    let before = tokens.0.load(Ordering::SeqCst);
    for _ in 0..2 {
        assert_eq!(client.clone().with_token("down").get("/healthz").await.status, StatusCode::UNAUTHORIZED);
    }
    assert_eq!(tokens.0.load(Ordering::SeqCst), before + 2, "an error is not kept");
}

#[tokio::test]
async fn a_good_token_counts_beside_a_bad_certificate_and_a_good_certificate_beside_a_bad_token() {
    let server = fixture(|config| config.tokens = Some(Arc::new(Tokens::default()))).await;
    let expired = server.ca.expired_client("jane", MASTERS);
    let client = Client::with_certificate(server.address, &expired).with_token("good");
    assert_eq!(client.get("/healthz").await.status, StatusCode::OK);
    assert_eq!(server.master().with_token("bad").get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn tokens_mean_nothing_without_a_review() {
    let server = fixture(|_| {}).await;
    assert_eq!(Client::new(server.address).with_token("good").get("/healthz").await.status, StatusCode::UNAUTHORIZED);
}

/// Lets nobody do anything but what is in it; remembers what it was asked.
#[derive(Default)]
struct Policy {
    allowed: Vec<&'static str>,
    broken: bool,
    asked: Mutex<Vec<(User, Attributes)>>,
}

#[async_trait]
impl AccessReview for Policy {
    async fn review(&self, user: &User, wants: &Attributes) -> Result<bool, ReviewError> {
        self.asked.lock().unwrap().push((user.clone(), wants.clone()));
        if self.broken {
            return Err(ReviewError("canary".into()));
        }
        Ok(self.allowed.contains(&wants.subresource))
    }
}

#[tokio::test]
async fn access_is_reviewed_with_the_kubelets_attributes() {
    let policy = Arc::new(Policy { allowed: vec!["proxy"], ..Policy::default() });
    let server = fixture(|config| config.authorization = Authorization::Review(policy.clone())).await;
    let client = Client::with_certificate(server.address, &server.ca.client("jane", "developers"));
    assert_eq!(client.get("/pods?a=b").await.status, StatusCode::OK);
    assert_eq!(client.get("/metrics/resource").await.status, StatusCode::FORBIDDEN);
    let asked = policy.asked.lock().unwrap();
    let subresources: Vec<_> = asked.iter().map(|(_, wants)| (wants.verb, wants.subresource)).collect();
    assert_eq!(subresources, [("get", "pods"), ("get", "proxy"), ("get", "metrics")]);
    let (user, wants) = &asked[0];
    assert_eq!(&*wants.name, NODE);
    assert_eq!(user.name, "jane");
    assert_eq!(user.groups, ["developers", "system:authenticated"]);
    assert!(user.extra["authentication.kubernetes.io/credential-id"][0].starts_with("X509SHA256="));
}

#[tokio::test]
async fn a_review_that_fails_is_an_error_without_its_reason() {
    let policy = Policy { broken: true, ..Policy::default() };
    let server = fixture(|config| config.authorization = Authorization::Review(Arc::new(policy))).await;
    let reply = server.master().get("/stats/summary").await;
    assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR);
    assert_eq!(reply.text, "Authorization error (user=kube-apiserver, verb=get, resource=nodes, subresource=stats)");
}
