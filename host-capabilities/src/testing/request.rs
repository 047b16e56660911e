//! Requests that tests send.

use crate::bindings::vk::host::http::{Body, FullResponse, HostWithStore, Request};
use crate::error::Error;
use crate::testing::guest::Guest;
use crate::{Call, CallData};

/// A GET without headers, that follows no redirects.
pub(crate) fn get(url: impl Into<String>) -> Request {
    Request {
        method: "GET".to_owned(),
        url: url.into(),
        headers: Vec::new(),
        body: Body::None,
        endpoint: String::new(),
        tls: String::new(),
        redirects: 0,
        timeout: None,
        idle_timeout: None,
    }
}

/// Its answer, of at most a mebibyte.
pub(crate) async fn fetch(guest: &mut Guest, request: Request) -> Result<FullResponse, Error> {
    guest
        .run(async |accessor| <CallData as HostWithStore<Call>>::fetch(accessor, request, 1 << 20).await)
        .await
        .unwrap()
}
