//! Opens connections to what the rules grant.
//!
//! The address is resolved and checked for each connection anew, and the connection goes to the address that was
//! checked: a name that resolves elsewhere a moment later gains nothing. All sockets live on the host's own runtime, so
//! that a busy guest can't hold up another's bytes.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Handle;

use super::{AddressRange, Resolve, Rule, SystemResolver, is_global};
use crate::quota::{Metered, Quotas, Reached};

/// Before the next address of a name is tried.
const PER_ADDRESS: Duration = Duration::from_secs(5);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The name has no address.
    #[error("`{host}` can't be resolved: {reason}")]
    Resolve {
        /// The name.
        host: String,
        /// The resolver's words.
        reason: String,
    },
    /// All its addresses are special ones that were not granted.
    #[error("`{host}` is {address}, which is not a public address: --allow-address={address} would grant it")]
    Address {
        /// The name or address asked for.
        host: String,
        /// One of its addresses.
        address: IpAddr,
    },
    /// Too many are open.
    #[error("no connection to {to}: {reached}")]
    Limit {
        /// Name or path, and port.
        to: String,
        /// The limit.
        reached: Reached,
    },
    /// Nobody answered.
    #[error("no connection to {to}: {reason}")]
    Connect {
        /// Name or path, and port.
        to: String,
        /// The system's words.
        reason: String,
    },
}

/// The rules of one capability of one provider, and the runtime its sockets live on.
#[derive(Clone)]
pub struct Egress {
    rules: Vec<Rule>,
    ranges: Vec<AddressRange>,
    io: Handle,
    quotas: Arc<Quotas>,
    resolver: Arc<dyn Resolve>,
}

impl Egress {
    /// Connections by these rules. `ranges` are addresses that granted names may resolve to although they are special.
    pub fn new(rules: Vec<Rule>, ranges: Vec<AddressRange>, io: Handle, quotas: Arc<Quotas>) -> Self {
        Self { rules, ranges, io, quotas, resolver: Arc::new(SystemResolver) }
    }

    /// The same, with names resolved by another.
    #[cfg(test)]
    pub(crate) fn resolved_by(&self, resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, ..self.clone() }
    }

    /// The limits that connections are under.
    pub const fn quotas(&self) -> &Arc<Quotas> {
        &self.quotas
    }

    /// The runtime that sockets live on.
    pub const fn io(&self) -> &Handle {
        &self.io
    }

    /// Whether nothing is granted.
    pub const fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules that grant this host and port.
    pub fn granting<'a>(&'a self, scheme: &'a str, host: &'a str, port: u16) -> impl Iterator<Item = &'a Rule> {
        self.rules.iter().filter(move |rule| rule.grants_host(scheme, host, port))
    }

    /// Whether a rule grants this socket.
    pub fn grants_unix(&self, wanted: &str) -> bool {
        self.rules.iter().any(|rule| matches!(rule, Rule::Unix { path } if path == wanted))
    }

    /// Connects to a granted host: the caller has asked [`Egress::granting`].
    pub async fn connect(&self, host: &str, port: u16) -> Result<Metered<TcpStream>, ConnectError> {
        let to = || format!("{host}:{port}");
        let place = self.quotas.place().await;
        let place = place.map_err(|reached| ConnectError::Limit { to: to(), reached })?;
        let own = self.clone();
        let host = host.to_owned();
        let fail = |reason: String| ConnectError::Connect { to: format!("{host}:{port}"), reason };
        let task = {
            let host = host.clone();
            self.io.spawn(async move { own.connect_here(&host, port).await })
        };
        let socket = AbortOnDrop(task).join().await.unwrap_or_else(|gone| Err(fail(gone)))?;
        Ok(Metered::new(socket, self.quotas.clone(), place))
    }

    async fn connect_here(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let all: Vec<SocketAddr> = self
            .resolver
            .resolve(host, port)
            .await
            .map_err(|error| ConnectError::Resolve { host: host.to_owned(), reason: error.to_string() })?;
        let allowed: Vec<SocketAddr> = all.iter().copied().filter(|a| self.allows(host, *a)).collect();
        if allowed.is_empty() {
            return Err(match all.first() {
                Some(first) => ConnectError::Address { host: host.to_owned(), address: first.ip() },
                None => ConnectError::Resolve { host: host.to_owned(), reason: "it has no address".to_owned() },
            });
        }
        let mut reason = String::new();
        for address in allowed {
            match tokio::time::timeout(PER_ADDRESS, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small frames of a terminal must not wait for more.
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Ok(Err(error)) => reason = format!("{address}: {error}"),
                Err(_) => reason = format!("{address}: no answer within {} s", PER_ADDRESS.as_secs()),
            }
        }
        Err(ConnectError::Connect { to: format!("{host}:{port}"), reason })
    }

    /// Connects to a granted socket: the caller has asked [`Egress::grants_unix`].
    pub async fn connect_unix(&self, path: &str) -> Result<Metered<UnixStream>, ConnectError> {
        let place = self.quotas.place().await;
        let place = place.map_err(|reached| ConnectError::Limit { to: format!("unix://{path}"), reached })?;
        let fail = |reason: String| ConnectError::Connect { to: format!("unix://{path}"), reason };
        let owned = path.to_owned();
        let task = self.io.spawn(async move { UnixStream::connect(owned).await });
        match AbortOnDrop(task).join().await {
            Ok(Ok(socket)) => Ok(Metered::new(socket, self.quotas.clone(), place)),
            Ok(Err(error)) => Err(fail(error.to_string())),
            Err(gone) => Err(fail(gone)),
        }
    }

    /// Whether a connection to this address is allowed for a host that a rule grants.
    fn allows(&self, host: &str, address: SocketAddr) -> bool {
        let (address, port) = (address.ip(), address.port());
        is_global(address)
            || self.ranges.iter().any(|range| range.contains(address))
            || self.rules.iter().any(|rule| match rule.range() {
                Some(range) => range.contains(address) && host.parse::<IpAddr>().is_ok(),
                None => host == "localhost" && rule.names(host, port) && address.is_loopback(),
            })
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    async fn join(mut self) -> Result<T, String> {
        (&mut self.0).await.map_err(|error| error.to_string())
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quota::Bounds;

    fn egress(rules: &[&str], ranges: &[&str]) -> Egress {
        let rules = rules.iter().map(|rule| Rule::parse(rule, &["tcp", "tls"], true).unwrap()).collect();
        let ranges = ranges.iter().map(|range| range.parse().unwrap()).collect();
        Egress::new(rules, ranges, Handle::current(), Quotas::new("mock", &Bounds::default()))
    }

    #[tokio::test]
    async fn a_granted_name_that_resolves_inside_is_refused_by_its_address() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        // Decimal, octal and hexadecimal forms are names to us and loopback to the resolver.
        for host in ["2130706433", "0177.0.0.1", "0x7f000001", "127.1"] {
            let egress = egress(&["*:*"], &[]);
            assert!(egress.granting("tcp", host, port).next().is_some());
            match egress.connect(host, port).await.err().unwrap() {
                ConnectError::Address { address, .. } => assert!(address.is_loopback()),
                ConnectError::Resolve { .. } => {}
                other => unreachable!("{host}: {other}"),
            }
        }
    }

    #[tokio::test]
    async fn addresses_are_reached_when_granted_as_such() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        for granted in
            [egress(&["127.0.0.1:*"], &[]), egress(&["[127.0.0.0/8]:*"], &[]), egress(&["*:*"], &["127.0.0.0/8"])]
        {
            granted.connect("127.0.0.1", port).await.unwrap();
        }
        egress(&["localhost:*"], &[]).connect("localhost", port).await.unwrap();
        let error = egress(&["*:*"], &[]).connect("127.0.0.1", port).await.err().unwrap().to_string();
        assert!(error.contains("--allow-address=127.0.0.1"), "{error}");
    }

    #[tokio::test]
    async fn sockets_are_granted_by_their_path_alone() {
        let egress = egress(&["unix:///run/engine.sock"], &[]);
        assert!(egress.grants_unix("/run/engine.sock"));
        assert!(!egress.grants_unix("/run/engine.sock2"));
        assert!(!egress.grants_unix("/run/../run/engine.sock"));
        let error = egress.connect_unix("/run/engine.sock").await.err().unwrap().to_string();
        assert!(error.contains("unix:///run/engine.sock"), "{error}");
    }
}
