//! Whether a request may be made: by its URL, its method and its headers.

use provider::Code;
use url::{Host, Url};

use crate::egress::Egress;
use crate::error::{Error, denied, error};

/// What a rule for `http` may begin with.
pub const SCHEMES: &[&str] = &["http", "https"];

/// Headers that say how a message travels: the host's to set.
const HOP_BY_HOP: &[&str] = &[
    "host",
    "content-length",
    "transfer-encoding",
    "connection",
    "keep-alive",
    "proxy-connection",
    "proxy-authenticate",
    "proxy-authorization",
    "te",
    "trailer",
    "upgrade",
    "http2-settings",
    "expect",
];

/// Where the bytes go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Endpoint {
    /// To the URL's own authority.
    Url,
    /// To a socket.
    Unix(String),
    /// To another host.
    Tcp(String, u16),
}

/// Most bytes of a request's headers; each counts 32 beside its name and value (RFC 7541, section 4.1).
pub(super) const MAX_HEADERS: usize = 256 * 1024;
const HEADER_OVERHEAD: usize = 32;

/// Reads a request's URL.
pub(super) fn parse_url(text: &str) -> Result<Url, Error> {
    let invalid = |reason: String| error(Code::Invalid, format!("http: the URL `{}` {reason}", shown_text(text)));
    let url = Url::parse(text).map_err(|failure| invalid(format!("can't be read: {failure}")))?;
    if !SCHEMES.contains(&url.scheme()) {
        return Err(invalid(format!("has the scheme `{}`, not http or https", url.scheme())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(error(Code::Invalid, "http: a URL holds no user and password; use the header `authorization`"));
    }
    Ok(url)
}

/// The path and query of a URL that `url` was read from, to be sent byte for byte: signatures are made over them. What a
/// URL parser would change is refused, so that what the rules saw is what the server sees.
pub(super) fn target(text: &str, url: &Url) -> Result<String, Error> {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let written = rest.find(['/', '?', '#']).map_or("", |at| rest.get(at..).unwrap_or_default());
    let written = written.split('#').next().unwrap_or_default();
    let written = if written.starts_with('/') { written.to_owned() } else { format!("/{written}") };
    // Inside a query an apostrophe is as good as its encoding.
    let (path, query) = written.split_once('?').unwrap_or((&written, ""));
    if path == url.path() && query.replace('\'', "%27") == url.query().unwrap_or_default() {
        return Ok(written);
    }
    let message = "has a path or query that is not percent-encoded, or that holds `.` or `..`";
    Err(error(Code::Invalid, format!("http: the URL `{}` {message}", shown_text(text))))
}

/// A URL's host as rules name it, and its port.
pub(super) fn authority(url: &Url) -> Option<(String, u16)> {
    let host = match url.host()? {
        Host::Domain(name) => name.trim_end_matches('.').to_ascii_lowercase(),
        Host::Ipv4(address) => address.to_string(),
        Host::Ipv6(address) => address.to_string(),
    };
    Some((host, url.port_or_known_default()?))
}

/// Reads a request's endpoint; empty is the URL's own authority.
pub(super) fn parse_endpoint(text: &str) -> Result<Endpoint, Error> {
    if text.is_empty() {
        return Ok(Endpoint::Url);
    }
    if let Some(path) = text.strip_prefix("unix://") {
        return Ok(Endpoint::Unix(path.to_owned()));
    }
    let invalid =
        || error(Code::Invalid, format!("http: the endpoint `{text}` is no unix:///PATH and no tcp://HOST:PORT"));
    let (host, port) = text.strip_prefix("tcp://").and_then(|rest| rest.rsplit_once(':')).ok_or_else(invalid)?;
    let port = port.parse().map_err(|_| invalid())?;
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() || port == 0 {
        return Err(invalid());
    }
    Ok(Endpoint::Tcp(host, port))
}

/// Whether the rules allow this request. `http` are the rules for requests, `dial` those for raw connections, which an
/// endpoint of its own needs.
pub(super) fn check(http: &Egress, dial: &Egress, method: &str, url: &Url, endpoint: &Endpoint) -> Result<(), Error> {
    match endpoint {
        Endpoint::Unix(path) if dial.grants_unix(path) => Ok(()),
        Endpoint::Unix(path) => {
            Err(denied(format!("connecting to unix://{path}"), format!("--allow-dial=unix://{path}")))
        }
        Endpoint::Tcp(host, port) => match dial.granting("tcp", host, *port).next() {
            Some(_) => Ok(()),
            None => Err(denied(format!("connecting to {host}:{port}"), format!("--allow-dial={host}:{port}"))),
        },
        Endpoint::Url => {
            let Some((host, port)) = authority(url) else {
                return Err(error(Code::Invalid, format!("http: the URL `{}` has no host", shown(url))));
            };
            if http.granting(url.scheme(), &host, port).any(|rule| rule.grants_request(method, url.path())) {
                return Ok(());
            }
            let origin = format!("{}://{}:{port}", url.scheme(), url.host_str().unwrap_or(&host));
            Err(denied(format!("{method} {}", shown(url)), format!("--allow-http={origin}")))
        }
    }
}

/// The URL without its query, which may hold secrets.
pub(super) fn shown(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    shown.to_string()
}

/// What may be said of a URL that is not even one: no query, no user and password, no line of its own.
pub(super) fn shown_text(text: &str) -> String {
    let text = text.split(['?', '#']).next().unwrap_or_default();
    let (scheme, rest) = text.split_once("//").map_or(("", text), |(scheme, rest)| (scheme, rest));
    let shown = rest.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, host)| format!("{scheme}//***@{host}"));
    let mut shown = shown.escape_debug().to_string();
    crate::log::cut(&mut shown, 256);
    shown
}

/// The request's headers, as far as a guest may set them.
pub(super) fn headers(own: Vec<(String, String)>) -> Result<http::HeaderMap, Error> {
    let bytes: usize = own.iter().map(|(name, value)| name.len() + value.len() + HEADER_OVERHEAD).sum();
    if bytes > MAX_HEADERS {
        let message = format!("http: {bytes} bytes of headers, the limit is {MAX_HEADERS}");
        return Err(error(Code::Limit, message));
    }
    let mut headers = http::HeaderMap::with_capacity(own.len());
    for (name, value) in own {
        let shown = name.escape_debug();
        let invalid = |reason: &str| error(Code::Invalid, format!("http: the header `{shown}` {reason}"));
        let parsed = http::HeaderName::try_from(name.as_str()).map_err(|_| invalid("has no valid name"))?;
        if HOP_BY_HOP.contains(&parsed.as_str()) {
            return Err(invalid("is the host's to set"));
        }
        let value = http::HeaderValue::try_from(value).map_err(|_| invalid("has a value with forbidden characters"))?;
        headers.append(parsed, value);
    }
    Ok(headers)
}
