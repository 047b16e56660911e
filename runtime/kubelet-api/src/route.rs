//! Paths of the kubelet API.
//!
//! The path is decoded once, and both the route and the authorizer's attributes come from the result, so that no
//! spelling of a path is allowed as one thing and served as another. Nothing is collapsed: `//pods` and `/stats/../pods`
//! lead nowhere.

use std::borrow::Cow;

use http::Method;
use percent_encoding::percent_decode_str;

/// What a path leads to, with the parts of it that matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route<'a> {
    Health,
    HealthCheck { name: &'a str },
    Pods,
    RunningPods,
    ContainerLogs { namespace: &'a str, pod: &'a str, container: &'a str },
    StatsSummary,
    Metrics,
    ResourceMetrics,
    Exec,
    Attach,
    PortForward,
}

/// The path as the client meant it. None: it is no valid text.
pub(crate) fn decode(path: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(path).decode_utf8().ok()
}

impl<'a> Route<'a> {
    /// Finds the route of a decoded path; a slash at its end does not matter.
    pub(crate) fn find(path: &'a str) -> Option<Self> {
        let path = path.strip_prefix('/')?;
        let parts: Vec<&str> = path.strip_suffix('/').unwrap_or(path).split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return None;
        }
        Some(match *parts.as_slice() {
            ["healthz"] => Self::Health,
            ["healthz", name] => Self::HealthCheck { name },
            ["pods"] => Self::Pods,
            ["runningpods"] => Self::RunningPods,
            ["containerLogs", namespace, pod, container] => Self::ContainerLogs { namespace, pod, container },
            ["stats", "summary"] => Self::StatsSummary,
            ["metrics"] => Self::Metrics,
            ["metrics", "resource"] => Self::ResourceMetrics,
            ["exec", _, _, _] | ["exec", _, _, _, _] => Self::Exec,
            ["attach", _, _, _] | ["attach", _, _, _, _] => Self::Attach,
            ["portForward", _, _] | ["portForward", _, _, _] => Self::PortForward,
            _ => return None,
        })
    }

    /// The route without names in it, for traces and metrics.
    pub(crate) const fn template(self) -> &'static str {
        match self {
            Self::Health => "/healthz",
            Self::HealthCheck { .. } => "/healthz/{check}",
            Self::Pods => "/pods",
            Self::RunningPods => "/runningpods/",
            Self::ContainerLogs { .. } => "/containerLogs/{namespace}/{pod}/{container}",
            Self::StatsSummary => "/stats/summary",
            Self::Metrics => "/metrics",
            Self::ResourceMetrics => "/metrics/resource",
            Self::Exec => "/exec/{namespace}/{pod}/{container}",
            Self::Attach => "/attach/{namespace}/{pod}/{container}",
            Self::PortForward => "/portForward/{namespace}/{pod}",
        }
    }

    /// The methods it takes; empty: any.
    pub(crate) const fn methods(self) -> &'static [Method] {
        match self {
            Self::Health | Self::HealthCheck { .. } | Self::Metrics | Self::ResourceMetrics => &[],
            Self::Pods | Self::RunningPods | Self::ContainerLogs { .. } => &[Method::GET],
            Self::StatsSummary | Self::Exec | Self::Attach | Self::PortForward => &[Method::GET, Method::POST],
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_the_kubelets_do() {
        let logs = Route::ContainerLogs { namespace: "ns", pod: "p", container: "c" };
        for (path, route) in [
            ("/healthz", Some(Route::Health)),
            ("/healthz/ping", Some(Route::HealthCheck { name: "ping" })),
            ("/pods", Some(Route::Pods)),
            ("/pods/", Some(Route::Pods)),
            ("/runningpods/", Some(Route::RunningPods)),
            ("/runningpods", Some(Route::RunningPods)),
            ("/containerLogs/ns/p/c", Some(logs)),
            ("/stats/summary", Some(Route::StatsSummary)),
            ("/stats/summary/", Some(Route::StatsSummary)),
            ("/metrics", Some(Route::Metrics)),
            ("/metrics/resource", Some(Route::ResourceMetrics)),
            ("/exec/ns/p/c", Some(Route::Exec)),
            ("/exec/ns/p/uid/c", Some(Route::Exec)),
            ("/attach/ns/p/c", Some(Route::Attach)),
            ("/portForward/ns/p", Some(Route::PortForward)),
            ("/portForward/ns/p/uid", Some(Route::PortForward)),
            ("/", None),
            ("", None),
            ("*", None),
            ("pods", None),
            ("//pods", None),
            ("/pods//", None),
            ("/stats/../pods", None),
            ("/containerLogs/ns//c", None),
            ("/containerLogs/ns/p", None),
            ("/exec/ns/p", None),
            ("/podsx", None),
        ] {
            assert_eq!(Route::find(path), route, "{path}");
        }
    }

    #[test]
    fn a_path_is_decoded_before_it_is_looked_at() {
        assert_eq!(Route::find(&decode("/%70ods").unwrap()), Some(Route::Pods));
        let logs = Route::ContainerLogs { namespace: "a", pod: "b", container: "c" };
        assert_eq!(Route::find(&decode("/containerLogs/a%2Fb/c").unwrap()), Some(logs));
        assert_eq!(decode("/%ff"), None);
    }
}
