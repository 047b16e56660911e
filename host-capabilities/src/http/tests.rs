//! `http` as a guest uses it, against backends on loopback.

mod bodies;
mod headers;
mod redirects;
mod refusals;
mod secrets;
mod sockets;
mod tls;

use wasmtime::component::Accessor;

use crate::bindings::vk::host::http::{FullResponse, HostWithStore, Request, Response};
use crate::error::Error;
use crate::testing::guest::Guest;
use crate::testing::request::{self, get};
use crate::{Call, CallData, Grants};

fn with_headers(mut request: Request, headers: &[(&str, &str)]) -> Request {
    request.headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    request
}

async fn send(accessor: &Accessor<Call, CallData>, request: Request) -> Result<Response, Error> {
    <CallData as HostWithStore<Call>>::send(accessor, request).await.unwrap()
}

async fn fetch(accessor: &Accessor<Call, CallData>, request: Request, max: u64) -> Result<FullResponse, Error> {
    <CallData as HostWithStore<Call>>::fetch(accessor, request, max).await.unwrap()
}

/// One request of a guest with these grants, to its end.
async fn fetched(grants: Grants, request: Request) -> Result<FullResponse, Error> {
    request::fetch(&mut Guest::new(grants), request).await
}

/// The error of a request that must not work.
async fn refused(grants: Grants, request: Request) -> Error {
    let shown = format!("{} {}", request.method, request.url);
    match fetched(grants, request).await {
        Ok(response) => unreachable!("{shown} was answered with {}", response.head.status),
        Err(error) => error,
    }
}
