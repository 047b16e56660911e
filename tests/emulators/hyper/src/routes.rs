//! The calls that there are, and the query parameters of each.

use crate::query::Type::{Filters, Flag, Number, Tail, Text};
use crate::query::{Parameter, may, must};

/// A call: method, path below the version with `{}` for a part (`{*}` for several), and parameters.
type Route = (&'static str, &'static str, &'static [Parameter]);

const LIST: &[Parameter] = &[
    may("all", Flag),
    may("filters", Filters),
    may("limit", Number),
    may("size", Flag),
    may("since", Text),
    may("before", Text),
];
const LOGS: &[Parameter] = &[
    may("stdout", Flag),
    may("stderr", Flag),
    may("timestamps", Flag),
    may("follow", Flag),
    may("tail", Tail),
    may("since", Number),
];

/// All that a provider of pods needs; what else Hyper.sh had is answered with 501.
const ROUTES: &[Route] = &[
    ("GET", "/info", &[]),
    ("GET", "/version", &[]),
    ("POST", "/containers/create", &[must("name", Text)]),
    ("GET", "/containers/json", LIST),
    ("GET", "/containers/{}/json", &[may("size", Flag)]),
    ("POST", "/containers/{}/start", &[]),
    ("POST", "/containers/{}/stop", &[may("t", Number)]),
    ("POST", "/containers/{}/kill", &[may("signal", Text)]),
    ("DELETE", "/containers/{}", &[may("v", Flag), may("force", Flag)]),
    ("GET", "/containers/{}/logs", LOGS),
    ("GET", "/containers/{}/stats", &[may("stream", Flag)]),
    ("POST", "/images/create", &[must("fromImage", Text), may("tag", Text)]),
    ("GET", "/images/json", &[may("all", Flag), may("filters", Filters)]),
    ("GET", "/images/{*}/json", &[]),
    ("DELETE", "/images/{*}", &[may("force", Flag)]),
    ("GET", "/fips", &[may("filters", Filters)]),
    ("POST", "/fips/allocate", &[must("count", Number)]),
    ("POST", "/fips/attach", &[must("ip", Text), must("container", Text)]),
    ("POST", "/fips/detach", &[must("container", Text)]),
    ("POST", "/fips/release", &[must("ip", Text)]),
    ("POST", "/fips/name", &[must("ip", Text), must("name", Text)]),
    ("GET", "/volumes", &[may("filters", Filters)]),
    ("POST", "/volumes/create", &[]),
    ("POST", "/volumes/initialize", &[]),
    ("PUT", "/volumes/uploadfinish", &[must("session", Text)]),
    ("GET", "/volumes/{}", &[]),
    ("DELETE", "/volumes/{}", &[]),
];

/// Calls that send JSON; the others send nothing.
const WITH_BODY: &[&str] = &["POST /containers/create", "POST /volumes/create", "POST /volumes/initialize"];

/// Paths that Hyper.sh had and this has not.
const OTHERS: &[&str] =
    &["sg", "networks", "services", "crons", "snapshots", "funcs", "compose", "events", "exec", "commit"];

/// A call that was found.
pub struct Found<'a> {
    /// As it is written in [`ROUTES`]: `POST /containers/{}/start`.
    pub call: String,
    /// What stands for `{}`; may be empty.
    pub part: &'a str,
    /// What it takes.
    pub takes: &'static [Parameter],
}

impl Found<'_> {
    /// Whether it sends JSON.
    pub fn has_body(&self) -> bool {
        WITH_BODY.contains(&self.call.as_str())
    }
}

/// The call of this method and path (below the version).
pub fn find<'a>(method: &str, path: &'a str) -> Option<Found<'a>> {
    ROUTES.iter().find_map(|(own, pattern, takes)| {
        let part = (*own == method).then(|| part(pattern, path)).flatten()?;
        Some(Found { call: format!("{own} {pattern}"), part, takes })
    })
}

/// Whether it is a path that Hyper.sh had.
pub fn is_other(path: &str) -> bool {
    let first = path.split('/').nth(1).unwrap_or_default();
    OTHERS.contains(&first) || path.starts_with("/containers/")
}

/// What stands for `{}`, where the path fits.
fn part<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    let Some((before, after)) = pattern.split_once("{}").or_else(|| pattern.split_once("{*}")) else {
        return (pattern == path).then_some("");
    };
    let part = path.strip_prefix(before)?.strip_suffix(after)?;
    (!part.is_empty() && (pattern.contains("{*}") || !part.contains('/'))).then_some(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_call() {
        for (method, path, call, part) in [
            ("GET", "/containers/json", "GET /containers/json", ""),
            ("GET", "/containers/ab/json", "GET /containers/{}/json", "ab"),
            ("GET", "/images/docker.io/library/x:1/json", "GET /images/{*}/json", "docker.io/library/x:1"),
            ("DELETE", "/volumes/v", "DELETE /volumes/{}", "v"),
            ("POST", "/volumes/create", "POST /volumes/create", ""),
        ] {
            let found = find(method, path).unwrap();
            assert_eq!((found.call.as_str(), found.part), (call, part));
        }
        assert!(find("GET", "/containers/a/b/json").is_none() && find("PUT", "/containers/json").is_none());
        assert!(is_other("/crons/create") && !is_other("/nothing"));
    }
}
