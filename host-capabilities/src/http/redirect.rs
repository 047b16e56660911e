//! Where a redirect leads, and what may go there (RFC 9110, section 15.4).

use http::{HeaderMap, Method, StatusCode};
use url::Url;

/// Headers that belong to the host they were made for.
const CREDENTIALS: &[&str] = &["authorization", "cookie", "x-registry-auth", "x-amz-security-token"];

/// What to ask next.
pub(super) struct Next {
    pub url: Url,
    pub method: Method,
    /// The body goes along.
    pub keeps_body: bool,
}

/// The next request, if the response is a redirect that can be followed.
pub(super) fn next(status: StatusCode, headers: &HeaderMap, url: &Url, method: &Method) -> Option<Next> {
    let (method, keeps_body) = match status {
        StatusCode::SEE_OTHER if method != Method::HEAD => (Method::GET, false),
        StatusCode::MOVED_PERMANENTLY | StatusCode::FOUND if method == Method::POST => (Method::GET, false),
        StatusCode::MOVED_PERMANENTLY
        | StatusCode::FOUND
        | StatusCode::SEE_OTHER
        | StatusCode::TEMPORARY_REDIRECT
        | StatusCode::PERMANENT_REDIRECT => (method.clone(), true),
        _ => return None,
    };
    let location = headers.get(http::header::LOCATION)?.to_str().ok()?;
    Some(Next { url: url.join(location).ok()?, method, keeps_body })
}

/// Takes out what is not for another origin.
pub(super) fn strip(headers: &mut HeaderMap, from: &Url, to: &Url) {
    if from.origin() != to.origin() {
        for name in CREDENTIALS {
            headers.remove(*name);
        }
    }
}
