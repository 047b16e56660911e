//! Who makes a request.

use std::collections::BTreeMap;

/// The user that nobody else is.
pub const ANONYMOUS: &str = "system:anonymous";
/// The group of requests without credentials.
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// The group that everyone with valid credentials is in.
pub const AUTHENTICATED: &str = "system:authenticated";
/// The key of [`User::extra`] that names the credential.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// Who makes a request: Kubernetes' `user.Info`, the `user` of a TokenReview's status.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct User {
    /// `username`.
    pub name: String,
    /// `uid`; may be empty.
    pub uid: String,
    /// `groups`.
    pub groups: Vec<String>,
    /// `extra`.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Someone without credentials.
    pub(crate) fn anonymous() -> Self {
        Self { name: ANONYMOUS.into(), groups: vec![UNAUTHENTICATED.into()], ..Self::default() }
    }

    /// The same, in the group of all who have credentials.
    pub(crate) fn authenticated(mut self) -> Self {
        let is_in = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
        if self.name != ANONYMOUS && !self.groups.iter().any(is_in) {
            self.groups.push(AUTHENTICATED.into());
        }
        self
    }

    /// Bytes of all strings; what a cache entry for this user costs.
    pub(crate) fn size(&self) -> usize {
        let extra = self.extra.iter().map(|(key, values)| key.len() + values.iter().map(String::len).sum::<usize>());
        self.name.len() + self.uid.len() + self.groups.iter().map(String::len).sum::<usize>() + extra.sum::<usize>()
    }
}
