//! `/healthz`: all checks together, and each by its name, as Kubernetes' components word them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;

use async_trait::async_trait;
use http::StatusCode;

use crate::respond::{self, Response};

/// Something that must be well for the node to be well, such as the pods' controller (the kubelet's `syncloop`).
#[async_trait]
pub trait HealthCheck: Send + Sync {
    /// Its name under `/healthz/`. `ping` is taken: it is always well.
    fn name(&self) -> &str;

    /// An error says what is wrong; never a secret.
    async fn check(&self) -> Result<(), String>;
}

pub(crate) type Checks = Vec<Arc<dyn HealthCheck>>;

const PING: &str = "ping";

/// All checks but those named in `exclude`. Reasons are kept for those who ask for one check.
pub(crate) async fn all(checks: &Checks, query: Option<&str>) -> Response {
    let parameters = || form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    let excluded: BTreeSet<_> = parameters().filter(|(key, _)| key == "exclude").map(|(_, name)| name).collect();
    let verbose = parameters().any(|(key, _)| key == "verbose");
    let mut report = String::new();
    let mut well = true;
    let mut line = |text: std::fmt::Arguments<'_>| {
        // Writing to a String can't fail.
        let _ = writeln!(report, "{text}");
    };
    if excluded.contains(PING) {
        line(format_args!("[+]{PING} excluded: ok"));
    } else {
        line(format_args!("[+]{PING} ok"));
    }
    for check in checks {
        let name = check.name();
        if excluded.contains(name) {
            line(format_args!("[+]{name} excluded: ok"));
        } else if let Err(reason) = check.check().await {
            tracing::warn!(check = name, reason, "health check failed");
            line(format_args!("[-]{name} failed: reason withheld"));
            well = false;
        } else {
            line(format_args!("[+]{name} ok"));
        }
    }
    let is_known = |name: &str| name == PING || checks.iter().any(|check| check.name() == name);
    let unknown: Vec<_> = excluded.iter().filter(|name| !is_known(name)).map(|name| format!("{name:?}")).collect();
    if !unknown.is_empty() {
        let names = unknown.join(",");
        line(format_args!("warn: some health checks cannot be excluded: no matches for {names}"));
    }
    match (well, verbose) {
        (false, _) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, report + "healthz check failed\n"),
        (true, true) => respond::text(StatusCode::OK, report + "healthz check passed\n"),
        (true, false) => respond::text(StatusCode::OK, "ok"),
    }
}

/// One check. None: there is none of this name.
pub(crate) async fn one(checks: &Checks, name: &str) -> Option<Response> {
    if name == PING {
        return Some(respond::text(StatusCode::OK, "ok"));
    }
    let check = checks.iter().find(|check| check.name() == name)?;
    Some(match check.check().await {
        Ok(()) => respond::text(StatusCode::OK, "ok"),
        Err(reason) => respond::text(StatusCode::INTERNAL_SERVER_ERROR, format!("internal server error: {reason}\n")),
    })
}
