//! Leaving the path that a rule grants.

use super::{attempts, fetch, get};
use crate::testing::backend::{Backend, ok};
use crate::testing::guest::{Guest, grants};

/// A path that is not below `/v1/pods`, to somebody.
async fn outside(path: &str) {
    let backend = Backend::http(|_| ok("")).await;
    let rule = format!("http://127.0.0.1:{}/v1/pods", backend.port);
    let error = fetch(&mut Guest::new(grants(&[&rule], &[], &[])), get(&backend.url(path))).await.unwrap_err();
    assert!(matches!(error.code.as_str(), "denied" | "invalid"), "{path}: {error:?}");
    assert_eq!(backend.connections(), 0, "{path}");
}

attempts! { outside;
    the_root: "/";
    the_parent: "/v1";
    a_sibling: "/v1/secrets";
    a_name_that_begins_alike: "/v1/podsecrets";
    another_case: "/V1/PODS";
    dots: "/v1/pods/../secrets";
    dots_at_the_end: "/v1/pods/..";
    encoded_dots: "/v1/pods/%2e%2e/secrets";
    half_encoded_dots: "/v1/pods/.%2e/secrets";
    an_encoded_slash: "/v1/pods/..%2fsecrets";
    an_encoded_slash_in_upper_case: "/v1/pods/..%2Fsecrets";
    twice_encoded_dots: "/v1/pods/%252e%252e/secrets";
    twice_encoded_slashes: "/v1/pods/..%252fsecrets";
    thrice_encoded_dots: "/v1/pods/%25252e%25252e%25252fsecrets";
    a_backslash: "/v1/pods/..\\secrets";
    an_encoded_backslash: "/v1/pods/..%5csecrets";
    dots_with_a_parameter: "/v1/pods/..;a=b/secrets";
    dots_with_an_encoded_parameter: "/v1/pods/..%3b/secrets";
    dots_and_empty_parts: "/v1/pods//..//../secrets";
    an_empty_part_in_front: "//v1/pods";
    a_prefix_in_another_place: "/proxy/v1/pods";
    a_prefix_in_the_query: "/?/v1/pods";
    a_prefix_in_the_fragment: "/#/v1/pods";
    an_encoded_prefix: "/%76%31/pods";
    an_encoded_slash_in_the_prefix: "/v1%2fpods";
    a_query_instead_of_a_path: "?/v1/pods";
}

#[tokio::test]
async fn a_granted_path_on_another_scheme_port_or_host() {
    let backend = Backend::http(|_| ok("")).await;
    let other = Backend::http(|_| ok("")).await;
    let rule = format!("http://127.0.0.1:{}/v1/pods", backend.port);
    for url in [
        other.url("/v1/pods"),
        format!("https://127.0.0.1:{}/v1/pods", backend.port),
        format!("http://localhost:{}/v1/pods", backend.port),
    ] {
        let error = fetch(&mut Guest::new(grants(&[&rule], &[], &[])), get(&url)).await.unwrap_err();
        assert_eq!(error.code, "denied", "{url}");
    }
    assert_eq!(backend.connections() + other.connections(), 0);
}
