//! Whether a connection may be made, and to where.

use provider::Code;

use crate::egress::Egress;
use crate::error::{Error, denied, error};

/// What a rule for `dial` may begin with; a rule without a scheme grants them all.
pub const SCHEMES: &[&str] = &["tcp", "tls", "ws", "wss"];

/// An address as a provider writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Address {
    Unix(String),
    Tcp { host: String, port: u16, tls: bool },
}

pub(super) fn parse(text: &str) -> Result<Address, Error> {
    let invalid = |reason: &str| error(Code::Invalid, format!("dial: the address `{text}` {reason}"));
    if let Some(path) = text.strip_prefix("unix://") {
        return Ok(Address::Unix(path.to_owned()));
    }
    let (scheme, rest) = text.split_once("://").ok_or_else(|| invalid("has no scheme (tcp://, tls://, unix://)"))?;
    let tls = match scheme {
        "tcp" => false,
        "tls" => true,
        "ws" | "wss" => return Err(error(Code::Unsupported, "dial: WebSockets are not in this version")),
        _ => return Err(invalid("has a scheme that is none of tcp, tls, unix")),
    };
    let (host, port) = rest.rsplit_once(':').ok_or_else(|| invalid("has no port"))?;
    let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(|| invalid("has no port from 1 to 65535"))?;
    let host = host.trim_matches(['[', ']']).trim_end_matches('.').to_ascii_lowercase();
    if host.is_empty() {
        return Err(invalid("has no host"));
    }
    Ok(Address::Tcp { host, port, tls })
}

pub(super) fn check(egress: &Egress, address: &Address) -> Result<(), Error> {
    match address {
        Address::Unix(path) if egress.grants_unix(path) => Ok(()),
        Address::Unix(path) => {
            Err(denied(format!("connecting to unix://{path}"), format!("--allow-dial=unix://{path}")))
        }
        Address::Tcp { host, port, tls } => {
            let scheme = if *tls { "tls" } else { "tcp" };
            match egress.granting(scheme, host, *port).next() {
                Some(_) => Ok(()),
                None => Err(denied(format!("connecting to {host}:{port}"), format!("--allow-dial={host}:{port}"))),
            }
        }
    }
}
