//! A grant to connect: which schemes, hosts and ports, and for HTTP which paths and methods.
//!
//! Written `SCHEME://HOST[:PORT][/PREFIX]`, with the methods before it where they are limited
//! (`GET,HEAD https://api.example.com/v1`). `HOST` is a name, `*.SUFFIX`, `*`, an address, or a range in brackets
//! (`[10.0.0.0/8]`). `PORT` is a number or `*`; without it the scheme's own. `unix:///PATH` names a socket, and is for
//! raw connections alone; methods and prefix are for HTTP alone: what would limit nothing is refused.

use std::fmt;
use std::net::IpAddr;

use super::AddressRange;

/// Which hosts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    /// This name, in lower case.
    Name(String),
    /// Every name that ends in `.SUFFIX`.
    Suffix(String),
    /// Every name.
    Any,
    /// Addresses: written as such in a URL, or what a granted name may resolve to.
    Range(AddressRange),
}

impl HostPattern {
    fn parse(text: &str) -> Result<Self, String> {
        if let Some(range) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            return range.parse().map(Self::Range);
        }
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Range(address.into()));
        }
        let lower = text.to_ascii_lowercase();
        if lower == "*" {
            return Ok(Self::Any);
        }
        let (suffix, name) = match lower.strip_prefix("*.") {
            Some(rest) => (true, rest),
            None => (false, lower.as_str()),
        };
        let fits = |label: &str| {
            !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        };
        if !name.trim_end_matches('.').split('.').all(fits) {
            return Err(format!("`{text}` is no host name, `*.SUFFIX`, address or `[RANGE]`"));
        }
        let name = name.trim_end_matches('.').to_owned();
        Ok(if suffix { Self::Suffix(name) } else { Self::Name(name) })
    }

    fn matches_name(&self, name: &str) -> bool {
        match self {
            Self::Name(own) => own == name,
            Self::Suffix(suffix) => {
                name.strip_suffix(suffix.as_str()).is_some_and(|head| head.len() > 1 && head.ends_with('.'))
            }
            Self::Any => true,
            Self::Range(_) => false,
        }
    }
}

/// Which part of a host's ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PortPattern {
    Any,
    Number(u16),
}

/// A grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rule {
    /// A socket of this machine, by its absolute path.
    Unix {
        /// The path.
        path: String,
    },
    /// Hosts on the network.
    Network {
        /// `http`, `https`, `tcp`, `tls`, `ws`, `wss`; empty: any that the capability knows.
        scheme: String,
        /// Which hosts.
        host: HostPattern,
        /// Which ports.
        port: Option<u16>,
        /// Paths must start with this, part by part; empty: any.
        prefix: String,
        /// Methods in upper case; empty: any.
        methods: Vec<String>,
    },
}

/// A rule that can't be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{rule}`: {reason}")]
pub struct RuleError {
    /// What was written.
    pub rule: String,
    /// What is wrong with it.
    pub reason: String,
}

impl Rule {
    /// Reads a rule for a capability that knows `schemes`; the first of them stands where none is written, if
    /// `scheme_optional`.
    pub fn parse(text: &str, schemes: &[&str], scheme_optional: bool) -> Result<Self, RuleError> {
        let fail = |reason: String| RuleError { rule: text.to_owned(), reason };
        let is_http = schemes.contains(&"http");
        let (methods, target) = match text.trim().split_once(' ') {
            Some((methods, target)) => (parse_methods(methods).map_err(fail)?, target.trim()),
            None => (Vec::new(), text.trim()),
        };
        if let Some(path) = target.strip_prefix("unix://") {
            if !path.starts_with('/') || path.split('/').any(|part| part == "..") {
                return Err(fail("a socket is written `unix:///ABSOLUTE/PATH`, without `..`".to_owned()));
            }
            if is_http {
                return Err(fail("a socket is granted by --allow-dial, for requests over it too".to_owned()));
            }
            if !methods.is_empty() {
                return Err(fail("a socket has no methods".to_owned()));
            }
            return Ok(Self::Unix { path: path.to_owned() });
        }
        let (scheme, rest) = match target.split_once("://") {
            Some((scheme, rest)) if schemes.contains(&scheme) => (scheme, rest),
            Some((scheme, _)) => {
                return Err(fail(format!("the scheme `{scheme}` is none of {}", schemes.join(", "))));
            }
            None if scheme_optional => ("", target),
            None => return Err(fail(format!("the scheme is missing, one of {}", schemes.join(", ")))),
        };
        let (authority, prefix) = split_authority(rest);
        let (host, port) = split_port(authority).map_err(fail)?;
        let host = HostPattern::parse(host).map_err(fail)?;
        let port = match port {
            PortText::Any => PortPattern::Any,
            PortText::Number(number) => PortPattern::Number(number),
            PortText::Missing => PortPattern::Number(match scheme {
                "http" | "ws" => 80,
                "https" | "wss" | "tls" => 443,
                _ => return Err(fail("the port is missing (HOST:PORT, or HOST:* for all)".to_owned())),
            }),
        };
        if prefix.split('/').any(|part| part == "..") {
            return Err(fail("the path prefix holds `..`".to_owned()));
        }
        if prefix.contains(['?', '#']) {
            return Err(fail("the path prefix holds a query, which no rule can limit".to_owned()));
        }
        if !is_http && (!methods.is_empty() || !prefix.is_empty()) {
            return Err(fail("a raw connection has no methods and no path: they would limit nothing".to_owned()));
        }
        Ok(Self::Network {
            scheme: scheme.to_owned(),
            host,
            port: match port {
                PortPattern::Any => None,
                PortPattern::Number(number) => Some(number),
            },
            prefix: prefix.trim_end_matches('/').to_owned(),
            methods,
        })
    }

    /// Whether it grants this host (a name in lower case without its last dot, or an address) on this port.
    pub fn grants_host(&self, scheme: &str, host: &str, port: u16) -> bool {
        let Self::Network { scheme: own, host: pattern, port: own_port, .. } = self else { return false };
        (own.is_empty() || own == scheme)
            && own_port.is_none_or(|own| own == port)
            && match host.parse::<IpAddr>() {
                Ok(address) => matches!(pattern, HostPattern::Range(range) if range.contains(address)),
                Err(_) => pattern.matches_name(host),
            }
    }

    /// Whether it grants this method and path (without its query).
    pub fn grants_request(&self, method: &str, path: &str) -> bool {
        let Self::Network { prefix, methods, .. } = self else { return false };
        (methods.is_empty() || methods.iter().any(|own| own == method))
            && (prefix.is_empty()
                || path
                    .strip_prefix(prefix.as_str())
                    .is_some_and(|rest| (rest.is_empty() || rest.starts_with('/')) && !may_climb(rest)))
    }

    /// The range of addresses that it names, if it names one.
    pub fn range(&self) -> Option<&AddressRange> {
        match self {
            Self::Network { host: HostPattern::Range(range), .. } => Some(range),
            Self::Network { .. } | Self::Unix { .. } => None,
        }
    }

    /// Whether it names this host outright, for this port: `localhost` is then meant as such.
    pub fn names(&self, host: &str, port: u16) -> bool {
        matches!(self, Self::Network { host: HostPattern::Name(own), port: own_port, .. }
            if own == host && own_port.is_none_or(|own| own == port))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { path } => write!(f, "unix://{path}"),
            Self::Network { scheme, host, port, prefix, methods } => {
                if !methods.is_empty() {
                    write!(f, "{} ", methods.join(","))?;
                }
                if !scheme.is_empty() {
                    write!(f, "{scheme}://")?;
                }
                match host {
                    HostPattern::Name(name) => f.write_str(name)?,
                    HostPattern::Suffix(suffix) => write!(f, "*.{suffix}")?,
                    HostPattern::Any => f.write_str("*")?,
                    HostPattern::Range(range) => write!(f, "[{range}]")?,
                }
                match port {
                    Some(port) => write!(f, ":{port}")?,
                    None => f.write_str(":*")?,
                }
                f.write_str(prefix)
            }
        }
    }
}

/// Whether a server could read a part of the path as `..`: with its slashes or dots encoded, with backslashes, or with
/// parameters behind it (`..;x`). Encodings within encodings count too.
fn may_climb(path: &str) -> bool {
    let mut path = path.to_ascii_lowercase();
    while path.contains("%25") {
        path = path.replace("%25", "%");
    }
    let path = path.replace("%2f", "/").replace("%5c", "/").replace('\\', "/").replace("%2e", ".").replace("%3b", ";");
    path.split('/').any(|part| part.split(';').next() == Some(".."))
}

fn parse_methods(text: &str) -> Result<Vec<String>, String> {
    let methods: Vec<String> = text.split(',').map(str::to_owned).collect();
    match methods.iter().find(|method| method.is_empty() || !method.bytes().all(|b| b.is_ascii_uppercase())) {
        Some(method) => Err(format!("`{method}` is no HTTP method in upper case")),
        None => Ok(methods),
    }
}

/// Splits off the path; a range in brackets holds a slash of its own.
fn split_authority(rest: &str) -> (&str, &str) {
    let from = if rest.starts_with('[') { rest.find(']').unwrap_or(0) } else { 0 };
    match rest.get(from..).and_then(|tail| tail.find('/')) {
        Some(at) => rest.split_at(from + at),
        None => (rest, ""),
    }
}

enum PortText {
    Missing,
    Any,
    Number(u16),
}

fn split_port(authority: &str) -> Result<(&str, PortText), String> {
    let after_host = if authority.starts_with('[') {
        authority.find(']').map(|at| at + 1).ok_or("the bracket `[` is not closed")?
    } else {
        authority.find(':').unwrap_or(authority.len())
    };
    let (host, port) = authority.split_at(after_host);
    match port.strip_prefix(':') {
        None if port.is_empty() => Ok((host, PortText::Missing)),
        Some("*") => Ok((host, PortText::Any)),
        Some(digits) => match digits.parse::<u16>() {
            Ok(number) if number > 0 => Ok((host, PortText::Number(number))),
            _ => Err(format!("the port `{digits}` is not a number from 1 to 65535, nor `*`")),
        },
        None => Err(format!("`{port}` stands where a port should")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HTTP: &[&str] = &["http", "https"];
    const DIAL: &[&str] = &["tcp", "tls"];

    fn http(text: &str) -> Rule {
        Rule::parse(text, HTTP, false).unwrap()
    }

    #[test]
    fn a_rule_matches_its_scheme_host_and_port_alone() {
        let rule = http("https://api.example.com");
        assert!(rule.grants_host("https", "api.example.com", 443));
        assert!(!rule.grants_host("http", "api.example.com", 443));
        assert!(!rule.grants_host("https", "api.example.com", 8443));
        assert!(!rule.grants_host("https", "evil-api.example.com", 443));
        assert!(!rule.grants_host("https", "api.example.com.evil.org", 443));
        assert!(!rule.grants_host("https", "1.1.1.1", 443));
    }

    #[test]
    fn a_suffix_needs_a_label_before_it() {
        let rule = http("https://*.example.com");
        assert!(rule.grants_host("https", "a.b.example.com", 443));
        assert!(!rule.grants_host("https", "example.com", 443));
        assert!(!rule.grants_host("https", ".example.com", 443));
        assert!(!rule.grants_host("https", "badexample.com", 443));
    }

    #[test]
    fn the_star_grants_names_and_no_addresses() {
        let rule = http("https://*");
        assert!(rule.grants_host("https", "any.name", 443));
        assert!(!rule.grants_host("https", "10.0.0.1", 443));
    }

    #[test]
    fn ranges_are_written_in_brackets() {
        let rule = http("http://[10.0.0.0/8]:18899/metrics");
        assert!(rule.grants_host("http", "10.3.4.5", 18899));
        assert!(!rule.grants_host("http", "11.3.4.5", 18899));
        assert!(rule.grants_request("GET", "/metrics/cpu"));
        assert!(!rule.grants_request("GET", "/other"));
        let v6 = Rule::parse("[fd00::/8]:443", DIAL, true).unwrap();
        assert!(v6.grants_host("tls", "fd00::1", 443));
    }

    #[test]
    fn prefixes_end_at_a_path_part() {
        let rule = http("GET,HEAD https://api.example.com/v1/");
        assert!(rule.grants_request("GET", "/v1"));
        assert!(rule.grants_request("HEAD", "/v1/pods"));
        assert!(!rule.grants_request("GET", "/v10"));
        assert!(!rule.grants_request("POST", "/v1/pods"));
    }

    #[test]
    fn a_prefix_is_not_left_by_climbing_however_it_is_written() {
        let rule = http("https://api.example.com/v1");
        for path in [
            "/v1/../admin",
            "/v1/..%2fadmin",
            "/v1/..%2Fadmin",
            "/v1/%2e%2e/admin",
            "/v1/.%2E%5cadmin",
            "/v1/..\\admin",
            "/v1/..;/admin",
            "/v1/..%3Bx/admin",
            "/v1/%252e%252e%252fadmin",
            "/v1/x/..",
        ] {
            assert!(!rule.grants_request("GET", path), "{path}");
        }
        for path in ["/v1/a..b", "/v1/...", "/v1/a%2fb", "/v1/%25", "/v1/.well-known"] {
            assert!(rule.grants_request("GET", path), "{path}");
        }
    }

    #[test]
    fn rules_print_as_they_are_written() {
        for text in ["https://api.example.com:443", "GET https://*.example.com:*/v1", "http://[10.0.0.0/8]:80"] {
            assert_eq!(http(text).to_string(), text);
        }
        assert_eq!(Rule::parse("unix:///run/p.sock", DIAL, true).unwrap().to_string(), "unix:///run/p.sock");
    }

    #[test]
    fn what_is_wrong_is_said() {
        for (text, says) in [
            ("api.example.com", "the scheme is missing"),
            ("ftp://api.example.com", "`ftp` is none of http, https"),
            ("https://", "is no host name"),
            ("https://a..b", "is no host name"),
            ("https://a:0", "the port `0`"),
            ("https://a:99999", "the port `99999`"),
            ("https://a/../b", "holds `..`"),
            ("get https://a", "`get` is no HTTP method"),
            ("https://[10.0.0.0", "not closed"),
            ("https://a/b?c", "holds a query"),
            ("unix://relative", "unix:///ABSOLUTE/PATH"),
            ("unix:///run/../etc/x", "without `..`"),
            ("unix:///run/engine.sock", "--allow-dial"),
        ] {
            let error = Rule::parse(text, HTTP, false).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        for (text, says) in [
            ("host.example.com", "the port is missing"),
            ("tcp://host.example.com:80/v1", "no methods and no path"),
            ("GET host.example.com:80", "no methods and no path"),
            ("GET unix:///run/engine.sock", "no methods"),
            ("https://host.example.com", "`https` is none of tcp, tls"),
        ] {
            let error = Rule::parse(text, DIAL, true).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }
}
