//! Where a secret may be filled in: `[SCHEME://]HOST[:PORT][/PREFIX]`, as `--allow-http` writes hosts, or a socket,
//! `unix:///PATH`.
//!
//! Without a scheme it is `https`, which is `wss` too. What counts is where the bytes go: a request over an endpoint of its own
//! is bound by the endpoint (`unix:///PATH`, `tcp://HOST:PORT`), whatever its URL says. A binding grants no request: that is
//! what `--allow-http` and `--allow-dial` do.

use std::fmt;
use std::str::FromStr;

use crate::egress::Rule;

const SCHEMES: &[&str] = &["https", "http", "tcp"];

/// Hosts that a secret is bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Binding(Rule);

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Destination<'a> {
    /// To a URL's authority; `https` and `wss` are one scheme, and `http` and `ws`.
    Url { scheme: &'a str, host: &'a str, port: u16, path: &'a str },
    /// To another host than the URL says.
    Tcp { host: &'a str, port: u16 },
    /// To a socket.
    Unix { path: &'a str },
}

impl Binding {
    /// Whether the secret may go there.
    pub(crate) fn reaches(&self, destination: Destination<'_>) -> bool {
        match destination {
            Destination::Url { scheme, host, port, path } => {
                let scheme = match scheme {
                    "wss" => "https",
                    "ws" => "http",
                    other => other,
                };
                scheme != "tcp" && self.0.grants_host(scheme, host, port) && self.0.grants_request("GET", path)
            }
            Destination::Tcp { host, port } => self.0.grants_host("tcp", host, port),
            Destination::Unix { path } => matches!(&self.0, Rule::Unix { path: own } if own == path),
        }
    }
}

impl FromStr for Binding {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rule = if text.starts_with("unix://") {
            // Only rules for raw connections know sockets.
            Rule::parse(text, crate::dial::SCHEMES, true)
        } else if text.contains(' ') {
            return Err(format!("`{text}`: a secret is bound to hosts, not to methods"));
        } else if text.contains("://") {
            Rule::parse(text, SCHEMES, false)
        } else {
            Rule::parse(&format!("https://{text}"), SCHEMES, false)
        };
        let rule = rule.map_err(|error| error.to_string())?;
        match &rule {
            Rule::Network { scheme, prefix, .. } if scheme == "tcp" && !prefix.is_empty() => {
                Err(format!("`{text}`: a raw connection has no path"))
            }
            _ => Ok(Self(rule)),
        }
    }
}

impl fmt::Display for Binding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url<'a>(scheme: &'a str, host: &'a str, port: u16, path: &'a str) -> Destination<'a> {
        Destination::Url { scheme, host, port, path }
    }

    #[test]
    fn a_secret_reaches_what_it_is_bound_to_alone() {
        let bound: Binding = "api.example.com/v1".parse().unwrap();
        assert!(bound.reaches(url("https", "api.example.com", 443, "/v1/pods")));
        assert!(bound.reaches(url("wss", "api.example.com", 443, "/v1")));
        for other in [
            url("http", "api.example.com", 443, "/v1"),
            url("ws", "api.example.com", 443, "/v1"),
            url("https", "api.example.com", 8443, "/v1"),
            url("https", "api.example.com.evil.org", 443, "/v1"),
            url("https", "api.example.com", 443, "/v2"),
            url("https", "api.example.com", 443, "/v1/..%2fv2"),
            Destination::Tcp { host: "api.example.com", port: 443 },
            Destination::Unix { path: "/v1" },
        ] {
            assert!(!bound.reaches(other), "{other:?}");
        }
    }

    #[test]
    fn endpoints_are_bound_by_themselves() {
        let socket: Binding = "unix:///run/engine.sock".parse().unwrap();
        assert!(socket.reaches(Destination::Unix { path: "/run/engine.sock" }));
        assert!(!socket.reaches(Destination::Unix { path: "/run/other.sock" }));
        let agent: Binding = "tcp://[10.0.0.0/8]:6421".parse().unwrap();
        assert!(agent.reaches(Destination::Tcp { host: "10.1.2.3", port: 6421 }));
        assert!(!agent.reaches(url("https", "10.1.2.3", 6421, "/")));
        let any: Binding = "https://*:*".parse().unwrap();
        assert!(!any.reaches(Destination::Tcp { host: "x.test", port: 443 }));
    }

    #[test]
    fn what_would_limit_nothing_is_refused() {
        for (text, says) in [
            ("GET https://a.test", "not to methods"),
            ("tcp://a.test:1/x", "no path"),
            ("tcp://a.test", "the port is missing"),
            ("ftp://a.test", "`ftp` is none of"),
        ] {
            let error = text.parse::<Binding>().unwrap_err();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
