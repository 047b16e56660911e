//! Attempts to get out of the sandbox, each a test of its own name, all refused.
//!
//! | file          | what is tried                                                                            |
//! |---------------|------------------------------------------------------------------------------------------|
//! | `addresses`   | metadata services and this machine, in every form that an address can be written         |
//! | `ranges`      | every special range of the registries, by a granted name that leads there                |
//! | `rebinding`   | names that resolve to another address the next time, or to several                       |
//! | `redirects`   | answers that send the request elsewhere, with each status                                |
//! | `messages`    | headers, methods and URLs that smuggle another request                                   |
//! | `paths`       | leaving a granted path: `..`, encodings, backslashes, parameters                         |
//! | `environment` | proxies and certificates that the host's environment names                               |
//! | `sockets`     | sockets of this machine that were not granted: neighbours, links, abstract ones          |
//! | `namespaces`  | the store and cache of other providers, nodes and clusters                               |
//! | `handles`     | handles that were never given, were given to another call, or are of another kind        |
//! | `secrets`     | values on their way into URLs, logs, Events, metrics, errors, traces and the audit log   |
//! | `texts`       | lines, terminals and metrics pages that a guest's words could forge                      |
//! | `neighbours`  | two providers in one process: grants, secrets, limits, Events, metrics                   |
//!
//! What only a real component can try (WASI, raw handles) is in the tests of `components`.

mod addresses;
mod environment;
mod handles;
mod messages;
mod namespaces;
mod neighbours;
mod paths;
mod ranges;
mod rebinding;
mod redirects;
mod secrets;
mod sockets;
mod texts;

use crate::bindings::vk::host::{dial, http};
use crate::error::Error;
use crate::testing::guest::{Guest, grants};
use crate::testing::request::{self, fetch};
use crate::{Call, CallData, Grants};

/// Makes a test of each attempt.
macro_rules! attempts {
    ($check:path; $($name:ident: $($argument:expr),+;)+) => {
        $(
            #[tokio::test]
            async fn $name() {
                $check($($argument),+).await;
            }
        )+
    };
}
use attempts;

/// All names, and no address.
fn all_names() -> Grants {
    grants(&["http://*:*", "https://*:*"], &["*:*"], &[])
}

/// Follows redirects, and waits no longer than it must.
fn get(url: &str) -> http::Request {
    http::Request { redirects: 10, timeout: Some(5_000_000_000), ..request::get(url) }
}

async fn connect(guest: &mut Guest, address: &str) -> Result<(), Error> {
    let options = dial::Options {
        server_name: String::new(),
        tls: String::new(),
        headers: Vec::new(),
        protocols: Vec::new(),
        timeout: Some(5_000_000_000),
    };
    let address = address.to_owned();
    let connected = guest
        .run(async |accessor| <CallData as dial::HostWithStore<Call>>::connect(accessor, address, options).await)
        .await;
    connected.unwrap().map(|_| ())
}

/// The host did not let it; a resolver that does not know a form of address at all is as good.
fn is_refused(what: &str, error: &Error) {
    let unknown = error.code == "unavailable" && error.message.contains("can't be resolved");
    assert!(matches!(error.code.as_str(), "denied" | "invalid") || unknown, "{what}: {error:?}");
}

/// A request with these grants is refused.
async fn request_is_refused(grants: Grants, request: http::Request) -> Error {
    let what = format!("{} {}", request.method, request.url);
    let error = fetch(&mut Guest::new(grants), request).await.expect_err(&what);
    is_refused(&what, &error);
    error
}
