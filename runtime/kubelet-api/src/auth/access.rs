//! What a request wants, in the terms of the Kubernetes authorizer, and who may have it.
//!
//! Two ways to decide: [`Authorization::Review`] asks the API server (SubjectAccessReview) and remembers a yes for five
//! minutes and a no for thirty seconds, as the kubelet does; [`Authorization::Listed`] lets in a fixed list of users and
//! groups and asks nobody.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use http::Method;

use crate::auth::expiring::Expiring;
use crate::auth::{ReviewError, User, in_time};

/// How long a yes counts; the kubelet's `authorization.webhook.cacheAuthorizedTTL`.
pub const ALLOWED_TTL: Duration = Duration::from_mins(5);
/// How long a no counts; the kubelet's `authorization.webhook.cacheUnauthorizedTTL`.
pub const DENIED_TTL: Duration = Duration::from_secs(30);
/// Answers remembered at once.
const CAPACITY: usize = 8192;
/// A user whose strings are longer than this together is asked about each time.
const MAX_CACHED_USER: usize = 10_000;

/// What a request wants: `VERB nodes/SUBRESOURCE` of the node. The `resourceAttributes` of a SubjectAccessReview, with
/// API version `v1`, an empty group and no namespace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// `get`, `create`, `update`, `patch` or `delete`; empty for other methods.
    pub verb: &'static str,
    /// The node's name. The resource is `nodes`.
    pub name: Arc<str>,
    /// `proxy`, `stats`, `metrics`, `log`, `pods`, `healthz`, …
    pub subresource: &'static str,
}

/// Decides by a SubjectAccessReview.
#[async_trait]
pub trait AccessReview: Send + Sync {
    /// Whether the user may. The answer is remembered for [`ALLOWED_TTL`] or [`DENIED_TTL`].
    async fn review(&self, user: &User, wants: &Attributes) -> Result<bool, ReviewError>;
}

/// Users and groups that may do everything; everyone else nothing. By default the group `system:masters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowList {
    /// Names of users.
    pub users: BTreeSet<String>,
    /// Names of groups.
    pub groups: BTreeSet<String>,
}

impl Default for AllowList {
    fn default() -> Self {
        Self { users: BTreeSet::new(), groups: BTreeSet::from(["system:masters".to_owned()]) }
    }
}

impl AllowList {
    fn allows(&self, user: &User) -> bool {
        self.users.contains(&user.name) || user.groups.iter().any(|group| self.groups.contains(group))
    }
}

/// Who decides what a user may do.
#[derive(Clone)]
pub enum Authorization {
    /// A fixed list.
    Listed(AllowList),
    /// The API server.
    Review(Arc<dyn AccessReview>),
}

impl fmt::Debug for Authorization {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Listed(list) => f.debug_tuple("Listed").field(list).finish(),
            Self::Review(_) => f.write_str("Review"),
        }
    }
}

type Question = (Arc<User>, &'static str, &'static str);

pub(crate) struct Access {
    authorization: Authorization,
    answers: Expiring<Question, bool>,
}

impl Access {
    pub(crate) fn new(authorization: Authorization) -> Self {
        Self { authorization, answers: Expiring::new(CAPACITY) }
    }

    pub(crate) async fn allows(&self, user: &Arc<User>, wants: &Attributes) -> Result<bool, ReviewError> {
        let review = match &self.authorization {
            Authorization::Listed(list) => return Ok(list.allows(user)),
            Authorization::Review(review) => review,
        };
        if user.size() > MAX_CACHED_USER {
            return in_time(review.review(user, wants)).await;
        }
        let ask = async || {
            let allowed = in_time(review.review(user, wants)).await?;
            Ok((allowed, if allowed { ALLOWED_TTL } else { DENIED_TTL }))
        };
        self.answers.get(&(user.clone(), wants.verb, wants.subresource), ask).await
    }
}

/// The API verb of a method.
pub(crate) fn verb(method: &Method) -> &'static str {
    match method.as_str() {
        "POST" => "create",
        "GET" => "get",
        "PUT" => "update",
        "PATCH" => "patch",
        "DELETE" => "delete",
        _ => "",
    }
}

/// The subresources of `nodes` any of which opens a (decoded) path; the fine-grained one first.
pub(crate) fn subresources(path: &str) -> Vec<&'static str> {
    let under = |root: &str| path.strip_prefix(root).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let mut found = Vec::new();
    if under("/pods") || under("/runningpods") {
        found.push("pods");
    } else if under("/healthz") {
        found.push("healthz");
    } else if under("/configz") {
        found.push("configz");
    }
    found.push(match () {
        () if under("/stats") => "stats",
        () if under("/metrics") => "metrics",
        () if under("/logs") => "log",
        () if under("/checkpoint") => "checkpoint",
        () if under("/statusz") => "statusz",
        () if under("/flagz") => "configz",
        () => "proxy",
    });
    found
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn subresources_are_the_kubelets() {
        for (path, expected) in [
            ("/stats/summary", &["stats"][..]),
            ("/stats", &["stats"]),
            ("/metrics/resource", &["metrics"]),
            ("/metrics", &["metrics"]),
            ("/metricsx", &["proxy"]),
            ("/logs/kubelet.log", &["log"]),
            ("/checkpoint/a/b/c", &["checkpoint"]),
            ("/statusz", &["statusz"]),
            ("/flagz", &["configz"]),
            ("/pods", &["pods", "proxy"]),
            ("/pods/", &["pods", "proxy"]),
            ("/podsx", &["proxy"]),
            ("/runningpods/", &["pods", "proxy"]),
            ("/healthz/ping", &["healthz", "proxy"]),
            ("/configz", &["configz", "proxy"]),
            ("/containerLogs/a/b/c", &["proxy"]),
            ("/exec/a/b/c", &["proxy"]),
            ("/", &["proxy"]),
        ] {
            assert_eq!(subresources(path), expected, "{path}");
        }
    }

    #[test]
    fn the_default_list_is_the_masters_group() {
        let list = AllowList::default();
        let user = |name: &str, group: &str| User { name: name.into(), groups: vec![group.into()], ..User::default() };
        assert!(list.allows(&user("a", "system:masters")));
        assert!(!list.allows(&user("system:masters", "a")));
        let list = AllowList { users: BTreeSet::from(["a".into()]), groups: BTreeSet::new() };
        assert!(list.allows(&user("a", "b")));
        assert!(!list.allows(&user("b", "system:masters")));
    }

    /// Allows what is in it, and counts.
    struct Policy(Mutex<(Vec<(&'static str, &'static str)>, usize)>);

    #[async_trait]
    impl AccessReview for Policy {
        async fn review(&self, _: &User, wants: &Attributes) -> Result<bool, ReviewError> {
            let mut state = self.0.lock().unwrap();
            state.1 += 1;
            Ok(state.0.contains(&(wants.verb, wants.subresource)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_yes_counts_for_five_minutes_and_a_no_for_thirty_seconds() {
        let policy = Arc::new(Policy(Mutex::new((vec![("get", "stats")], 0))));
        let access = Access::new(Authorization::Review(policy.clone()));
        let user = Arc::new(User { name: "jane".into(), ..User::default() });
        let wants = |subresource| Attributes { verb: "get", name: "n".into(), subresource };
        let asked = || policy.0.lock().unwrap().1;
        assert!(access.allows(&user, &wants("stats")).await.unwrap());
        assert!(!access.allows(&user, &wants("proxy")).await.unwrap());
        assert_eq!(asked(), 2);
        policy.0.lock().unwrap().0 = vec![("get", "proxy")];
        tokio::time::advance(DENIED_TTL - Duration::from_millis(1)).await;
        assert!(!access.allows(&user, &wants("proxy")).await.unwrap());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(access.allows(&user, &wants("proxy")).await.unwrap());
        assert!(access.allows(&user, &wants("stats")).await.unwrap());
        assert_eq!(asked(), 3);
        tokio::time::advance(ALLOWED_TTL).await;
        assert!(!access.allows(&user, &wants("stats")).await.unwrap());
    }

    #[tokio::test(start_paused = true)]
    async fn answers_are_not_shared_among_users_that_differ_in_anything() {
        let policy = Arc::new(Policy(Mutex::default()));
        let access = Access::new(Authorization::Review(policy.clone()));
        let wants = Attributes { verb: "get", name: "n".into(), subresource: "stats" };
        let jane = User { name: "jane".into(), ..User::default() };
        let in_group = User { groups: vec!["g".into()], ..jane.clone() };
        let with_uid = User { uid: "1".into(), ..jane.clone() };
        let with_extra = User { extra: [("k".to_owned(), vec!["v".to_owned()])].into(), ..jane.clone() };
        for user in [jane.clone(), in_group, with_uid, with_extra, jane] {
            access.allows(&Arc::new(user), &wants).await.unwrap();
        }
        assert_eq!(policy.0.lock().unwrap().1, 4);
    }
}
